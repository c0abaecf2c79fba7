"""Selectors: which processes `kind:pattern` or `kind~pattern` names.

Patterns are regular expressions. Compiling one takes the `re` package, which costs 1.2 MiB for life, so the front
compiles and hands over the program that CPython's matcher runs; the guard gives that program back to the matcher
alone. Front and guard are the same interpreter, so the program always fits (and MAGIC says so).
"""

from __future__ import annotations

import _sre  # type: ignore[import-not-found]
from _struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from okoomer.facts import Process
    from okoomer.policy.model import Instead, Points, Selector

    Listed = tuple[Selector, ...] | tuple[Points, ...] | tuple[Instead, ...]


def compile_pattern(pattern: str) -> bytes:
    """The matcher's program for a pattern: MAGIC, flags, groups, code..., four bytes each. For the front only.

    Raises:
        re.error: The pattern is not a regular expression.
    """
    from re import _compiler, _parser  # type: ignore[attr-defined]

    parsed = _parser.parse(pattern)
    flags = parsed.state.flags
    words = (_sre.MAGIC, flags, parsed.state.groups, *_compiler._code(parsed, flags))
    return pack(f"{len(words)}I", *words)


def unit_of(cgroup: str) -> str:
    """The systemd unit that a cgroup path lies in: its last component that names a service or scope, or ''."""
    for part in reversed(cgroup.split("/")):
        if part.endswith((".service", ".scope")):
            return part
    return ""


#: What each kind of selector looks at.
SUBJECTS: dict[str, Callable[[Process], str]] = {
    "name": lambda process: process.name,
    "exe": lambda process: process.executable,
    "cmdline": lambda process: process.command,
    "environ": lambda process: process.environment,
    "cwd": lambda process: process.directory,
    "user": lambda process: str(process.user),
    "unit": lambda process: unit_of(process.cgroup),
    "cgroup": lambda process: process.cgroup,
    "cgroup1": lambda process: process.cgroup1,
}
#: Of these a part is enough however the selector is written: they are long, and begin with what hardly matters.
SEARCHED = ("cmdline", "environ")


def matcher(*lists: tuple[Selector, ...]) -> Callable[[Process], str]:
    """A function that gives the first selector, as it was written, that names a process, or ''.

    Raises:
        ValueError: A selector was compiled by another Python.
    """
    tests: list[tuple[Callable[[str], object], Callable[[Process], str], str]]
    tests = [test for selectors in lists for test in _tests(selectors)]

    def match(process: Process) -> str:
        for test, subject, written in tests:
            if test(subject(process)):
                return written
        return ""

    return match


def counter(*lists: tuple[Points, ...]) -> Callable[[Process], float]:
    """A function that gives the sum of all points that a process gets. Whoever has lowered its oom_score_adj asked to
    be taken later: it gets none that are against it.

    Raises:
        ValueError: A selector was compiled by another Python.
    """
    rows = [(point.value, *test) for points in lists for point, test in zip(points, _tests(points), strict=True)]

    def count(process: Process) -> float:
        total = 0.0
        for value, test, subject, _written in rows:
            if (value < 0 or process.adjustment >= 0) and test(subject(process)):
                total += value
        return total

    return count


def command_for(process: Process, *lists: tuple[Instead, ...]) -> tuple[str, ...]:
    """The command that asks a process to end in place of SIGTERM, or ().

    Raises:
        ValueError: A selector was compiled by another Python.
    """
    for instead in lists:
        for one, (test, subject, _written) in zip(instead, _tests(instead), strict=True):
            if test(subject(process)):
                return one.command
    return ()


#: Programs of the lists that are in use, by identity: a policy has a few lists, used in each choice.
_ready: dict[int, tuple[Listed, list[Any]]] = {}


def _tests(listed: Listed) -> list[Any]:
    if id(listed) not in _ready:
        if len(_ready) > 64:
            _ready.clear()
        items: tuple[Any, ...] = listed
        _ready[id(listed)] = (listed, [_test(getattr(item, "selector", item)) for item in items])
    return _ready[id(listed)][1]


def _test(selector: Selector) -> Any:
    magic, flags, groups, *code = memoryview(selector.code).cast("I")
    if magic != _sre.MAGIC:
        raise ValueError(f"selector {selector.written} was compiled by another Python")
    program = _sre.compile(selector.pattern, flags, code, groups - 1, {}, (None,) * groups)
    matches = program.search if selector.part or selector.kind in SEARCHED else program.fullmatch
    return matches, SUBJECTS[selector.kind], selector.written
