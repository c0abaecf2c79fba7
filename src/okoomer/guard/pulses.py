"""Who has been paused for a moment, by which rule, and how often of late: only who goes on hurting is asked about."""

from __future__ import annotations

from okoomer.events.model import BY_RULE
from okoomer.guard.act import Act
from okoomer.guard.asking import PAUSED, SPENT, UNABLE
from okoomer.guard.passed import PassedOver
from okoomer.policy.metrics import available, pending
from okoomer.policy.tentative import ANEW, goes_by_stalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.facts import Snapshot
    from okoomer.guard.asking import Asking
    from okoomer.guard.ladder import Ladder
    from okoomer.policy.model import Policy

    #: A rule, and a unit: pid and start of who stands for it, or the inode of a cgroup and 0.
    Key = tuple[str, int, float]

#: Seconds for which an episode is remembered, and for which somebody who cannot be paused is passed over.
MEMORY, ASIDE = 60.0, 60.0
#: Seconds since the last pause of this kind for which rules that go by stalls wait for what comes of it, and since the
#: first one of an episode, after which they wait no longer.
PATIENCE, LONGEST = 4.0, 16.0
#: Seconds between two pauses that are of one trouble, whoever was paused; and after which more of them do not help: two
#: that do not fit together take turns at hurting.
TOGETHER, WEARY = 8.0, 10.0
#: Seconds between two looks meanwhile.
CLOSELY = 0.05
#: Bytes by which a unit has grown at least if it is to blame once more.
LEAST = 4 << 20
#: Seconds in which who runs again would take what is left, if he is paused before his rule can tell.
SOON = 0.5
#: The share of memory that may be on its way to swap if what is available is to tell something.
PENDING = 0.012
#: So many units are remembered, and of those who are paused with one; who was paused longest ago is forgotten first.
MOST, FEW = 64, 16


class Pulses:
    """See the module."""

    def __init__(self) -> None:
        #: How often each was paused, one soon after the other, and when the latest time.
        self._past: dict[Key, tuple[int, float]] = {}
        self._first = self._last = self._began = float("-inf")
        self._act: Act | None = None
        self._held = 0
        #: Bytes that were available when the unit of the latest act was paused for the first time.
        self._level = 0
        #: When what comes of a longer pause is known, too: on a disk that is busy it takes seconds to make room.
        self._until = float("-inf")
        #: Who could not be paused.
        self.unable = PassedOver()

    def spent(self, act: Act, times: int, now: float) -> bool:
        """Whether the unit of an act has been paused so often by its rule that something else has to come."""
        self._forget(now)
        if self._times(_key(act)) < times and not self._weary(act, now):
            return False
        self._last, self._until = now, now + WEARY  # what comes next is a pause like this, only longer
        return True

    def _weary(self, act: Act, now: float) -> bool:
        """Whether one or the other has been paused for so long that something else has to come, if something does."""
        together = now - self._last < TOGETHER and now - self._began >= WEARY
        return together and not act.rule.steps[-1].times

    def begin(self, asking: Asking, act: Act, times: int, now: float) -> str:
        """Has the unit of an act stand still for a moment, if it has not been so too often: what came of it."""
        if self.spent(act, times, now):
            if act.step + 1 == len(act.rule.steps):
                self.note(act, False, 0, now)
                # Nothing follows: it is left to other rules, and those need not wait.
                self._last = self._until = float("-inf")
            return SPENT
        act.first = not self._times(_key(act))
        self._level = act.available if act.first else self._level
        act.pulse = asking.pause(act, BY_RULE + act.rule.name, now, act.beside)
        self.note(act, act.pulse, asking.weigh(act), now)
        return PAUSED if act.pulse else UNABLE

    def waiting(self, policy: Policy, now: float) -> list[int]:
        """The rules that wait for what comes of a moment's pause, as indices."""
        if not self.patient(now):
            return []
        return [at for at, rule in enumerate(policy.rules) if not rule.tentative and goes_by_stalls(rule.when)]

    def note(self, act: Act, paused: bool, held: int, now: float) -> None:
        """Remembers that the unit of an act, which holds so many bytes, was paused, or could not be."""
        if not paused:
            self.unable.note([process.pid for process in act.processes[:1]], now + ASIDE, act.processes[:1])
            if act.cgroup and act.inode:
                self.unable.note_group(act.inode, now + ASIDE)
            return
        self._first = self._first if now - self._last < MEMORY else now
        self._began = self._began if now - self._last < TOGETHER else now
        self._last, self._act, self._held = now, act, held
        # Who stands still with it because he would fill what it leaves has been paused as often.
        others = [(act.rule.name, other.pid, other.started) for other in act.beside[:FEW]]
        for key in (*others, _key(act)):
            times = self._times(key)
            self._past.pop(key, None)  # it goes to the end
            self._past[key] = times + 1, now
        while len(self._past) > MOST:
            del self._past[next(iter(self._past))]

    def latest(self, index: int, now: float) -> tuple[Act, int] | None:
        """The last act of a rule that paused somebody so, if that was a moment ago, and what its unit held then."""
        if self._act is None or self._act.index != index or now - self._last >= PATIENCE:
            return None
        return self._act, self._held

    def again(self, ladder: Ladder, snapshot: Snapshot) -> bool:
        """Pauses the unit of the latest act once more before its rule can tell, if it runs again with less available
        than it was first paused with: what it takes is given back by the kernel at everybody's cost, so that little is
        seen of it. Not while much is on its way to swap, which is free in a moment. Whether it was so."""
        act, left, now = self._act, available(snapshot), snapshot.time
        if act is None or act.hold or left >= self._level or now < act.deadline + act.rule.rest:
            return False
        # Nothing of it is looked at any more once that was too long ago.
        if self.latest(act.index, now) is None or pending(snapshot) > PENDING * snapshot.memory.total:
            return False
        if (ladder.asking.weigh(act) - self._held) * SOON < left * (now - act.deadline):
            return False  # it is in no hurry, and may have come to its end before that
        return repeat(ladder, act.index, left, now)

    def wait(self, now: float) -> float:
        """Seconds until the machine has to be looked at again, as long as somebody may be paused once more: a hog fills
        in a fifth of a second what the last pause has made room for."""
        return CLOSELY if self.patient(now) else float("inf")

    def patient(self, now: float) -> bool:
        """Whether what comes of a pause is not known yet: who stands still hurts nobody, but the stall of a moment ago
        is still seen, and what was on its way to a disk is still being written."""
        return now < self._until or (now - self._last < PATIENCE and now - self._first < LONGEST)

    def _times(self, key: Key) -> int:
        return self._past.get(key, (0, 0.0))[0]

    def _forget(self, now: float) -> None:
        self._past = {key: past for key, past in self._past.items() if now - past[1] < ANEW}


def repeat(ladder: Ladder, index: int, available: int, now: float) -> bool:
    """Pauses the same unit once more without a look at all others, if it runs again since a moment ago, its rule has
    fired again, and it has grown by as much as would matter. Whether it was so.

    Args:
        available: Bytes available now.
    """
    asking = ladder.asking
    found = asking.pulses.latest(index, now)
    if found is None:
        return False
    act, held = found
    act.processes = act.renew() if act.renew and not act.cgroup else act.processes
    pids, groups = ladder.passed_over(ladder.policy.rules[index], act.processes, now)
    if not act.processes or act.processes[0].pid in pids or act.inode in groups:
        return False
    if asking.weigh(act) - held < max(LEAST, (act.wanted - act.available) // 16):
        return False
    again = Act(
        index, ladder.policy.rules[index], act.name, act.processes, act.freed, available, act.cgroup, act.inode,
        act.target, max(0, act.wanted - available), act.why, act.renew, act.beside, act.reason,
    )  # fmt: skip
    ladder.begin(again, now)
    return True


def _key(act: Act) -> Key:
    if act.cgroup and act.inode:
        return act.rule.name, act.inode, 0.0
    root = act.root
    return (act.rule.name, root.pid, root.started) if root else (act.rule.name, 0, 0.0)
