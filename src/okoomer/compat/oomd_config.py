"""oomd's configuration: its JSON and drop-ins, read strictly, as typed rulesets.

What oomd ignores (unknown keys), drops (what follows a number) or finds out later (a drop-in for no ruleset) is an
error here, or told where it is clear what was meant.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from okoomer.compat import oomd_json
from okoomer.compat.oomd_json import ARRAY, OBJECT, PLAIN, Node
from okoomer.compat.oomd_plugins import ACTION, ALLOWED, DETECTOR, KEYS, PLUGINS, Argument, Plugin
from okoomer.compat.oomd_values import CGROUPS, TRUTH, Globs
from okoomer.policy.error import PolicyError
from okoomer.policy.source import Text, near
from okoomer.record import Record, replace

#: Takes a sentence about what is different.
Hear = Callable[[str], None]


class Given(Record):
    """What was given for an argument or a key, and where."""

    value: Any
    text: Text


class Call(Record):
    """A plugin with the arguments that were given to it."""

    plugin: Plugin
    text: Text
    given: tuple[tuple[str, Given], ...]

    @property
    def name(self) -> str:
        return self.plugin.name

    def text_of(self, argument: str) -> Text | None:
        """Where an argument stands, if it was given."""
        return next((one.text for name, one in self.given if name == argument), None)

    def value(self, argument: str) -> Any:
        """What an argument is, or else its default; None if it has neither."""
        for name, one in self.given:
            if name == argument:
                return one.value
        return default(self.plugin.name, argument)


class Group(Record):
    """Detectors that all have to fire."""

    name: str
    detectors: tuple[Call, ...]


class Hook(Record):
    """What is asked before somebody is killed: `cgroup` are those whose kills it is asked of, `attribute` is what they
    have to have."""

    name: Text
    cgroup: Globs | None
    attribute: str


class Ruleset(Record):
    """A ruleset: one of the groups has to fire, then the actions are tried one after the other.

    `delay` and `hook_timeout` are in seconds. `scope` are the cgroups that it is run for one by one, with an
    `attribute` only those of them that have it; `allowed` is what a drop-in may do to it. `notes` are sentences about
    what is different. `tag` is the name of the drop-in that it is the work of, else ""; it is `off` where a drop-in has
    taken its place.
    """

    name: Text
    groups: tuple[Group, ...]
    actions: tuple[Call, ...]
    delay: float
    hook_timeout: float
    scope: Globs | None
    attribute: str
    allowed: frozenset[str]
    notes: tuple[str, ...] = ()
    tag: str = ""
    off: bool = False


class Config(Record):
    """All of a configuration, drop-ins included; rulesets in the order in which they are run."""

    file: str
    rulesets: tuple[Ruleset, ...]
    hooks: tuple[Hook, ...]

    @property
    def running(self) -> tuple[Ruleset, ...]:
        """The rulesets without those whose place a drop-in has taken."""
        return tuple(one for one in self.rulesets if not one.off)


def load(path: str | Path, directory: str | Path | None = None) -> Config:
    """The configuration of a file, with the drop-ins of a directory. What begins with a dot there is none.

    Raises:
        PolicyError: One cannot be read, or is not a configuration of oomd's.
    """
    config = parse(_contents(Path(path)), str(path))
    if directory is None:
        return config
    try:
        files = sorted(one for one in Path(directory).iterdir() if not one.name.startswith(".") and one.is_file())
    except OSError as error:
        raise PolicyError(str(directory), error.strerror or str(error), str(directory), "a directory") from None
    for file in files:
        config = with_drop_in(config, _contents(file), str(file))
    return config


def _contents(path: Path) -> str:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        problem = (isinstance(error, OSError) and error.strerror) or str(error)
        raise PolicyError(str(path), problem, str(path), "a readable text file") from None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        text, place = data.decode(errors="replace"), len(data[: error.start].decode())
        raise Text(str(path), text, text[place], (place, place + 1)).error("not UTF-8", "a text file") from None


def parse(source: str, file: str) -> Config:
    """The configuration that a text says.

    Raises:
        PolicyError: It is not a configuration of oomd's.
    """
    root = _object(oomd_json.read(source, file), "a configuration", ("rulesets", "prekill_hooks"))
    found = root.get("rulesets")
    if found is None:
        raise root.text.part(0, 1).error("a configuration without rulesets", '"rulesets": [ ... ]')
    rulesets = tuple(_ruleset(node, base=True) for node in _list(found, "rulesets"))
    if not rulesets:
        raise found.text.error("no ruleset", "at least one")
    return Config(file, rulesets, _hooks(root))


def with_drop_in(config: Config, source: str, file: str) -> Config:
    """A configuration with one more drop-in, which comes before the ruleset that it is of and before older ones.

    Raises:
        PolicyError: It is none, or changes what the ruleset does not allow it to.
    """
    root = _object(oomd_json.read(source, file), "a drop-in", ("rulesets", "prekill_hooks"))
    rulesets = list(config.rulesets)
    for node in _list_of(root, "rulesets"):
        drop = _ruleset(node, base=False)
        bases = [one for one in rulesets if not one.tag]
        found = [one for one in bases if one.name.value == drop.name.value]
        if not found:
            names = [one.name.value for one in bases]
            expected = f"one of {', '.join(names)}{near(drop.name.value, names)}"
            raise drop.name.error("a drop-in for no ruleset", expected)
        base = found[0]
        for what, given in (("detectors", drop.groups), ("actions", drop.actions)):
            if given and what not in base.allowed:
                raise drop.name.error(
                    f"a drop-in with {what}, which its ruleset does not allow",
                    f'"drop-in": {{"{what}": true}} in line {base.name.line} of {base.name.file}, or no {what}',
                )
        first = next(at for at, one in enumerate(rulesets) if one.name.value == drop.name.value)
        at = rulesets.index(base)
        rulesets[at] = replace(base, off=base.off or "disable-on-drop-in" in base.allowed)
        changed = replace(
            base,
            groups=drop.groups or base.groups,
            actions=drop.actions or base.actions,
            notes=(*base.notes, *drop.notes),
            tag=Path(file).name,
            off=False,
        )
        rulesets.insert(first, changed)
    return Config(config.file, tuple(rulesets), (*_hooks(root), *config.hooks))


def _ruleset(node: Node, base: bool) -> Ruleset:
    keys = {key.name: key for key in KEYS}
    names = ("name", "detectors", "actions", "drop-in", *(name for name in keys if name != "name"))
    _object(node, "a ruleset", names)
    notes: list[str] = []
    given = {name: _given(node, key, notes) for name, key in keys.items() if node.get(name)}
    if "name" not in given:
        raise node.text.part(0, 1).error("a ruleset without a name", '"name": "..."')
    name = given["name"].text
    if not name.value.strip() or not name.value.isprintable():
        raise name.error("not a name", "printable words on one line")
    if not base:
        notes += [f"{key} in a drop-in changes nothing" for key in given if key != "name"]
    if silenced := given.get("silence-logs"):
        _silenced(silenced.text)
    attribute, scope = given.get("xattr_filter"), given.get("cgroup")
    if attribute and not scope:
        raise attribute.text.error("xattr_filter in a ruleset without cgroup", '"cgroup" beside it')
    groups = tuple(_group(one, notes) for one in _list_of(node, "detectors"))
    actions = tuple(_call(one, ACTION, notes) for one in _list_of(node, "actions"))
    for what, found in (("detectors", groups), ("actions", actions)):
        if base and not found:
            raise name.error(f"a ruleset without {what}", f'"{what}": [ ... ], with at least one')

    def time(key: str) -> float:
        seconds: float = given[key].value if key in given else _default(keys[key])
        return seconds

    return Ruleset(
        name,
        groups,
        actions,
        time("post_action_delay"),
        time("prekill_hook_timeout"),
        scope.value if scope else None,
        attribute.value if attribute else "",
        _allowed(node),
        tuple(notes),
    )


def _allowed(node: Node) -> frozenset[str]:
    found = node.get("drop-in")
    if not found:
        return frozenset()
    _object(found, "what a drop-in may do", ALLOWED)
    return frozenset(
        key.value
        for key, item in zip(found.keys, found.items, strict=True)
        if TRUTH.read(_plain(item, "true or false"), lambda _note: None)
    )


def _silenced(text: Text) -> None:
    place = 0
    for word in text.value.split(","):
        if word.strip() not in ("engine", "plugins"):
            raise text.part(place, place + len(word)).error("unknown kind of log", "engine, plugins or both")
        place += len(word) + 1


def _group(node: Node, notes: list[str]) -> Group:
    if node.kind != ARRAY:
        raise node.text.error("not a group of detectors", 'a list, such as ["name", {"name": "swap_free", ...}]')
    if not node.items or node.items[0].kind != oomd_json.STRING:
        raise (node.items[0].text if node.items else node.text).error("a group without a name", "its name, a text")
    if len(node.items) == 1:
        raise node.text.error("a group without detectors", "at least one after the name")
    detectors = tuple(_call(one, DETECTOR, notes) for one in node.items[1:])
    return Group(node.items[0].text.value, detectors)


def _call(node: Node, use: str, notes: list[str]) -> Call:
    what = "an action" if use == ACTION else "a detector"
    _object(node, what, ("name", "args"))
    found = node.get("name")
    if found is None:
        raise node.text.part(0, 1).error(f"{what} without a name", '"name": "..."')
    name = _plain(found, "a text")
    plugins = [plugin.name for plugin in PLUGINS.values() if use in plugin.uses]
    if name.value not in plugins:
        problem = f"not {what}" if name.value in PLUGINS else f"unknown {use}"
        raise name.error(problem, f"one of {', '.join(plugins)}{near(name.value, plugins)}")
    plugin = PLUGINS[name.value]
    arguments = {argument.name: argument for argument in plugin.arguments}
    body = node.get("args")
    given: dict[str, Given] = {}
    if body:
        _object(body, f"arguments of {plugin.name}", tuple(arguments), kind="argument")
        given = {key.value: _given(body, arguments[key.value], notes, plugin.name) for key in body.keys}
    for argument in plugin.arguments:
        if argument.required and argument.name not in given:
            raise name.error(f"{plugin.name} without {argument.name}", f'"{argument.name}": {argument.kind.expected}')
    return Call(plugin, name, tuple(given.items()))


def _given(node: Node, argument: Argument, notes: list[str], of: str = "") -> Given:
    item = node.get(argument.name)
    assert item
    text = _plain(item, argument.kind.expected)
    named = f"{of}, {argument.name}" if of else argument.name

    def hear(sentence: str) -> None:
        notes.append(f"{named} {text.value!r} ({where(text)}): {sentence}")

    value = argument.kind.read(text, hear)
    if argument.idle:
        notes.append(f"{named} ({where(text)}) changes nothing here: {argument.here}")
    return Given(value, text)


@functools.cache
def default(plugin: str, argument: str) -> Any:
    """The value of an argument that is not given; None if it has no default, or the plugin no such argument."""
    return next((_default(one) for one in PLUGINS[plugin].arguments if one.name == argument), None)


def _default(argument: Argument) -> Any:
    written = argument.default
    if not written:
        return None
    return argument.kind.read(Text("", written, written, range(len(written) + 1)), lambda _note: None)


def where(text: Text) -> str:
    """The file and the line in which something stands."""
    return f"{Path(text.file).name}:{text.line}"


def _hooks(root: Node) -> tuple[Hook, ...]:
    found = []
    for node in _list_of(root, "prekill_hooks"):
        _object(node, "a hook", ("name", "args"))
        name, body = node.get("name"), node.get("args")
        if name is None:
            raise node.text.part(0, 1).error("a hook without a name", '"name": "..."')
        # A hook of one's own build has arguments that nobody else knows.
        cgroup, attribute = (body.get("cgroup"), body.get("xattr")) if body else (None, None)
        found.append(
            Hook(
                _plain(name, "a text"),
                CGROUPS.read(_plain(cgroup, CGROUPS.expected), lambda _note: None) if cgroup else None,
                _plain(attribute, "a text").value if attribute else "",
            )
        )
    return tuple(found)


def _object(node: Node, what: str, keys: tuple[str, ...], kind: str = "key") -> Node:
    """An object that has no other keys."""
    if node.kind != OBJECT:
        raise node.text.error(f"not {what}", "an object, { ... }")
    for key in node.keys:
        if key.value not in keys:
            expected = f"one of {', '.join(keys)}{near(key.value, keys)}" if keys else "no argument"
            raise key.error(f"unknown {kind} of {what.removeprefix('arguments of ')}", expected)
    return node


def _list(node: Node, what: str) -> tuple[Node, ...]:
    if node.kind != ARRAY:
        raise node.text.error(f"{what} that are not a list", "a list, [ ... ]")
    return node.items


def _list_of(node: Node, key: str) -> tuple[Node, ...]:
    found = node.get(key)
    return _list(found, key) if found else ()


def _plain(node: Node, expected: str) -> Text:
    """A value that is one word; oomd takes numbers and truth values as texts."""
    if node.kind not in PLAIN:
        raise node.text.error(f"{node.kind} in the place of one value", expected)
    return node.text
