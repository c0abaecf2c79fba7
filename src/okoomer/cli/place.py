"""Where things are on this machine: the running guard's directory, and the policy that holds if none is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from okoomer.events import ring
from okoomer.guard.launch import kept
from okoomer.policy.model import Policy

#: A policy that an administrator has put here holds for all commands that are given none.
POLICY = Path("/etc/okoomer/policy.toml")
#: What the courier offers, if the administrator has written it down.
COURIER = Path("/etc/okoomer/courier.toml")
#: The door of this machine's guard.
DOOR = "/run/okoomer/guard.sock"
#: Whose couriers are let in there; the shipped units have such a user.
COURIER_USER = "okoomer"

#: Options that several commands share.
policy_option = click.option(
    "--policy", metavar="FILE|PRESET", help="Policy: a file, or the name of a preset. Default: this machine's."
)
runtime_option = click.option(
    "--runtime-dir", metavar="DIR", default=None, help="Where the guard has its lock, its door and its latest events."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


def runtime_dir(given: str | None) -> str:
    """The directory of the guard: /run/okoomer for root, a user's own for anybody else."""
    if given:
        return given
    if os.geteuid() == 0:
        return "/run/okoomer"
    return f"{os.environ.get('XDG_RUNTIME_DIR') or f'/tmp/okoomer-{os.getuid()}'}/okoomer"


def courier_dir(given: str | None) -> str:
    """The directory for a courier's own sockets: what a service manager has made for it, else beside the guard's."""
    made = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return absolute(given or made or f"{runtime_dir(None)}-courier")


def absolute(path: str) -> str:
    """A path as it is found from anywhere; a symbolic link stays one."""
    return os.path.abspath(path)  # noqa: PTH100 (pathlib follows links)


def running(directory: str) -> int | None:
    """The pid of the guard that writes a directory's ring, 0 if that is not known; None if there is none."""
    return ring.writer(f"{directory}/ring")


def policy_of_this_machine() -> tuple[str, str]:
    """The policy that holds if none is named, and why: the administrator's, else the preset for this kind of
    machine."""
    if POLICY.exists():
        return str(POLICY), "the administrator's"
    for directory in ("/usr/share/wayland-sessions", "/usr/share/xsessions"):
        if any(Path(directory).glob("*.desktop")):
            return "desktop", f"there are graphical sessions in {directory}"
    return "server", "there are no graphical sessions"


def policy_in_force(named: str | None, directory: str) -> tuple[Policy, str]:
    """The policy that was named, else the one that the running guard goes by, else this machine's; and where it is
    from.

    Raises:
        PolicyError: It is none.
    """
    from okoomer.policy.language import load  # its parsers are slow to load, and most that is here needs none

    if named is None and running(directory) is not None:
        policy, source = kept(directory), started_by(directory)
        if policy:
            return policy, source or policy.name
        named = source or None
    source = named or policy_of_this_machine()[0]
    return load(source), source


def started_by(directory: str) -> str:
    """Where the guard says that its policy is from, or ''."""
    try:
        starts = [text for _, text in ring.read(f"{directory}/ring") if '"event": "started"' in text]
        source: str = json.loads(starts[-1])["source"] if starts else ""
    except (OSError, ValueError, KeyError, ring.NotARing):
        return ""
    return source.split(": ")[0]
