"""Choosing: processes in, one victim and the ranked reasons out. Pure.

What is ranked is what would come back, in bytes: anonymous memory, swap, and shared memory that nobody else holds.
The kernel's oom_score is no guide here: since Linux 5.9 it gives an idle shell half of its scale, and a positive
oom_score_adj makes a process of 5 MiB beat one of 5 GiB.
"""

from __future__ import annotations

from okoomer.policy.family import Unit, ancestors, families
from okoomer.policy.glob import matches
from okoomer.policy.metrics import AVAILABLE, USER_AVAILABLE, available
from okoomer.policy.model import POINTED, Amount, And, Comparison, Held, Not, Somewhere
from okoomer.policy.ownerless import VAIN_SECONDS, fills_of, floods, is_clear, ownerless, unknown_writer, writer
from okoomer.policy.part import smallest, whole_group
from okoomer.policy.scale import LAST, ORDINARY, PREFERRED, Candidate, Scale
from okoomer.policy.select import matcher
from okoomer.policy.session import holders, is_shell
from okoomer.policy.sums import worst_sum
from okoomer.policy.tree import ROOT, above, is_inside
from okoomer.policy.whole import WHOLE, applications, excused, inits, members_of
from okoomer.record import Record, replace
from okoomer.units import MIB, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from okoomer.facts import Cgroup, Process, Snapshot
    from okoomer.policy.model import Condition, Instead, Points, Policy, Rule

#: oom_score_adj of those whom the kernel never kills (Documentation/filesystems/proc.rst, 3.1).
NEVER = -1000
#: What those call themselves who work for us. Whatever else is our child was so before this process became the guard.
COURIER, CANARY = "okoomer-courier", "okoomer-canary"
PARTS = (COURIER, CANARY)
#: So many ranked units are told.
TOLD = 10


class Choice(Record):
    """The victim, or None and in `refusal` why there is none; `ranking` is best first, the victim not always on top:
    it may be a part of the best unit that is enough by itself. `writes` where it ends for what it writes into memory
    that belongs to no process, whatever it frees. `within` where nobody holds more than his share, so that
    there was nobody to be looked for: the seconds in which that hardly changes. `beside` are the processes of others
    who grow like it, and pause with it where the rule only pauses."""

    victim: Candidate | None
    ranking: tuple[Candidate, ...]
    need: int
    least: int
    refusal: str = ""
    writes: bool = False
    within: float = 0.0
    beside: tuple[int, ...] = ()


def need_of(rule: Rule, snapshot: Snapshot) -> int:
    """Bytes that have to come back: up to the rule's target, else up to its level of mem.available and a hundredth of
    memory more, else up to a tenth of memory. At least a hundredth of memory: whoever acts needs some room afterwards.
    """
    total = snapshot.memory.total
    level = level_of(rule.when, total)
    if rule.target:
        target = rule.target.value * (total if rule.target.share else 1)
    else:
        target = total / 10 if level is None else level + total / 100
    return int(max(target - available(snapshot), total / 100))


def at_its_level(rule: Rule, snapshot: Snapshot) -> Rule:
    """A rule that takes now whom it would take with so little available that it can act: its need is what it is then,
    and not next to nothing."""
    total = snapshot.memory.total
    level = level_of(rule.when, total)
    if level is None or available(snapshot) <= level:
        return rule
    goal = rule.target.value * (total if rule.target.share else 1) if rule.target else level
    return replace(rule, target=Amount(available(snapshot) + max(goal - level, total / 100)))


def level_of(condition: Condition, total: int) -> float | None:
    """The bytes of available memory below which a condition can hold, or None if it does not depend on them."""
    if isinstance(condition, Comparison):
        if condition.metric not in (AVAILABLE, USER_AVAILABLE) or condition.operator not in ("<", "<="):
            return None
        return condition.threshold * (total if condition.share else 1)
    if isinstance(condition, Held | Somewhere):
        return level_of(condition.condition, total)
    if isinstance(condition, Not):
        return None
    levels = [level for part in condition.parts if (level := level_of(part, total)) is not None]
    if not levels:
        return None
    return min(levels) if isinstance(condition, And) else max(levels)


def lowest_level(policy: Policy, total: int) -> float:
    """The bytes of available memory below which every rule acts that depends on them; a fiftieth of memory where none
    does."""
    whens = [rule.when for rule in policy.rules if not rule.managed]
    return min((level for when in whens if (level := level_of(when, total)) is not None), default=total / 50)


def least_of(rule: Rule, total: int) -> int:
    """The bytes that a victim must give back to be worth its end: the rule's, else a hundredth of memory, at least
    4 MiB and at most 64 MiB."""
    if rule.least:
        return int(rule.least.value * (total if rule.least.share else 1))
    return max(4 * MIB, min(total // 100, 64 * MIB))


def choose(
    rule: Rule,
    policy: Policy,
    snapshot: Snapshot,
    processes: Iterable[Process],
    me: int = 0,
    aside: frozenset[int] = frozenset(),
    user: int | None = None,
    flood: float = 0.0,
    ended: bool = False,
    target: Cgroup | None = None,
) -> Choice:
    """Whom a rule ends on this machine.

    Args:
        processes: Those that matter and their ancestors.
        me: Our own pid: neither it nor its ancestors are ever chosen.
        aside: Pids that were tried before and would not die.
        user: Only this user's processes may be ended; None if there is no such limit.
        flood: Bytes per second by which shared memory grows that no process maps.
        ended: Whoever wrote such memory was ended just now.
        target: The cgroup that the rule is about: none outside of it is ended, or outside of where the rule seeks.
    """
    by_pid = {process.pid: process for process in processes}
    need = need_of(rule, snapshot)

    def taken(others: Callable[[Process], str] | None, need: int) -> Choice:
        protects = protection(rule, policy, by_pid, me, aside, user, target, others)
        return _taken(rule, policy, snapshot, by_pid, protects, need, me, flood, ended)

    if not rule.by:
        return taken(None, need)
    from okoomer.policy.share import choose_by  # most policies never need it

    units: list[Unit] = []
    if rule.by == "app":
        protects = protection(rule, policy, by_pid, me, aside, user, target)
        apart = _apartness(replace(rule, unit="auto"), policy, by_pid, protects)
        units = applications(by_pid, lambda process: bool(protects(process)), lambda process: bool(apart(process)))
    held, total = Scale(rule, policy, by_pid.values(), need).held, snapshot.memory.total
    return choose_by(rule, total, by_pid.values(), units, held, need, least_of(rule, total), taken)


def _taken(
    rule: Rule,
    policy: Policy,
    snapshot: Snapshot,
    by_pid: dict[int, Process],
    protects: Callable[[Process], str],
    need: int,
    me: int,
    flood: float,
    ended: bool,
) -> Choice:
    """Whom a rule ends of those that are not protected."""
    least = least_of(rule, snapshot.memory.total)
    preferred = matcher(rule.prefer, policy.prefer)
    stands_apart = _apartness(rule, policy, by_pid, protects)

    def untouchable(process: Process) -> bool:
        return bool(protects(process))

    def apart(process: Process) -> bool:
        return bool(stands_apart(process))

    if rule.unit in ("process", "group"):
        outermost = [Unit("process", p, (p,), []) for p in by_pid.values() if not untouchable(p)]
        units = outermost
    else:
        outermost = (applications if rule.unit == "auto" else families)(by_pid, untouchable, apart)
        whole = {unit.root.pid for unit in outermost if unit.own} | members_of(outermost)
        units = outermost + [
            Unit("process", p, (p,), [])
            for p in by_pid.values()
            if p.pid not in whole and not untouchable(p) and preferred(p)
        ]

    weigh = Scale(rule, policy, by_pid.values(), need)

    def candidate(unit: Unit) -> Candidate:
        root = unit.root
        if unit.kind == "group":
            tier, because = ORDINARY, ""
        elif because := stands_apart(root):
            tier = LAST
        else:
            because = next(filter(None, map(preferred, unit.members() if unit.kind == WHOLE else (root,))), "")
            tier = PREFERRED if because else ORDINARY
        found = weigh.candidate(unit, tier, because)
        # What is preferred goes first only if it is enough by itself: a crumb in front of every hog helps nobody.
        return found if tier != PREFERRED or found.freed >= need else weigh.candidate(unit, ORDINARY, because)

    ranked = sorted(
        ((candidate(unit), unit) for unit in units),
        key=lambda pair: (pair[0].tier, not pair[0].culprit, -pair[0].score, -pair[0].rss, pair[0].pids),
    )
    worth = [(found, unit) for found, unit in ranked if found.freed >= least and found.score >= rule.least_score]
    if rule.tentative:
        from okoomer.policy.tentative import bears  # most policies never need it

        worth = [(found, unit) for found, unit in worth if bears(found, unit.members(), weigh.growth)]
        if not worth:
            return Choice(None, tuple(found for found, _ in ranked)[:TOLD], need, least, "nobody grows")
    beside = tuple(pid for found, _ in worth[1:] for pid in found.pids) if rule.tentative else ()
    ranking = tuple(found for found, _ in (worth or ranked)[:TOLD])
    if floods(flood, by_pid.values(), need):
        clear = is_clear(flood, by_pid.values())
        source = writer((unit for unit in units if not stands_apart(unit.root)), flood) if clear else None
        if source:
            return _stop(source, weigh.candidate(source, ORDINARY, ""), flood, Choice(None, ranking, need, least))
        if not worth or worth[0][0].freed < VAIN_SECONDS * flood:
            who = unknown_writer(flood, by_pid.values() if clear else (), lambda p: protects(p) or stands_apart(p))
            refusal = (
                f"memory that belongs to no process (tmpfs) grows by {size(flood)}/s, into all that is freed; {who}"
            )
            return Choice(None, ranking, need, least, refusal)
    single = [found for found, _ in worth]
    together = None if rule.tentative else worst_sum(rule, outermost, apart, single, need, least, weigh)
    if not (worth or together):
        return Choice(None, ranking, need, least, _nobody(ranking, least, rule.least_score))
    best = together or single[0]
    homeless = ownerless(snapshot, by_pid.values())
    if (ended and homeless >= need) or (best.freed < need and best.freed < homeless // 4):
        had = f"the best to be had is {best.name} with {size(best.freed)}"
        refusal = (
            f"{size(homeless)} belong to no process (tmpfs, shared or kernel memory) and ending one cannot free them; "
            f"{'whoever wrote them has been ended' if ended else had}"
        )
        return Choice(None, ranking, need, least, refusal)
    if together:
        return Choice(together, (together, *single)[:TOLD], need, least)
    unit = worth[0][1]
    if rule.unit == "group":
        part = whole_group(unit, by_pid, me, untouchable)
    else:
        part = smallest(unit, max(need, least), least, lambda inner: weigh.candidate(inner, best.tier, ""))
    return Choice(best if part is unit else candidate(part), ranking, need, least, beside=beside)


def protection(
    rule: Rule,
    policy: Policy,
    processes: dict[int, Process],
    me: int,
    aside: frozenset[int] = frozenset(),
    user: int | None = None,
    target: Cgroup | None = None,
    others: Callable[[Process], str] | None = None,
) -> Callable[[Process], str]:
    """A function that says why a process must not be touched, or ''.

    Args:
        others: Says whose else a process is, where only somebody's can be taken.
    """
    spared = matcher(rule.spare, policy.spare)
    ours = ancestors(processes, me)
    lies_outside = outside(rule, target)

    def protects(process: Process) -> str:
        if process.kernel_thread:
            return "a kernel thread"
        if process.pid == 1:
            return "init"
        if process.pid in ours:
            return "okoomer itself" if process.pid == me else "a parent of okoomer"
        if process.parent == me and process.name in PARTS:
            return "a part of okoomer"
        if process.adjustment <= NEVER:
            return "oom_score_adj -1000"
        if process.pid in aside:
            return "would not die"
        if user is not None and process.user != user:
            return "another user's"
        if lies_outside(process):
            return "outside of the rule's cgroups"
        if others and (whose := others(process)):
            return whose
        written = spared(process)
        return f"spared by {written}" if written else ""

    return protects


def outside(rule: Rule, target: Cgroup | None) -> Callable[[Process], bool]:
    """Whether a process lies where a rule does not seek: neither in one of the cgroups that it says, nor, if it says
    none, in the one that it is about."""
    known: dict[str, bool] = {}
    base = target.path if target else ROOT

    def seeks(path: str) -> bool:
        if rule.among is None:
            return is_inside(path, base)
        while not matches(rule.among, path, base):
            if path == ROOT:
                return False
            path = above(path)
        return True

    def lies_outside(process: Process) -> bool:
        path = process.cgroup or ROOT
        if path not in known:
            known[path] = not seeks(path)
        return known[path]

    return lies_outside


def apartness(
    rule: Rule, policy: Policy, processes: dict[int, Process], inits: frozenset[int] = frozenset()
) -> Callable[[Process], str]:
    """A function that says why a process comes last and is no part of its parent's family, or ''.

    Args:
        processes: By pid: how they stand to each other says which of them hold a session together.
        inits: Pids of containers' own inits, whom no list makes supervisors.
    """
    comes_last, supervises = matcher(rule.avoid, policy.avoid), matcher(policy.supervisors)
    held = holders(processes) if sees_sessions(rule, policy) else None

    def stands_apart(process: Process) -> str:
        if written := comes_last(process) or (process.pid not in inits and supervises(process)):
            return written
        if held is None:
            return ""
        return "a shell with a terminal" if is_shell(process) else held.get(process.pid, "")

    return stands_apart


def _apartness(
    rule: Rule, policy: Policy, processes: dict[int, Process], protects: Callable[[Process], str]
) -> Callable[[Process], str]:
    """The same, where a container that would be one thing but for its own init is one."""
    stands_apart = apartness(rule, policy, processes)
    if rule.unit != "auto":
        return stands_apart
    supervises = matcher(policy.supervisors)
    first = {pid: path for pid, path in inits(processes).items() if supervises(processes[pid])}
    judged = apartness(rule, policy, processes, frozenset(first)) if first else stands_apart
    own = excused(first, processes, lambda process: protects(process) or judged(process))
    return apartness(rule, policy, processes, own) if own else stands_apart


def sees_sessions(rule: Rule, policy: Policy) -> bool:
    """Whether it counts who holds a session together: not where a policy knows neither families nor supervisors, and
    so judges each process by itself alone."""
    return rule.unit not in ("process", "group") or bool(policy.supervisors)


def _stop(source: Unit, found: Candidate, flood: float, choice: Choice) -> Choice:
    """The choice of a unit for what it writes: it goes before everybody."""
    rate = fills_of(source)
    why = (
        f"writes {size(rate)}/s into memory that belongs to no process, {min(1.0, rate / flood):.0%} of its growth; "
        f"ending it frees only {size(found.freed)} but stops the growth"
    )
    victim = replace(found, culprit=True, why=why)
    others = tuple(other for other in choice.ranking if other.pids != victim.pids)
    return replace(choice, victim=victim, ranking=(victim, *others)[:TOLD], writes=True)


def _nobody(ranking: tuple[Candidate, ...], least: int, least_score: float) -> str:
    if not ranking:
        return "there is no process that may be touched"
    if ranking[0].freed >= least:
        best = ranking[0]
        return f"the best to be had is {best.name} with a score of {best.score:g}, less than {least_score:g}"
    return f"the best to be had is {ranking[0].name} with {size(ranking[0].freed)}; less than {size(least)} is in vain"


def needs_of(policy: Policy, *rules: Rule) -> frozenset[str]:
    """The kinds of selectors that a policy uses for these rules (none: for any): what has to be read of a process
    beyond its sizes. A command line lies in the process's own memory, and may have to come from swap."""
    selectors = [*policy.prefer, *policy.avoid, *policy.spare, *policy.supervisors]
    pointing: list[Points | Instead] = [*policy.points, *policy.instead]
    for rule in rules or policy.rules:
        selectors += [*rule.prefer, *rule.avoid, *rule.spare]
        pointing += [*rule.points, *rule.instead]
    kinds = {selector.kind for selector in selectors} | {one.selector.kind for one in pointing}
    if any(rule.rank in POINTED for rule in rules or policy.rules):
        kinds.add("oom_score")
    if any(rule.scope or rule.among or rule.by or sees_sessions(rule, policy) for rule in rules or policy.rules):
        kinds.add("cgroup")
    if any(rule.by == "user" for rule in rules or policy.rules):
        kinds.add("user")
    return frozenset(kinds)
