"""Shares: what each user or each application holds of the machine, and who holds more than a rule allows. Pure.

A user is a person. Whatever runs in user-N.slice is N's, also what runs there as root or with the numbers of a
container; elsewhere a process is its own user's. Root and the system's users have no share: what runs as one of them is
the machine's. What belongs to an application, a service or a container is its own; elsewhere a family is one.

Without a share it is whoever holds most. He holds at least an equal part of what all hold together, and it need not be
said who counts as one of them: who has logged in and does nothing would make the part of all others smaller.
"""

from __future__ import annotations

from okoomer.people import is_person
from okoomer.policy.choose import Choice
from okoomer.policy.select import app_of, container_of, unit_of
from okoomer.policy.whole import WHOLE, whole_of
from okoomer.record import Record, replace
from okoomer.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from okoomer.facts import Process
    from okoomer.policy.family import Unit
    from okoomer.policy.model import Rule

    #: Chooses among all but those of whom the function says whose else they are, with so many bytes needed.
    Choose = Callable[[Callable[[Process], str], int], Choice]

#: Where the processes of those lie who have logged in.
_SLICE = "/user.slice/user-"
MACHINES = -1
#: Seconds until it is looked again whether anybody has come to hold more, if nobody gets more than this share of memory
#: each second.
SHORTEST, LONGEST, FILLS = 0.25, 3.0, 0.05
_NAMES = {"user": "user", "app": "application"}


class Holder(Record):
    """A user or an application: its processes, and the bytes that they hold, of which some are `over` its share."""

    name: str
    pids: frozenset[int]
    held: int
    over: int


def user_of(process: Process) -> int:
    """The number of the person whose process it is, or MACHINES."""
    if process.cgroup.startswith(_SLICE):
        number = process.cgroup[len(_SLICE) :].partition(".slice")[0]
        if number.isdecimal() and is_person(int(number)):
            return int(number)
    return process.user if is_person(process.user) else MACHINES


def choose_by(
    rule: Rule,
    total: int,
    processes: Iterable[Process],
    units: Iterable[Unit],
    held: Callable[[list[Process]], int],
    need: int,
    least: int,
    choose: Choose,
) -> Choice:
    """The choice of a rule that goes by who holds how much: of the processes of whoever is furthest over the share, or
    of the next where none of those can be taken.

    Args:
        total: All memory in bytes.
        processes: All that matter.
        units: The outermost units, where each is an application.
        held: The bytes that processes hold together.
        need: Bytes that the rule wants back. Of one who holds less than that too much no more is taken than is over.
        least: Bytes that a victim has to give back.
    """
    allowed = 0
    if rule.share:
        allowed = int(rule.share.value * (total if rule.share.share else 1))
    groups = _users(processes) if rule.by == "user" else _applications(units)
    holders = [
        Holder(name, frozenset(one.pid for one in members), bytes_held, bytes_held - allowed)
        for name, members in groups
        if (bytes_held := held(members))
    ]
    holders.sort(key=lambda one: (-one.held, min(one.pids)))
    first: Choice | None = None
    for place, holder in enumerate(holders):
        if holder.over <= 0:
            break
        enough = max(min(need, holder.over), total // 100)
        choice = _said(choose(_others(holder), enough), _says(rule, holder, place))
        if choice.victim:
            return choice
        first = first or choice
    if first:
        return first
    most = f"; {holders[0].name} holds most, {size(holders[0].held)}" if holders else ""
    refusal = f"no {_NAMES[rule.by]} holds more than the share, {size(allowed)}{most}"
    # Who is near to it is looked at again soon: each look costs as much as a choice.
    room = allowed - (holders[0].held if holders else 0)
    within = min(LONGEST, max(SHORTEST, room / (FILLS * total)))
    return Choice(None, (), need, least, refusal, within=within)


def strangers(rule: Rule, root: Process) -> Callable[[Process], str]:
    """A function that says whose else a process is than that of the one who stands for a unit, or ''. It is for those
    who were too small to be summed up, or have been born since."""
    if rule.by == "user":
        user = user_of(root)
        return lambda process: "" if user_of(process) == user else "another user's"
    path = whole_of(root.cgroup)
    return lambda process: "" if whole_of(process.cgroup) == path else "of another application"


def _others(holder: Holder) -> Callable[[Process], str]:
    return lambda process: "" if process.pid in holder.pids else f"not of {holder.name}"


def _says(rule: Rule, holder: Holder, place: int) -> str:
    whose = "his" if rule.by == "user" else "its"
    if rule.share:
        return f"{holder.name} holds {size(holder.held)}, {size(holder.over)} over {whose} share"
    most = f", the most of all {_NAMES[rule.by]}s" if place == 0 else ""
    return f"{holder.name} holds {size(holder.held)}{most}"


def _said(choice: Choice, says: str) -> Choice:
    """A choice whose candidates say whose they are."""
    ranking = tuple(replace(one, why=f"{says}; {one.why}") for one in choice.ranking)
    victim = choice.victim and replace(choice.victim, why=f"{says}; {choice.victim.why}")
    return replace(choice, victim=victim, ranking=ranking, refusal=choice.refusal and f"{says}; {choice.refusal}")


def _users(processes: Iterable[Process]) -> Iterable[tuple[str, list[Process]]]:
    found: dict[int, list[Process]] = {}
    for process in processes:
        if not process.kernel_thread and (user := user_of(process)) != MACHINES:
            found.setdefault(user, []).append(process)
    return ((f"user {user}", members) for user, members in found.items())


def _applications(units: Iterable[Unit]) -> Iterable[tuple[str, list[Process]]]:
    return ((_name(unit), unit.members()) for unit in units)


def _name(unit: Unit) -> str:
    cgroup = unit.root.cgroup
    if unit.kind != WHOLE:
        return unit.root.name
    return app_of(cgroup) or container_of(cgroup)[:12] or unit_of(cgroup) or unit.root.name
