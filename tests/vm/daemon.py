"""The daemon under test, and how a job starts it."""

import functools
import importlib.metadata
import os
import re
import shutil
import sys
import sysconfig
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import cache
from .host import HostError, run
from .job import File

VOICE = "daemon"
UNIT = f"{VOICE}.service"
CHECKOUT = Path(__file__).parents[2]
GUEST_PYTHON = "python3.11"
LAUNCHER = """\
#!/bin/sh
exec /usr/bin/python3 -c '
import sys
sys.path[:0] = ["/opt/okoomer/lib"]
from okoomer.cli.main import main
main()' "$@"
"""


@dataclass(frozen=True)
class Daemon:
    """A daemon that guards a guest, as ``Daemon("earlyoom")``; ready when it has locked its memory."""

    command: str
    files: tuple[File, ...] = ()

    def script(self) -> str:
        """The lines of a job that start it and wait until it is ready."""
        return f"start {VOICE} root {self.command}\nawait 120 locked {VOICE}\n"


def okoomer(*options: str) -> Daemon:
    """This checkout's okoomer for the guest's own Python."""
    return Daemon(
        " ".join(("/opt/okoomer/bin/okoomer", "run", *options)),
        (File("/opt/okoomer/bin/okoomer", LAUNCHER), File("/opt/okoomer/lib", library())),
    )


def installed(*units: str) -> tuple[File, ...]:
    """This checkout's okoomer where its units look for it, and these of its units or drop-ins."""
    return (
        File("/opt/okoomer/lib", library()),
        File("/usr/bin/okoomer", LAUNCHER),
        *(File(f"/etc/systemd/system/{unit}", CHECKOUT / "systemd" / unit) for unit in units),
    )


@functools.cache
def library() -> Path:
    """okoomer and its dependencies, compiled: what is compiled at start costs a process memory for life."""
    python, site = _environment()
    sources = (CHECKOUT / name for name in ("src", "pyproject.toml", "requirements.lock"))
    return cache.built("okoomer", (str(site), *sources), lambda target: _collect(target, python, site))


def _collect(target: Path, python: Path, site: Path) -> None:
    shutil.copytree(CHECKOUT / "src/okoomer", target / "okoomer", ignore=shutil.ignore_patterns("__pycache__"))
    for distribution in _distributions(_requirements(), site):
        for name in {path.parts[0] for path in distribution.files or ()} - {".."}:
            (shutil.copytree if (site / name).is_dir() else shutil.copy2)(site / name, target / name)
    for source in target.rglob("*.py"):
        # Archives round to whole seconds, and what was compiled of another second's source is of no use in the guest.
        os.utime(source, (0, int(source.stat().st_mtime)))
    run(python, "-m", "compileall", "-q", "-o", "0", "-o", "2", target)


def _environment() -> tuple[Path, Path]:
    """A Python of the guest's version and its packages: the checkout's environment, or what runs this."""
    venv = CHECKOUT / ".venv"
    if (site := venv / "lib" / GUEST_PYTHON / "site-packages").is_dir():
        return venv / "bin" / "python", site
    if (site := Path(sysconfig.get_path("purelib"))).parent.name == GUEST_PYTHON:
        return Path(sys.executable), site
    raise HostError(f"the guest has {GUEST_PYTHON}: give the checkout a .venv of it with okoomer installed")


def _requirements() -> list[str]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def _distributions(requirements: Iterable[str], site: Path) -> Iterable[importlib.metadata.Distribution]:
    """The installed packages that these requirements mean, and those that they require."""
    installed = {_normal(found.name): found for found in importlib.metadata.distributions(path=[str(site)])}
    wanted, seen = list(requirements), set[str]()
    while wanted:
        requirement = wanted.pop()
        name = _normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
        if name in seen or "extra ==" in requirement:
            continue
        seen.add(name)
        if found := installed.get(name):
            yield found
            wanted += found.requires or ()
        elif ";" not in requirement:  # else it is for another system or another Python
            raise HostError(f"{site} has no {name}")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
