"""earlyoom: available memory and free swap, both below a share. What it says is for people."""

from tests.vm.job import File

from .model import Daemon, Setting, debian, guest_files, heard, setup, start

UNIT = "earlyoom.service"
ARGUMENTS = "/etc/default/earlyoom"

# Names that Fedora's package lists: tabs of a browser go first; the session and package managers last.
PREFER = "^(Web Content|Isolated Web Co)$"
AVOID = (
    "dnf packagekitd gnome-shell gnome-session-c gnome-session-b lightdm sddm sddm-helper gdm gdm-wayland-ses "
    "gdm-session-wor gdm-x-session Xorg Xwayland systemd systemd-logind dbus-daemon dbus-broker cinnamon "
    "cinnamon-sessio kwin_x11 kwin_wayland plasmashell ksmserver plasma_session startplasma-way sway i3 xfce4-session "
    "mate-session marco lxqt-session openbox cryptsetup"
)
# Of -m and -M the lower level holds: 4 % of memory up to 10 GiB of it. Of an option given twice, the last.
FEDORA = f"-r 0 -m 4 -M 409600 --prefer '{PREFER}' --avoid '^({AVOID.replace(' ', '|')})$'"

# It locks its memory after it has searched for a victim once, to have touched all that it will need.
START = start(UNIT, "locked earlyoom")

# With swap that is what it waits for. 100 % is no condition at all.
SWEEP = tuple(Setting(f"swap {share} %", f"-s {share}") for share in (5, 10, 25, 50, 100))

EARLYOOM = Daemon(
    name="earlyoom",
    title="earlyoom",
    settings="Debian's package as it is: SIGTERM below 10 % of memory and of swap, SIGKILL below 5 %.",
    unit=UNIT,
    packages=("earlyoom",),
    files=lambda: guest_files(heard(UNIT)),
    setup=setup(
        f"""\
[ -z "$setting" ] || change {ARGUMENTS} '^EARLYOOM_ARGS="-r 3600"' "EARLYOOM_ARGS=\\"-r 3600 $setting\\""
""",
        UNIT,
    ),
    start=START,
    version=debian("earlyoom"),
    sweep=SWEEP,
)

EARLYOOM_FEDORA = Daemon(
    name="earlyoom-fedora",
    title="earlyoom, Fedora",
    settings="The arguments in Fedora's package: SIGTERM below 4 % of memory (400 MiB at most) and 10 % of swap, "
    "SIGKILL below half of each; a browser's tabs go first, the session and package managers last.",
    unit=UNIT,
    packages=("earlyoom",),
    files=lambda: guest_files(heard(UNIT), File(ARGUMENTS, f'EARLYOOM_ARGS="{FEDORA}"\n')),
    setup=setup(f'[ -z "$setting" ] || change {ARGUMENTS} " --prefer" " $setting --prefer"\n', UNIT),
    start=START,
    version=debian("earlyoom"),
    sweep=SWEEP,
)
