"""A window whose program stands still and goes on, again and again: it stays on the screen, and what is typed into it
meanwhile is there afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.box.box import Box
from tests.box.conftest import box as box  # the fixture
from tests.box.terminal import ROUNDS, person, until
from tests.desktop.stage import screen

GTK = subprocess.run(
    ["/usr/bin/python3", "-c", "import gi; gi.require_version('Gtk', '3.0'); from gi.repository import Gtk"],
    capture_output=True, check=False,
).returncode == 0  # fmt: skip
pytestmark = [
    pytest.mark.skipif(not GTK, reason="not installed here: python3-gi gir1.2-gtk-3.0"),
    pytest.mark.skipif(shutil.which("xdotool") is None, reason="not installed here: xdotool"),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="a box needs root and unshare"),
    pytest.mark.timeout(120 + 10 * ROUNDS),
]
#: Writes what its entry holds into a file whenever that changes.
PROGRAM = """
import os, sys
import gi
gi.require_version("Gtk", "3.0")
from gi.repository import Gtk
def changed(entry):
    with open(sys.argv[1] + ".new", "w") as file:
        file.write(entry.get_text())
    os.rename(sys.argv[1] + ".new", sys.argv[1])
window, entry = Gtk.Window(title="a window"), Gtk.Entry()
entry.connect("changed", changed)
window.connect("destroy", Gtk.main_quit)
window.add(entry)
window.show_all()
Gtk.main()
"""


def test_a_window_stays_and_gets_what_is_typed(box: Box, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with contextlib.ExitStack() as stack:
        display = screen(stack)
        environment = {"PATH": os.environ["PATH"], "DISPLAY": display, "NO_AT_BRIDGE": "1", "HOME": str(tmp_path)}

        def xdotool(*words: str) -> str:
            done = subprocess.run(
                ["xdotool", *words], env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            return done.stdout.strip()

        somebody = stack.enter_context(person(box, tmp_path))
        program = box.spawn(["/usr/bin/python3", "-c", PROGRAM, str(said)], env=environment)
        until(lambda: xdotool("search", "--onlyvisible", "--name", "a window"), "the window")
        window = xdotool("search", "--onlyvisible", "--name", "a window")
        xdotool("windowfocus", "--sync", window)
        for number in range(ROUNDS):
            somebody.pause(program.pid)
            xdotool("type", f"{number},")
            expected = "".join(f"{typed}," for typed in range(number + 1))
            assert not said.exists() or said.read_text() != expected
            assert xdotool("search", "--onlyvisible", "--name", "a window") == window
            somebody.resume(program.pid)
            until(lambda expected=expected: said.exists() and said.read_text() == expected)  # type: ignore[misc]
        assert program.alive
        xdotool("windowclose", window)
        program.wait(60)
