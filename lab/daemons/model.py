"""What the lab knows about a daemon: how it is put into a guest, started, told apart and set otherwise."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from tests.vm.job import File

VOICE = "daemon"  # what the daemon itself says
REASON = "reason"  # what it tells programs, where that is another channel
VOICES = (VOICE, REASON)

APPS = "user-1000-app.slice"  # where a person's programs run in the guest
GUARD = Path(__file__).parent / "guard.sh"


@dataclass(frozen=True)
class Setting:
    """A point of a sweep; the daemon's script finds ``value`` in the shell variable ``setting``."""

    label: str
    value: str


@dataclass(frozen=True)
class Daemon:
    """An OOM daemon with one choice of its settings. The scripts are POSIX sh after the job's prelude."""

    name: str
    title: str  # in the head of a table; the version is asked in the guest
    settings: str  # which settings these are, and where they are published
    unit: str  # its systemd unit: kills by this unit are the daemon's. Empty for the kernel alone.
    packages: tuple[str, ...]  # Debian packages that the image must have
    files: Callable[[], tuple[File, ...]]  # for the guest
    setup: str  # what an administrator does before: settings, and no other daemon
    start: str  # starts it and returns when it is ready; empty for the kernel alone
    version: str  # a command for the guest that prints one line
    reason: str = ""  # of a record for programs: a regular expression with the groups "victim" and "why"
    sweep: tuple[Setting, ...] = ()  # of its main threshold; one of the points is as it is without a setting

    @property
    def script(self) -> str:
        """All that it takes until the daemon is ready."""
        return self.setup + self.start

    def at(self, setting: Setting) -> Self:
        """This daemon with its main threshold set otherwise."""
        return replace(self, setup=f"setting={shlex.quote(setting.value)}\n{self.setup}")


def setup(lines: str, *units: str) -> str:
    """A set-up in which no daemon but these units can run; the lines may ask whether ``$setting`` is empty."""
    return f". /job/guard.sh\nsetting=${{setting-}}\nalone {' '.join(units)}\n{lines}"


def start(unit: str, ready: str) -> str:
    """Starts the unit; it is ready when this command succeeds."""
    return f"systemctl start {unit}\nawait 120 {ready}\n"


def guest_files(*files: File) -> tuple[File, ...]:
    """A daemon's files, with the shell functions that every set-up uses."""
    return (File("/job/guard.sh", GUARD), *files)


def heard(unit: str, *lines: str) -> File:
    """A drop-in that makes a unit's output the daemon's voice; more lines for its service may follow."""
    said = ("[Service]", f"StandardOutput=append:/job/voices/{VOICE}", "StandardError=inherit", *lines)
    return File(f"/etc/systemd/system/{unit}.d/lab.conf", "".join(f"{line}\n" for line in said))


def debian(package: str) -> str:
    """The command that prints a Debian package's version."""
    return f"dpkg-query --show --showformat='${{Package}} ${{Version}} (Debian)\\n' {package}"
