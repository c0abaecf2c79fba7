"""A policy as text: the inverse of policy.language, tidy as a person would write it.

Numbers are written so that they are read back exactly. What the language itself would put in another way (a `not`
before a comparison, an `and` within an `and`) is read back as it puts it. For the short-lived front only.
"""

from __future__ import annotations

import itertools
import re
import shlex
import textwrap
from fractions import Fraction

from okoomer.policy.metrics import COUNT, FLOW, LEVEL, METRICS, RATIO, TIME, TREND
from okoomer.policy.model import LEVELS, POINTED, And, Comparison, Held, Not, Or, Ratios, Rule, Somewhere

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from okoomer.policy.model import Amount, Condition, Hook, Instead, Points, Policy, Scope, Selector, Step

#: Columns, of text and of comments.
WIDTH = 110
#: A command's words that mean the same to a shell with quotes and without: only the dollar signs are ours.
_PLAIN = re.compile(r"[\w@%+=:,./$-]+", re.ASCII)
_SIZES = tuple((1024**power, unit) for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")))
_ROUND_SIZES = tuple((1000**power, unit) for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")))
_TIMES = ((Fraction(3600), "h"), (Fraction(60), "min"), (Fraction(1), "s"), (Fraction(1, 1000), "ms"))


def text_of(policy: Policy, notes: Iterable[tuple[str, str]] = ()) -> str:
    """A policy as a file of the language.

    Args:
        policy: Any policy.
        notes: Of what, and a sentence, which becomes a comment: at the rule of that name, else at the first key of that
            name, else at the top, once for all that it is said of.

    Raises:
        ValueError: It has something that no text can say, such as a threshold below zero.
    """
    # Whoever wants no more than a condition's text need not load the parser.
    from okoomer.policy.language import essential

    lists = {"prefer": policy.prefer, "avoid": policy.avoid, "spare": policy.spare, "supervisors": policy.supervisors}
    top = {
        key: _array(key, map(_selector, selectors))
        for key, selectors in lists.items()
        if selectors != essential().get(key, ())
    }
    takers = [rule for rule in policy.rules if not rule.of_cgroups]
    ranks = {rule.rank in POINTED for rule in takers if rule.chooses}
    pointed = any(ranks or {rule.rank in POINTED for rule in takers})
    top |= _scoring(policy, pointed)
    if policy.report:
        top["report"] = _pair("report", duration(policy.report))
    if policy.notify:
        top["notify"] = _array("notify", policy.notify)
    if policy.pressure:
        top["pressure"] = _pair("pressure", policy.pressure)
    if policy.tell:
        top["tell"] = _array("tell", policy.tell)
    if policy.prime:
        top["prime"] = "prime = true"
    tables = [("rule", rule.name, _rule(rule)) for rule in policy.rules]
    tables += [("hook", "", _hook(hook)) for hook in policy.hooks]
    return _laid_out(top, tables, notes)


def _laid_out(
    top: Mapping[str, str], tables: Sequence[tuple[str, str, Mapping[str, str]]], notes: Iterable[tuple[str, str]]
) -> str:
    """The keys for all rules, then the tables (kind, name of a rule, keys), each note where it belongs."""
    # Where notes can stand, by what they are of: the first place of a name counts.
    places: dict[str, str] = {name: str(number) for number, (_, name, _) in enumerate(tables) if name}
    for key in top:
        places.setdefault(key, f".{key}")
    for number, (kind, _, keys) in enumerate(tables):
        places.setdefault(kind, str(number))
        for key in keys:
            places.setdefault(key, f"{number}.{key}")
    comments: dict[str, list[str]] = {}
    homeless: dict[str, list[str]] = {}
    for of, sentence in notes:
        if of in places:
            comments.setdefault(places[of], []).extend(_comment(sentence))
        else:
            homeless.setdefault(sentence, []).extend([of] if of else [])
    above = [_comment(f"{', '.join(of)}: {sentence}" if of else sentence) for sentence, of in homeless.items()]

    def lines(number: str, keys: Mapping[str, str]) -> list[str]:
        return [line for key, text in keys.items() for line in (*comments.get(f"{number}.{key}", ()), text)]

    blocks = [[line for comment in above for line in comment], lines("", top)]
    for number, (kind, _, keys) in enumerate(tables):
        blocks.append([*comments.get(str(number), ()), f"[[{kind}]]", *lines(str(number), keys)])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _comment(sentence: str) -> list[str]:
    plain = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in " ".join(sentence.split()))
    lines = textwrap.wrap(plain, WIDTH - 2, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return [f"# {line}" for line in lines]


def _rule(rule: Rule) -> dict[str, str]:
    plain = Rule(rule.name, rule.when, "")
    keys = {"name": _pair("name", rule.name), "when": _condition_pair("when", rule.when)}
    if rule.until:
        keys["until"] = _condition_pair("until", rule.until)
    for key, text, usual in (
        ("managed", rule.managed, plain.managed),
        ("scope", _globs(rule.scope) if rule.scope else None, None),
        ("unit", rule.unit, plain.unit),
        ("among", _globs(rule.among) if rule.among else None, None),
        ("descend", rule.descend, plain.descend),
        ("rank", rule.rank, plain.rank),
        ("by", rule.by, plain.by),
    ):
        if text is not None and text != usual:
            keys[key] = _pair(key, text)
    if rule.share:
        keys["share"] = _pair("share", _amount(rule.share))
    keys |= _ratios(rule.ratios)
    for key, selectors in (("prefer", rule.prefer), ("avoid", rule.avoid), ("spare", rule.spare)):
        if selectors:
            keys[key] = _array(key, map(_selector, selectors))
    keys |= _scoring(rule, rule.rank in POINTED)
    if not rule.raised:
        keys["raised"] = _pair("raised", "ignored")
    if rule.least_score:
        keys["least_score"] = _pair("least_score", _decimal(_exact(rule.least_score)))
    if rule.level:
        keys["level"] = _pair("level", next(name for name, level in LEVELS.items() if level == rule.level))
    if rule.steps or not rule.level:
        keys["steps"] = _array("steps", map(_step, rule.steps))
    if rule.rest:
        keys["rest"] = _pair("rest", duration(rule.rest))
    for key, amount in (("target", rule.target), ("least", rule.least), ("least_swap", rule.least_swap)):
        if amount:
            keys[key] = _pair(key, _amount(amount))
    return keys


def _ratios(ratios: Ratios) -> dict[str, str]:
    plain, keys = Ratios(), {}
    if ratios.dominant != plain.dominant:
        keys["dominant"] = _pair("dominant", share(ratios.dominant))
    if ratios.percentile != plain.percentile:
        keys["percentile"] = _pair("percentile", share(ratios.percentile))
    if ratios.growth != plain.growth:
        keys["growth_ratio"] = _pair("growth_ratio", _decimal(_exact(ratios.growth)))
    return keys


def _scoring(of: Rule | Policy, pointed: bool) -> dict[str, str]:
    found = {}
    if of.points:
        found["points"] = _array("points", (_points(points, pointed) for points in of.points))
    if of.instead:
        found["instead"] = _array("instead", map(_instead, of.instead))
    return found


def _hook(hook: Hook) -> dict[str, str]:
    keys = {"on": _pair("on", hook.on), "run": _pair("run", command_text(hook.command))}
    if hook.seconds != type(hook)("", ()).seconds:
        keys["limit"] = _pair("limit", duration(hook.seconds))
    if hook.user:
        keys["user"] = _pair("user", hook.user)
    return keys


def _step(step: Step) -> str:
    amount = f" {_amount(step.amount)}" if step.amount else ""
    if step.kind == "slow":
        return f"slow {duration(step.seconds)}{' cpu' + amount if amount else ''}"
    text = f"{step.kind}{amount} {duration(step.seconds)}" if step.seconds else step.kind + amount
    if step.times:
        text += f" {step.times} times"
    return f"{text}: {command_text(step.command)}" if step.command else text


def _points(points: Points, pointed: bool) -> str:
    value = abs(points.value)
    sign = "-" if points.value < 0 else "+"
    return f"{sign}{_decimal(_exact(value)) if pointed else size(value)} {_selector(points.selector)}"


def _instead(instead: Instead) -> str:
    # An arrow or a space at its end would end the pattern too early. Escaped, it is the same pattern.
    pieces = re.findall(r"\\?.", re.sub(r"=>(?=\s)", r"=\\>", _selector(instead.selector)))
    spaces = len(list(itertools.takewhile(lambda piece: piece in (" ", "\\ "), reversed(pieces))))
    selector = "".join(pieces[: len(pieces) - spaces]) + r"\x20" * spaces
    return f"{selector} => {command_text(instead.command)}"


def command_text(command: Sequence[str]) -> str:
    """A command with quotes where it needs them, for one who splits it as a shell does."""
    return " ".join(map(_quoted, command))


def _quoted(word: str) -> str:
    if _PLAIN.fullmatch(word):
        return word
    return f'"{word}"' if "'" in word and '"' not in word and "\\" not in word else shlex.quote(word)


def _selector(selector: Selector) -> str:
    """As its author wrote it; what is invisible, and nothing, as a pattern that means the same."""
    return f"{selector.kind}{'~' if selector.part else ':'}{_visible(selector.pattern) or '(?:)'}"


def _visible(pattern: str) -> str:
    def escaped(found: re.Match[str]) -> str:
        character = found[0][-1]
        if character.isprintable():
            return found[0]
        code = ord(character)
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"

    return re.sub(r"\\?.", escaped, pattern, flags=re.DOTALL)


def _amount(amount: Amount) -> str:
    return share(amount.value) if amount.share else size(amount.value)


# --- conditions -----------------------------------------------------------------------------------------------------


def condition_text(condition: Condition) -> str:
    """A condition in the language, on one line.

    Raises:
        ValueError: It has a number that the language cannot say.
    """
    return " ".join(line.strip() for line in _lines(condition, 0))


def _lines(condition: Condition, width: int) -> list[str]:
    """A condition in lines that are not longer than that, if it can be done; with 0 in as many as it takes."""
    if isinstance(condition, Comparison):
        return [_comparison(condition)]
    if isinstance(condition, Held):
        held = condition.condition
        bare = isinstance(held, (Comparison, Somewhere))
        *before, last = _lines(held, width) if bare else _in_brackets(held, width)
        return [*before, f"{last} for {duration(condition.seconds)}"]
    if isinstance(condition, Not):
        part = condition.part
        bare = isinstance(part, (Held, Comparison, Somewhere))
        first, *rest = _lines(part, width) if bare else _in_brackets(part, width)
        return [f"not {first}", *rest]
    if isinstance(condition, Somewhere):
        first, *rest = _in_brackets(condition.condition, width)
        lines = [f"any in {_quoted_globs(condition.scope)} {first}", *rest]
        return lines if len(lines[0]) <= width or not rest else [lines[0].removesuffix(first).rstrip(), first, *rest]
    word = "and" if isinstance(condition, And) else "or"
    lines = []
    for part in condition.parts:
        first, *rest = _in_brackets(part, width - 4) if isinstance(part, (And, Or)) else _lines(part, width - 4)
        lines += [f"{word} {first}" if lines else first, *rest]
    whole = " ".join(line.strip() for line in lines)
    return [whole] if len(whole) <= width else lines


def _in_brackets(condition: Condition, width: int) -> list[str]:
    lines = _lines(condition, width - 2)
    lines = [f"({lines[0]}", *(f" {line}" for line in lines[1:])]
    return [*lines[:-1], f"{lines[-1]})"]


def _globs(scope: Scope) -> str:
    if not scope.text.isprintable():
        raise ValueError(f"the language has no word for {scope.text!r}")
    return scope.text


def _quoted_globs(scope: Scope) -> str:
    """The globs of a condition in quotes. A quote of the same kind in them loses its meaning, which is none."""
    text = _globs(scope)
    mark = "'" if "'" not in text else '"'
    quoted = re.sub(rf"(\\.)|{mark}", lambda found: found[1] or f"\\{mark}", text)
    return f"{mark}{quoted}{mark}"


def _comparison(comparison: Comparison) -> str:
    said = share if comparison.share else _QUANTITIES.get(METRICS[comparison.metric].kind, share)
    window = f" over {duration(comparison.over)}" if comparison.over else ""
    return f"{comparison.metric} {comparison.operator} {said(comparison.threshold)}{window}"


# --- quantities -----------------------------------------------------------------------------------------------------


def share(value: float) -> str:
    """A share 0..1 as a percentage."""
    return f"{_decimal(_exact(value) * 100)}%"


def size(value: float) -> str:
    """Bytes in the unit in which they are a short number, or else in bytes."""
    exact = _exact(value)
    for worth, unit in (*_SIZES, *_ROUND_SIZES):
        if exact >= worth and (exact / worth * (100 if worth % 1024 == 0 else 1)).denominator == 1:
            return f"{_decimal(exact / worth)}{unit}"
    if exact < 10**15:
        return f"{_decimal(exact)}B"
    return f"{_decimal(exact / _SIZES[0][0])}{_SIZES[0][1]}"


def duration(seconds: float) -> str:
    """Seconds in the greatest unit of which they are a whole number."""
    exact = _exact(seconds)
    for worth, unit in _TIMES:
        if exact and (exact / worth).denominator == 1:
            return f"{_decimal(exact / worth)}{unit}"
    return f"{_decimal(exact)}s"


_QUANTITIES: dict[str, Callable[[float], str]] = {
    LEVEL: size,
    FLOW: lambda rate: f"{size(rate)}/s",
    TREND: lambda rate: f"{size(rate)}/s",
    COUNT: lambda rate: f"{_decimal(_exact(rate))}/s",
    RATIO: lambda ratio: _decimal(_exact(ratio)),
    TIME: duration,
}


def _exact(value: float) -> Fraction:
    """The shortest number that is read back as this one.

    Raises:
        ValueError: It is negative or not a number.
    """
    if not 0 <= value < float("inf"):
        raise ValueError(f"the language has no word for {value}")
    return Fraction(int(value)) if value == int(value) else Fraction(repr(value))


def _decimal(value: Fraction) -> str:
    """A number whose denominator has no factors but 2 and 5, in full.

    Raises:
        ValueError: It is greater than any that the language has.
    """
    if value >= 10**15:
        raise ValueError(f"the language has no word for {float(value)}")
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = f"{int(value * 10**places):0{places + 1}}"
    return f"{digits[:-places]}.{digits[-places:]}" if places else digits


# --- TOML -----------------------------------------------------------------------------------------------------------


def _string(text: str) -> str:
    """A TOML string: plain if it can be, so that backslashes of patterns stand as they are.

    Raises:
        ValueError: It has bytes that are no text.
    """
    text.encode()
    plain = text.isprintable()
    if plain and '"' not in text and "\\" not in text:
        return f'"{text}"'
    if plain and "'" not in text:
        return f"'{text}'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


def _pair(key: str, text: str) -> str:
    return f"{key} = {_string(text)}"


def _condition_pair(key: str, condition: Condition) -> str:
    line = _pair(key, condition_text(condition))
    if len(line) <= WIDTH:
        return line
    lines = [f"    {line}" for line in _lines(condition, WIDTH - 4)]
    text = "\n".join(lines)
    if "\\" not in text and '"""' not in text:
        return "\n".join((f'{key} = """', *lines, '"""'))
    return line if "'''" in text else "\n".join((f"{key} = '''", *lines, "'''"))


def _array(key: str, texts: Iterable[str]) -> str:
    strings = [_string(text) for text in texts]
    line = f"{key} = [{', '.join(strings)}]"
    if len(line) <= WIDTH:
        return line
    return "\n".join((f"{key} = [", *(f"    {string}," for string in strings), "]"))
