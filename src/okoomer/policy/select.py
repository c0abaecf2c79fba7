"""Selectors: which processes `kind:pattern` names.

Patterns are regular expressions. Compiling one takes the `re` package, which costs 1.2 MiB for life, so the front
compiles and hands over the program that CPython's matcher runs; the guard gives that program back to the matcher
alone. Front and guard are the same interpreter, so the program always fits (and MAGIC says so).
"""

from __future__ import annotations

import _sre  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from okoomer.facts import Process
    from okoomer.policy.model import Selector


def compile_pattern(pattern: str) -> tuple[int, ...]:
    """The matcher's program for a pattern: (MAGIC, flags, groups, code...). For the front only.

    Raises:
        re.error: The pattern is not a regular expression.
    """
    from re import _compiler, _parser  # type: ignore[attr-defined]

    parsed = _parser.parse(pattern)
    flags = parsed.state.flags
    return tuple(int(word) for word in (_sre.MAGIC, flags, parsed.state.groups, *_compiler._code(parsed, flags)))


def unit_of(cgroup: str) -> str:
    """The systemd unit that a cgroup path lies in: its last component that names a service or scope, or ''."""
    for part in reversed(cgroup.split("/")):
        if part.endswith((".service", ".scope")):
            return part
    return ""


#: What each kind of selector looks at. The whole text must match, only a command line is searched.
SUBJECTS: dict[str, Callable[[Process], str]] = {
    "name": lambda process: process.name,
    "exe": lambda process: process.executable,
    "cmdline": lambda process: process.command,
    "user": lambda process: str(process.user),
    "unit": lambda process: unit_of(process.cgroup),
    "cgroup": lambda process: process.cgroup,
}


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


#: Programs of the lists that are in use, by identity: a policy has a few lists, used in each choice.
_ready: dict[int, tuple[tuple[Selector, ...], list[Any]]] = {}


def _tests(selectors: tuple[Selector, ...]) -> list[Any]:
    if id(selectors) not in _ready:
        if len(_ready) > 64:
            _ready.clear()
        _ready[id(selectors)] = (selectors, [_test(selector) for selector in selectors])
    return _ready[id(selectors)][1]


def _test(selector: Selector) -> Any:
    magic, flags, groups, *code = selector.code
    if magic != _sre.MAGIC:
        raise ValueError(f"selector {selector.kind}:{selector.pattern} was compiled by another Python")
    program = _sre.compile(selector.pattern, flags, code, groups - 1, {}, (None,) * groups)
    matches = program.search if selector.kind == "cmdline" else program.fullmatch
    return matches, SUBJECTS[selector.kind], f"{selector.kind}:{selector.pattern}"
