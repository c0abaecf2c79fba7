"""The guard in a box ends while somebody is paused and somebody is primed: whatever ends it, all is as it was."""

from __future__ import annotations

import os
import signal
from random import Random
from statistics import median
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest

from tests.box.guards import OKOOMER, events, state_of
from tests.box.procfiles import GIB, MIB
from tests.unit.standing import within

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.box.box import Box
    from tests.box.process import Proc

#: So many guards are killed at any moment.
KILLS = int(os.environ.get("OKOOMER_KILLS", "10"))
pytestmark = pytest.mark.timeout(60 + 6 * KILLS)

POLICY = """
prime = true
[[rule]]
name  = "low"
when  = "mem.available <= 10%"
unit  = "family"
least = "8MiB"
steps = ["pause 1min", "kill"]
"""
#: One that has started nine more of its kind.
TEN = """
import os, signal
for _ in range(9):
    if os.fork() == 0:
        break
signal.pause()
"""
#: One that starts another, a small one, whenever it is told to.
FORKER = """
import os, signal
def fork(*_):
    if os.fork() == 0:
        memory.close()
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, fork)
while True:
    signal.pause()
"""
#: Of memory: nobody is raised, somebody is, somebody is paused.
WELL, SHORT, LOW = 0.8, 0.11, 0.08


@pytest.fixture
def guard(box: Box, tmp_path: Path) -> Callable[..., Proc]:
    """Starts a guard in the box."""
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)

    def start(*more: str) -> Proc:
        argv = [OKOOMER, "run", "--json", "--force", "--runtime-dir", "/run/okoomer-0", "--policy", str(file), *more]
        started = box.daemon(argv)
        started.wait_line('"event": "started"', 20)
        return started

    return start


def have(box: Box, share: float) -> None:
    box.memory(available=int(box.total * share))


def adj(box: Box, pid: int) -> int:
    return int((box.proc / f"{pid}/oom_score_adj").read_text())


def children(box: Box, pid: int) -> list[int]:
    return [int(child) for child in (box.proc / f"{pid}/task/{pid}/children").read_text().split()]


def watcher(box: Box) -> int:
    """The process that undoes what the guard has done."""
    [found] = [
        int(entry.name)
        for entry in box.proc.iterdir()
        if entry.name.isdigit() and b"okoomer-watcher" in (entry / "cmdline").read_bytes().split(b"\0")
    ]
    return found


def test_whom_it_would_take_is_first_for_the_kernel_too_as_long_as_memory_is_short(
    box: Box, guard: Callable[..., Proc]
) -> None:
    hog, small = box.spawn(FORKER, rss_bytes=300 * MIB, gives_back=12 * GIB), box.spawn(rss_bytes=20 * MIB)
    tab = box.spawn(rss_bytes=100 * MIB)
    (tab.proc / "oom_score_adj").write_text("300")
    started = guard()
    assert adj(box, hog.pid) == 0, "memory is not short"
    have(box, SHORT)
    assert within(lambda: adj(box, hog.pid) == 987, 10), "the hog to be raised"
    assert (adj(box, small.pid), adj(box, tab.pid)) == (0, 300)
    said = box.spawn([OKOOMER, "status", "--runtime-dir", "/run/okoomer-0"])
    said.wait(30)
    assert any(f"(pid {hog.pid}), first for the kernel's own killer" in line.text for line in said.lines)
    box.kill(hog, signal.SIGUSR1)
    assert within(lambda: len(children(box, hog.pid)) == 1, 5), "a child"
    [child] = children(box, hog.pid)
    # At the next look.
    assert within(lambda: adj(box, child) == 0, 15), "the child to be as it would be"
    assert adj(box, hog.pid) == 987
    have(box, WELL)
    assert within(lambda: adj(box, hog.pid) == 0, 10), "the hog to be as before"
    assert within(lambda: len(events(started, "primed")) == 2, 5), "both to be told"
    assert [(one["pid"], one["adjustment"]) for one in events(started, "primed")] == [(hog.pid, 987), (hog.pid, 0)]
    assert hog.alive and adj(box, tab.pid) == 300


def test_another_policy_is_obeyed_at_once(box: Box, guard: Callable[..., Proc], tmp_path: Path) -> None:
    hog, file = box.spawn(rss_bytes=300 * MIB), tmp_path / "policy.toml"
    file.write_text(POLICY.replace("prime = true", ""))
    started = guard()
    have(box, SHORT)
    for primes in (True, False):
        file.write_text(POLICY.replace("prime = true", "prime = true" if primes else ""))
        box.kill(started, signal.SIGHUP)
        assert within(lambda primes=primes: adj(box, hog.pid) == 987 * primes, 20)  # type: ignore[misc]
    assert within(lambda: len(events(started, "changed")) == 2, 5), "both to be told"
    assert not events(started, "trouble")


def test_a_dry_run_raises_nobody(box: Box, guard: Callable[..., Proc]) -> None:
    hog = box.spawn(rss_bytes=300 * MIB)
    started = guard("--dry-run")
    have(box, SHORT)
    sleep(1.5)
    assert adj(box, hog.pid) == 0
    have(box, LOW)
    started.wait_line('"event": "chosen"', 10)
    assert adj(box, hog.pid) == 0 and not events(started, "primed")


@pytest.mark.parametrize("left", ["the watcher", "the next guard", "nothing"])
def test_whom_a_guard_has_raised_is_as_before_when_the_guard_ends(
    box: Box, guard: Callable[..., Proc], left: str
) -> None:
    hog = box.spawn(FORKER, rss_bytes=300 * MIB, gives_back=12 * GIB)
    first = guard()
    have(box, SHORT)
    assert within(lambda: adj(box, hog.pid) == 987, 10), "the hog to be raised"
    box.kill(hog, signal.SIGUSR1)
    assert within(lambda: len(children(box, hog.pid)) == 1, 5), "a child"
    [child] = children(box, hog.pid)
    if left == "nothing":
        have(box, WELL)
        first.kill(signal.SIGTERM)
    elif left == "the watcher":
        first.kill()
    else:
        box.spawn(["sh", "-c", f"kill -KILL {watcher(box)} {first.pid}"]).wait(10)
        first.wait(20)
        assert adj(box, hog.pid) == 987
        have(box, WELL)
        guard()
    assert within(lambda: (adj(box, hog.pid), adj(box, child)) == (0, 0), 10), "both to be as before"
    assert hog.alive


def test_guards_killed_at_any_moment_leave_nobody_paused_and_nobody_raised(
    box: Box, guard: Callable[..., Proc], capsys: pytest.CaptureFixture[str]
) -> None:
    random = Random(7)
    hog = box.spawn(TEN, rss_bytes=40 * MIB, gives_back=12 * GIB)
    assert within(lambda: len(children(box, hog.pid)) == 9, 10), "ten of them"
    ten = [hog.pid, *children(box, hog.pid)]
    (box.proc / f"{ten[9]}/oom_score_adj").write_text("300")
    before = [adj(box, pid) for pid in ten]
    #: Of each kill: how many stood still, how many were raised, and seconds until all was as before.
    seen: list[tuple[int, int, float]] = []
    for _ in range(KILLS):
        have(box, WELL)
        started = guard()
        have(box, SHORT)
        if random.random() < 0.7:
            assert within(lambda: any(adj(box, pid) == 987 for pid in ten), 10), "one to be raised"
        have(box, LOW)
        if random.random() < 0.7:
            assert within(lambda: all(state_of(box.proc / f"{pid}") == "T" for pid in ten), 10), "all to stand still"
        sleep(random.random() * 0.05)
        stood = sum(state_of(box.proc / f"{pid}") == "T" for pid in ten)
        raised = sum(adj(box, pid) == 987 for pid in ten)
        ended = monotonic()
        started.kill()
        have(box, WELL)
        assert within(
            lambda: (
                all(state_of(box.proc / f"{pid}") != "T" for pid in ten) and [adj(box, pid) for pid in ten] == before
            ),
            10,
        ), "all to be as before"
        seen.append((stood, raised, monotonic() - ended))
        started.wait(20)
    assert hog.alive and [adj(box, pid) for pid in ten] == before
    assert all(state_of(box.proc / f"{pid}") != "T" for pid in ten)
    assert max(stood for stood, _, _ in seen) == 10 and max(raised for _, raised, _ in seen) == 1
    seconds = sorted(one for _, _, one in seen)
    with capsys.disabled():
        both = sum(stood == 10 and raised == 1 for stood, raised, _ in seen)
        print(
            f"\n{KILLS} SIGKILLs, {both} with ten paused and one primed: as before after"
            f" {median(seconds) * 1000:.0f} ms in the median, {seconds[-1] * 1000:.0f} ms at the most"
        )
