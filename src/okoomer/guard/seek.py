"""Seeking: whom a rule takes on this machine now. What is read for it is read here; the choice itself is policy's."""

from __future__ import annotations

from okoomer.events.model import Chosen, Ranked
from okoomer.guard.scan import Scan, descendants, group_of, look, still, with_all
from okoomer.kernel import process as kernel
from okoomer.policy.choose import apartness, choose, needs_of, protection
from okoomer.policy.engine import QUIET
from okoomer.policy.sums import SUM
from okoomer.policy.tree import is_inside
from okoomer.policy.whole import WHOLE, whole_of
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from okoomer.facts import Cgroup, Process, Snapshot
    from okoomer.guard.among import Among
    from okoomer.guard.cgroups import Cgroups
    from okoomer.policy.choose import Choice
    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy, Rule
    from okoomer.policy.scale import Candidate

#: So many pids of each ranked unit are told, and of the chosen one: thousands must not make an event that nobody can
#: keep.
TOLD_PIDS, CHOSEN_PIDS = 16, 1024
#: So many of a unit are asked whether somebody ends them if they stand still.
WATCHED = 64


class Seeker:
    """Chooses under one policy, among processes or among cgroups as a rule has it.

    Args:
        proc: Where /proc is.
        cgroups: Reads them; None where no rule is about any.
        me: Our own pid, which is never chosen; 0 on a recorded machine.
        user: Only this user's processes can be ended; None if there is no such limit.
    """

    def __init__(self, policy: Policy, proc: str, cgroups: Cgroups | None, me: int, user: int | None) -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._me = me
        self._user = user
        self._among: Among | None = None
        if cgroups and any(rule.of_cgroups for rule in policy.rules):
            from okoomer.guard.among import Among

            self._among = Among(proc, cgroups, me, user)
        self.adopt(policy)

    def adopt(self, policy: Policy) -> None:
        """Goes by another policy from now on, with rules of the same kinds, and forgets nothing."""
        self._policy = policy
        if any(rule.by for rule in policy.rules):
            import okoomer.policy.share  # noqa: F401 (an emergency is no time to load it)
        #: The rules whose candidates have to be looked at before they act, as indices.
        self.rating: tuple[int, ...] = ()
        if self._among:
            from okoomer.policy.cgroups import needs_past

            rules = enumerate(policy.rules)
            self.rating = tuple(index for index, rule in rules if needs_past(rule) and not rule.managed)

    def turn(self, proc: str) -> None:
        """Goes on with another recording of the same machine."""
        self._proc = proc
        if self._among:
            self._among.proc = proc

    def note(self, index: int, target: Cgroup | None, snapshot: Snapshot) -> bool:
        """Looks at the candidates of a rule that ranks by what happens from one look to the next. Whether there have
        been enough looks to rank by."""
        if self._among is None or index not in self.rating:
            return True
        return self._among.note(self._policy.rules[index], self._policy, target, snapshot)

    def rate(self, verdict: Verdict, snapshot: Snapshot) -> None:
        """Looks at the candidates of all rules that rank like this and are not quiet."""
        for index in self.rating:
            judged = verdict.rules[index]
            if judged.state != QUIET:
                about = targets_of(self._policy.rules[index], snapshot)
                target = next((one for one in about if one and one.path == judged.target), None)
                self.note(index, target, snapshot)

    def choice(
        self,
        rule: Rule,
        target: Cgroup | None,
        snapshot: Snapshot,
        found: Scan,
        aside: frozenset[int] = frozenset(),
        aside_groups: frozenset[int] = frozenset(),
        ended: bool = False,
    ) -> Choice:
        """Whom a rule takes.

        Args:
            target: The cgroup that it is about.
            found: The processes that could matter.
            aside, aside_groups: Pids and inodes of those that would not die.
            ended: Whoever wrote memory that belongs to no process was ended just now.
        """
        if rule.of_cgroups and self._among:
            return self._among.choice(rule, self._policy, target, snapshot, found, aside, aside_groups)
        policy, me, user, flood = self._policy, self._me, self._user, found.flood
        processes = found.processes
        seen: set[str] = set()
        while True:
            choice = choose(rule, policy, snapshot, processes, me, aside, user, flood, ended, target)
            victim = choice.victim
            if victim is None or rule.unit != "auto" or self._cgroups is None:
                return choice
            path = whole_of(next(process.cgroup for process in processes if process.pid == victim.pids[0]))
            if not path:
                return choice
            if path in seen:
                whole = self._enclosed(victim, path, processes, snapshot.time)
                if whole.cgroup and whole.inode in aside_groups:
                    aside = aside.union(whole.pids)
                    continue
                return replace(choice, victim=whole)
            # A shell is small, and so may be who must stay: before a whole cgroup ends each of its processes counts.
            seen.add(path)
            wants, members = needs_of(policy, rule), self._cgroups.members(path)
            processes = with_all(self._proc, members, wants, processes, self._cgroups.tags)

    def _enclosed(self, victim: Candidate, path: str, processes: tuple[Process, ...], time: float) -> Candidate:
        """The same victim as a cgroup, if it is all that is in there, and there is a unified hierarchy."""
        inside = {process.pid for process in processes if is_inside(process.cgroup, path)}
        if inside != {*victim.pids} or self._cgroups is None:
            return victim
        found = self._cgroups.area(None, path, False, frozenset(), time)
        return replace(victim, kind="cgroup", cgroup=path, inode=found[0].inode) if found else victim

    def filled(self, candidate: Candidate) -> Candidate:
        """A candidate with its processes, also where it was weighed as a whole cgroup without a look at them."""
        return self._among.filled(candidate) if self._among else candidate

    def members(
        self, rule: Rule, victim: Candidate, target: Cgroup | None, found: Scan, aside: frozenset[int]
    ) -> list[Process]:
        """All processes of a unit, the one that stands for it first: with a family or a group also those that were too
        small to be looked at, or were born since; none if they have all gone."""
        by_pid = {process.pid: process for process in found.processes}
        wants = needs_of(self._policy, rule)
        processes = [p for pid in victim.pids if (p := by_pid.get(pid) or look(self._proc, pid, wants))]
        if rule.tentative and any(self._is_watched(process) for process in processes[:WATCHED]):
            return []
        if victim.cgroup or victim.kind == WHOLE:
            processes.sort(key=lambda process: -process.held)
            return processes
        if not processes or victim.kind == SUM or (victim.kind == "process" and rule.unit != "group"):
            return processes
        protects = self._protection(rule, by_pid, target, aside, processes)
        if rule.unit == "group" and victim.kind == "group":
            members = group_of(self._proc, processes[0].group, {*victim.pids}, wants, self._tagged(protects, wants))
            return processes + members
        apart = apartness(rule, self._policy, by_pid)
        stays = self._tagged(lambda process: protects(process) or apart(process), wants)
        return processes + descendants(self._proc, victim.pids, set(by_pid), wants, stays)

    def beside(
        self, rule: Rule, choice: Choice, target: Cgroup | None, found: Scan, aside: frozenset[int]
    ) -> list[Process]:
        """The processes of those who pause with the victim of a choice."""
        if not choice.beside or choice.victim is None:
            return []
        others = replace(choice.victim, kind="family", pids=choice.beside, cgroup="")
        return self.members(rule, others, target, found, aside)

    def _is_watched(self, process: Process) -> bool:
        """Whether a process of a service would be ended for standing still."""
        from okoomer.policy.tentative import has_watchdog  # most policies never need it

        return ".service" in process.cgroup and has_watchdog(process.pid, kernel.environment(self._proc, process.pid))

    def grown(
        self,
        rule: Rule,
        victim: Candidate,
        members: list[Process],
        target: Cgroup | None,
        found: Scan,
        aside: frozenset[int],
    ) -> list[Process]:
        """Those processes of a unit that still live, and with them who has been born into it since."""
        there = [process for process in members if still(self._proc, process)]
        if victim.kind == SUM or (victim.kind == "process" and rule.unit != "group"):
            return there
        by_pid = {process.pid: process for process in found.processes}
        wants = needs_of(self._policy, rule)
        protects = self._protection(rule, by_pid, target, aside, there)
        apart = apartness(rule, self._policy, by_pid)
        stays = self._tagged(lambda process: protects(process) or apart(process), wants)
        roots = [process.pid for process in there]
        return there + descendants(self._proc, roots, set(roots), wants, stays)

    def _protection(
        self,
        rule: Rule,
        by_pid: dict[int, Process],
        target: Cgroup | None,
        aside: frozenset[int],
        members: list[Process],
    ) -> Callable[[Process], str]:
        """Why a process must not be touched as one more of a unit, or ''."""
        others = None
        if rule.by and members:
            from okoomer.policy.share import strangers

            others = strangers(rule, members[0])
        return protection(rule, self._policy, by_pid, self._me, aside, self._user, target, others)

    def _tagged(self, judge: Callable[[Process], object], wants: frozenset[str]) -> Callable[[Process], object]:
        """The same judgement of processes whose cgroup's marks have not been read yet."""
        cgroups = self._cgroups
        if cgroups is None or "tag" not in wants:
            return judge
        return lambda process: judge(replace(process, tags=cgroups.tags(process.cgroup)))


def ranked(choice: Choice) -> tuple[Ranked, ...]:
    """A choice's ranking as events tell it."""
    return tuple(Ranked(c.kind, c.name, c.pids[:TOLD_PIDS], round(c.score, 1), c.freed, c.why) for c in choice.ranking)


def known(proc: str, process: Process, told: bool) -> Process:
    """Who stands for all in what is told, also with what no selector asked for; with its command line if that is
    `told`."""
    return replace(
        process,
        oom_score=process.oom_score or kernel.number(proc, process.pid, "oom_score"),
        cgroup=process.cgroup or kernel.cgroup(proc, process.pid),
        command=process.command or (kernel.command(proc, process.pid) if told else ""),
    )


def chosen(rule: Rule, choice: Choice, members: list[Process], target: Cgroup | None, **more: Any) -> Chosen:
    """A choice as the event, of a unit with these processes, of which the first stands for all; with what is known of
    how it came about."""
    victim, root = choice.victim, members[0]
    assert victim
    return Chosen(
        rule=rule.name,
        when=rule.when_text,
        kind=victim.kind,
        name=victim.name,
        pids=tuple(process.pid for process in members[:CHOSEN_PIDS]),
        command=root.command,
        freed=victim.freed,
        need=choice.need,
        why=victim.why,
        steps=tuple(step.kind for step in rule.steps),
        ranking=ranked(choice),
        root=root.name,
        user=root.user,
        group=root.group,
        rss=root.anon + root.file + root.shmem,
        oom_score=root.oom_score,
        adjustment=root.adjustment,
        cgroup=victim.cgroup or root.cgroup,
        target=target.path if target else "",
        rank=rule.rank,
        **more,
    )


def targets_of(rule: Rule, snapshot: Snapshot) -> tuple[Cgroup | None, ...]:
    """The cgroups that a rule is about at an instant; None is the machine as a whole."""
    return (None,) if rule.scope is None else dict(snapshot.scoped).get(rule.scope.text, ())
