"""Which cgroups a scope names, without reading anything: paths against components that were compiled elsewhere."""

from __future__ import annotations

from okoomer.policy.model import Scope
from okoomer.policy.select import runnable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: What means something else than itself in a scope's text.
SPECIAL = "\\*?[]{},"

_ready: dict[bytes, Callable[[str], object]] = {}


def literal(path: str) -> Scope:
    """The scope that names one cgroup and nothing else; its text is read back as the same."""
    text = "".join(f"\\{character}" if character in SPECIAL else character for character in path)
    text = text.replace(" with ", "\\ with ")  # else an attribute's name might stand behind it
    kept = len(text.rstrip(" "))
    text = text[:kept] + "\\ " * (len(text) - kept)  # a blank at its end would be taken for none of it
    return Scope(text, (tuple((name, b"") for name in components(path)),))


def components(path: str) -> tuple[str, ...]:
    """The names that a path is made of, from the root down; the root has none."""
    return tuple(name for name in path.split("/") if name)


def matches(scope: Scope, path: str, base: str = "/") -> bool:
    """Whether a scope names a cgroup.

    Args:
        scope: Any scope.
        path: The cgroup, as in /proc/PID/cgroup.
        base: Where the paths of a relative scope begin; others begin at the root.

    Raises:
        ValueError: The scope was compiled by another Python.
    """
    names = components(path)
    if scope.relative:
        above = components(base)
        if names[: len(above)] != above:
            return False
        names = names[len(above) :]
    return any(len(parts) == len(names) and all(map(component_matches, parts, names)) for parts in scope.paths)


def component_matches(component: tuple[str, bytes], name: str) -> bool:
    """Whether one component of a scope names a cgroup among its siblings.

    Raises:
        ValueError: The component was compiled by another Python.
    """
    text, code = component
    if not code:
        return text == name
    if code not in _ready:
        if len(_ready) > 64:
            _ready.clear()
        _ready[code] = runnable(text, code).fullmatch
    return _ready[code](name) is not None
