"""systemd-oomd's configuration: oomd.conf with its drop-ins, and the rulesets `*.oomrule`.

Where systemd warns of an unknown key or section and goes on, so does this, with a note. A value that it would warn of
and pass over, so that something else holds than what is written, is an error here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from okoomer.compat.systemd_oomd_files import Assignment, assignments, drop_ins, main_file
from okoomer.compat.systemd_oomd_keys import KEYS, Ruleset, Settings
from okoomer.compat.systemd_oomd_policy import translate
from okoomer.policy.error import PolicyError
from okoomer.policy.source import Text, near
from okoomer.record import replace

__all__ = ["Settings", "load", "translate"]

RULESET = ".oomrule"


def load(root: str | Path = "/") -> Settings:
    """What is set on a machine.

    Args:
        root: The directory that holds its files, as `/` does here.

    Raises:
        PolicyError: A file cannot be read, or says what systemd-oomd would not take.
    """
    root = Path(root)
    main = main_file(root, "oomd.conf")
    files = [*([main] if main else []), *drop_ins(root, "oomd.conf.d", ".conf")]
    notes: list[tuple[str, str]] = []
    fields: dict[str, Any] = {}
    for path in files:
        fields |= _read(assignments(path), "OOM", notes)
    paths = drop_ins(root, "oomd/rules.d", RULESET)
    rulesets = tuple(_ruleset(path, notes) for path in paths)
    return replace(Settings(), **fields, rulesets=rulesets, files=tuple(map(str, [*files, *paths])), notes=tuple(notes))


def _ruleset(path: Path, notes: list[tuple[str, str]]) -> Ruleset:
    fields = _read(assignments(path), "Rule", notes)
    if "action" not in fields:
        text = path.read_text("utf-8")
        place = Text(str(path), text, "", (0, 0))
        raise place.error("a ruleset without an action", "a line such as Action=kill-by-pgscan")
    return Ruleset(path.name.removesuffix(RULESET), **fields)


def _read(given: list[Assignment], section: str, notes: list[tuple[str, str]]) -> dict[str, Any]:
    """The fields that a file sets; the last time counts."""
    known = {key.name: key for key in KEYS if key.section == section}
    fields = {}
    strange = set()
    for line in given:
        name, where = line.section.value, line.section
        if name != section:
            if not name.startswith("X-") and where.places[0] not in strange:
                strange.add(where.places[0])
                notes.append(("", f"{_place(where)}: section [{name}] is unknown and passed over, as by systemd"))
        elif line.key.value in known:
            key = known[line.key.value]
            fields[key.field] = key.read(line.value)
        elif not line.key.value.startswith("X-"):
            why = (
                f"{line.key.value} is no key of [{section}] and passed over, as by systemd{near(line.key.value, known)}"
            )
            notes.append(("", f"{_place(line.key)}: {why}"))
    return fields


def _place(text: Text) -> str:
    error: PolicyError = text.error("", "")
    return f"{error.file}:{error.line}:{error.column}"
