"""systemd-oomd: units ask for it with ManagedOOM*=, and distributions ask for the user.

Debian asks for ``user@.service``, Fedora for the slices below it, where a person's programs run. The guest has no
manager of a user, so it is the slice with these programs: like ``user@.service`` it has all of them and nothing else
below it. So the pressure is the same, and so are the candidates, which are the leaves.

Units ask at run time, not in files: PID 1 starts systemd-oomd for a unit that asks when it is loaded.
"""

from .model import APPS, REASON, Daemon, Setting, debian, guest_files, heard, setup, start

UNIT = "systemd-oomd.service"
SOCKET = "systemd-oomd.socket"
SIGNAL = "type=signal,interface=org.freedesktop.oom1.Manager,member=Killed"
RECORD = r'"member":"Killed".*"data":\["(?P<victim>[^"]+)","(?P<why>[^"]+)"\]'

LINES = f"""\
asks() {{
    systemctl set-property --runtime "$1" ManagedOOMMemoryPressure=kill ManagedOOMMemoryPressureLimit="$2"
}}
# configure LINE: of its own file.
configure() {{
    mkdir -p /etc/systemd/oomd.conf.d
    printf '[OOM]\\n%s\\n' "$1" >/etc/systemd/oomd.conf.d/lab.conf
}}
# It watches when it says so itself: then it has heard from PID 1 who asks.
watches() {{
    oomctl | grep -q 'Path: .*/{APPS}$'
}}
systemctl start {APPS}
# What records the run is not part of it. The preference takes effect with a change that the kernel is told of.
systemctl set-property --runtime agent.service ManagedOOMPreference=omit MemoryMin=0
start {REASON} root stdbuf --output=L busctl --system --json=short --match="{SIGNAL}" monitor
"""
START = start(UNIT, "watches")

SYSTEMD_OOMD = Daemon(
    name="systemd-oomd",
    title="systemd-oomd",
    settings="Debian's package as it is: memory and swap used above 90 % ends the unit with most swap anywhere; full "
    "pressure above 50 % for 20 s in the person's programs, the one of them that is reclaimed most.",
    unit=UNIT,
    packages=("systemd-oomd",),
    files=lambda: guest_files(heard(UNIT)),
    setup=setup(
        f"""\
{LINES}asks {APPS} 50%
[ -z "$setting" ] || configure "SwapUsedLimit=$setting%"
""",
        UNIT,
        SOCKET,
    ),
    start=START,
    version=debian("systemd-oomd"),
    reason=RECORD,
    sweep=tuple(Setting(f"swap used {share} %", str(share)) for share in (50, 70, 80, 90, 95)),
)

SYSTEMD_OOMD_FEDORA = Daemon(
    name="systemd-oomd-fedora",
    title="systemd-oomd, Fedora",
    settings="The settings of Fedora's systemd-oomd-defaults: full pressure above 80 % for 20 s, in the person's "
    "programs or in system.slice, ends the unit there that is reclaimed most. Swap is not watched.",
    unit=UNIT,
    packages=("systemd-oomd",),
    files=lambda: guest_files(heard(UNIT)),
    setup=setup(
        f"""\
{LINES}asks {APPS} "${{setting:-80}}%"
asks system.slice "${{setting:-80}}%"
systemctl set-property --runtime -- -.slice ManagedOOMSwap=auto
configure DefaultMemoryPressureDurationSec=20s
""",
        UNIT,
        SOCKET,
    ),
    start=START,
    version=debian("systemd-oomd"),
    reason=RECORD,
    sweep=tuple(Setting(f"pressure {share} %", str(share)) for share in (5, 15, 30, 50, 80)),
)
