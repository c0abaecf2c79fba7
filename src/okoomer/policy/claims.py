"""What is said for and against cgroups, by selectors and by the tags on them: who goes first, last or never. Pure."""

from __future__ import annotations

from okoomer.policy.scale import LAST, ORDINARY, PREFERRED
from okoomer.policy.select import cgroup_matcher
from okoomer.policy.tree import ROOT, above
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from okoomer.facts import Cgroup
    from okoomer.policy.model import Policy, Rule

#: What begins so anybody can write on a cgroup of his own.
ANYBODYS = "user."
#: Kinds of selectors that need more of a cgroup than its path, and which fields.
FIELDS = {"tag": frozenset({"tags", "owner"}), "user": frozenset({"owner"})}


class Claims:
    """What a policy's selectors say of cgroups.

    Who owns a cgroup can tag it as he likes with `user.*`: that protects it only if he is to be trusted in this, being
    root or the owner of the cgroup that the rule is about. Going first he may ask for.
    """

    def __init__(self, rule: Rule, policy: Policy, target: Cgroup | None) -> None:
        self._prefers = cgroup_matcher(rule.prefer, policy.prefer)
        self._avoids = cgroup_matcher(rule.avoid, policy.avoid)
        self._spares = cgroup_matcher(rule.spare, policy.spare)
        self._trusted = {0, target.owner if target else 0}

    def tier(self, cgroup: Cgroup) -> tuple[int, str]:
        """When a cgroup is taken, and who says so."""
        if because := self._prefers(cgroup):
            return PREFERRED, because
        if because := self._avoids(self._as_trusted(cgroup)):
            return LAST, because
        return ORDINARY, ""

    def staying(self, area: Iterable[Cgroup], mine: Iterable[str], held: Mapping[str, str]) -> Callable[[str], str]:
        """A function that says of a path why that cgroup must not end whole, or ''.

        Args:
            area: Cgroups of which some may be spared.
            mine: Where our own processes are.
            held: Where others are that must stay, and why.
        """
        reasons = {one.path: f"spared by {because}" for one in area if (because := self._spares(self._as_trusted(one)))}
        reasons |= {path: f"holding what must stay ({because})" for path, because in held.items()}
        reasons |= dict.fromkeys(mine, "holding okoomer itself")
        for path, because in list(reasons.items()):
            # Whoever holds one that stays, stays.
            while (path := above(path)) != ROOT and path not in reasons:
                reasons[path] = because
        return lambda path: reasons.get(path, "")

    def _as_trusted(self, cgroup: Cgroup) -> Cgroup:
        if cgroup.owner in self._trusted or not cgroup.tags:
            return cgroup
        return replace(cgroup, tags=tuple(tag for tag in cgroup.tags if not tag.startswith(ANYBODYS)))


def fields_for(rule: Rule, policy: Policy | None = None) -> frozenset[str]:
    """The fields of a Cgroup that selectors look at."""
    selectors = [*rule.prefer, *rule.avoid, *rule.spare]
    if policy:
        selectors += [*policy.prefer, *policy.avoid, *policy.spare]
    return frozenset().union(*(FIELDS.get(selector.kind, frozenset()) for selector in selectors))
