"""Steps and the commands in them, as they are written. For the short-lived front only."""

from __future__ import annotations

import re
import shlex

from okoomer.policy.condition import duration, quantity
from okoomer.policy.metrics import LEVEL, STALL
from okoomer.policy.model import STEPS, Amount, Step
from okoomer.policy.source import Text, Value, choice, near

#: What stands for something of the victim in a command's arguments, each with a dollar sign before it.
WORDS = ("PID", "NAME", "SERVICE", "UID", "CMDLINE")

#: Steps after which there is nothing left to do, and those that end somebody.
_LAST = ("oom", "kill")
_ENDS = ("term", "oom", "kill")
#: What may stand beside turns: it ends nobody, and goes on for as long as its rule has fired.
_WITH_TURNS = ("warn", "turns")
#: Steps that lead to an end, and what each would otherwise be.
_BEFORE_AN_END = {
    "prekill": "nothing to prepare anybody for",
    "pause": "a pause that nothing follows",
    "ask": "a question whose answer ends nobody",
}
#: What comes behind the name of each step, and for those of which that cannot be left out, an example.
_BEHIND = {
    "warn": ("a duration",),
    "shrink": ("an amount", "a duration"),
    "turns": (),
    "run": ("a duration",),
    "prekill": ("a duration",),
    "slow": ("a duration", "cpu", "a share of one processor"),
    "pause": ("a duration, with how often it is only that behind it or not, such as pause 1500ms 4 times",),
    "ask": ("a duration",),
    "term": ("a duration",),
    "oom": (),
    "kill": (),
}
_NEEDED = {
    "shrink": ("an amount", "how much to take away, such as shrink 1% or shrink 50MiB"),
    "run": ("a duration", "how long to wait before the next, such as run 200ms: /usr/bin/logger $NAME"),
    "prekill": ("a duration", "how long to wait for others to prepare, such as prekill 5s"),
    "slow": ("a duration", "for how long, such as slow 30s"),
    "pause": ("a duration", "how long to stand still before the next, such as pause 10s"),
    "ask": ("a duration", "how long to wait for an answer, such as ask 20s"),
    "term": ("a duration", "how long to wait before the next, such as term 5s"),
}


def steps(value: Value) -> tuple[Step, ...]:
    """What a ladder compiles to.

    Raises:
        PolicyError: It has no step, one that is none, or one that comes too late or has nothing to come after it.
    """
    texts = value.strings()
    if not texts:
        raise value.text.error("no step", 'at least one, such as ["kill"]')
    found = tuple(map(_step, texts))
    for step, following in zip(found, texts[1:], strict=False):
        if step.kind in _LAST:
            raise following.error(f"a step after {step.kind}", f"{step.kind} as the last one")
    for number, (step, text) in enumerate(zip(found, texts, strict=True)):
        if step.kind == "turns" and any(other.kind not in _WITH_TURNS for other in found):
            raise text.error("turns in a rule that ends somebody", "a rule of its own, with no other step than warn")
        if step.times and any(other.times for other in found[:number]):
            raise text.error("a second pause of so many times", "one in a rule")
        # Who has had his moments may stand still for longer without being ended for it.
        ends_nobody = step.times or (step.kind == "pause" and any(other.times for other in found[:number]))
        if step.kind in _BEFORE_AN_END and not ends_nobody and not any(later.kind in _ENDS for later in found[number:]):
            raise text.error(_BEFORE_AN_END[step.kind], f"one of {', '.join(_ENDS)} after it")
    return found


def _step(text: Text) -> Step:
    colon = text.value.find(":") if re.match(r"\s*run\b", text.value) else -1
    head = text if colon < 0 else text.part(0, colon)
    words = [head.part(*word.span()) for word in re.finditer(r"\S+", head.value)]
    if not words:
        raise text.error("not a step", f"one of {', '.join(STEPS)}")
    kind = choice(words[0], "step", STEPS)
    times = _times(words) if kind == "pause" else 0
    behind = _BEHIND[kind]
    if len(words) > 1 + len(behind):
        expected = f"{kind} and {' and '.join(behind)}" if behind else f"{kind} alone"
        raise words[-1].error("too much for a step", expected)
    if kind in _NEEDED and len(words) == 1:
        what, expected = _NEEDED[kind]
        raise text.error(f"a step without {what}", expected)
    amount = _amount(words.pop(1)) if kind == "shrink" else None
    if kind == "slow" and len(words) > 2:
        amount, words = _processor(text, words[2:]), words[:2]
    seconds = duration(words[1]) if len(words) == 2 else 0.0
    if kind != "run":
        return Step(kind, seconds, amount=amount, times=times)
    if colon < 0:
        raise text.error("a step without a command", "a colon and a command, such as run 200ms: /usr/bin/logger $NAME")
    return Step(kind, seconds, command(text.part(colon + 1)))


def _times(words: list[Text]) -> int:
    """Takes `N times` from the end of a step, if it is there: N, or 0."""
    if len(words) < 3 or words[-1].value != "times":
        return 0
    words.pop()
    number = words.pop()
    if not re.fullmatch(r"[1-9][0-9]{0,2}", number.value):
        raise number.error("not a number of times", "a whole number from 1 to 999, such as pause 1500ms 4 times")
    return int(number.value)


def _amount(text: Text) -> Amount:
    value, unit = quantity(text, LEVEL)
    if not value:
        raise text.error("nothing to take away", "more than 0")
    return Amount(value, unit == "%")


def _processor(text: Text, words: list[Text]) -> Amount:
    """The share of one processor that stands behind `cpu`."""
    if words[0].value != "cpu":
        raise words[0].error("too much for a step", "slow and a duration, or slow 30s cpu 50%")
    if len(words) < 2:
        raise text.error("a step without a share of a processor", "how much of one is left to it, such as cpu 50%")
    value, _ = quantity(words[1], STALL)
    if not value:
        raise words[1].error("no processor at all", "more than 0%")
    return Amount(value, True)


def command(text: Text) -> tuple[str, ...]:
    """A command, split as a shell would; no shell ever sees it.

    Raises:
        PolicyError: It is no command, its program has no whole path, or it has an unknown word of ours.
    """
    example = "/usr/bin/logger $NAME"
    if "\0" in text.value:
        raise text.error("a NUL in a command", f"plain text, such as {example}")
    try:
        words = tuple(shlex.split(text.value))
    except ValueError as error:
        raise text.error(f"not a command, {str(error).lower()}", "each quotation mark closed") from None
    if not words:
        raise text.error("no command", f"the path of a program and its arguments, such as {example}")
    body = text.part(len(text.value) - len(text.value.lstrip()))
    if not words[0].startswith("/"):
        raise body.error("a program without its path", f"one that begins with /, such as {example}")
    if "$" in words[0]:
        raise body.error("a program that depends on the victim", "$ in the arguments only")
    for dollar in re.finditer(r"\$(?:\{|([A-Za-z_]\w*))", text.value):
        if dollar[1] not in WORDS:
            known = f"one of {', '.join('$' + word for word in WORDS)}{near(dollar[1] or '', WORDS)}"
            raise text.part(*dollar.span()).error("unknown word of a command", known)
    return words
