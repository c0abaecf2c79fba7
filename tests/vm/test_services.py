"""okoomer installed whole, under systemd: the order of a boot, what it survives, and a login that is asked."""

from __future__ import annotations

import pytest

from . import services
from .host import HostError
from .image import image
from .job import File, Job
from .machine import Machine
from .qemu import Hardware
from .result import Ending, Result

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]  # the first one builds the guest

LIMIT_S = 300  # on a busy host; each case needs a fraction of it
LOW_MEMORY, OKOOMER = "org.freedesktop.LowMemoryMonitor", "org.okoomer.Okoomer1"


@pytest.fixture(scope="module")
def hardware() -> Hardware:
    """Debian with what a login needs."""
    try:
        return Hardware(image(*services.PACKAGES))
    except HostError as why:
        pytest.skip(str(why))


@pytest.fixture(scope="module")
def installed() -> tuple[File, ...]:
    try:
        return services.installed()
    except HostError as why:
        pytest.skip(str(why))


def played(machine: Machine, job: Job) -> tuple[Result, str]:
    """What became of it, and what its script said."""
    result = machine.run(job, LIMIT_S)
    said = "\n".join(result.said("run"))
    print(result)
    assert result.ending is Ending.DONE and "end 0" in result.said("agent"), str(result)
    assert "forbidden" not in said and "cannot be" not in said, "the sandbox is in the way:\n" + said
    return result, said


# --- booting ------------------------------------------------------------------------------------------------------

#: Is started between the courier and the logins, and says who has the name.
WITNESS = f"""\
[Unit]
After=okoomer-courier.service
Before=systemd-user-sessions.service

[Service]
Type=oneshot
ExecStart=busctl call org.freedesktop.DBus / org.freedesktop.DBus NameHasOwner s {LOW_MEMORY}
StandardOutput=file:/run/witness

[Install]
WantedBy=multi-user.target
"""

POLICY = """\
[[rule]]
name = "full"
when = "mem.available < 40%"
unit = "auto"
rank = "rss"
steps = ["kill"]
"""

BOOT = f"""
. /job/session.sh
owner() {{
    busctl call org.freedesktop.DBus / org.freedesktop.DBus GetConnectionUnixProcessID s "$1" 2>/dev/null
}}
owned() {{
    [ "$(owner "$1")" = "u $(systemctl show --value --property=MainPID okoomer-courier)" ]
}}
# To and from the guard: somebody's process stands still, and runs again.
call() {{
    setpriv --reuid=user --regid=user --clear-groups \
        busctl --timeout=5 call {OKOOMER} /org/okoomer/Okoomer1 {OKOOMER} "$@" >/dev/null 2>&1
}}
answers() {{
    _pid=$(systemctl show --value --property=MainPID sleeper)
    call Pause u "$_pid" && grep -q '^State:.T' "/proc/$_pid/status" || return 1
    call Resume u "$_pid" && ! grep -q '^State:.T' "/proc/$_pid/status"
}}
if [ ! -e /var/booted ]; then
    {services.INSTALL}
    systemctl --quiet enable okoomer okoomer-courier witness
    systemctl --quiet set-default multi-user.target
    systemctl --quiet add-wants multi-user.target agent.service
    # It unpacks the job again, over the files of who is just starting.
    mkdir /etc/systemd/system/agent.service.d
    printf '[Unit]\\nAfter=systemd-user-sessions.service\\n' >/etc/systemd/system/agent.service.d/late.conf
    touch /var/booted
    sync
    systemctl reboot --force --force
    sleep infinity
fi
await 120 systemctl --quiet is-active multi-user.target
echo "witness: $(cat /run/witness)"
for unit in okoomer okoomer-courier systemd-user-sessions; do
    echo "$unit: $(systemctl show --property=InactiveExitTimestampMonotonic --property=ActiveEnterTimestampMonotonic \\
        --property=NRestarts $unit | tr '\\n' ' ')"
done
journalctl --boot --unit okoomer-courier --output cat
systemd-analyze --no-pager security | grep okoomer
start sleeper user sleep infinity
await 30 owned {LOW_MEMORY}
await 30 owned {OKOOMER}
await 30 answers

echo "--- the courier is killed"
systemctl kill --signal=KILL okoomer-courier
await 30 owned {LOW_MEMORY}
await 30 answers

echo "--- the bus starts anew"
systemctl restart dbus.service
await 60 owned {LOW_MEMORY}
await 30 owned {OKOOMER}
await 30 answers

echo "--- the guard starts anew"
systemctl restart okoomer
await 30 answers

echo "--- a call starts the courier"
systemctl stop okoomer-courier
busctl call {OKOOMER} /org/okoomer/Okoomer1 org.freedesktop.DBus.Peer Ping
await 30 owned {OKOOMER}

echo "--- there is no bus"
systemctl mask --quiet --runtime --now dbus.socket dbus.service
systemctl restart okoomer okoomer-courier
systemctl is-active okoomer okoomer-courier
start hog user /opt/vm/hog 200 4096
await 120 ended hog
systemctl show --property=Result --property=NRestarts okoomer
"""


def test_the_names_are_owned_before_anybody_can_log_in_and_come_back_after_everything(
    hardware: Hardware, installed: tuple[File, ...]
) -> None:
    job = Job(
        script=BOOT,
        voices=("sleeper", "hog"),
        until="run",
        files=(
            *installed,
            File("/etc/systemd/system/witness.service", WITNESS),
            File("/etc/okoomer/policy.toml", POLICY),
        ),
        settle_s=1,
        reboots=True,
    )
    result, said = played(Machine(hardware), job)
    assert "witness: b true" in said

    exposure = {line.split()[0]: float(line.split()[1]) for line in said.splitlines() if " OK " in line}
    # As in docs/install.md.
    assert exposure["okoomer.service"] <= 2.6 and exposure["okoomer-courier.service"] <= 1.6

    def at(unit: str, moment: str) -> int:
        (line,) = (line for line in result.said("run") if line.startswith(f"{unit}: "))
        return int(dict(part.split("=") for part in line.split()[1:])[f"{moment}TimestampMonotonic"])

    assert 0 < at("okoomer", "ActiveEnter") < at("okoomer-courier", "InactiveExit")
    assert at("okoomer-courier", "ActiveEnter") < at("systemd-user-sessions", "InactiveExit")
    assert {kill.sender.unit for kill in result.kills if kill.target.comm == "hog"} == {"okoomer.service"}
    assert not any(kill.by_kernel_oom for kill in result.kills)


# --- asking -------------------------------------------------------------------------------------------------------

ASKING = """\
[[rule]]
name = "full"
when = "mem.available < 55%"
unit = "auto"
rank = "rss"
steps = ["pause 2s", "ask 60s", "term 5s", "kill"]
least = "100MiB"
"""

ASKED = f"""
{services.INSTALL}
frozen() {{
    [ "$(cat "$(group "$1")/cgroup.freeze")" = "$2" ]
}}
login user
graphical user
systemctl start okoomer okoomer-courier
await 60 inside user systemctl --user --quiet is-active okoomer-desktop

# grow NAME: somebody takes too much, stands still, and a question about it is on the screen.
grow() {{
    seen
    start "$1" user /opt/vm/holder 500
    await 60 shows '"summary": "[^"]* is paused".*"end"'
    await 30 frozen "$1" 1
}}

# again: true when the guard, which is not started by itself any more, has been.
again() {{
    case $(systemctl show --value --property=ActiveState okoomer) in
        active | deactivating) false ;;
        *) systemctl reset-failed okoomer; systemctl start okoomer ;;
    esac
}}

echo "--- End it"
grow first
okoomer answer
press end
await 30 ended first
await 30 shows '"closed"'

echo "--- Resume"
grow second
press resume
await 30 frozen second 0
await 30 shows '"closed"'
sleep 4
frozen second 0
systemctl stop second

echo "--- Limit it"
grow third
press limit
await 30 frozen third 0
echo "limit: $(cat "$(group third)/memory.high")"
await 30 shows '"closed"'
systemctl stop third

echo "--- from a terminal, and not by somebody else"
grow fourth
setpriv --reuid=nobody --clear-groups okoomer answer end || echo "nobody: status $?"
frozen fourth 1
inside user okoomer answer resume
await 30 frozen fourth 0
await 30 shows '"closed"'
systemctl stop fourth

echo "--- the guard is killed"
mkdir -p /run/systemd/system/okoomer.service.d
printf '[Service]\\nRestart=no\\nWatchdogSec=8\\n' >/run/systemd/system/okoomer.service.d/test.conf
systemctl daemon-reload
grow fifth
systemctl kill --kill-whom=main --signal=KILL okoomer
await 30 frozen fifth 0
await 30 shows '"closed"'
systemctl stop fifth

echo "--- the guard hangs"
await 30 again
grow sixth
systemctl kill --kill-whom=main --signal=STOP okoomer
await 60 frozen sixth 0
systemctl stop sixth

echo "--- the whole unit is killed"
await 30 again
grow seventh
systemctl kill --signal=KILL okoomer
await 30 frozen seventh 0
systemctl stop seventh

echo "--- the unit is stopped"
await 30 again
grow eighth
systemctl stop okoomer
frozen eighth 0
for pid in $(systemctl show --value --property=MainPID okoomer-courier) \\
    $(inside user systemctl --user show --value --property=MainPID okoomer-desktop); do
    echo "anonymous: $(cat /proc/$pid/comm) $(sed -n 's/^RssAnon:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/$pid/status)"
done
journalctl --unit okoomer --unit okoomer-courier --output cat
"""


def test_a_logins_agent_asks_and_the_answer_is_obeyed(hardware: Hardware, installed: tuple[File, ...]) -> None:
    names = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
    job = Job(
        script=ASKED,
        voices=(services.SCREEN, *names),
        until="run",
        files=(*installed, File("/etc/okoomer/policy.toml", ASKING)),
        settle_s=1,
    )
    result, said = played(Machine(hardware), job)
    ended = [kill for kill in result.kills if kill.sender.unit == "okoomer.service" and kill.target.comm == "holder"]
    assert len(ended) == 1 and ended[0].signal == 15, str(result)  # the first alone
    assert "nobody: status 1" in said
    (limit,) = (line.removeprefix("limit: ") for line in result.said("run") if line.startswith("limit: "))
    assert 100 << 20 < int(limit) < 700 << 20
    anonymous = {line.split()[1]: int(line.split()[2]) for line in said.splitlines() if line.startswith("anonymous: ")}
    assert anonymous["okoomer-courier"] <= 8 << 10 and anonymous["okoomer-desktop"] <= 6 << 10, anonymous
    screen = "\n".join(result.said(services.SCREEN))
    assert screen.count('"pressed"') == 3
    for button in ("Resume", "End it", "Limit it to "):
        assert button in screen
