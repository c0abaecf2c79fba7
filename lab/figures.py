"""What follows from a run. Pure: a figure can be defined anew without running anything again.

*Blackout* and the canaries are what a person feels; *lost seconds* is the headline, in which all that can go wrong is
weighed as the time that it costs a person.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lab.run import By, Ending, Late, Pause, Role, Run, Seen
from lab.scenario import Scenario
from lab.scenarios import SCENARIOS

BLACKOUT_S = 0.5
"""A stall that is shorter is no blackout. On an emulated processor a login takes 0.3 s when nothing is wrong."""
LATE_S = 0.25
"""What a person notices at the screen."""
SILENT_S = 2
"""A canary that was not heard for so long when listening ended was still stalled."""
STUCK_S = 1
"""A screen that stalls for so long in the last seconds, when the time is up, has hung."""
THRASHING = 0.2
"""So has a machine whose tasks all wait for a fifth of that time."""
LAST_S = 4
NOT_OVER = "not over"
"""What stage.sh says when the time is up."""
REQUESTS_PER_S = 50
LOGIN_EVERY_S = 1
REASON_S = 1

COLLATERAL_S = 30
"""What an innocent program's death costs: it is started again and brought to where it was."""
SESSION_S = 300
"""What a lost session or a hung machine costs: a reboot, and all that was open."""
UNNEEDED_S = 60
"""What a kill costs where nothing was wrong: 30 s for the program, and as much for the trust."""


@dataclass(frozen=True)
class Figures:
    """All in seconds unless the name says otherwise; None where the run cannot tell."""

    lost_s: float
    blackout_s: float
    over_250ms_s: float
    some_s: float
    full_s: float
    late_p50_s: float
    late_p99_s: float
    late_max_s: float
    login_max_s: float
    isolation_p01: float
    """The share of its requests that the service answered, in its worst seconds and in the middle."""
    isolation_p50: float
    score: float
    """1: only culprits died, or nobody where nothing was wrong. 0.5: innocent ones too. 0.25: the kernel had to.
    0: the innocent, and no culprit; or a session. -1: it hung."""
    collateral: int
    collateral_mib: float
    session_lost: bool
    hung: bool
    unneeded: int
    paused_s: float
    """The longest that somebody had to stand still who was no culprit; who never ran again until listening ended."""
    pauses: int
    """How often anybody had to."""
    work_lost_s: float
    work_saved: float | None
    """The share of all work that was done by the end, and not thrown away."""
    took_s: float | None
    """Until the scenario was over."""
    recovery_s: float
    """From the first moment in which all waited for a twentieth of the time until the screen was well again."""
    first_kill_s: float | None
    by_kernel: int
    reason: bool | None
    """Each kill had a reason that a program can read, within a second."""


@dataclass(frozen=True)
class Waits:
    """What the work of one of several took him."""

    who: str
    done_s: float | None
    """When the last of his workers was done; None if one was not."""
    waited_s: float
    """By how much his workers together took longer than their work is."""


def of(run: Run) -> Figures:
    """The figures of a run whose scenario could be set up; ``ValueError`` for one that failed."""
    seen, scenario = run.seen, SCENARIOS[run.scenario]
    if seen.ending is Ending.FAILED:
        raise ValueError(f"{run.scenario} with {run.daemon} could not be set up")
    screen = _screen(seen)
    login = [*seen.login, *_still([late.at + late.late_s + LOGIN_EVERY_S for late in seen.login], seen, "canary-login")]
    stalls = [late.late_s for late in (*screen, *login) if late.late_s > BLACKOUT_S]
    blackout = max(stalls, default=0)
    hung = _hung(seen, scenario, screen)
    innocent = [kill for kill in seen.kills if kill.role in (Role.INNOCENT, Role.SESSION)]
    collateral = [] if scenario.benign else [kill for kill in innocent if kill.role is Role.INNOCENT]
    session = any(kill.role is Role.SESSION for kill in seen.kills)
    unneeded = _unneeded(seen, scenario)
    work_lost = _work_lost(seen)
    served = [second.count / REQUESTS_PER_S for second in seen.service if 0 <= second.at <= seen.end]
    lateness = sorted((late.late_s, max(late.late_s, 0.016)) for late in screen if late.at >= 0)
    return Figures(
        lost_s=round(
            blackout
            + COLLATERAL_S * len(collateral)
            + SESSION_S * (session or hung)
            + UNNEEDED_S * unneeded
            + work_lost,
            2,
        ),
        blackout_s=round(blackout, 3),
        over_250ms_s=round(sum(late.late_s for late in screen if late.late_s > LATE_S), 3),
        some_s=seen.memory[-1].some_s if seen.memory else 0,
        full_s=seen.memory[-1].full_s if seen.memory else 0,
        late_p50_s=_weighted(lateness, 0.5),
        late_p99_s=_weighted(lateness, 0.99),
        late_max_s=max((late for late, _ in lateness), default=0),
        login_max_s=max((late.late_s for late in login), default=0),
        isolation_p01=_quantile(served, 0.01),
        isolation_p50=_quantile(served, 0.5),
        score=_score(seen, scenario, hung, session),
        collateral=len(collateral),
        collateral_mib=sum(kill.mib for kill in innocent),
        session_lost=session,
        hung=hung,
        unneeded=unneeded,
        paused_s=max((stood(pause, seen) for pause in seen.pauses if pause.role is not Role.CULPRIT), default=0),
        pauses=len(seen.pauses),
        work_lost_s=work_lost,
        work_saved=_work_saved(seen, work_lost),
        took_s=seen.over,
        recovery_s=_recovery(seen, screen),
        first_kill_s=min((kill.at for kill in seen.kills if kill.by is not By.OTHER), default=None),
        by_kernel=sum(kill.by is By.KERNEL for kill in seen.kills),
        reason=_reasoned(seen),
    )


def _screen(seen: Seen) -> list[Late]:
    """Every tick of the screen's canary: the late ones as they were, the others at the median of their second."""
    ticks = list(seen.screen_late)
    late_in = [late.at + late.late_s for late in seen.screen_late]
    for beat, following in pairwise(seen.screen):
        late = sum(beat.at < at <= following.at for at in late_in)
        ticks += [Late(following.at, following.median_s)] * max(0, following.ticks - late)
    heard = [beat.at for beat in seen.screen] + late_in
    return ticks + _still(heard, seen, "canary-ui")


def _still(heard: Iterable[float], seen: Seen, canary: str) -> list[Late]:
    """Whoever was not heard for long is late by now, by at least that; but not who is dead."""
    last = max(heard, default=0)
    end = min((kill.at for kill in seen.kills if kill.comm == canary), default=seen.end)
    return [Late(last, end - last)] if end - last > SILENT_S else []


def _hung(seen: Seen, scenario: Scenario, screen: Sequence[Late]) -> bool:
    """The machine is gone, or the time was up and it still was of no use. One that only recovers has not hung."""
    if seen.ending is Ending.GONE:
        return True
    if seen.over is not None and not any(NOT_OVER in note for note in seen.notes):
        return False
    since = seen.end - LAST_S
    stuck = max((late.late_s for late in screen if late.at + late.late_s >= since), default=0) > STUCK_S
    first = next((sample for sample in seen.memory if sample.at >= since), None)
    thrashing = first is not None and seen.memory[-1].full_s - first.full_s > THRASHING * LAST_S
    # Where nothing is wrong, waiting is nobody's business but of those who wait.
    return stuck or (thrashing and not scenario.benign)


def _unneeded(seen: Seen, scenario: Scenario) -> int:
    if scenario.benign:
        return len(seen.kills)
    if scenario.enough is None:
        return 0
    guilty = sum(kill.role in (Role.CULPRIT, Role.WORKER) for kill in seen.kills)
    return max(0, guilty - scenario.enough)


def _work_lost(seen: Seen) -> float:
    """What the killed workers had done; a worker's process has the name that it says."""
    killed = {kill.comm for kill in seen.kills if kill.role is Role.WORKER}
    return round(sum(work.done_s for work in seen.work if work.name in killed), 2)


def _work_saved(seen: Seen, lost_s: float) -> float | None:
    total = sum(work.total_s for work in seen.work)
    return round(max(0.0, sum(work.done_s for work in seen.work) - lost_s) / total, 3) if total else None


def waits(seen: Seen) -> tuple[Waits, ...]:
    """Of each who has workers; all of them begin with the incident."""
    return tuple(
        Waits(
            who,
            max(work.at for work in works) if all(work.done_s >= work.total_s for work in works) else None,
            round(sum(work.at - work.done_s for work in works), 1),
        )
        for who in sorted({work.voice for work in seen.work})
        if (works := [work for work in seen.work if work.voice == who])
    )


def stood(pause: Pause, seen: Seen) -> float:
    """For how long somebody stood still: until he ran again, or died, or nobody listened any more."""
    if pause.seconds is not None:
        return pause.seconds
    died = min((kill.at for kill in seen.kills if kill.comm == pause.name and kill.at >= pause.at), default=seen.end)
    return round(died - pause.at, 3)


def _score(seen: Seen, scenario: Scenario, hung: bool, session: bool) -> float:
    roles = {kill.role for kill in seen.kills}
    if hung:
        return -1
    if scenario.benign:
        return 0 if roles else 1
    if session or (Role.INNOCENT in roles and not roles & {Role.CULPRIT, Role.WORKER}):
        return 0
    if any(kill.by is By.KERNEL for kill in seen.kills):
        return 0.25
    return 0.5 if Role.INNOCENT in roles else 1


def _recovery(seen: Seen, screen: Sequence[Late]) -> float:
    start = next((a.at for a, b in pairwise(seen.memory) if b.full_s - a.full_s > 0.05 * (b.at - a.at)), None)
    if start is None:
        return 0
    well = max((late.at + late.late_s for late in screen if late.late_s > 0.1), default=start)
    return round(max(0, well - start), 3)


def _reasoned(seen: Seen) -> bool | None:
    kills = [kill.at for kill in seen.kills if kill.by is not By.OTHER]
    if not kills:
        return None
    return all(any(abs(at - said) <= REASON_S for said in seen.reasons) for at in kills)


def _quantile(values: Iterable[float], share: float) -> float:
    """The nearest rank from below; 0 of nothing."""
    ordered = sorted(values)
    return ordered[int(share * (len(ordered) - 1))] if ordered else 0


def _weighted(ticks: Sequence[tuple[float, float]], share: float) -> float:
    """How late the screen is at a random moment: each tick counts for the time that it took."""
    left = share * sum(weight for _, weight in ticks)
    for late, weight in ticks:
        left -= weight
        if left <= 0:
            return round(late, 4)
    return 0
