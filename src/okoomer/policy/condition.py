"""Conditions and quantities of the policy language. For the short-lived front only.

A quantity becomes bytes, seconds, a share 0..1, or bytes or events per second. A condition becomes a tree: And, Or,
Held and Somewhere of comparisons with the metric on the left, and Not where there is no other way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from lark import Tree
from lark.exceptions import UnexpectedInput, UnexpectedToken

from okoomer.policy.error import PolicyError
from okoomer.policy.metrics import AVERAGE, COUNT, DEFAULT_WINDOW, FLOW, LEVEL, PORTION, RATIO, STALL, TIME, TREND
from okoomer.policy.metrics_cgroup import METRICS
from okoomer.policy.model import And, Comparison, Held, Not, Or, Somewhere
from okoomer.policy.scope import parse_scope
from okoomer.policy.source import Text, near, parser
from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lark import Token

    from okoomer.policy.model import Condition

#: Seconds: in a shorter window lie too few readings to mean anything, and nobody can wait for a longer one.
SHORTEST_WINDOW, LONGEST_WINDOW = 0.1, 600.0
#: Conditions within each other; more is a mistake, and would exhaust the stack of whoever judges them.
DEEPEST = 50

_SIZES = {"B": Fraction(1)} | {
    prefix + unit: Fraction(base**power)
    for unit, base, prefixes in (("B", 1000, "kMGT"), ("iB", 1024, "KMGT"))
    for power, prefix in enumerate(prefixes, 1)
}
#: Kinds of quantities that no metric has: what is added to a score, in bytes or in plain points.
SIZE, SCORE = "size", "score"

_PERCENT = {"%": Fraction(1, 100)}
_RATES = {f"{unit}/s": size for unit, size in _SIZES.items()}
#: How a quantity of each kind of metric is written, and what its units are worth.
_QUANTITIES: dict[str, tuple[str, Mapping[str, Fraction]]] = {
    LEVEL: ("a percentage or a size, such as 10%, 400MiB or 1.5GiB", _PERCENT | _SIZES),
    STALL: ("a percentage, such as 10%", _PERCENT),
    AVERAGE: ("a percentage, such as 10%", _PERCENT),
    PORTION: ("a percentage, such as 10%", _PERCENT),
    FLOW: ("a rate, such as 10MiB/s", _RATES),
    TREND: ("a rate, such as 10MiB/s", _RATES),
    COUNT: ("a rate, such as 100/s", {"/s": Fraction(1)}),
    RATIO: ("a plain number, such as 2.5", {"": Fraction(1)}),
    TIME: (
        "a duration, such as 30s or 500ms",
        {"ms": Fraction(1, 1000), "s": Fraction(1), "min": Fraction(60), "h": Fraction(3600)},
    ),
    SIZE: ("a size, such as 400MiB or 1.5GiB", _SIZES),
    SCORE: ("a plain number, such as 300", {"": Fraction(1)}),
}
#: Digits are bounded so that no number is ever infinite. The smallest that a machine knows has this many decimals.
_QUANTITY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,400})?)(?![0-9.])(.*)", re.DOTALL)

_SOMEWHERE = "any in 'system.slice/*' (...), the cgroups in quotes"
#: What to say where the grammar wants one of these terminals.
_EXPECTED = (
    ({"TERM", "LPAR"}, "a comparison, such as mem.available < 10%"),
    ({"_IN"}, _SOMEWHERE),
    ({"SCOPE"}, _SOMEWHERE),
    ({"LPAR"}, "a condition in brackets"),
    ({"TERM"}, "a metric or a quantity"),
    ({"OP"}, "<, <=, > or >="),
    ({"DURATION"}, "a duration, such as 2s"),
)

_INVERSE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def quantity(text: Text, kind: str, hint: str = "") -> tuple[float, str]:
    """A quantity for a kind of metric: its value in bytes, seconds or shares 0..1, and the unit as written.

    Args:
        text: The number with its unit.
        kind: What it is for, a metric's kind or one of SIZE and SCORE.
        hint: What an error says beside the units that were expected.

    Raises:
        PolicyError: It is not a number with one of the kind's units, or more than 100 %.
    """
    what, units = _QUANTITIES[kind]
    expected = what + (f" (units: {', '.join(units)})" if len(units) > 1 else "") + hint
    found = _QUANTITY.fullmatch(text.value)
    if not found:
        raise text.error("not a quantity", expected)
    number, unit = found.groups()
    if unit not in units:
        if not unit:
            raise text.error("a number without a unit", expected)
        raise text.part(found.start(2)).error("unknown unit", expected + near(unit, units))
    value = Fraction(number) * units[unit]
    if unit == "%" and value > 1:
        raise text.error("more than all there is", "at most 100%")
    return float(value), unit


def duration(text: Text) -> float:
    """A time in seconds.

    Raises:
        PolicyError: It is not a time with its unit, or zero.
    """
    seconds, _ = quantity(text, TIME)
    if not seconds:
        raise text.error("no time at all", "more than 0s")
    return seconds


def condition(text: Text, scoped: bool = False) -> Condition:
    """What a condition compiles to.

    Args:
        text: The condition.
        scoped: Whether it is about a cgroup, so that it may ask for metrics of one.

    Raises:
        PolicyError: It is not a condition, or one that holds always or never, whatever the machine.
    """
    try:
        tree = parser("condition").parse(text.value)
    except UnexpectedInput as error:
        raise _not_here(text, error) from None
    return _Compiler(text).compile(tree, negated=False, scoped=scoped)


def _not_here(text: Text, error: UnexpectedInput) -> PolicyError:
    # Every character belongs to some token, so it is always a whole one that is in the wrong place.
    assert isinstance(error, UnexpectedToken)
    ended = error.token.type == "$END"
    spot = text.part(len(text.value)) if ended else text.of(error.token)
    if any(spot.value in units for _, units in _QUANTITIES.values()) and not ended:
        return spot.error("a unit by itself", "no space between a number and its unit")
    problem = "the condition ends too early" if ended else "out of place"
    for terminals, expected in _EXPECTED:
        if terminals <= error.expected:
            return spot.error(problem, expected)
    before = text.value[: None if ended else error.token.start_pos]
    closing = ")" if before.count("(") > before.count(")") else "the end"
    return spot.error(problem, f"and, or, over, for or {closing}")


class _Compiler(Record):
    """What turns the syntax tree of a text into a condition."""

    text: Text

    def compile(self, tree: Tree[Token], negated: bool, scoped: bool, depth: int = 0) -> Condition:
        """A condition or its negation, which goes down to the comparisons: only of a time that has not passed yet, and
        of none among cgroups, there is no other form. What is unknown stays unknown either way."""
        if depth > DEEPEST:
            raise self.text.error("too much within each other", f"at most {DEEPEST} conditions within conditions")
        if tree.data == "comparison":
            return self._comparison(tree, negated, scoped)
        inner = [child for child in tree.children if isinstance(child, Tree)]
        if tree.data == "inverse":
            return self.compile(inner[0], not negated, scoped, depth + 1)
        if tree.data == "held":
            part = self.compile(inner[0], False, scoped, depth + 1)
            held = Held(part, duration(self.text.of(tree.children[1])))
            return Not(held) if negated else held
        if tree.data == "somewhere":
            somewhere = self._somewhere(tree, inner[0], depth)
            return Not(somewhere) if negated else somewhere
        kind = And if (tree.data == "conjunction") != negated else Or
        parts: list[Condition] = []
        for child in inner:
            part = self.compile(child, negated, scoped, depth + 1)
            parts += part.parts if isinstance(part, kind) else [part]
        return kind(tuple(parts))

    def _somewhere(self, tree: Tree[Token], inner: Tree[Token], depth: int) -> Somewhere:
        second = next(inner.find_data("somewhere"), None)
        if second is not None:
            raise self.text.of(second).error("any in within any in", "one of them: cgroup.* is of one cgroup")
        written = self.text.of(tree.children[0])
        scope = parse_scope(written.part(1, len(written.value) - 1))
        return Somewhere(scope, self.compile(inner, False, True, depth + 1))

    def _comparison(self, tree: Tree[Token], negated: bool, scoped: bool) -> Comparison:
        left, sign, right, *window = (self.text.of(child) for child in tree.children)
        operator = sign.value
        if operator not in _INVERSE:
            raise sign.error("not a comparison", "<, <=, > or >=")
        if left.value[0] in "+-.0123456789":
            left, right, operator = right, left, _TURNED[operator]
        metric = METRICS.get(left.value)
        if metric is None:
            families = dict.fromkeys(name.partition(".")[0] + ".*" for name in METRICS)
            raise left.error("unknown metric", f"one of {', '.join(families)}{near(left.value, METRICS)}")
        if metric.of_cgroup and not scoped:
            raise left.error("a metric of a cgroup, and no cgroup", "scope, or any in 'system.slice/*' (...)")
        value, unit = quantity(right, metric.kind)
        meant = _INVERSE[operator] if negated else operator
        # That any value will do says of a cgroup that it is there.
        _check_crossed(self.text.of(tree), meant if metric.of_cgroup else operator, value, unit, metric.of_cgroup)
        over = DEFAULT_WINDOW if metric.windowed else 0.0
        if window:
            if not metric.windowed:
                raise window[0].error(f"{metric.name} has no window", "for instead of over (how long it lasts)")
            over = duration(window[0])
            if not SHORTEST_WINDOW <= over <= LONGEST_WINDOW:
                raise window[0].error("not a window", f"{SHORTEST_WINDOW:g}s to {LONGEST_WINDOW:g}s")
        share = metric.kind == LEVEL and unit == "%"
        return Comparison(metric.name, meant, value, share, over)


def _check_crossed(text: Text, operator: str, value: float, unit: str, always: bool) -> None:
    """Refuses a comparison that is never true, and one that always is unless that is allowed."""
    most = 1.0 if unit == "%" else float("inf")
    if (operator == "<" and value <= 0) or (operator == ">" and value >= most):
        raise text.error("this can never hold", "a threshold that can be crossed")
    if not always and ((operator == ">=" and value <= 0) or (operator == "<=" and value >= most)):
        raise text.error("this always holds", "a threshold that can be crossed")
