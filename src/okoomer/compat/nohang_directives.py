"""The directives of nohang's configuration, lines that begin with `@` and may come again."""

from __future__ import annotations

import re
import warnings

from okoomer.compat.nohang_keys import words
from okoomer.policy.model import Instead, Points, Selector
from okoomer.policy.select import compile_pattern
from okoomer.policy.source import Text, near

#: What stands between the two parts of a directive.
SEPARATOR = "///"

#: Directives that add to a process's badness, the selectors that they become, and what they look at.
ADJUSTMENTS = {
    "BADNESS_ADJ_RE_NAME": ("name", "the process's name"),
    "BADNESS_ADJ_RE_CGROUP_V1": ("cgroup1", "the path in the named hierarchy of version 1"),
    "BADNESS_ADJ_RE_CGROUP_V2": ("cgroup", "the path of the cgroup"),
    "BADNESS_ADJ_RE_UID": ("user", "the number of the user"),
    "BADNESS_ADJ_RE_REALPATH": ("exe", "the path of the program"),
    "BADNESS_ADJ_RE_CWD": ("cwd", "the working directory"),
    "BADNESS_ADJ_RE_CMDLINE": ("cmdline", "the command line"),
    "BADNESS_ADJ_RE_ENVIRON": ("environ", "the environment"),
}
#: Directives that name a command in place of SIGTERM.
SOFT_ACTIONS = {
    "SOFT_ACTION_RE_NAME": ("name", "the process's name"),
    "SOFT_ACTION_RE_CGROUP_V1": ("cgroup1", "the path in the named hierarchy of version 1"),
    "SOFT_ACTION_RE_CGROUP_V2": ("cgroup", "the path of the cgroup"),
}
#: Directives that stand alone, and what becomes of them here.
FLAGS = {
    "check_kmsg": "the kernel's own kills are told (`tell`), and nothing is held off for them",
    "debug_kmsg": "nothing: the kernel's messages are not read",
}
NAMES = tuple(f"@{name}" for name in (*ADJUSTMENTS, *SOFT_ACTIONS, *FLAGS))
#: Of a process in which 9 digits of points are not enough.
_POINTS = re.compile(r"[+-]?[0-9]{1,9}")


def directive(line: Text) -> tuple[str, Points | Instead | None]:
    """The name of a directive, with its @, and what it says; a flag says nothing more.

    Raises:
        PolicyError: There is no such directive, or it is not written as it has to be.
    """
    end = next((at for at, character in enumerate(line.value) if character.isspace()), len(line.value))
    head, rest = line.part(0, end), stripped(line.part(end))
    name = head.value[1:]
    if name in ADJUSTMENTS:
        return head.value, _adjustment(rest, ADJUSTMENTS[name][0], f"{head.value} 200 /// ^chrome$")
    if name in SOFT_ACTIONS:
        example = f"{head.value} ^nginx$ /// systemctl restart $SERVICE"
        return head.value, _soft_action(rest, SOFT_ACTIONS[name][0], example)
    if name in FLAGS:
        if rest.value:
            raise rest.error("too much for a flag", f"{head.value} alone")
        return head.value, None
    raise head.error("unknown directive", f"one of {', '.join(NAMES)}{near(head.value, NAMES)}")


def stripped(text: Text) -> Text:
    """A text without the space around it."""
    start = len(text.value) - len(text.value.lstrip())
    return text.part(start, max(start, len(text.value.rstrip())))


def _halves(rest: Text, example: str) -> tuple[Text, Text]:
    at = rest.value.find(SEPARATOR)
    if at < 0:
        raise rest.error(f"a directive without {SEPARATOR}", f"two parts, such as {example}")
    return stripped(rest.part(0, at)), stripped(rest.part(at + len(SEPARATOR)))


def _adjustment(rest: Text, kind: str, example: str) -> Points:
    points, pattern = _halves(rest, example)
    if not _POINTS.fullmatch(points.value):
        raise points.error("not a whole number", f"points, such as {example}")
    return Points(float(points.value), _selector(kind, pattern, example))


def _soft_action(rest: Text, kind: str, example: str) -> Instead:
    pattern, command = _halves(rest, example)
    selector = _selector(kind, pattern, example)
    if not command.value:
        raise command.error("no command", f"what to run, such as {example}")
    return Instead(selector, words(command))


def _selector(kind: str, pattern: Text, example: str) -> Selector:
    if not pattern.value:
        raise pattern.error("an empty pattern, which would name everybody", f"a regular expression, such as {example}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what will mean something else one day is right today
            return Selector(kind, pattern.value, compile_pattern(pattern.value), part=True)
    except re.error as error:
        spot, reason = pattern.part(min(error.pos or 0, len(pattern.value))), error.msg
    except (ValueError, OverflowError, RecursionError) as error:
        spot, reason = pattern, str(error)
    raise spot.error(f"not a regular expression, {reason}", "one as Python has them")
