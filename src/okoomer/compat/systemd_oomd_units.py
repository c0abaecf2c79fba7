"""What files of units set for systemd-oomd, and where in the hierarchy those units are. What really holds is known to
systemd alone, so this is for notes, and for a policy of its own where systemd is not asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from okoomer.compat.systemd_oomd_files import FOLDERS, Assignment, assignments, drop_ins, main_file
from okoomer.compat.systemd_oomd_policy import AVOID, OMIT
from okoomer.compat.systemd_oomd_values import PERMYRIAD, permyriad, span
from okoomer.policy.error import PolicyError
from okoomer.policy.glob import literal
from okoomer.policy.instances import Setting, instance, is_joint
from okoomer.policy.model import Policy, Rule
from okoomer.policy.scope import scope_of
from okoomer.record import Record, replace

#: Kinds of units that have a cgroup, and the sections that say something about it.
KINDS = ("service", "slice", "scope", "socket", "mount", "swap")
_SECTIONS = tuple(kind.capitalize() for kind in KINDS)
_SWAP, _PRESSURE, _RULES = "ManagedOOMSwap", "ManagedOOMMemoryPressure", "OOMRules"
_LIMIT, _DURATION = "ManagedOOMMemoryPressureLimit", "ManagedOOMMemoryPressureDurationSec"
#: Where a manager's units are, and the slice of a service that names none.
_ABOVE = {"system": (), "user": ("user.slice", "user-*.slice", "user@*.service")}
_SLICES = {"system": "system", "user": "app"}
#: The root of the hierarchy, and the unit of a user's manager, whose slice is known even where its file is not.
ROOT, MANAGER, MANAGERS = "-.slice", "user@.service", "user-%i.slice"
#: So many notes at most: an image can have any number of units.
MOST = 50


class Unit(Record):
    """A unit with settings: the scope that names its cgroups, and what it sets for each."""

    name: str
    scope: str
    settings: tuple[Setting, ...]


def units_of(root: str | Path) -> list[Unit]:
    """The units of a machine whose files have them watched.

    Raises:
        PolicyError: A file cannot be read, or sets what systemd would not take.
    """
    found = []
    for manager in _ABOVE:
        for name in sorted(_names(Path(root), manager)):
            given = [line for path in _files(Path(root), manager, name) for line in assignments(path)]
            unit = _unit(manager, name, [line for line in given if line.section.value in _SECTIONS])
            if unit.settings:
                found.append(unit)
    return found


def for_units(policy: Policy, units: list[Unit]) -> Policy:
    """The policy with a rule for each unit in the place of each pattern, or one for all where it is not judged by what
    their cgroups are like."""
    rules: list[Rule] = []
    for rule in policy.rules:
        concerned = [(u.scope, setting) for u in units for setting in u.settings if setting.kind == rule.managed]
        if concerned and is_joint(rule):
            scopes = ",".join(dict.fromkeys(scope for scope, _ in concerned))
            rules.append(replace(rule, name=f"{rule.name}:{scopes}", among=scope_of(scopes), managed=""))
            continue
        for scope, setting in concerned:
            rules.append(replace(instance(rule, setting), name=f"{rule.name}:{scope}", scope=scope_of(scope)))
    return replace(policy, rules=tuple(rules))


def _names(root: Path, manager: str) -> set[str]:
    """The units of which there is a file or a drop-in; what is for many units at once is none of them."""
    paths = [path for folder in FOLDERS for path in (root / folder / manager).glob("*")]
    names = {path.name.removesuffix(".d") if path.is_dir() else path.name for path in paths}
    return {name for name in names if _kind(name) in KINDS and (name == ROOT or not name.endswith(f"-.{_kind(name)}"))}


def _kind(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    return kind if stem else ""


def _files(root: Path, manager: str, name: str) -> list[Path]:
    """A unit's files in the order in which they count: its own, then all drop-ins by their names. Those for its kind
    give way to those of its family, and these to its own, if they have the same name."""
    stem, kind = name.rpartition(".")[0], _kind(name)
    before, at, instance_ = stem.partition("@")
    template = f"{before}@.{kind}" if at and instance_ else ""
    words = stem.split("-") if stem != "-" else []
    families = [f"{'-'.join(words[:count])}-.{kind}" for count in range(1, len(words))]
    found: dict[str, Path] = {}
    for folder in (kind, *families, *([template] if template else []), name):
        for path in drop_ins(root, f"{manager}/{folder}.d", ".conf"):
            found[path.name] = path
    main = main_file(root, f"{manager}/{name}") or (main_file(root, f"{manager}/{template}") if template else None)
    return [*([main] if main else []), *(found[name] for name in sorted(found))]


def _unit(manager: str, name: str, given: list[Assignment]) -> Unit:
    last = {line.key.value: line.value for line in given}
    rulesets: list[str] = []
    for line in given:
        if line.key.value == _RULES:
            rulesets = [*rulesets, *line.value.value.split()] if line.value.value else []
    slice_ = last["Slice"].value if "Slice" in last else MANAGERS if name == MANAGER else ""
    scope = _scope(manager, name, slice_)
    settings = [Setting(f"{_RULES}:{one}", scope) for one in dict.fromkeys(rulesets)]
    for kind in (_SWAP, _PRESSURE):
        mode = last.get(kind)
        if mode is None or mode.value in ("auto", ""):
            continue
        if mode.value != "kill":
            raise mode.error(f"not a value of {kind}", "auto or kill")
        limit, seconds = last.get(_LIMIT), last.get(_DURATION)
        share = permyriad(limit) if kind == _PRESSURE and limit and limit.value else 0
        lasting = span(seconds) if kind == _PRESSURE and seconds and seconds.value else None
        if seconds and lasting is not None and lasting < 1:
            raise seconds.error("too short", "at least 1s")
        settings.append(Setting(kind, scope, share / PERMYRIAD if share else None, lasting))
    return Unit(name, scope, tuple(settings))


def _scope(manager: str, name: str, slice_: str) -> str:
    """The scope that names a unit's cgroups: of a template those of all its instances."""
    if _kind(name) == "slice":
        parts = [*_ABOVE[manager], *_slices(name)]
    else:
        if not slice_:
            before, at, _ = name.partition("@")
            family = "-" + before.replace("-", r"\x2d") if at else ""
            slice_ = f"{_SLICES[manager]}{family}.slice"
        parts = [*_ABOVE[manager], *_slices(slice_), name.replace("@.", "@*.")]
    # A specifier stands for something that is known to systemd.
    plain = [_wild(part) for part in parts]
    return "/".join(plain) or "/"


def _slices(name: str) -> Iterator[str]:
    """The slices from the root down to one: what stands before a dash is the one above."""
    stem = name.removesuffix(".slice")
    if stem != "-":
        words = stem.split("-")
        for count in range(1, len(words) + 1):
            yield f"{'-'.join(words[:count])}.slice"


def _wild(part: str) -> str:
    for specifier in ("%i", "%I", "%j", "%J"):
        part = part.replace(specifier, "*")
    return "*".join(literal(piece).text for piece in part.split("*"))


# --- notes ------------------------------------------------------------------------------------------------------


def notes_of(root: str | Path) -> list[tuple[str, str]]:
    """The notes on units and cgroups of a machine whose files lie below `root`."""
    root = Path(root)
    notes = [*_of_units(root), *_of_tags(root / "xattrs.json")]
    if len(notes) > MOST:
        return [*notes[:MOST], ("", f"and {len(notes) - MOST} more settings of units and tags of cgroups")]
    return notes


def _of_units(root: Path) -> list[tuple[str, str]]:
    notes = []
    for folder in FOLDERS:
        for manager in _ABOVE:
            for path in sorted((root / folder / manager).glob("**/*")):
                unit = path.parent.name.removesuffix(".d") if path.suffix == ".conf" else path.name
                if path.is_file() and not path.is_symlink() and unit.rpartition(".")[2] in KINDS:
                    notes += [("", f"{path}: {unit} has {line}") for line in _settings(path)]
    return notes


def _settings(path: Path) -> list[str]:
    try:
        given: list[Assignment] = assignments(path)
    except PolicyError:
        return []  # systemd reads it by rules of its own, and tells what it makes of it
    return [
        f"{line.key.value}={line.value.value}"
        for line in given
        if line.section.value in _SECTIONS and line.key.value.startswith(("ManagedOOM", "OOMRules", "OOMPolicy"))
    ]


def _of_tags(path: Path) -> list[tuple[str, str]]:
    try:
        tags = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise PolicyError(str(path), f"not the tags of cgroups, {error}", path.name, "what a snapshot writes") from None
    if not isinstance(tags, dict):
        raise PolicyError(str(path), "not the tags of cgroups", path.name, "an object by cgroup")
    said = {AVOID: "comes last", OMIT: "is never taken"}
    return [
        ("", f"cgroup {cgroup} has {name}: it {said[name]}")
        for cgroup, names in sorted(tags.items())
        if isinstance(names, dict)
        for name in said
        if name in names
    ]
