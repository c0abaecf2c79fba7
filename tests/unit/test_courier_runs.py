"""Commands are few, end in time, and are answered once."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence

import pytest

from okoomer.courier import runs as module
from okoomer.courier.runs import GRACE, MOST, Runs
from okoomer.events.model import NOT_STARTED


class Fake:
    """A program that ends when the test says so."""

    def __init__(self) -> None:
        self.ended: int | OSError | None = None
        self.signals: list[int] = []
        self.buried = 0

    def status(self) -> int | None:
        if isinstance(self.ended, OSError):
            raise self.ended
        return self.ended

    def signal(self, number: int) -> None:
        assert not self.buried, "its number may be somebody else's"
        self.signals.append(number)

    def bury(self) -> None:
        self.buried += 1


class Stage:
    """Runs on fakes, and what they said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        monkeypatch.setattr("okoomer.say.say", self.said.append)
        self.fakes: list[Fake] = []
        self.users: list[str] = []
        self.error: OSError | None = None
        self.runs = Runs(self.start)

    def start(self, _arguments: Sequence[bytes], _environment: Mapping[bytes, bytes], _stdin: bytes, user: str) -> Fake:
        if self.error:
            raise self.error
        self.users.append(user)
        self.fakes.append(Fake())
        return self.fakes[-1]

    def begin(self, seconds: float = 5.0, now: float = 0.0, request: int = 0, program: bytes = b"/bin/x") -> bool:
        return self.runs.begin([program], {}, b"", seconds, now, request)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_who_ends_in_time_is_answered_once_and_buried(stage: Stage) -> None:
    stage.begin(request=7)
    assert stage.runs.advance(1.0) == []
    stage.fakes[0].ended = 3
    assert stage.runs.advance(2.0) == [(7, 3)]
    assert stage.runs.advance(3.0) == []
    assert (stage.fakes[0].signals, stage.fakes[0].buried, stage.runs.busy) == ([], 1, False)


def test_a_hook_is_answered_to_nobody(stage: Stage) -> None:
    stage.begin()
    stage.fakes[0].ended = 0
    assert stage.runs.advance(1.0) == []
    assert not stage.runs.busy and not stage.said


def test_who_takes_too_long_is_asked_and_then_killed(stage: Stage) -> None:
    stage.begin(5.0, 0.0, 7)
    [fake] = stage.fakes
    assert stage.runs.wait(1.0) == 4.0
    stage.runs.advance(4.9)
    assert fake.signals == []
    stage.runs.advance(5.0)
    assert fake.signals == [signal.SIGTERM]
    assert stage.runs.wait(5.0) == GRACE
    stage.runs.advance(6.9)
    assert fake.signals == [signal.SIGTERM]
    stage.runs.advance(7.0)
    assert fake.signals == [signal.SIGTERM, signal.SIGKILL] and stage.runs.busy
    fake.ended = -signal.SIGKILL
    assert stage.runs.advance(7.1) == [(7, -9)]
    assert (fake.buried, stage.runs.busy) == (1, False)
    assert stage.said == ["/bin/x takes too long and is ended"]


def test_who_ends_when_asked_is_answered_at_once_but_its_group_is_still_seen_to(stage: Stage) -> None:
    stage.begin(5.0, 0.0, 7)
    [fake] = stage.fakes
    stage.runs.advance(5.0)
    fake.ended = -signal.SIGTERM
    assert stage.runs.advance(5.1) == [(7, -15)]
    assert not fake.buried
    assert stage.runs.advance(7.0) == []
    assert (fake.signals, fake.buried) == ([signal.SIGTERM, signal.SIGKILL], 1)


def test_who_ended_just_before_its_limit_is_left_alone(stage: Stage) -> None:
    stage.begin(5.0, 0.0, 7)
    stage.fakes[0].ended = 0
    assert stage.runs.advance(60.0) == [(7, 0)]
    assert (stage.fakes[0].signals, stage.fakes[0].buried) == ([], 1)


def test_more_than_a_few_are_refused_and_that_is_said_once(stage: Stage) -> None:
    assert [stage.begin() for _ in range(MOST + 3)] == [True] * MOST + [False] * 3
    assert len(stage.fakes) == MOST and len(stage.said) == 1
    stage.fakes[0].ended = 0
    stage.runs.advance(1.0)
    assert stage.begin() and not stage.begin()
    assert len(stage.said) == 2


def test_what_cannot_be_started_is_said_once(stage: Stage) -> None:
    stage.error = OSError(12, "Cannot allocate memory")
    assert not stage.begin(request=1) and not stage.begin(request=2)
    assert stage.said == ["/bin/x cannot be run: Cannot allocate memory"]


def test_whose_it_was_to_be_and_what_for_is_said_where_it_cannot_be_run(stage: Stage) -> None:
    environment = {b"OKOOMER_EVENT": b"died"}
    for user in ("bob", "bob", "eve"):
        stage.runs.begin([b"/bin/x"], environment, b"", 5.0, 0.0, user=user)
        stage.fakes[-1].ended = OSError(2, "there is no such user")
        stage.runs.advance(0.1)
    assert stage.users == ["bob", "bob", "eve"]
    assert stage.said == [
        f"/bin/x, as user {user} on died, cannot be run: there is no such user" for user in ("bob", "eve")
    ]


def test_what_cannot_be_executed_is_answered_as_not_started(stage: Stage) -> None:
    for request in (1, 2):
        stage.begin(request=request)
        stage.fakes[-1].ended = OSError(2, "No such file or directory")
        assert stage.runs.advance(0.1) == [(request, NOT_STARTED)]
    assert stage.said == ["/bin/x cannot be run: No such file or directory"]
    assert not stage.runs.busy


def test_a_hostile_program_name_is_said_harmlessly(stage: Stage) -> None:
    stage.error = OSError(2, "No such file or directory")
    stage.begin(program=b"/bin/\x1b[31m\n\xff")
    assert stage.said == ["/bin/\\x1b[31m\\n\ufffd cannot be run: No such file or directory"]


def test_at_the_end_nobody_goes_on_for_long(stage: Stage) -> None:
    stage.begin(60.0)
    stage.begin(1.0)
    stage.runs.hurry(2.0)
    stage.runs.advance(1.0)
    assert [fake.signals for fake in stage.fakes] == [[], [signal.SIGTERM]]
    stage.runs.advance(2.0)
    assert [fake.signals for fake in stage.fakes] == [[signal.SIGTERM], [signal.SIGTERM]]
    stage.runs.hurry(2.5)
    stage.runs.advance(4.0)
    assert [fake.signals for fake in stage.fakes] == [[signal.SIGTERM, signal.SIGKILL]] * 2


def test_without_commands_there_is_nothing_to_wait_for(stage: Stage) -> None:
    assert stage.runs.wait(0.0) == float("inf")
    assert module.MOST == 8
