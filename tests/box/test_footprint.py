"""What the guard of the preset desktop takes with all that it has loaded, beside a bare interpreter."""

from __future__ import annotations

import sys
import time

from tests.box.box import Box
from tests.box.guards import OKOOMER
from tests.box.process import Proc

#: MiB of anonymous memory beyond a bare interpreter's, and a little for what a busy machine makes of it.
MOST = 3.1
SETTLED = 2.0


def anonymous(process: Proc) -> float:
    """MiB that are its own."""
    lines = (process.proc / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


def test_the_guard_of_a_desktop_takes_little_more_than_a_bare_interpreter(box: Box) -> None:
    bare = box.spawn([sys.executable, "-I", "-S", "-c", "import time; time.sleep(1e9)"])
    guard = box.daemon([OKOOMER, "run", "--json", "--runtime-dir", "/run/okoomer", "--policy", "desktop"])
    guard.wait_line('"event": "started"', 60)
    time.sleep(SETTLED)
    assert anonymous(guard) - anonymous(bare) < MOST, (anonymous(guard), anonymous(bare))
