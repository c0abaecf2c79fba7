"""What persons ask of the guard: an answer to its question, that somebody stands still or runs again, how things are.

    answer QUESTION UID WORD BYTES
    pause PID START UID             START is in clock ticks, as /proc/PID/stat has it; 0 for whatever runs as that pid
    resume PID START UID
    state

UID is for whom is spoken: root has a say over all, anybody else over units of which every process is his own. Nothing
that is asked is trusted, what it costs is bounded, and nothing is looked at while somebody is being ended.
"""

from __future__ import annotations

import posix as os

from okoomer.events.model import BY_USER, END, LIMIT, PAUSE, RESUME
from okoomer.guard.question import BAD, DENIED, NONE, OK, REFUSED
from okoomer.guard.scan import add_ancestors, look, with_all
from okoomer.guard.sense import Unreadable
from okoomer.guard.whose import says
from okoomer.kernel import clock
from okoomer.kernel import process as kernel
from okoomer.policy.choose import needs_of, protection
from okoomer.policy.select import matcher
from okoomer.policy.session import holders, is_shell
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from okoomer.events.model import Question
    from okoomer.facts import Process
    from okoomer.guard.hold import Holds
    from okoomer.policy.model import Policy, Selector

    class Asked(Protocol):
        """Whoever asks the questions (see guard.ladder)."""

        def busy(self, now: float) -> bool: ...
        def questions(self) -> list[tuple[Question, float]]: ...
        def answer(self, question: int, word: str, ceiling: int, user: int, now: float) -> str: ...


#: Too much is asked for.
BUSY = "busy"
WORDS = (RESUME, PAUSE, END, LIMIT)
#: So many may be asked to stand still in a second, in all and by one user: for each some processes are looked at.
RATE, RATE_OF_ONE = 4, 2
#: So many holds of one user, so many processes in one, in all those of one user, and in all those of persons.
OF_ONE, IN_ONE, IN_THOSE_OF_ONE, IN_ALL = 16, 128, 256, 512
#: So many threads of these.
THREADS = 2048
#: Numbers beyond these are none.
PIDS, USERS, SIZES = 2**22, 2**32 - 1, 2**60
#: Besides a unit's processes so many others are looked at, for how it stands to them.
OTHERS = 256


class Requests:
    """See the module.

    Args:
        proc: Where /proc is.
        policy: Gives the policy in force.
        state: Gives the answer to `state`.
        dry_run: Nobody is touched.
        now: Seconds on the clock of snapshots.
    """

    def __init__(
        self,
        proc: str,
        holds: Holds,
        ladder: Asked,
        policy: Callable[[], Policy],
        state: Callable[[], str],
        dry_run: bool = False,
        now: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._proc = proc
        self._holds = holds
        self._ladder = ladder
        self._policy = policy
        self._state = state
        self._dry_run = dry_run
        self._now = now
        #: Who has asked for somebody to stand still in the second that began then.
        self._second = float("-inf")
        self._asked: dict[int, int] = {}

    def __call__(self, verb: str, rest: str, user: int, believed: bool) -> tuple[str, str]:
        """Does what is asked; the status and a text.

        Args:
            user: Whose line it is.
            believed: Whether whoever is on the line may speak for root in everything.
        """
        words = rest.split(" ") if rest else []
        if verb == "state" and not words:
            return self._tell()
        if verb == "answer" and len(words) == 4:
            question, who, size = number(words[0], PIDS), number(words[1], USERS), number(words[3], SIZES)
            if question is None or who is None or size is None or words[2] not in WORDS:
                return BAD, ""
            return self._ladder.answer(question, words[2], size, who, self._now()), ""
        if verb in ("pause", "resume") and len(words) == 3:
            pid, start, who = number(words[0], PIDS), number(words[1], SIZES), number(words[2], USERS)
            if not pid or start is None or who is None:
                return BAD, ""
            if verb == "resume":
                return self._resume(pid, start, who)
            if not believed and who == 0:
                return DENIED, "root is not believed on this line"
            return self._pause(pid, start, who)
        return BAD, ""

    def _tell(self) -> tuple[str, str]:
        try:
            return OK, self._state()
        except Unreadable as error:
            return NONE, str(error)

    # --- resuming -----------------------------------------------------------------------------------------------

    def _resume(self, pid: int, start: int, user: int) -> tuple[str, str]:
        holds = self._holds.of(pid, start)
        if not holds:
            return NONE, f"okoomer has not paused {pid}"
        if user and any(hold.user != user for hold in holds):
            return DENIED, f"{pid} is not user {user}'s"
        now = self._now()
        for question, _ in self._ladder.questions():
            if pid in question.pids and question.paused:
                self._ladder.answer(question.question, RESUME, 0, user, now)
        for hold in holds:
            self._holds.resume(hold, f"user {user} wants it", now)
        return OK, ""

    # --- pausing ------------------------------------------------------------------------------------------------

    def _pause(self, pid: int, start: int, user: int) -> tuple[str, str]:
        now, by = self._now(), f"{BY_USER}{user}"
        if self._dry_run:
            return REFUSED, "a dry run touches nobody"
        if self._ladder.busy(now):
            return BUSY, "okoomer is busy with somebody else; try again in a moment"
        if user and not self._may_look(user, now):
            return BUSY, "so much was asked just now; try again in a second"
        ticks = kernel.ticks(self._proc, pid)
        if not ticks or (start and start != ticks):
            return NONE, f"there is no such process {pid}"
        if user and kernel.users(self._proc, pid) != {user}:
            return DENIED, f"{pid} is not user {user}'s"
        if any(hold.by == by and hold.pids[0] == pid for hold in self._holds.of(pid, ticks)):
            return REFUSED, f"{pid} is paused already"
        wants = needs_of(self._policy()) | {"cgroup"}
        root = look(self._proc, pid, wants)
        if root is None or kernel.in_ticks(root.started) != ticks:
            return NONE, f"there is no such process {pid}"
        family = self._family(root, wants)
        if not family:
            return REFUSED, f"{pid} and what is below it are more than {IN_ONE} processes or {THREADS} threads"
        judge = self._judge(family, wants)
        if refusal := judge(root):
            return REFUSED, refusal
        stays: set[int] = set()

        def spares(process: Process) -> bool:
            """Whether somebody below stays as it is: who is another user's, who must not stand still, and all below."""
            if process.parent in stays or self._another(process, root) or judge(process):
                stays.add(process.pid)
            return process.pid in stays

        unit = [root, *(process for process in family[1:] if not spares(process))]
        if self._holds.of_persons() + len(unit) > IN_ALL:
            return BUSY, "too many are paused already"
        if self._holds.count(by) >= OF_ONE or self._holds.of_persons(by) + len(unit) > IN_THOSE_OF_ONE:
            return BUSY, f"too many are paused for user {user} already"
        if self._holds.pause(by, root.name, unit, "", 0, root.user, now, spares, says(self._proc, user)) is None:
            return REFUSED, f"{pid} stands still already, or must not be touched"
        return OK, ""

    def _may_look(self, user: int, now: float) -> bool:
        if now >= self._second + 1.0:
            self._second, self._asked = now, {}
        if sum(self._asked.values()) >= RATE or self._asked.get(user, 0) >= RATE_OF_ONE:
            return False
        self._asked[user] = self._asked.get(user, 0) + 1
        return True

    def _family(self, root: Process, wants: frozenset[str]) -> list[Process]:
        """A process and all below it, parents before their children; nobody if they are too many to be looked at."""
        found = [root]
        threads = 0
        for process in found:
            threads += process.threads
            if threads > THREADS:
                return []
            for child in kernel.children(self._proc, process.pid):
                if len(found) == IN_ONE:
                    return []
                if born := look(self._proc, child, wants):
                    found.append(born)
        return found

    def _another(self, process: Process, root: Process) -> bool:
        return kernel.users(self._proc, process.pid) != {root.user}

    def _judge(self, unit: list[Process], wants: frozenset[str]) -> Callable[[Process], str]:
        """A function that says why a process must not stand still, or ''."""
        proc, policy, me = self._proc, self._policy(), os.getpid()
        known = {process.pid: process for process in unit}
        add_ancestors(proc, unit[0].parent, wants, known)
        # Whether somebody leads a session is known by those beside it and above it, too.
        here = {process.pid for process in unit}
        above = [one for one in known.values() if one.pid > 1 and one.pid not in here and one.threads <= OTHERS]
        beside = [pid for process in above for pid in kernel.children(proc, process.pid) if pid not in known]
        known = {process.pid: process for process in with_all(proc, beside[:OTHERS], wants, (*known.values(),))}
        add_ancestors(proc, me, wants, known)
        rule = replace(policy.rules[0], among=None, spare=_spared(policy))
        protects = protection(rule, policy, known, me)
        holding = holders(known)

        def judge(process: Process) -> str:
            if process.pid in self._holds.never:
                return "it works for okoomer"
            if written := protects(process):
                return written
            return "it is a shell with a terminal" if is_shell(process) else holding.get(process.pid, "")

        return judge


def sparing(proc: str, policy: Callable[[], Policy]) -> Callable[[Process], str]:
    """A function that says by which words the policy in force spares a process, whatever the rule, or ''."""

    def spares(process: Process) -> str:
        now = policy()
        known = look(proc, process.pid, needs_of(now), sizes=False) or process
        return matcher(_spared(now), now.spare)(known)

    return spares


def _spared(policy: Policy) -> tuple[Selector, ...]:
    return tuple(selector for rule in policy.rules for selector in rule.spare)


def number(word: str, limit: int) -> int | None:
    """A number below a limit, written with digits only; None if it is not."""
    if not (word.isascii() and word.isdigit()) or len(word) > 19 or int(word) >= limit:
        return None
    return int(word)
