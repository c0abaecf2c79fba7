"""Holds in any order of wishes and deaths: who stands still is held, who is held is noted, and in the end all run."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from errno import EALREADY, EMFILE, EPERM, ESRCH
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from okoomer.events.model import Paused, Resumed
from okoomer.facts import Process
from okoomer.guard import hold as module
from okoomer.guard import still
from okoomer.guard.hold import Holds
from okoomer.guard.left import Left
from okoomer.guard.request import Requests
from okoomer.kernel.process import TICKS
from okoomer.policy.model import Comparison, Policy, Rule
from tests.unit.standing import Kept
from tests.unit.strategies import cases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from okoomer.guard.hold import Hold

START = 4711
#: Pids that no process has.
FIRST, COUNT = 2**23, 8


class World:
    """Processes that are only told of: who lives, and who stands still by whose doing."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.alive = {FIRST + number for number in range(COUNT)}
        self.stopped: set[int] = set()
        #: How often somebody cannot be let run now.
        self.refuses = 0.0
        self.others = {pid for pid in self.alive if random.random() < 0.1}
        self.forbidden = {pid for pid in self.alive if random.random() < 0.1}

    def stop(self, proc: str, pid: int, start: int, note: Callable[[], None]) -> None:
        if pid not in self.alive:
            raise OSError(ESRCH, "")
        if pid in self.others or pid in self.stopped:
            raise OSError(EALREADY, "")
        note()
        if pid in self.forbidden:
            raise OSError(EPERM, "")
        self.stopped.add(pid)

    def wake(self, proc: str, pid: int, start: int, ending: bool) -> bool:
        assert pid not in self.others
        if pid in self.alive and self.random.random() < self.refuses:
            raise OSError(EMFILE, "")
        self.stopped.discard(pid)
        return pid in self.alive

    def lives(self, proc: str, pid: int, start: int) -> bool:
        return pid in self.alive

    def kill(self, pid: int) -> None:
        self.alive.discard(pid)
        self.stopped.discard(pid)

    @contextmanager
    def instead(self) -> Iterator[None]:
        with (
            mock.patch.object(still, "stop", self.stop),
            mock.patch.object(still, "wake", self.wake),
            mock.patch.object(module, "lives", self.lives),
            mock.patch.object(module.kernel, "children", lambda proc, pid: []),
        ):
            yield


def some(random: Random) -> list[Process]:
    pids = random.sample(range(FIRST, FIRST + COUNT), random.randrange(1, COUNT))
    return [Process(pid, random.choice((1, *pids)), "x", START / TICKS) for pid in pids]


def check(world: World, open_: list[Hold], note: Path) -> None:
    """Who stands still is held, and noted; who is noted and lives stands still, or is no more than dead and noted."""
    held = {pid for hold in open_ if not hold.over for pid in hold.pids}
    left = Left(str(note))
    left.close()
    noted = {pid for pid, start in left.processes if start == START}
    assert world.stopped == held & world.alive
    assert noted == held and len(noted) == len(left.processes)


@cases(800)
def test_who_stands_still_is_held_and_noted_and_in_the_end_all_run(random: Random) -> None:
    world, events, refusals = World(random), Kept(), random.choice((0.0, 0.3))
    with tempfile.TemporaryDirectory() as folder, world.instead():
        note = Path(folder, "paused")
        holds = Holds("/proc", str(note), events.append)
        made: list[Hold] = []
        for step in range(random.randrange(12)):
            now = float(step)
            match random.randrange(6):
                case 0 | 1:
                    by = random.choice(("rule low", "user 0", "user 1000"))
                    if hold := holds.pause(by, "x", some(random), "", 0, 0, now):
                        made.append(hold)
                case 2 if made:
                    holds.resume(random.choice(made), "why", now)
                case 3 if made:
                    holds.release(random.choice(made), now)
                case 4:
                    holds.let_end([process.pid for process in some(random)])
                case 5:
                    world.kill(random.randrange(FIRST, FIRST + COUNT))
                    holds.prune(now)
                case _:
                    continue
            if random.random() < refusals:
                world.refuses = random.choice((0.0, 0.5))
            if not refusals:
                check(world, made, note)
            assert {row[0] for row in holds.listing()} == {hold.pids[0] for hold in made if not hold.over}
        world.refuses = 0.0
        holds.prune(98.0)
        check(world, made, note)
        holds.close("over", 99.0)
        assert not world.stopped and not note.exists() and all(hold.over for hold in made)
    paused = [event for event in events if isinstance(event, Paused)]
    resumed = [event for event in events if isinstance(event, Resumed)]
    assert len(paused) == len(made) and len(resumed) <= len(made) and len(paused) + len(resumed) == told(events)


def told(events: Kept) -> int:
    """How many events there are; that somebody cannot be resumed is told once."""
    troubles = events.names().count("Trouble")
    assert troubles <= 1
    return len(events) - troubles


class Nobody:
    """Asks nothing."""

    def busy(self, now: float) -> bool:
        return False

    def questions(self) -> list[object]:
        return []

    def answer(self, *given: object) -> str:
        return "none"


WORDS = (
    "pause", "resume", "answer", "state", "end", "limit", "0", "1", "-1", "", " ", str(FIRST), str(2**64), "1e9", "0x1",
    "\0", "\n", "٣", "%s", "x" * 600, str(os.getpid()), "end 0", "nan",
)  # fmt: skip


@cases(4000)
def test_nothing_that_is_asked_ends_the_guard_or_pauses_it(random: Random) -> None:
    events = Kept()
    policy = Policy("test", (Rule("low", Comparison("mem.available", "<", 0.05, share=True), "", unit="family"),))
    requests = Requests(
        "/proc", Holds("/proc", "", events.append), Nobody(), lambda: policy, lambda: "{}", now=lambda: random.random()
    )  # type: ignore[arg-type]
    text = " ".join(random.choice(WORDS) for _ in range(random.randrange(6)))
    status, why = requests(random.choice(WORDS), text, random.randrange(2000), random.random() < 0.5)
    assert status in ("ok", "none", "denied", "refused", "busy", "bad") and why.isascii() and len(why) < 200
    assert not events
