"""How short memory is: the greatest level of all rules that have fired, and the greatest of all while somebody is
being ended. Whoever passes it on may be slow, so here it rises and falls at once."""

from __future__ import annotations

from okoomer.events.model import NORMAL, SEVERE, Level
from okoomer.policy.engine import FIRED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.policy.engine import Verdict
    from okoomer.policy.model import Policy
    from okoomer.record import Record

#: Seconds after which a level that is not NORMAL is told again: who hears nothing for 20 s takes it to be over.
AGAIN = 15.0
#: Seconds between looks while it is not NORMAL, so that its end is told in time.
GLANCE = 1.0


class Levels:
    """The level under one policy.

    Args:
        before: What was told before the policy was this one.
    """

    def __init__(self, policy: Policy, emit: Callable[[Record], None], before: Levels | None = None) -> None:
        self._emit = emit
        self._rules = tuple((index, rule.level) for index, rule in enumerate(policy.rules) if rule.level)
        self.level: int = before.level if before else NORMAL
        self._told: float = before._told if before else float("-inf")

    def tell(self, verdict: Verdict, ending: str, available: int, left: Callable[[], float | None]) -> None:
        """Emits the level if it is another, or was told too long ago. Without rules about it there is none.

        Args:
            ending: The rule whose act is ending somebody at present, or ''.
            available: Bytes available.
            left: Tells the seconds until nothing is left at the present rate.
        """
        level = NORMAL
        rules: list[str] = []
        for index, of_rule in self._rules:
            judged = verdict.rules[index]
            if judged.state == FIRED and of_rule >= level:
                rules = [*rules, judged.name] if of_rule == level else [judged.name]
                level = of_rule
        if ending and self._rules:
            rules = [ending, *(name for name in rules if name != ending)] if level == SEVERE else [ending]
            level = SEVERE
        if level == self.level and (level == NORMAL or verdict.time - self._told < AGAIN):
            return
        self.level, self._told = level, verdict.time
        self._emit(Level(level, available, left(), tuple(rules)))

    def wait(self, now: float) -> float:
        """Seconds until it has to be looked at again if no rule can fire before."""
        return float("inf") if self.level == NORMAL else max(0.0, min(GLANCE, self._told + AGAIN - now))
