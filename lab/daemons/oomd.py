"""Meta's oomd: pressure and swap of cgroups, a whole cgroup as victim."""

from .model import Daemon, Setting, debian, guest_files, heard, setup, start

UNIT = "oomd.service"
POLICY = "/etc/oomd/oomd.json"

# What it writes to the kernel's log, in a format with a version number.
RECORD = (
    r"oomd kill: [\d.]+ [\d.]+ [\d.]+ (?P<victim>\S+) \d+ "
    r"ruleset:\[(?P<why>[^]]*)\] detectorgroup:\[[^]]*\] killer:\S+ v2"
)

# Debian's arguments are for the mixed hierarchy of older systems: on this one oomd refuses to start with them.
PLACE = """\
change /etc/default/oomd ' --cgroup-fs /sys/fs/cgroup/unified' ''
"""

# The policy looks for victims in sessions and one level below a user's manager; the guest has neither. The nearest is
# the slice with the person's programs, and one level below that favours oomd: on a desktop it would be all of them.
VICTIMS = f"""\
change {POLICY} 'user@[*][.]service' 'user-*-app.slice'
[ -z "$setting" ] || change {POLICY} '"threshold": "60"' "\\"threshold\\": \\"$setting\\""
"""
REST = """\
# What records the run is not part of it, and comes last. The preference takes effect with a change that the kernel is
# told of.
systemctl set-property --runtime agent.service ManagedOOMPreference=avoid MemoryMin=0
kmsg 'oomd kill:'
# It answers when its policy has been compiled.
answers() {
    oomd --dump-stats >/dev/null 2>&1
}
"""

OOMD = Daemon(
    name="oomd",
    title="oomd",
    settings="Meta's policy for desktops as Debian's package ships it: full pressure above 60 % for 30 s in user.slice "
    "or 80 % for 60 s in system.slice ends the unit that is largest or grows fastest; less than 10 % of swap free, the "
    "one with most swap. Changed are the place of cgroup2, and where below user.slice the programs are.",
    unit=UNIT,
    packages=("oomd",),
    files=lambda: guest_files(heard(UNIT)),
    setup=setup(PLACE + VICTIMS + REST, UNIT),
    start=start(UNIT, "answers"),
    version=debian("oomd"),
    reason=RECORD,
    sweep=tuple(Setting(f"pressure {share} %", str(share)) for share in (10, 20, 40, 60, 80)),
)
