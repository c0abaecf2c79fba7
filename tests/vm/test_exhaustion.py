"""Memory truly runs out, and the daemon, not the kernel, ends what took it. No test judges seconds."""

import re

import pytest

from . import daemon
from .daemon import Daemon
from .host import HostError
from .job import Job
from .machine import EMMC, DiskSwap, Machine, ZramSwap
from .qemu import Hardware
from .result import Ending, Kill, Result

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]  # the first one builds the guest

LIMIT_S = 240  # on a busy host; each case needs a fraction of it


@pytest.fixture(scope="module")
def guard() -> Daemon:
    try:
        return daemon.okoomer("--policy", "server")
    except HostError as why:
        pytest.skip(str(why))


def exhaust(hog: str, innocent_mib: int, guard: Daemon, settle_s: float = 3) -> Job:
    """A hog beside an innocent process, both of an ordinary user, on a machine that is guarded.

    Args:
        settle_s: In so many seconds after the hog's end the innocent process has its memory back and speaks again.
    """
    return Job(
        script=f"""
            start innocent user /opt/vm/holder {innocent_mib}
            await 120 holds innocent {innocent_mib}
            {guard.script()}
            start hog user {hog}
        """,
        voices=(daemon.VOICE, "innocent", "hog"),
        until="hog",
        files=guard.files,
        settle_s=settle_s,
    )


def assert_rescued(result: Result, hog: str) -> None:
    """The daemon killed the hog and nothing else, said so, and everyone else is well."""
    assert result.ending is Ending.DONE, str(result)
    kills = kills_since_the_hog(result)
    assert {kill.target.comm for kill in kills} == {hog}, str(result)
    assert {kill.sender.unit for kill in kills} == {daemon.UNIT}, str(result)
    assert not any(kill.by_kernel_oom for kill in kills), str(result)
    assert any(re.search(rf"\b{hog}\b", line) for line in result.said(daemon.VOICE)), str(result)

    # The innocent process and the agent lived, and went on speaking.
    assert result.alive >= {daemon.VOICE, "innocent"}, str(result)
    dead = max(kill.at for kill in kills)
    assert result.memory[-1].at > dead, str(result)
    assert max(line.at for line in result.lines if line.voice == "innocent") > dead, str(result)


def kills_since_the_hog(result: Result) -> list[Kill]:
    """What a daemon does to processes of its own while it starts is its own affair."""
    begun = next(line.at for line in result.lines if line.voice == "hog")
    return [kill for kill in result.kills if kill.at >= begun]


def test_tail_of_zeros_without_swap(hardware: Hardware, guard: Daemon) -> None:
    """``tail`` keeps the last line, and this one never ends."""
    result = Machine(hardware).run(exhaust("tail /dev/zero", 100, guard), LIMIT_S)
    assert_rescued(result, "tail")


def test_fast_hog_on_slow_swap(hardware: Hardware, guard: Daemon) -> None:
    """Swap that is far slower than the hog: the machine stalls long before the swap is full."""
    machine = Machine(hardware, DiskSwap(512), EMMC)
    # It reads up to 300 MiB back from that swap before it speaks again.
    result = machine.run(exhaust("/opt/vm/hog 100 4096", 300, guard, settle_s=20), LIMIT_S)
    assert_rescued(result, "hog")


def test_thrashing_hog_on_zram(hardware: Hardware, guard: Daemon) -> None:
    """A full zram is not full memory, nor is an empty one no swap. For little memory alone it is paused, which ends
    nobody: that takes a rule that is certain."""
    result = Machine(hardware, ZramSwap(1024)).run(exhaust("/opt/vm/hog 100 4096 again", 150, guard), LIMIT_S)
    assert_rescued(result, "hog")
    [*_, decided] = [line for line in result.said(daemon.VOICE) if " takes " in line or " goes on with " in line]
    assert re.match("rule (exhausted|stalled|low) ", decided), str(result)
