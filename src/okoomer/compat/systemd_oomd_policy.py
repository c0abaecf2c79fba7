"""systemd-oomd's settings as a policy: a pattern for each kind of setting that a unit can have. What units have is
known to systemd only, and comes while the guard runs."""

from __future__ import annotations

from okoomer.compat import Translation
from okoomer.compat.systemd_oomd_keys import Ruleset, Settings
from okoomer.compat.systemd_oomd_values import PERMYRIAD
from okoomer.policy.language import essential
from okoomer.policy.model import Amount, And, Comparison, Held, Policy, Rule, Selector, Step
from okoomer.policy.select import compile_pattern
from okoomer.policy.write import condition_text, duration
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.policy.model import Condition

#: What PID 1 puts on the cgroup of a unit with ManagedOOMPreference=.
AVOID, OMIT = "user.oomd_avoid", "user.oomd_omit"
#: A leaf with less than this share of swap is no candidate; so long does systemd-oomd rest after it acted for
#: pressure; and within this time there must have been reclaim. Seconds.
LEAST_SWAP, REST, RECLAIMED = 0.05, 15.0, 30.0

SWAP, PRESSURE = "swap", "pressure"
_FILE = ".oomrule"

#: What is knowingly different, whatever the settings.
ALWAYS = (
    ("", "each [[rule]] here is a pattern: for each unit with the setting that `managed` names there is a copy of it"),
    ("", "a login session, or a cgroup with a shell on a terminal, a multiplexer or a supervisor in it, is not ended "
     "as a whole: the family in it that is enough is; with OOMPolicy=kill it is ended as a whole"),
    ("", "after a kill nothing more is done until its memory is back, for swap as well as for pressure"),
    ("", "what a unit that is stopped or made anew has behind it does not count for the next of its name"),
    ("avoid", "the units and programs that okoomer always takes last come last here, too"),
    ("spare", f"{AVOID} and {OMIT} count where root set them or who owns the unit that is watched"),
    (PRESSURE, "the pause is that unit's own: another unit under pressure need not wait for it"),
    (PRESSURE, "the best victim is the one scanned most in the last seconds, never in all its life"),
)  # fmt: skip


def translate(settings: Settings) -> Translation:
    """The policy that does what the settings say, and what is different."""
    notes = [*settings.notes, *ALWAYS]
    rules = []
    if settings.swap < PERMYRIAD:
        rules.append(_swap(settings))
    else:
        notes.append(("", "SwapUsedLimit: more than 100 % is never in use, so there is no rule for ManagedOOMSwap="))
    rules.append(_pressure(settings))
    if settings.pressure == PERMYRIAD:
        notes.append((PRESSURE, "DefaultMemoryPressureLimit: pressure is never above 100 %; here it is above 99.99 %"))
    for ruleset in settings.rulesets:
        rule, why = _rule(ruleset, settings)
        if rule:
            rules.append(rule)
        notes += why
    if settings.prekill:
        notes.append(("", "hooks before a kill are called for the victim alone, all at once, and never delay the next"))
    essentials = essential()
    policy = Policy(
        name="systemd-oomd",
        rules=tuple(rules),
        avoid=(*essentials["avoid"], _tag(AVOID)),
        spare=(*essentials.get("spare", ()), _tag(OMIT)),
        supervisors=essentials["supervisors"],
    )
    return Translation(policy, tuple(notes))


def limits(settings: Settings) -> tuple[str, str, str]:
    """The limit of swap, that of pressure and its duration, as texts for who asks."""
    return _exact(settings.swap), _exact(settings.pressure), duration(settings.seconds)


def reasons(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Why a copy of each rule kills, in systemd-oomd's words."""
    rulesets = tuple((_name(ruleset), f"rule {ruleset.name}") for ruleset in settings.rulesets)
    return ((SWAP, "memory-used"), (PRESSURE, "memory-pressure"), *rulesets)


def _exact(share: int) -> str:
    return f"{share // 100}.{share % 100:02}%"


def _swap(settings: Settings) -> Rule:
    rest = (PERMYRIAD - settings.swap) / PERMYRIAD
    when = And((Comparison("mem.available", "<", rest, True), Comparison("swap.free", "<", rest, True)))
    return _by_swap(SWAP, when, settings, "ManagedOOMSwap")


def _pressure(settings: Settings) -> Rule:
    when = And((Held(_stall(settings.pressure), settings.seconds), _reclaim()))
    rule = _by_pgscan(PRESSURE, when, settings, "ManagedOOMMemoryPressure")
    return replace(rule, rest=REST)


def _rule(ruleset: Ruleset, settings: Settings) -> tuple[Rule | None, list[tuple[str, str]]]:
    """A ruleset's rule, and what is different."""
    name, notes = _name(ruleset), list[tuple[str, str]]()
    if ruleset.name.split() != [ruleset.name] or not ruleset.name.isprintable():
        return None, [("", f"{ruleset.name}{_FILE}: no unit can name it, and it is left out")]
    parts: list[Condition] = []
    if ruleset.pressure is not None:
        parts.append(_stall(ruleset.pressure))
    if ruleset.swap is not None:
        if ruleset.swap == PERMYRIAD:
            return None, [("", f"{ruleset.name}{_FILE}: more than 100 % of swap is never in use, so it never acts")]
        parts.append(Comparison("swap.free", "<", (PERMYRIAD - ruleset.swap) / PERMYRIAD, True))
    if not parts:
        return None, [("", f"{ruleset.name}{_FILE}: has no condition and is left out: it would act at once")]
    when: Condition = parts[0] if len(parts) == 1 else And(tuple(parts))
    if ruleset.seconds:
        when = Held(when, ruleset.seconds)
    managed = f"OOMRules:{ruleset.name}"
    if ruleset.action == "kill-by-pgscan":
        return _by_pgscan(name, when, settings, managed), notes
    if ruleset.action == "kill-by-swap":
        notes.append((name, "only what lies within the unit is a candidate, not the whole machine"))
        return _by_swap(name, when, settings, managed), notes
    text = condition_text(when)
    rule = Rule(name, when, text, unit="cgroup", descend="no", steps=_steps(settings), managed=managed)
    return rule, notes


def _name(ruleset: Ruleset) -> str:
    return f"oomrule {ruleset.name}"


def _by_swap(name: str, when: Condition, settings: Settings, managed: str) -> Rule:
    return Rule(
        name,
        when,
        condition_text(when),
        unit="cgroup",
        rank="swap",
        steps=_steps(settings),
        least_swap=Amount(LEAST_SWAP, True),
        managed=managed,
    )


def _by_pgscan(name: str, when: Condition, settings: Settings, managed: str) -> Rule:
    return Rule(name, when, condition_text(when), unit="cgroup", rank="pgscan", steps=_steps(settings), managed=managed)


def _steps(settings: Settings) -> tuple[Step, ...]:
    kill = Step("kill")
    return (Step("prekill", settings.prekill), kill) if settings.prekill else (kill,)


def _stall(limit: int) -> Comparison:
    # Never above all there is; as near to it as it can be said.
    return Comparison("cgroup.psi.memory.full.avg10", ">", min(limit, PERMYRIAD - 1) / PERMYRIAD)


def _reclaim() -> Comparison:
    return Comparison("cgroup.scan", ">", 0.0, over=RECLAIMED)


def _tag(name: str) -> Selector:
    pattern = name.replace(".", r"\.")
    return Selector("tag", pattern, compile_pattern(pattern))
