"""Selectors: which processes `kind:pattern` names.

Patterns are regular expressions. Compiling one takes the `re` package, which costs 1.2 MiB for life, so the front
compiles and hands over the program that CPython's matcher runs; the guard gives that program back to the matcher
alone. Front and guard are the same interpreter, so the program always fits (and MAGIC says so).
"""

from __future__ import annotations

import _sre  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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


def matcher(selectors: Iterable[Selector]) -> Callable[[Process], str]:
    """A function that gives the first selector, as it was written, that names a process, or ''."""
    tests = []
    for selector in selectors:
        magic, flags, groups, *code = selector.code
        if magic != _sre.MAGIC:
            raise ValueError(f"selector {selector.kind}:{selector.pattern} was compiled by another Python")
        program = _sre.compile(selector.pattern, flags, code, groups - 1, {}, (None,) * groups)
        test = program.search if selector.kind == "cmdline" else program.fullmatch
        tests.append((test, SUBJECTS[selector.kind], f"{selector.kind}:{selector.pattern}"))

    def match(process: Process) -> str:
        for test, subject, written in tests:
            if test(subject(process)):
                return written
        return ""

    return match
