"""The state of the guard in one line of JSON, for whoever asks through its door: from what it knows already, and one
reading of memory if that is old. Nobody's processes are looked at for it."""

from __future__ import annotations

from time import process_time

from okoomer.events.text import to_json
from okoomer.kernel import clock
from okoomer.kernel.process import resident
from okoomer.policy.metrics import available, effective_swap
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from okoomer.events.model import Question
    from okoomer.guard.loop import Guard

#: Seconds after which memory is read once more: whoever asks all the time gets the same answer.
AGE = 0.1
#: So many characters at most: an answer is one packet. Of a question so many pids, and so many characters of each of
#: its texts: the first number with which it has room.
ROOM, TOLD_PIDS, LENGTHS = 6000, 16, (1000, 200, 60)


def state(guard: Guard) -> str:
    """What there is to know, as one JSON object in ASCII: `available` and `effective` (what swap can still win) in
    bytes; `left`, seconds until nothing is left at the present rate, null if that is not in sight; the `level` (see
    events.model.Level); `psi_some` and `psi_full`, seconds stalled since boot, null where that is not read; of the
    guard itself `cpu` (seconds), `rss` (bytes) and `cycles`; by how many seconds the `canary` is late, where there is
    one, null if it has ended; who is `paused`, each with pid, start (clock ticks), name, user and seconds; of those who
    wait for their `turns`, if there are such, the pid and why; who is `primed` (see guard.prime), if somebody is, with
    pid and name; who is `slowed` down, if somebody is, with pid, name and cgroup; and the open `questions`, each with
    its fields and the seconds that are `left`. What has no room is left out, the paused ones first.

    Raises:
        Unreadable: Memory cannot be read, and never could.
    """
    snapshot = guard.latest(AGE)
    pressure = snapshot.memory_pressure
    found: dict[str, Any] = {
        "available": available(snapshot),
        "effective": effective_swap(snapshot),
        "left": guard.left(),
        "level": guard.level,
        "psi_some": pressure.some.total if pressure else None,
        "psi_full": pressure.full.total if pressure and pressure.full else None,
        "cpu": round(process_time(), 6),
        "rss": resident("/proc", "self"),
        "cycles": guard.cycles,
    }
    if guard.canary:
        found["canary"] = round(guard.canary.late(), 6)
    head = to_json(found)[:-1]
    questions = guard.ladder.questions()
    for length in LENGTHS:
        tail = f', "questions": {to_json([_asked(question, left, length) for question, left in questions])}}}'
        room = ROOM - len(head) - len(tail) - len(', "paused": []')
        if room >= 0:
            break
    paused: list[str] = []
    for pid, start, name, user, seconds in guard.ladder.holds.listing(clock.monotonic()) if guard.ladder.holds else ():
        text = to_json((pid, start, name[: LENGTHS[-1]], user, round(seconds, 3)))
        room -= len(text) + 2
        if room < 0:
            break
        paused.append(text)
    turns: list[str] = []
    for pid, _, _, why in guard.turns.listing(clock.monotonic()) if guard.turns else ():
        text = to_json((pid, why[: LENGTHS[1]]))
        room -= len(text) + 2 if turns else len(text) + len(', "turns": []')
        if room < 0:
            break
        turns.append(text)
    primed = _primed(guard)
    if len(primed) > room:
        primed = ""
    slowed = _slowed(guard)
    if len(slowed) > room - len(primed):
        slowed = ""
    waits = f', "turns": [{", ".join(turns)}]' if turns else ""
    return f'{head}, "paused": [{", ".join(paused)}]{waits}{primed}{slowed}{tail}'


def _slowed(guard: Guard) -> str:
    told = guard.ladder.asking.slowed
    if told is None:
        return ""
    return f', "slowed": {to_json([(*told.pids[:1], told.name[: LENGTHS[1]], told.cgroup[: LENGTHS[0]])])}'


def _primed(guard: Guard) -> str:
    who = guard.outlook.primes.who if guard.outlook.primes else None
    return f', "primed": {to_json((who.pid, who.name[: LENGTHS[-1]]))}' if who else ""


def _asked(question: Question, left: float, length: int) -> dict[str, Any]:
    cut = replace(
        question,
        rule=question.rule[:length],
        name=question.name[:length],
        cgroup=question.cgroup[:length],
        why=question.why[:length],
        pids=question.pids[:TOLD_PIDS],
    )
    return dict(zip(cut._fields, cut, strict=True)) | {"left": round(max(0.0, left), 3)}
