"""oomd's rulesets as a policy: a rule for each action of a chain, in the order of the rulesets."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from okoomer.compat import Translation
from okoomer.compat.oomd_config import Call, Config, Ruleset
from okoomer.compat.oomd_detectors import Place, condition_of, joined
from okoomer.compat.oomd_senpai import senpai
from okoomer.compat.oomd_values import Globs, items
from okoomer.policy.language import essential
from okoomer.policy.model import (
    Amount,
    Comparison,
    Policy,
    Ratios,
    Rule,
    Scope,
    Selector,
    Step,
)
from okoomer.policy.scope import scope_of
from okoomer.policy.select import compile_pattern
from okoomer.policy.write import condition_text
from okoomer.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.compat.oomd_detectors import Truth

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Seconds that a restart is waited for.
RESTART = 30.0
#: What is true of every machine.
_ALWAYS = Comparison("mem.total", ">", 0.0)

#: What is knowingly different, whatever the configuration.
ALWAYS = (
    "after an act the next choice waits until memory is back, and all rules that have fired rest, each for its time;"
    " in oomd two rulesets can each kill at the same look",
    "who has died is not waited for in the loop, and a pid that has become another's gets no signal",
    "drop-ins are read when this is translated; a later one takes effect when it is translated again",
)
_SESSIONS = (
    "a login session, or a cgroup with a shell, a terminal or a multiplexer in it, is never ended whole: of its"
    " processes one family is; oomd ends them all"
)
_TAGS = (
    "user.oomd_avoid counts only where the cgroup's directory is root's or belongs to the owner of the rule's cgroup;"
    " in oomd anybody can mark his own"
)


class _Draft(Record):
    """A rule without its name, and what is different about it."""

    action: str
    rule: Rule
    notes: tuple[str, ...]


def translate(config: Config, memory_total: int = 0) -> Translation:
    """The policy that does what a configuration says, and what is different.

    Args:
        config: All of it.
        memory_total: Bytes of memory of the machine for which it is meant; 0 if that is not known.

    Raises:
        PolicyError: It says what the language cannot.
    """
    rules: list[Rule] = []
    notes: list[tuple[str, str]] = [("", note) for note in ALWAYS]
    names: set[str] = set()
    for ruleset in config.running:
        drafts, left = _drafts(ruleset, config, memory_total)
        title = f"{ruleset.name.value} ({ruleset.tag})" if ruleset.tag else ruleset.name.value
        for number, draft in enumerate(drafts):
            name = _new(f"{title}: {draft.action}" if len(drafts) > 1 else title, names)
            rules.append(replace(draft.rule, name=name, line=ruleset.name.line))
            said = (*left, *draft.notes) if not number else draft.notes
            notes += [(name, note) for note in dict.fromkeys(said)]
        if not drafts:
            notes += [("", f"ruleset {title}: {note}") for note in dict.fromkeys((*left, "it does nothing here"))]
    for off in (one for one in config.rulesets if one.off):
        notes.append(("", f"ruleset {off.name.value}: a drop-in is in its place"))
    notes += [("", note) for note in _of_hooks(config)]
    # It is by them that a cgroup is known to be a mixed one.
    lists = essential()
    policy = Policy(
        name=Path(config.file).stem or "oomd",
        rules=tuple(rules),
        tell=("kmsg",),
        avoid=lists["avoid"],
        supervisors=lists["supervisors"],
    )
    return Translation(policy, tuple(notes))


def _new(name: str, names: set[str]) -> str:
    """A name that no other rule has."""
    number, found = 1, name
    while found in names:
        number += 1
        found = f"{name} {number}"
    names.add(found)
    return found


def _drafts(ruleset: Ruleset, config: Config, memory_total: int) -> tuple[list[_Draft], list[str]]:
    """The rules of a ruleset, most urgent first, and what is different about all of them."""
    left = list(ruleset.notes)
    place = Place(ruleset.scope, memory_total)
    when = condition_of(ruleset.groups, place, left.append)
    if when is False:
        left.append("its detectors never fire")
        return [], left
    drafts: list[_Draft] = []
    for number, call in enumerate(ruleset.actions):
        rest = ruleset.actions[number + 1 :]
        if call.name == "continue":
            continue
        if call.name == "stop":
            if rest:
                left.append(f"what stands behind stop is never tried: {', '.join(one.name for one in rest)}")
            break
        drafts.append(_draft(call, ruleset, place, when, bool(config.hooks)))
        if call.name in ("kernel_panic", "senpai"):
            continue
        if call.value("dry") and not call.value("always_continue") and rest:
            left.append(f"what stands behind a dry action is left out: {', '.join(one.name for one in rest)}")
            break
    if len([draft for draft in drafts if not draft.rule.only_warns]) > 1:
        left.append("each action is a rule by itself with the same condition: it acts if those before it find nobody")
    return drafts, left


def _draft(call: Call, ruleset: Ruleset, place: Place, when: Truth, hooks: bool) -> _Draft:
    notes: list[str] = []
    if call.name == "senpai":
        return _Draft("senpai", _finished(senpai(call, ruleset, when, notes.append)), tuple(notes))
    if when is True:
        notes.append("its detectors always fire")
    rule = Rule("", _ALWAYS if isinstance(when, bool) else when, "", scope=_scope(ruleset, notes))
    if call.name == "kernel_panic":
        notes.append("kernel_panic is in no build of oomd; this only warns")
        return _Draft(call.name, _finished(replace(rule, steps=(Step("warn"),), rest=ruleset.delay)), tuple(notes))
    delay = call.value("post_action_delay")
    rule = replace(rule, rest=ruleset.delay if delay is None else delay)
    if call.name == "systemd_restart":
        rule = _restart(call, rule, notes)
    else:
        rule = _kill(call, ruleset, place, rule, hooks, notes)
    if call.value("dry"):
        plain = Rule("", rule.when, "", scope=rule.scope, rest=rule.rest, steps=(Step("warn"),))
        notes = ["dry: this only warns; okoomer run --dry-run says whom a rule would end", *notes[: when is True]]
        return _Draft(call.name, _finished(plain), tuple(notes))
    return _Draft(call.name, _finished(rule), tuple(notes))


def _finished(rule: Rule) -> Rule:
    return replace(rule, when_text=condition_text(rule.when))


def _scope(ruleset: Ruleset, notes: list[str]) -> Scope | None:
    if not ruleset.scope:
        return None
    if ruleset.scope.root:
        whole = ruleset.scope.text
        raise whole.error("a ruleset for the root by itself", "a ruleset without cgroup, or cgroups below the root")
    notes.append("is judged for each cgroup by itself, with times and rests of its own; none of them hides another")
    scope = ruleset.scope.scope
    return scope_of(f"{scope.text} with {ruleset.attribute}") if scope and ruleset.attribute else scope


def _kill(call: Call, ruleset: Ruleset, place: Place, rule: Rule, hooks: bool, notes: list[str]) -> Rule:
    rank, ratios, least_swap = _rank(call, notes)
    among = _among(call, ruleset, place)
    recursive = call.value("recursive")
    if not recursive and among and any(not path for path in among.paths) and not among.relative:
        where = call.text_of("cgroup") or call.text
        raise where.error("the root as one of those to end whole", '"recursive": "true", or cgroups below it')
    steps = (Step("prekill", ruleset.hook_timeout),) if hooks and ruleset.hook_timeout else ()
    if recursive:
        notes.append(
            "recursive: down from the best to its best child; who will not end is set aside, and the next one comes"
        )
    notes += [_SESSIONS, _TAGS]
    if call.value("always_continue"):
        notes.append("always_continue: what comes behind acts only if its condition still holds when memory is back")
    elif call.text_of("post_action_delay"):
        notes.append("post_action_delay: this rule rests, and others that had fired; in oomd all of the ruleset")
    return replace(
        rule,
        unit="cgroup",
        rank=rank,
        ratios=ratios,
        least_swap=least_swap,
        among=among,
        descend="best" if recursive else "no",
        prefer=_tags("prefer"),
        avoid=_tags("avoid"),
        steps=(*steps, Step("kill")),
        rest=0.0 if call.value("always_continue") else rule.rest,
    )


def _tags(word: str) -> tuple[Selector, ...]:
    patterns = [f"{space}\\.oomd_{word}" for space in ("trusted", "user")]
    return tuple(Selector("tag", pattern, compile_pattern(pattern)) for pattern in patterns)


def _rank(call: Call, notes: list[str]) -> tuple[str, Ratios, Amount | None]:
    if call.name == "kill_by_memory_size_or_growth":
        notes.append(
            "the average that growth is held against goes by seconds, and begins with what it is at the first look of"
            " all; in oomd it goes by looks and begins with 0"
        )
        ratios = Ratios(
            round(call.value("size_threshold") / 100, 9),
            round(call.value("growing_size_percentile") / 100, 9),
            call.value("min_growth_ratio"),
        )
        return "size_or_growth", ratios, None
    if call.name == "kill_by_swap_usage":
        least: Amount | None = call.value("threshold")
        if least and least.share:
            notes.append("threshold: oomd miscounts a percentage of swap from 2 GiB on, and lets everybody pass")
        least = Amount(1.0) if least is None else least if least.value else None
        if call.value("biased_swap_kill"):
            notes.append("biased_swap_kill: oomd miscounts the ratio from 2 GiB of memory or swap on")
            return "swap_unprotected", Ratios(), least
        return "swap", Ratios(), least
    if call.name == "kill_by_pressure":
        return ("io_pressure" if call.value("resource") == "io" else "pressure"), Ratios(), None
    if call.name == "kill_by_io_cost":
        notes.append("all devices count, each by what it is; oomd counts those that --device names")
        return "io_cost", Ratios(), None
    notes.append("of those with equal reclaim the larger goes first; who was not looked at before counts from now on")
    return "pgscan", Ratios(), None


def _among(call: Call, ruleset: Ruleset, place: Place) -> Scope | None:
    """The cgroups of a kill; None is the ruleset's own."""
    cgroup: Globs | None = call.value("cgroup")
    own: Globs | None = call.value("ruleset_cgroup")
    if own and not place.scope:
        raise own.text.error("a ruleset_cgroup in a ruleset without cgroup", '"cgroup" here, or in the ruleset')
    if not cgroup and not own:
        raise call.text.error(f"{call.name} without cgroup", '"cgroup" or "ruleset_cgroup"')
    if own and not cgroup:
        if not own.scope:
            return None
        paths = [f"./{item}" for item in items(own.scope.text)]
        return scope_of(",".join([*(["."] if own.root else []), *paths]), relative=True)
    assert cgroup
    texts = [*(["/"] if cgroup.root else []), *([cgroup.scope.text] if cgroup.scope else [])]
    if own:
        assert place.scope
        if place.scope.several:
            raise own.text.error("cgroups of the ruleset's beside others, which a rule cannot name", "one of the two")
        if own.root:
            assert place.scope.scope
            texts.append(place.scope.scope.text)
        if own.scope:
            texts.append(joined(place.scope, own.scope).text)
    return scope_of(",".join(texts))


def _restart(call: Call, rule: Rule, notes: list[str]) -> Rule:
    service = call.value("service")
    command = (shutil.which("systemctl", path=_PATH) or "/usr/bin/systemctl", "restart", service)
    notes.append(
        f"systemctl is waited for {RESTART:g} s at most and nothing else waits; oomd sleeps for post_action_delay."
        f" Where {service} is not running there is nothing to restart"
    )
    name = "".join(f"\\{sign}" if sign == "\\" else sign for sign in service)
    among = scope_of(f"*.slice/{name},*.slice/*.slice/{name}")
    steps = (Step("run", RESTART, command),)
    # However little it holds: it is to be restarted, not to give memory back.
    return replace(rule, unit="cgroup", rank="rss", among=among, descend="no", steps=steps, least=Amount(0.0))


def _of_hooks(config: Config) -> Iterator[str]:
    for hook in config.hooks:
        yield (
            f"prekill hook {hook.name.value}: programs are asked that listen in /run/systemd/oomd.prekill.hook (the"
            " step prekill); plugins of oomd are not loaded"
        )
        if hook.attribute or (hook.cgroup and not hook.cgroup.root):
            yield f"prekill hook {hook.name.value}: is asked of each kill, wherever, and told the cgroup"
