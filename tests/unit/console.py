"""The command line, called in this process by its real entry point."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest.mock import patch

from okoomer.cli.main import main


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def okoomer(*arguments: object) -> Ended:
    """Runs a command to its end. Not for `run`, which does not come back."""
    out, err = io.StringIO(), io.StringIO()
    with patch.object(sys, "argv", ["okoomer", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    return Ended(code, out.getvalue(), err.getvalue())
