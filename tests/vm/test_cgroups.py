"""Real cgroups, and systemd as PID 1: okoomer beside systemd-oomd and oomd on the same scenes, and in their places.

Who died, by whom and who lives is judged, never seconds.
"""

from collections.abc import Callable

import pytest

from lab import stage
from lab.daemons import PACKAGES, places, systemd_oomd
from lab.daemons.model import GUARD
from lab.matrix import Cell
from lab.run import By, Ending, Role, Run, Swap
from lab.scenarios.cgroups import PLAYERS

from .host import HostError
from .image import image
from .job import File, Job
from .machine import EMMC, DiskSwap, Machine
from .qemu import Hardware
from .result import Result

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]  # the first one builds the guest

LIMIT_S = 300  # on a busy host; each case needs a fraction of it
ALL_LOST, NONE_LOST = "run: lost 9 of 9 jobs", "run: lost 0 of 9 jobs"
CONTAINER = f"/sys/fs/cgroup/machine.slice/docker-{'0c' * 32}.scope"


@pytest.fixture(scope="module")
def machine() -> Machine:
    """Debian with the peers that know cgroups, and slow swap."""
    try:
        return Machine(Hardware(image(*PACKAGES)), DiskSwap(1024), EMMC)
    except HostError as why:
        pytest.skip(str(why))


def played(scenario: str, swap: Swap, daemon: str) -> Run:
    try:
        run = stage.play(Cell(scenario, swap, daemon))
    except HostError as why:
        pytest.skip(str(why))
    assert run.seen.ending is Ending.DONE, run.seen.notes
    return run


# --- the same scenes for all ------------------------------------------------------------------------------------


@pytest.mark.parametrize("daemon", PLAYERS)
def test_of_a_slice_under_pressure_the_guilty_service_alone_is_ended(daemon: str) -> None:
    run = played("S17-slice", Swap.DISK, daemon)
    assert {(kill.by, kill.comm) for kill in run.seen.kills} == {(By.DAEMON, "guilty")}, run.seen.said
    assert run.seen.over is not None
    assert NONE_LOST in run.seen.notes


@pytest.mark.parametrize("daemon", PLAYERS)
def test_of_a_login_in_which_one_job_takes_all_okoomer_ends_that_job_and_its_peers_the_login(daemon: str) -> None:
    run = played("S17-session", Swap.DISK, daemon)
    kills = {(kill.by, kill.comm) for kill in run.seen.kills}
    assert (By.DAEMON, "hog") in kills, run.seen.said
    if daemon.startswith("okoomer"):
        assert len(kills) == 1 and NONE_LOST in run.seen.notes, run.seen.said
    else:
        assert Role.SESSION in {kill.role for kill in run.seen.kills} and ALL_LOST in run.seen.notes


@pytest.mark.parametrize("daemon", ["okoomer", "okoomer-server", "okoomer-containers"])
def test_a_container_that_thrashes_against_its_own_limit_is_left_alone(daemon: str) -> None:
    assert not played("S14", Swap.DISK, daemon).seen.kills


def test_two_hundred_small_growers_in_fifty_cgroups_are_ended_by_one_decision() -> None:
    run = played("S5-containers", Swap.ZRAM, "okoomer-containers")
    assert run.seen.over is not None
    assert {(kill.by, kill.role) for kill in run.seen.kills} == {(By.DAEMON, Role.CULPRIT)}, run.seen.said
    assert len(run.seen.reasons) == 1, run.seen.said


# --- in systemd-oomd's place ------------------------------------------------------------------------------------


def test_in_systemd_oomds_place_units_results_and_the_bus_tell_what_systemd_oomds_kill_tells(
    machine: Machine, installed: Callable[..., tuple[File, ...]]
) -> None:
    job = Job(
        script=f"""
            . /job/guard.sh
            alone {systemd_oomd.UNIT} {systemd_oomd.SOCKET}
            systemctl reload dbus
            systemctl start work.slice
            systemctl set-property --runtime work.slice MemoryMax=250M \\
                ManagedOOMMemoryPressure=kill ManagedOOMMemoryPressureLimit=10%
            start bus root stdbuf --output=L busctl --system --json=short --match="{systemd_oomd.SIGNAL}" monitor
            systemctl start {systemd_oomd.UNIT}  # returns when it says that it is ready
            await 60 sh -c 'oomctl | grep -q "Path: /work.slice"'
            oomctl
            SLICE=work.slice start quiet user /opt/vm/holder 40
            await 60 holds quiet 40
            # With the policy that services have by default, unlike those that `start` starts.
            systemd-run --quiet --unit=guilty --slice=work.slice --property=User=user \\
                --property=StandardOutput=append:/job/voices/guilty /opt/vm/hog 100 400 again
            group=$(group guilty)
            await 200 ended guilty
            systemctl show --property=Result guilty.service
            await 20 sh -c "journalctl --unit {systemd_oomd.UNIT} --output cat | grep -q 'is gone after'"
            journalctl --unit {systemd_oomd.UNIT} --output cat
            journalctl --unit guilty --output cat
            systemctl stop {systemd_oomd.UNIT}
            systemctl show --property=Result,NRestarts {systemd_oomd.UNIT}
        """,
        voices=("bus", "quiet", "guilty"),
        until="run",
        files=(
            *installed(places.DROP_IN),
            places.BUS_FILE,
            File("/job/guard.sh", GUARD),
            File("/etc/systemd/oomd.conf.d/test.conf", "[OOM]\nDefaultMemoryPressureDurationSec=2s\n"),
        ),
        settle_s=1,
    )
    result = machine.run(job, LIMIT_S)
    said = "\n".join(result.said("run"))
    assert_only(result, "hog", systemd_oomd.UNIT)
    assert "quiet" in result.alive, str(result)
    assert "Result=oom-kill" in said, str(result)
    killed = '"data":["/work.slice/guilty.service","memory-pressure"]'
    assert any(killed in line for line in result.said("bus")), str(result)
    assert "systemd-oomd killed 1 process(es) in this unit" in said, str(result)
    assert "Memory Pressure Limit: 10.00%" in said and "Duration: 2s" in said, str(result)
    assert "forbidden" not in said and "cannot be" not in said, "the sandbox is in the way:\n" + said
    assert "Result=success" in said and "NRestarts=0" in said, str(result)


# --- an end that is an OOM --------------------------------------------------------------------------------------


def test_a_container_is_ended_by_its_own_limit_so_that_it_counts_an_oom(
    hardware: Hardware, installed: Callable[..., tuple[File, ...]]
) -> None:
    job = Job(
        script=f"""
            inside() {{
                _name=$1
                shift
                SLICE=system.slice start "$_name" root /bin/sh -c '
                    echo 0 >{CONTAINER}/cgroup.procs
                    exec setpriv --reuid=user --regid=user --clear-groups "$@"' sh "$@"
            }}
            start innocent user /opt/vm/holder 100
            await 120 holds innocent 100
            mkdir -p {CONTAINER}
            echo '+memory' >/sys/fs/cgroup/machine.slice/cgroup.subtree_control
            echo 3G >{CONTAINER}/memory.max
            systemctl daemon-reload
            mkdir /etc/okoomer
            cp /opt/okoomer/lib/okoomer/policy/presets/containers.toml /etc/okoomer/policy.toml
            systemctl start okoomer.service  # returns when it says that it is ready
            inside helper /opt/vm/holder 20
            inside hog /opt/vm/hog 150 4096
            await 120 grep -q '^populated 0' {CONTAINER}/cgroup.events
            await 20 sh -c "journalctl --unit okoomer --output cat | grep -q 'is gone after'"
            cat {CONTAINER}/memory.events
            for file in memory.max memory.swap.max memory.oom.group; do
                echo "$file is $(cat {CONTAINER}/$file)"
            done
            journalctl --unit okoomer --output cat
        """,
        voices=("innocent", "helper", "hog"),
        until="run",
        files=installed("okoomer.service"),
        settle_s=0,
    )
    result = Machine(hardware).run(job, LIMIT_S)
    said = result.said("run")
    kills = [kill for kill in result.kills if kill.target.comm != "okoomer"]  # a child of its own
    assert {kill.target.comm for kill in kills} == {"hog", "holder"}, str(result)
    assert all(kill.by_kernel_oom for kill in kills), str(result)
    assert "innocent" in result.alive and not result.alive & {"hog", "helper"}, str(result)
    counted = dict(line.split() for line in said if line.startswith("oom"))
    # One that is slow to die may be counted twice.
    assert int(counted["oom_kill"]) >= 2 and counted["oom_group_kill"] == "1", str(result)
    assert "memory.max is 3221225472" in said and "memory.swap.max is max" in said, str(result)
    assert "memory.oom.group is 0" in said, str(result)


def assert_only(result: Result, name: str, unit: str) -> None:
    """One process was killed, and by this unit."""
    kills = [kill for kill in result.kills if kill.sender.unit == unit and kill.target.comm != kill.sender.comm]
    assert {kill.target.comm for kill in kills} == {name}, str(result)
    assert not any(kill.by_kernel_oom for kill in result.kills), str(result)
