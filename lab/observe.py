"""What a guest said, as data: times from the incident's begin, roles from the scenario's cast."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise

from lab.daemons import VOICES, Daemon
from lab.run import Beat, By, Cost, Ending, Kill, Late, Memory, Pause, Role, Seen, Served, Work
from lab.scenario import Scenario
from tests.vm import result
from tests.vm.result import Result

KIB_PER_MIB = 1024
TICKS_PER_S = 100  # USER_HZ
NS_PER_S = 1e9
SAMPLE_S = 0.1  # of the recorder
KEEP_S = 0.5  # of its samples this far apart are kept
LINES, LINE = 12, 400  # so much of what a daemon said is kept
SCRIPT = "agent.service"  # the scenario's own script may end what it started
ENDINGS = {
    result.Ending.DONE: Ending.DONE,
    result.Ending.LIMIT: Ending.LIMIT,
    result.Ending.MACHINE_GONE: Ending.GONE,
    result.Ending.FAILED: Ending.FAILED,
}
PAUSES = re.compile(r'"event": "(paused|resumed)"')
NOTE = re.compile(r"finished |lost |tab lost |not over|no space|phase |answer")


def observed(seen: Result, scenario: Scenario, daemon: Daemon) -> Seen:
    """What the run showed. A guest that was lost before the incident began has failed to be set up."""
    zero = _said(seen, "incident")
    if zero is None:
        return Seen(ending=Ending.FAILED, notes=str(seen).splitlines()[-40:])
    over = _said(seen, "over")
    shift = seen.start - zero  # from the job's begin to the incident's
    spoken = [line for line in seen.lines if line.voice in VOICES]
    return Seen(
        # Whatever ended the script while the incident lasted, the time was up for it.
        ending=ENDINGS[seen.ending if seen.ending is not result.Ending.FAILED else result.Ending.LIMIT],
        end=_round(seen.memory[-1].at + shift),
        over=None if over is None else _round(over - zero),
        kills=list(_kills(seen, scenario, daemon, shift)),
        screen=[Beat(_round(at - zero), int(n), median) for at, n, median in _words(seen, "canary-ui", "beat")],
        screen_late=[Late(_round(at - zero), late) for at, late in _words(seen, "canary-ui", "late")],
        login=[Late(_round(at - zero), late) for at, late in _words(seen, "canary-login", "late")],
        service=[Served(_round(at - zero), int(n)) for at, n in _words(seen, "canary-web", "served")],
        memory=list(_memory(seen, shift)),
        work=_work(seen, shift),
        pauses=_pauses(seen, scenario, shift),
        notes=[f"{line.voice}: {line.text}" for line in seen.lines if NOTE.match(line.text)],
        said=[f"{line.at + shift:.2f} {line.text[:LINE]}" for line in spoken[-LINES:]],
        reasons=[_round(line.at + shift) for line in spoken if daemon.reason and re.search(daemon.reason, line.text)],
        cost=_cost(seen),
        noise_s=_round(max((b.at - a.at - SAMPLE_S for a, b in pairwise(seen.memory)), default=0)),
        versions={"daemon": next(_texts(seen, "version"), "")},
    )


def _round(seconds: float) -> float:
    return round(seconds, 3)


def _texts(seen: Result, word: str) -> Iterator[str]:
    """What the script said after this word."""
    for text in seen.said("run"):
        first, _, rest = text.partition(" ")
        if first == word:
            yield rest


def _said(seen: Result, word: str) -> float | None:
    return next((float(rest) for rest in _texts(seen, word)), None)


def _words(seen: Result, voice: str, first: str) -> Iterator[list[float]]:
    """The numbers that a canary said after this word."""
    for text in seen.said(voice):
        word, *numbers = text.split() or [""]
        if word == first:
            yield [float(number) for number in numbers]


def _kills(seen: Result, scenario: Scenario, daemon: Daemon, shift: float) -> Iterator[Kill]:
    """The first fatal signal to each process since the incident began."""
    done = set[int]()
    begun = False
    for kill in seen.kills:
        at = kill.at + shift
        by_daemon = bool(daemon.unit) and kill.sender.unit == daemon.unit
        if by_daemon and kill.target.comm == kill.sender.comm:
            continue  # a child of its own
        if at < 0 or kill.target.pid in done or (kill.sender.unit == SCRIPT and not kill.by_kernel_oom):
            continue
        by = By.KERNEL if kill.by_kernel_oom else By.DAEMON if by_daemon else By.OTHER
        role, mib = scenario.role(kill.target.comm)
        begun = begun or by is not By.OTHER
        if by is By.OTHER and (role is Role.CULPRIT or not begun):
            continue  # the service manager clears away what is left of a program
        done.add(kill.target.pid)
        yield Kill(_round(at), kill.signal, by, kill.target.comm, kill.target.pid, role, mib)


def _memory(seen: Result, shift: float) -> Iterator[Memory]:
    first = next((sample for sample in seen.memory if sample.at + shift >= 0), seen.memory[-1])
    last = -KEEP_S
    for sample in seen.memory:
        at = sample.at + shift
        if at >= last + KEEP_S or sample is seen.memory[-1]:
            last = at
            some, full = sample.some_s - first.some_s, sample.full_s - first.full_s
            if at >= -1:
                yield Memory(
                    _round(at), round(sample.available, 1), round(sample.swap_free, 1), _round(some), _round(full)
                )


def _work(seen: Result, shift: float) -> list[Work]:
    last: dict[tuple[str, str], Work] = {}
    for line in seen.lines:
        words = line.text.split()
        if len(words) == 4 and words[0] == "work":
            found = Work(_round(line.at + shift), words[1], float(words[2]), float(words[3]), line.voice)
            last[line.voice, words[1]] = found
    return list(last.values())


def _pauses(seen: Result, scenario: Scenario, shift: float) -> list[Pause]:
    """Who had to stand still since the incident began, by what okoomer says of it."""
    found: dict[tuple[str, str, int], Pause] = {}
    pauses: list[Pause] = []
    for line in seen.lines:
        if line.voice not in VOICES or not PAUSES.search(line.text):
            continue
        try:
            said = json.loads(line.text)
            key, name = (said["by"], said["name"], said["pids"][0]), said["name"].partition(" and ")[0]
        except (ValueError, LookupError):
            continue  # the last line may be half a one
        at, role = line.at + shift, scenario.role(name)[0]
        if said["event"] == "paused" and at >= 0:
            found[key] = Pause(_round(at), name, role, None)
        elif key in found:
            began = found.pop(key)
            pauses.append(Pause(began.at, name, role, _round(said["seconds"])))
    return sorted((*pauses, *found.values()), key=lambda pause: pause.at)


def _cost(seen: Result) -> Cost | None:
    """Of all processes of the daemon; None if it had none when all was over."""
    before, after = (_sum(seen, when) for when in ("before", "after"))
    if not after:
        return None
    rss, peak, anon, ticks, switches, faults, waited = after
    spent = [b - a for a, b in zip((before or [0.0] * len(after))[3:], (ticks, switches, faults, waited), strict=True)]
    return Cost(
        rss=round(rss / KIB_PER_MIB, 2),
        peak_rss=round(peak / KIB_PER_MIB, 2),
        anon=round(anon / KIB_PER_MIB, 2),
        cpu_s=round(spent[0] / TICKS_PER_S, 2),
        switches=int(spent[1]),
        major_faults=int(spent[2]),
        waited_s=_round(spent[3] / NS_PER_S),
    )


def _sum(seen: Result, when: str) -> list[float]:
    rows = [[float(word) for word in rest.split()[1:]] for rest in _texts(seen, "cost") if rest.split()[0] == when]
    return [sum(column) for column in zip(*rows, strict=True)]
