"""Debian's cloud kernel: an uncompressed vmlinux, and an initramfs with a few modules."""

from pathlib import Path

from .host import run

GUEST = Path(__file__).parent / "guest"
MODULES = ("virtio_pci", "virtio_blk", "lzo-rle", "zram")  # with what they depend on; ext4 is built in


def build(target: Path) -> None:
    """Put ``vmlinux``, ``initrd`` and the kernel's ``release`` into the directory."""
    unpacked = target / "deb"
    run("apt-get", "download", _package(), cwd=target)
    (deb,) = target.glob("*.deb")
    run("dpkg-deb", "--extract", deb, unpacked)
    (bzimage,) = unpacked.glob("boot/vmlinuz-*")
    release = bzimage.name.removeprefix("vmlinuz-")
    (target / "release").write_text(release)
    (target / "vmlinux").write_bytes(_uncompressed(bzimage.read_bytes()))
    _initrd(target, unpacked, release)
    run("rm", "-r", unpacked, deb)


def _package() -> str:
    """The package with the kernel itself: the one that the meta-package depends on today."""
    listing = run("apt-cache", "depends", "--important", "linux-image-cloud-amd64").decode()
    (name,) = (line.split()[-1] for line in listing.splitlines() if "Depends: linux-image-" in line)
    return name


def _uncompressed(bzimage: bytes) -> bytes:
    """The ELF image inside a bzImage, found by the boot protocol's header.

    QEMU enters it directly (PVH). Under TCG that saves the seconds in which the guest would unpack itself.
    """

    def number(offset: int, size: int) -> int:
        return int.from_bytes(bzimage[offset : offset + size], "little")

    setup_sectors, payload, length = number(0x1F1, 1), number(0x248, 4), number(0x24C, 4)
    start = (setup_sectors + 1) * 512 + payload
    stream = bzimage[start : start + length - 4]  # the last four bytes are the size, no part of the stream
    return run("lz4", "-dc", stdin=stream)


def _initrd(target: Path, unpacked: Path, release: str) -> None:
    tree = target / "initrd.d"
    for directory in ("bin", "dev", "proc", "root", "modules"):
        (tree / directory).mkdir(parents=True)
    run("cp", "/bin/busybox", tree / "bin")
    for applet in ("sh", "mount", "umount", "insmod", "switch_root"):
        (tree / "bin" / applet).symlink_to("busybox")
    run("cp", GUEST / "init", tree / "init")
    (tree / "init").chmod(0o755)
    order = _load_order(unpacked, release)
    for module in order:
        run("cp", module, tree / "modules")
    (tree / "modules" / "order").write_text("".join(f"{module.name}\n" for module in order))
    names = run("find", ".", cwd=tree)
    archive = run("cpio", "--create", "--format=newc", "--quiet", cwd=tree, stdin=names)
    (target / "initrd").write_bytes(archive)
    run("rm", "-r", tree)


def _load_order(unpacked: Path, release: str) -> list[Path]:
    """The modules with all that they depend on, each after what it needs."""
    run("depmod", "--basedir", unpacked, release)
    base = unpacked / "lib/modules" / release
    needs: dict[str, list[str]] = {}
    for line in (base / "modules.dep").read_text().splitlines():
        module, _, dependencies = line.partition(":")
        needs[module] = dependencies.split()
    paths = {Path(module).stem: module for module in needs}
    order: dict[str, None] = {}
    for name in MODULES:
        wanted = paths[name]
        for module in [*reversed(needs[wanted]), wanted]:  # modules.dep lists the nearest first
            order[module] = None
    return [base / module for module in order]
