"""Where things are on this machine: the running guard's directory, and the policy that holds if none is named."""

from __future__ import annotations

import os
from pathlib import Path

import click

from okoomer.events import ring

#: A policy that an administrator has put here holds for all commands that are given none.
POLICY = Path("/etc/okoomer/policy.toml")

#: Options that several commands share.
policy_option = click.option(
    "--policy", metavar="FILE|PRESET", help="Policy: a file, or the name of a preset. Default: this machine's."
)
runtime_option = click.option(
    "--runtime-dir", metavar="DIR", default=None, help="Where the guard keeps its lock and its latest events."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


def runtime_dir(given: str | None) -> str:
    """The directory of the guard: /run/okoomer for root, a user's own for anybody else."""
    if given:
        return given
    if os.geteuid() == 0:
        return "/run/okoomer"
    return f"{os.environ.get('XDG_RUNTIME_DIR') or f'/tmp/okoomer-{os.getuid()}'}/okoomer"


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
