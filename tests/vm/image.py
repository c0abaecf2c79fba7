"""What a guest is made of: the kernel, and Debian 12 with systemd, Python and the programs of ``guest/``.

Nothing of okoomer's own code is in it; that comes with each job. A new version of a Debian package is no new
input: remove the cache to have it.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

from . import cache, kernel
from .host import HostError, provide_tools, run

HERE = Path(__file__).parent
GUEST = HERE / "guest"
SUITE = "bookworm"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "procps")
DISK_MIB = 1024  # sparse

# Timers would run in the middle of a measurement, and nobody logs in.
MASKED = ("timers.target", "getty.target", "systemd-tmpfiles-clean.timer", "systemd-update-utmp.service")

PROGRAMS = {
    "agent": ("agent.c", "port.c", "job.c", "record.c", "voices.c"),
    "hog": ("hog.c",),
    "holder": ("holder.c",),
}


@dataclass(frozen=True)
class Image:
    """The files that QEMU boots."""

    vmlinux: Path
    initrd: Path
    disk: Path

    @property
    def release(self) -> str:
        """The kernel's release, as in ``uname -r``."""
        return (self.vmlinux.parent / "release").read_text()


def image(*packages: str) -> Image:
    """The image with these Debian packages besides the usual ones, built if there is none."""
    names = tuple(sorted({*PACKAGES, *packages}))
    provide_tools()
    kernel_dir = cache.built("kernel", [HERE / "kernel.py", GUEST / "init"], kernel.build)
    base = cache.built("base", [SUITE, *names], lambda target: _bootstrap(target, names))
    sources = (Path(__file__), *sorted(GUEST.glob("*.[ch]")), GUEST / "root")
    root = cache.built("root", (*sources, base.name), lambda target: _root(target, base))
    return Image(kernel_dir / "vmlinux", kernel_dir / "initrd", root / "rootfs.ext4")


def _bootstrap(target: Path, packages: tuple[str, ...]) -> None:
    """A Debian system as a tar: the slow part, shared by all images with the same packages."""
    if os.geteuid() != 0:
        raise HostError("only root can build the guest's file system")
    run(
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "locale", "man")),
        # An ordinary user, who runs what is not the daemon.
        "--customize-hook=chroot $1 useradd --uid 1000 --create-home user",
        SUITE,
        target / "base.tar",
    )


def _root(target: Path, base: Path) -> None:
    tree = target / "tree"
    tree.mkdir()
    run("tar", "--extract", "--file", base / "base.tar", "--directory", tree)
    run("cp", "--recursive", f"{GUEST / 'root'}/.", tree)
    _configure(tree)
    _compile(tree / "opt/vm")
    disk = target / "rootfs.ext4"
    run("mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", tree, disk, f"{DISK_MIB}M")
    run("rm", "-r", "--one-file-system", tree)


def _configure(tree: Path) -> None:
    units = tree / "etc/systemd/system"
    for unit in MASKED:
        (units / unit).symlink_to("/dev/null")
    (units / "default.target").unlink(missing_ok=True)
    (units / "default.target").symlink_to("vm.target")
    (tree / "etc/hostname").write_text("guest\n")
    # Without one each boot would be a first boot.
    (tree / "etc/machine-id").write_text("6f6b6f6f6d65720000000000000067ff\n")


def _compile(target: Path) -> None:
    target.mkdir(parents=True)
    flags = ("-static", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")
    for program, sources in PROGRAMS.items():
        run("gcc", *flags, "-o", target / program, *(GUEST / source for source in sources))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.vm.image", description="Build the guest's image.")
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="a Debian package that is to be in it")
    start = time.monotonic()
    made = image(*parser.parse_args().packages)
    print(made.vmlinux, made.initrd, made.disk, sep="\n")
    print(f"Linux {made.release}, {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    main()
