"""thrash-protect: it kills nobody but stops whoever thrashes for some seconds, in turn. It comes from PyPI."""

import sys
from pathlib import Path

from tests.vm import cache, host
from tests.vm.job import File

from .model import VOICE, Daemon, Setting, guest_files, heard, setup, start

UNIT = "thrash-protect.service"
HOME = "/opt/thrash-protect"
ENVIRONMENT = "/etc/default/thrash-protect"
PACKAGE = "thrash-protect==1.1.2"  # which needs no other package
SHA256 = "d8de0eb3a1efae17752aa7d17528912749447cc317a95352cc0547bc2d136c56"  # of its wheel

# As the unit in its repository, which the wheel does not have.
SERVICE = f"""\
[Service]
Environment=PYTHONPATH={HOME}
EnvironmentFile=-{ENVIRONMENT}
ExecStart=/usr/bin/python3 -c 'from thrash_protect import main; main()'
KillMode=process
Restart=always
"""

# What it does it says in a file.
LINES = f"""\
ln -s /job/voices/{VOICE} /var/log/thrash-protect.log
[ -z "$setting" ] || echo "THRASH_PROTECT_SWAP_PAGE_THRESHOLD=$setting" >{ENVIRONMENT}
"""


def _files() -> tuple[File, ...]:
    program = cache.built("thrash-protect", (PACKAGE, SHA256), _install)
    return guest_files(File(HOME, program), File(f"/etc/systemd/system/{UNIT}", SERVICE), heard(UNIT))


def _install(target: Path) -> None:
    """The package from PyPI, if it is the very one, with its code compiled."""
    host.run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--only-binary=:all:", "--require-hashes", "--target", target, "--requirement", "/dev/stdin"),
        stdin=f"{PACKAGE} --hash=sha256:{SHA256}\n".encode(),
    )


THRASH_PROTECT = Daemon(
    name="thrash-protect",
    title="thrash-protect",
    settings="Its defaults, as root: traffic to and from swap, or memory that will be used up within ten minutes, "
    "makes it stop processes by SIGSTOP and let them go on in turn.",
    unit=UNIT,
    packages=("procps",),
    files=_files,
    setup=setup(LINES, UNIT),
    # It locks its memory right before its loop.
    start=start(UNIT, "locked thrash-protect"),
    version=f"sed -n 's/^Version:/thrash-protect/p' {HOME}/*.dist-info/METADATA",
    # 4 is what it takes for a rotating disk, as which it sees the guest's, 64 what it takes for others.
    sweep=tuple(Setting(f"{pages} pages", str(pages)) for pages in (1, 4, 16, 64, 256)),
)
