"""nohang: available memory and free swap, and for desktops stalls in place of swap. Its reports are for people."""

from .model import Daemon, Setting, debian, guest_files, heard, setup, start

# SIGTERM and SIGKILL below these shares of swap, in the ratio of the shipped files: with swap it waits for these.
# 100 % is no condition at all.
SWEEP = tuple(Setting(f"swap {soft} %", f"{soft} {soft * 2 / 5:g}") for soft in (5, 10, 25, 50, 100))


def _nohang(name: str, settings: str) -> Daemon:
    """One of the package's two units, each with a file of its own."""
    unit, file = f"{name}.service", f"/etc/nohang/{name}.conf"
    lines = f"""\
if [ -n "$setting" ]; then
    change {file} '^soft_threshold_min_swap = .*' "soft_threshold_min_swap = ${{setting% *}} %"
    change {file} '^hard_threshold_min_swap = .*' "hard_threshold_min_swap = ${{setting#* }} %"
fi
"""
    return Daemon(
        name=name,
        title=name,
        settings=settings,
        unit=unit,
        packages=("nohang",),
        files=lambda: guest_files(heard(unit)),
        setup=setup(lines, unit),
        # It locks its memory when it has read its file, right before its loop.
        start=start(unit, f"locked {name}"),
        version=debian("nohang"),
        sweep=SWEEP,
    )


NOHANG = _nohang(
    "nohang",
    "Debian's package as it is: SIGTERM below 5 % of memory and 10 % of swap, SIGKILL below 2 % and 4 %.",
)
NOHANG_DESKTOP = _nohang(
    "nohang-desktop",
    "Debian's package as it is: as nohang, but with swap that is free, full pressure of 40 % (90 %) for 30 s does as "
    "well, and the processes of a desktop come last.",
)
