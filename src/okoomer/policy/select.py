"""Selectors: which processes and cgroups `kind:pattern` or `kind~pattern` names.

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

    from okoomer.facts import Cgroup, Process
    from okoomer.policy.model import Instead, Points, Selector

    Listed = tuple[Selector, ...] | tuple[Points, ...] | tuple[Instead, ...]
    #: Whether what is looked at matches, the kind of selector and the selector as it was written.
    _Test = tuple[Callable[[Any], object], str, str]


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


def runnable(pattern: str, code: bytes) -> Any:
    """What compile_pattern gave, as something that has `search` and `fullmatch`.

    Raises:
        ValueError: It was compiled by another Python.
    """
    magic, flags, groups, *words = memoryview(code).cast("I")
    if magic != _sre.MAGIC:
        raise ValueError(f"{pattern} was compiled by another Python")
    return _sre.compile(pattern, flags, words, groups - 1, {}, (None,) * groups)


def unit_of(cgroup: str) -> str:
    """The systemd unit that a cgroup path lies in: its last component that names a service or scope, or ''."""
    for part in reversed(cgroup.split("/")):
        if part.endswith((".service", ".scope")):
            return part
    return ""


def slice_of(cgroup: str) -> str:
    """The slice that a cgroup path ends in, or ''."""
    last = cgroup.rpartition("/")[2]
    return last if last.endswith(".slice") else ""


def container_of(cgroup: str) -> str:
    """The id or name of the container that a cgroup path lies in, or ''. Of one within another it is the inner."""
    parts = cgroup.split("/")
    for place in range(len(parts) - 1, 0, -1):
        if found := _container(parts[place], parts[place - 1]):
            return found
    return ""


def _container(part: str, above: str) -> str:
    name, dot, kind = part.rpartition(".")
    if dot and kind == "scope":
        return _of_scope(name, above)
    if dot and kind == "service" and name.startswith("systemd-nspawn@"):
        return _unescaped(name.removeprefix("systemd-nspawn@"))
    if part.startswith("lxc.payload."):
        return part.removeprefix("lxc.payload.")
    if above in ("lxc", "lxc.payload"):
        return part
    if above == "docker" and len(part) >= 12 and _is_hex(part):
        return part
    inner = part.removeprefix("crio-") if above.startswith("pod") else part
    return inner if len(inner) == 64 and _is_hex(inner) else ""


#: How engines begin the name of a container's scope, before its id.
_ENGINES = ("docker-", "cri-containerd-", "crio-", "libpod-", "nerdctl-", "containerd-")


def _of_scope(name: str, above: str) -> str:
    engine, _, rest = name.rpartition("-")
    if engine.endswith("conmon"):
        return ""  # who watches a container is not in it
    if rest and _is_hex(rest) and (f"{engine}-" in _ENGINES or len(rest) == 64):
        return rest
    if above == "machine.slice":
        return _unescaped(name.removeprefix("machine-"))
    return ""


def pod_of(cgroup: str) -> str:
    """The uid of the Kubernetes pod, or the id of the Podman pod, that a cgroup path lies in, or ''."""
    parts = cgroup.split("/")
    for place in range(len(parts) - 1, 0, -1):
        part = parts[place]
        if part.endswith(".slice"):
            kubelet, pod, name = part.removesuffix(".slice").rpartition("-pod")
            if pod and "kubepods" in kubelet:
                return name.replace("_", "-")
            _, pod, name = part.removesuffix(".slice").rpartition("libpod_pod_")
            if pod:
                return name
        elif part.startswith("pod") and any("kubepods" in above for above in parts[:place]):
            return part.removeprefix("pod")
    return ""


def app_of(cgroup: str) -> str:
    """The id of the application that a cgroup path lies in, from its unit's name as desktops choose it
    (app-LAUNCHER-ID-RANDOM.scope, app-LAUNCHER-ID@RANDOM.service; the launcher may be absent; snap.ID-RANDOM.scope),
    or ''."""
    for part in reversed(cgroup.split("/")):
        name, _, kind = part.rpartition(".")
        if kind == "scope" and name.startswith("snap.") and len(name) > 41:
            return name[5:-37]  # the snap, its application, and a uuid behind one character
        if not name.startswith("app-") or kind not in ("scope", "service"):
            continue
        words = name.removeprefix("app-").partition("@")[0].split("-")
        if kind == "scope" and len(words) > 1:
            words.pop()
        return _unescaped(words[-1])
    return ""


def _is_hex(text: str) -> bool:
    return not text.strip("0123456789abcdef")


def _unescaped(name: str) -> str:
    """What systemd escaped to make it a part of a unit's name."""
    first, *rest = name.split("\\x")
    for piece in rest:
        code = piece[:2]
        known = len(code) == 2 and _is_hex(code) and code != "00"
        first += chr(int(code, 16)) + piece[2:] if known else f"\\x{piece}"
    return first


#: What each kind of selector looks at: one text, or of tags each.
SUBJECTS: dict[str, Callable[[Process], str | tuple[str, ...]]] = {
    "name": lambda process: process.name,
    "exe": lambda process: process.executable,
    "cmdline": lambda process: process.command,
    "environ": lambda process: process.environment,
    "cwd": lambda process: process.directory,
    "user": lambda process: str(process.user),
    "unit": lambda process: unit_of(process.cgroup),
    "cgroup": lambda process: process.cgroup,
    "cgroup1": lambda process: process.cgroup1,
    "container": lambda process: container_of(process.cgroup),
    "pod": lambda process: pod_of(process.cgroup),
    "tag": lambda process: process.tags,
}
#: The same of cgroups; the other kinds name none.
_OF_CGROUPS: dict[str, Callable[[Cgroup], str | tuple[str, ...]]] = {
    "user": lambda cgroup: str(cgroup.owner),
    "unit": lambda cgroup: unit_of(cgroup.path) or slice_of(cgroup.path),
    "cgroup": lambda cgroup: cgroup.path,
    "container": lambda cgroup: container_of(cgroup.path),
    "pod": lambda cgroup: pod_of(cgroup.path),
    "tag": lambda cgroup: cgroup.tags,
}
#: Of these a part is enough however the selector is written: they are long, and begin with what hardly matters.
SEARCHED = ("cmdline", "environ")


def matcher(*lists: tuple[Selector, ...]) -> Callable[[Process], str]:
    """A function that gives the first selector, as it was written, that names a process, or ''.

    Raises:
        ValueError: A selector was compiled by another Python.
    """
    tests: list[_Test] = [test for selectors in lists for test in _tests(selectors)]

    def match(process: Process) -> str:
        for test, kind, written in tests:
            if test(SUBJECTS[kind](process)):
                return written
        return ""

    return match


def cgroup_matcher(*lists: tuple[Selector, ...]) -> Callable[[Cgroup], str]:
    """A function that gives the first selector, as it was written, that names a cgroup as a whole, or ''. Only what a
    cgroup has can name it: its path and what that tells, its owner and its tags.

    Raises:
        ValueError: A selector was compiled by another Python.
    """
    tests: list[_Test] = [test for selectors in lists for test in _tests(selectors) if test[1] in _OF_CGROUPS]

    def match(cgroup: Cgroup) -> str:
        for test, kind, written in tests:
            if test(_OF_CGROUPS[kind](cgroup)):
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
        for value, test, kind, _written in rows:
            if (value < 0 or process.adjustment >= 0) and test(SUBJECTS[kind](process)):
                total += value
        return total

    return count


def command_for(process: Process, *lists: tuple[Instead, ...]) -> tuple[str, ...]:
    """The command that asks a process to end in place of SIGTERM, or ().

    Raises:
        ValueError: A selector was compiled by another Python.
    """
    for instead in lists:
        for one, (test, kind, _written) in zip(instead, _tests(instead), strict=True):
            if test(SUBJECTS[kind](process)):
                return one.command
    return ()


#: Programs of the lists that are in use, by identity: a policy has a few lists, used in each choice.
_ready: dict[int, tuple[Listed, list[_Test]]] = {}


def _tests(listed: Listed) -> list[_Test]:
    if id(listed) not in _ready:
        if len(_ready) > 64:
            _ready.clear()
        items: tuple[Any, ...] = listed
        _ready[id(listed)] = (listed, [_test(getattr(item, "selector", item)) for item in items])
    return _ready[id(listed)][1]


def _test(selector: Selector) -> _Test:
    program = runnable(selector.pattern, selector.code)
    matches = program.search if selector.part or selector.kind in SEARCHED else program.fullmatch
    if selector.kind == "tag":
        return lambda tags: any(map(matches, tags)), "tag", selector.written
    return matches, selector.kind, selector.written
