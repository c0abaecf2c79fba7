"""The instrument: what it says of a kernel's kill, of a guest that hangs, dies or cannot do its job."""

import pytest

from .job import Job
from .machine import Machine, ZramSwap
from .qemu import Hardware
from .result import Ending, Result
from .snapshot import snapshot

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]  # the first one builds the guest

LIMIT_S = 120


def run(hardware: Hardware, script: str, limit_s: float = LIMIT_S) -> Result:
    return Machine(hardware).run(Job(script, ("one", "two"), until="one", settle_s=1), limit_s)


def test_a_kill_by_the_kernel_is_told_from_a_daemons(hardware: Hardware) -> None:
    script = """
        start two user sleep 1000
        start one user tail /dev/zero
        systemctl kill --signal=KILL two
    """
    result = run(hardware, script)
    kills = {kill.target.comm: kill for kill in result.kills}
    assert result.ending is Ending.DONE, str(result)
    assert kills["tail"].by_kernel_oom, str(result)
    assert not kills["sleep"].by_kernel_oom, str(result)
    assert kills["sleep"].sender.comm == "systemd", str(result)
    assert "two" not in result.alive, str(result)


def test_the_living_are_those_who_were_not_hung_up(hardware: Hardware) -> None:
    result = run(hardware, "start two user sleep 1000; start one user echo 'two words'")
    assert result.said("one") == ["started", "two words"], str(result)
    assert result.alive == {"two"}, str(result)
    assert not result.kills, str(result)


def test_zram_is_swap(hardware: Hardware) -> None:
    job = Job("start one root cat /proc/swaps", ("one",), until="one")
    result = Machine(hardware, ZramSwap(512)).run(job, LIMIT_S)
    assert any(line.startswith("/dev/zram0") for line in result.said("one")), str(result)
    assert round(result.memory[-1].swap_free) == 512, str(result)


def test_a_guest_that_never_ends_is_a_result(hardware: Hardware) -> None:
    result = run(hardware, "start one user sleep 1000", limit_s=5)
    assert result.timed_out, str(result)
    assert result.said("one") == ["started"], str(result)
    assert result.alive == {"one"}, str(result)


def test_a_guest_that_panics_is_a_result(hardware: Hardware) -> None:
    result = run(hardware, "echo c >/proc/sysrq-trigger")
    assert result.ending is Ending.MACHINE_GONE, str(result)
    assert "Kernel panic" in result.console, str(result)


def test_a_script_that_fails_is_a_result(hardware: Hardware) -> None:
    result = run(hardware, "no-such-command")
    assert result.ending is Ending.FAILED, str(result)
    assert any("no-such-command" in line for line in result.said("run")), str(result)


def test_a_saved_state_that_cannot_be_restored_is_made_anew(hardware: Hardware) -> None:
    with snapshot(hardware).state.open("r+b") as state:
        state.truncate(1 << 20)
    result = run(hardware, "start one user true")
    assert result.ending is Ending.DONE, str(result)
