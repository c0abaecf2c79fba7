"""What tests ask of a guard in a box, and of the processes beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.box.process import Proc

#: The command as it is installed beside this interpreter.
OKOOMER = str(Path(sys.executable).with_name("okoomer"))


def events(guard: Proc, *kinds: str) -> list[dict[str, Any]]:
    """What a guard with --json has told, of these kinds or of all."""
    found = [json.loads(line.text) for line in list(guard.lines) if line.stream == "stdout"]
    return [event for event in found if not kinds or event["event"] in kinds]


def state_of(folder: Path) -> str:
    """The letter that /proc has for what a process does, by its folder there."""
    return (folder / "stat").read_text().rpartition(")")[2].split()[0]


def state(proc: Proc) -> str:
    """The same of a process of the box."""
    return state_of(proc.proc)
