"""The real earlyoom and nohang of Debian, unpacked beside the tests and never installed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path


def cache() -> Path:
    """Where the peers are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("OKOOMER_CACHE") or Path(home) / "okoomer") / "peers"


def unpacked(package: str) -> Path:
    """The root of an unpacked Debian package, fetched on first use; CalledProcessError if that fails."""
    root = cache() / package
    if not root.is_dir():
        # Each run works in a directory of its own: two that start together both succeed.
        work = cache() / f"{package}.{os.getpid()}"
        work.mkdir(parents=True, exist_ok=True)
        # apt's own user cannot reach a private cache.
        fetch = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package]
        subprocess.run(fetch, cwd=work, check=True, capture_output=True)
        [archive] = work.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, work / "root"], check=True)
        (work / "root").rename(root)
        archive.unlink()
        work.rmdir()
    return root


def earlyoom(*options: str) -> list[str]:
    """The argv of earlyoom."""
    return [str(unpacked("earlyoom") / "usr/bin/earlyoom"), *options]


def nohang(config: Path) -> list[str]:
    """The argv of nohang's daemon; its unit, too, runs Debian's own Python."""
    program = unpacked("nohang") / "usr/sbin/nohang"
    return ["/usr/bin/python3", str(program), "--monitor", "--config", str(config)]


def nohang_config(path: Path, settings: Iterable[tuple[str, str]] = (), *, variant: str = "nohang") -> Path:
    """Write a packaged configuration ("nohang" or "nohang-desktop") to `path`, some settings changed."""
    text = (unpacked("nohang") / f"etc/nohang/{variant}.conf").read_text(encoding="utf-8")
    for key, value in settings:
        text, found = re.subn(rf"^{re.escape(key)}\s*=.*$", f"{key} = {value}", text, flags=re.MULTILINE)
        if found != 1:
            raise KeyError(key)
    path.write_text(text, encoding="utf-8")
    return path
