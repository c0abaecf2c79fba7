"""A screen with a notification server on it: Xvfb, dunst or GNOME's notification-daemon, two buses and the agent."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from jeepney.bus_messages import message_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import open_dbus_connection  # type: ignore[import-untyped]

from tests.desktop.witness import Witness
from tests.unit.buses import DAEMON, Daemon
from tests.unit.loops import Client
from tests.unit.sessions import POLICY, AgentProcess, Okoomer, Session

PROGRAMS = {
    "Xvfb": "xvfb", "dunst": "dunst", "dunstctl": "dunst", "xdotool": "xdotool", "import": "imagemagick",
    "dbus-daemon": "dbus-daemon",
}  # fmt: skip
#: Debian packages with programs that are not here.
MISSING = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
#: Shows buttons as GNOME, KDE, Xfce and MATE do (Debian: notification-daemon).
BUTTONS = Path("/usr/lib/notification-daemon/notification-daemon")
SIZE = "520x320"
BACKGROUND = "#e9ebee"

#: dunst as it is shipped, in colours that are told apart on paper, and with a person in the place of its menu.
DUNSTRC = """
[global]
    monitor = 0
    follow = none
    width = 480
    height = 260
    origin = top-center
    offset = 0x16
    padding = 14
    horizontal_padding = 16
    frame_width = 1
    frame_color = "#454b57"
    separator_height = 6
    separator_color = "#e9ebee"
    gap_size = 8
    corner_radius = 8
    font = DejaVu Sans 11
    markup = full
    format = "<b>%s</b>\\n%b"
    ellipsize = end
    show_indicators = no
    icon_position = off
    sort = no
    dmenu = {chooser}
    mouse_left_click = context
[urgency_low]
    background = "#3b4252"
    foreground = "#e5e9f0"
    timeout = 600
[urgency_normal]
    background = "#2e3440"
    foreground = "#eceff4"
    timeout = 600
[urgency_critical]
    background = "#7a2e35"
    foreground = "#ffffff"
    frame_color = "#a54a52"
    timeout = 0
"""

#: Who sits in front of the screen: chooses the line of dunst's menu that has the words in a file.
PERSON = """#!{python}
import sys
lines = sys.stdin.read().splitlines()
open({seen!r}, "w").write("\\n".join(lines))
wanted = open({wanted!r}).read().strip()
print(next(line for line in lines if wanted in line))
"""


def screen(stack: contextlib.ExitStack) -> str:
    """Starts the X server; the name of the display that it has found."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-br", "-screen", "0", f"{SIZE}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=(writing,), stderr=subprocess.DEVNULL, start_new_session=True)
    stack.callback(_end, server)
    os.close(writing)
    with os.fdopen(reading) as told:
        return f":{told.readline().strip()}"


class Stage:
    """See the module."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack, buttons: bool) -> None:
        assert DAEMON
        self.directory = directory
        self._wanted, self._menu = directory / "wanted", directory / "menu"
        for name in ("system", "session", "home"):
            (directory / name).mkdir()
        self.system, self.session = Daemon(directory / "system", POLICY), Session(directory / "session")
        for bus in (self.system, self.session):
            bus.start()
            stack.callback(bus.stop)
        self.environment = {
            **os.environ,
            "DBUS_SYSTEM_BUS_ADDRESS": self.system.address,
            "DBUS_SESSION_BUS_ADDRESS": self.session.address,
            "HOME": str(directory / "home"),
            "XDG_RUNTIME_DIR": str(directory / "home"),
            "NO_AT_BRIDGE": "1",
        }
        self.environment["DISPLAY"] = screen(stack)
        if buttons:
            self._start(stack, str(BUTTONS))
        else:
            self._dunst(stack)
        self._witness = Witness(self.session.address)
        stack.callback(self._witness.close)
        self.agent = AgentProcess(**self.environment)
        stack.callback(self.agent.close)
        self._stack = stack

    def _dunst(self, stack: contextlib.ExitStack) -> None:
        chooser, config = self.directory / "chooser", self.directory / "dunstrc"
        chooser.write_text(PERSON.format(python=sys.executable, seen=str(self._menu), wanted=str(self._wanted)))
        chooser.chmod(0o755)
        config.write_text(DUNSTRC.format(chooser=chooser))
        self._start(stack, "dunst", "-config", str(config))

    def _start(self, stack: contextlib.ExitStack, *command: str) -> None:
        with (self.directory / "server.log").open("wb") as log:
            server = subprocess.Popen(command, env=self.environment, stderr=log, start_new_session=True)
        stack.callback(_end, server)
        # Whoever asks it for something earlier has no answer.
        with Client(self.session.address, "org.freedesktop.Notifications", "/org/freedesktop/Notifications") as client:
            client.waits()

    def run(self, *command: str) -> str:
        """Runs a program on this stage; what it says."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (command, done.stderr)
        return done.stdout

    def on_screen(self) -> int:
        """How many notifications there are."""
        return int(self.run("dunstctl", "count", "displayed").strip() or 0)

    @cached_property
    def okoomer(self) -> Okoomer:
        """Somebody in okoomer's place, from the first time that anybody asks for him."""
        made = Okoomer(self.system.address)
        self._stack.callback(made.close)
        return made

    def windows(self) -> list[dict[str, int]]:
        """Where notifications are that are windows of their own: X, Y, WIDTH and HEIGHT of each."""
        found = subprocess.run(
            ["xdotool", "search", "--onlyvisible", "--class", "notification-daemon"],
            env=self.environment, capture_output=True, text=True, timeout=60,
        ).stdout.split()  # fmt: skip
        places = []
        for window in found:
            told = self.run("xdotool", "getwindowgeometry", "--shell", window).splitlines()
            place = {name: int(value) for name, _, value in (line.partition("=") for line in told)}
            if place["WIDTH"] > 100:
                places.append(place)
        return places

    def names(self) -> list[str]:
        """Who is on the system bus."""
        connection = open_dbus_connection(self.system.address, auth_timeout=60)
        try:
            names: list[str] = connection.send_and_get_reply(message_bus.ListNames(), timeout=20).body[0]
        finally:
            connection.close()
        return names

    def shown(self) -> dict[str, list[str]]:
        """What is on the screen, by what the server was told: summaries, and the buttons of each."""
        return self._witness.shown()

    def choose(self, words: str) -> None:
        """The person opens the menu of a notification, and takes the entry with these words."""
        self._wanted.write_text(words)
        self.run("dunstctl", "context")

    def menu(self) -> list[str]:
        """What the menu had to choose from."""
        return self._menu.read_text().splitlines()

    def picture(self, path: Path) -> int:
        """What is on the screen, as a PNG without the empty rest; its size in bytes."""
        self.run("import", "-window", "root", str(path))
        grey = ("-fill", BACKGROUND, "-opaque", "black", "-bordercolor", BACKGROUND, "-border", "14")
        self.run("mogrify", "-trim", *grey, "-strip", str(path))
        return path.stat().st_size


@contextlib.contextmanager
def staged(directory: Path, buttons: bool = False) -> Iterator[Stage]:
    """A stage with dunst on it, whose buttons are in a menu, or with a server that shows them."""
    with contextlib.ExitStack() as stack:
        yield Stage(directory, stack, buttons)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(60)
