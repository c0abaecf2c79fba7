"""The Debian packages that building and running a guest needs on this machine."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

PACKAGES = (
    "qemu-system-x86", "qemu-utils", "seabios", "mmdebstrap", "busybox-static", "cpio", "kmod", "lz4",
    "e2fsprogs", "gcc", "libc6-dev",
)  # fmt: skip


class HostError(Exception):
    """This machine cannot build or run a guest; the text says why."""


def missing(packages: Iterable[str] = PACKAGES) -> list[str]:
    """Those of the packages that are not installed."""
    return [name for name in packages if not _installed(name)]


def provide_tools(packages: Iterable[str] = PACKAGES) -> None:
    """Install what is missing; without root, say what is."""
    if not (absent := missing(packages)):
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *absent]
    if os.geteuid() != 0:
        raise HostError(f"as root: {' '.join(command)}")
    run("apt-get", "update")
    run("env", "DEBIAN_FRONTEND=noninteractive", *command)


def _installed(name: str) -> bool:
    try:
        command = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", name]
        return subprocess.run(command, capture_output=True, text=True).stdout == "installed"
    except FileNotFoundError:
        raise HostError("a guest is built with Debian's tools, and here is no dpkg") from None


def run(*command: str | Path, cwd: Path | None = None, stdin: bytes = b"") -> bytes:
    """The output of a command; its error output is in the exception if it fails."""
    done = subprocess.run(command, capture_output=True, cwd=cwd, input=stdin)
    if done.returncode != 0:
        errors = done.stderr.decode(errors="replace")[-4000:]
        raise RuntimeError(f"{' '.join(map(str, command))}: status {done.returncode}\n{errors}")
    return done.stdout
