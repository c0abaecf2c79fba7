"""okoomer in the place of the daemons that know cgroups, and what they are compared by: the same settings for both.

They play only where a scenario names them: elsewhere nobody has asked for anything.
"""

from tests.vm import daemon
from tests.vm.job import File

from . import oomd, systemd_oomd
from .model import APPS, Daemon, debian, guest_files, heard, setup, start
from .okoomer import RECORD
from .okoomer import UNIT as OKOOMER_UNIT

DROP_IN = "systemd-oomd.service.d/okoomer.conf"
BUS = "org.freedesktop.oom1.okoomer.conf"
RULES = "/etc/oomd/oomd.json"
POLICY = "/etc/okoomer/lab.toml"
RUN = f"ExecStart=/usr/bin/okoomer run --json --policy {POLICY}"

# What the slices of the scenes have set in systemd's words, in oomd's: full pressure above 10 % for 20 s, and reclaim.
# Candidates are the services and the sessions below them.
SLICES = """\
{
    "rulesets": [
        {
            "name": "slices under pressure",
            "detectors": [
                [
                    "pressure",
                    {
                        "name": "pressure_above",
                        "args": {
                            "cgroup": "work.slice,user.slice",
                            "resource": "memory",
                            "threshold": "10",
                            "duration": "20"
                        }
                    },
                    {"name": "memory_reclaim", "args": {"cgroup": "work.slice,user.slice", "duration": "10"}}
                ]
            ],
            "actions": [
                {
                    "name": "kill_by_memory_size_or_growth",
                    "args": {
                        "cgroup":
    "work.slice/*,user.slice/user-*.slice/session-*.scope,user.slice/user-*.slice/user-*-app.slice/*"
                    }
                }
            ]
        }
    ]
}
"""


#: What is installed for okoomer in systemd-oomd's place, as docs/from-systemd-oomd.md says.
BUS_FILE = File(f"/etc/dbus-1/system.d/{BUS}", daemon.CHECKOUT / "dbus" / BUS)

OOMD_SLICES = Daemon(
    name="oomd-slices",
    title="oomd, for slices",
    settings="Full pressure above 10 % for 20 s in work.slice or user.slice, and reclaim within 10 s, ends the unit "
    "below them that is largest or grows fastest.",
    unit=oomd.UNIT,
    packages=("oomd",),
    files=lambda: guest_files(heard(oomd.UNIT), File(RULES, SLICES)),
    setup=setup(oomd.PLACE + oomd.REST, oomd.UNIT),
    start=start(oomd.UNIT, "answers"),
    version=debian("oomd"),
    reason=oomd.RECORD,
)

OKOOMER_OOMD = Daemon(
    name="okoomer-oomd",
    title="okoomer, by oomd's file",
    settings="What `okoomer import oomd` makes of that file.",
    unit=OKOOMER_UNIT,
    packages=("python3",),
    files=lambda: guest_files(
        *daemon.installed(OKOOMER_UNIT),
        File(RULES, SLICES),
        heard(OKOOMER_UNIT, "ExecStart=", RUN),
    ),
    setup=setup(
        f"""\
mkdir -p {POLICY.rpartition("/")[0]}
okoomer import oomd {RULES} --output {POLICY}
""",
        OKOOMER_UNIT,
    ),
    start=start(OKOOMER_UNIT, f"systemctl --quiet is-active {OKOOMER_UNIT}"),
    version="okoomer --version",
    reason=RECORD,
)

# The same share of time, of okoomer's own window: the kernel's average needs ten seconds to tell what has happened, and
# both peers wait twenty more.
OWN = """\
[[rule]]
name = "stalled"
when = "cgroup.psi.memory.full > 10% over 10s and cgroup.scan > 0B/s over 2s"
scope = "work.slice, user.slice"
unit = "cgroup"
rank = "freed"
steps = ["kill"]
rest = "10s"
"""

OKOOMER_SLICES = Daemon(
    name="okoomer-slices",
    title="okoomer, a rule of its own",
    settings="A rule for the same slices: full pressure above 10 % of the last 10 s ends whose end frees most.",
    unit=OKOOMER_UNIT,
    packages=("python3",),
    files=lambda: guest_files(
        *daemon.installed(OKOOMER_UNIT),
        File(POLICY, OWN),
        heard(OKOOMER_UNIT, "ExecStart=", RUN),
    ),
    setup=setup("", OKOOMER_UNIT),
    start=start(OKOOMER_UNIT, f"systemctl --quiet is-active {OKOOMER_UNIT}"),
    version="okoomer --version",
    reason=RECORD,
)

OKOOMER_SYSTEMD_OOMD = Daemon(
    name="okoomer-systemd-oomd",
    title="okoomer, in systemd-oomd's place",
    settings="The settings of Debian's systemd-oomd and of its units, under its unit with the drop-in that ships.",
    unit=systemd_oomd.UNIT,
    packages=("systemd-oomd", "python3"),
    files=lambda: guest_files(*daemon.installed(DROP_IN), BUS_FILE, heard(systemd_oomd.UNIT)),
    setup=setup(
        f"""\
{systemd_oomd.LINES}asks {APPS} 50%
systemctl reload dbus
""",
        systemd_oomd.UNIT,
        systemd_oomd.SOCKET,
    ),
    start=systemd_oomd.START,
    version="okoomer --version",
    reason=systemd_oomd.RECORD,
)
