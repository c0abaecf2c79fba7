"""The question of what is to become of a unit: what may be answered, by whom, and how it came to its end. Nobody is
touched here."""

from __future__ import annotations

from okoomer.events.model import END, LIMIT, PAUSE, RESUME, Closed, Question
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.record import Record

#: What an answer comes to: it holds; there is no such question; whoever answers has no say in it; what is asked for
#: cannot be done now; it is no answer.
OK, NONE, DENIED, REFUSED, BAD = "ok", "none", "denied", "refused", "bad"
#: Bytes to which a ceiling that nobody has named is rounded up, and the least that it is.
QUANTUM, LEAST_CEILING = 16 << 20, 64 << 20
#: So many pids of a unit are told.
TOLD_PIDS = 1024


class Questions:
    """One question at a time, each with a number of its own.

    Args:
        emit: Takes the events.
    """

    def __init__(self, emit: Callable[[Record], None]) -> None:
        self._emit = emit
        self._count = 0
        self._until = 0.0
        #: What is asked now.
        self.open: Question | None = None

    def ask(
        self,
        rule: str,
        name: str,
        pids: tuple[int, ...],
        user: int,
        cgroup: str,
        seconds: float,
        then: str,
        freed: int,
        available: int,
        held: int,
        why: str,
        paused: bool,
        able: bool,
        now: float,
    ) -> None:
        """Asks, for so many seconds.

        Args:
            then: The step that comes if nobody answers.
            freed: Bytes that the unit's end would give back.
            held: Bytes that it holds.
            paused: It stands still.
            able: It can be paused and limited.
        """
        assert self.open is None
        self._count += 1
        self._until = now + seconds
        self.open = Question(
            question=self._count,
            rule=rule,
            name=name,
            pids=pids[:TOLD_PIDS],
            user=user,
            cgroup=cgroup,
            seconds=seconds,
            choices=_choices(paused, able),
            then=then,
            freed=freed,
            available=available,
            paused=paused,
            limit=ceiling(held),
            why=why,
        )
        self._emit(self.open)

    def judge(self, number: int, word: str, size: int, user: int) -> str:
        """What an answer comes to, before anything is done."""
        asked = self.open
        if word not in (RESUME, PAUSE, END, LIMIT) or size < 0:
            return BAD
        if asked is None or number != asked.question:
            return NONE
        if user and user != asked.user:
            return DENIED
        return OK if word in asked.choices else REFUSED

    def now(self, paused: bool) -> None:
        """The unit stands still from now on, or runs again, while the question goes on: it is told once more, under its
        number, as it now is."""
        assert self.open is not None
        self.open = replace(self.open, paused=paused, choices=_choices(paused, True))
        self._emit(self.open)

    def close(self, how: str, answer: str = "", user: int = -1) -> None:
        """The question, if there is one, is over."""
        asked, self.open = self.open, None
        if asked:
            self._emit(Closed(asked.question, how, answer, user))

    def listing(self, now: float) -> list[tuple[Question, float]]:
        """What is asked now, and the seconds that are left for an answer."""
        return [(self.open, max(0.0, self._until - now))] if self.open else []


def _choices(paused: bool, able: bool) -> tuple[str, ...]:
    if not able:
        return (RESUME, END)
    return (RESUME, END, LIMIT) if paused else (RESUME, PAUSE, END, LIMIT)


def ceiling(held: int) -> int:
    """The bytes that a unit keeps as its ceiling if nobody names any: what it holds, and enough to live on."""
    return max(LEAST_CEILING, -(-held // QUANTUM) * QUANTUM)
