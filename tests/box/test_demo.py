"""The demo is a box of its own: it needs nothing but the installed command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_demo_ends_the_hog_and_tells_why() -> None:
    okoomer = Path(sys.executable).with_name("okoomer")
    done = subprocess.run([okoomer, "demo"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    # Which signal it is depends on how far memory has fallen until the guard has its turn.
    assert "The hog ended by SIG" in done.stdout
    assert "the neighbour lives" in done.stdout
    assert "would come back" in done.stdout.split("in okoomer's own words:")[1]
