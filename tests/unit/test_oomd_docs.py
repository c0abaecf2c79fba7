"""docs/from-oomd.md says what the table of plugins says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from okoomer.compat.oomd_plugins import KEYS, KILL, PLUGINS, WHERE, Argument

PAGE = Path(__file__).parents[2] / "docs/from-oomd.md"


def row(of: str, argument: Argument) -> str:
    """An argument as the page has it."""
    here = f"nothing: {argument.here}" if argument.idle else argument.here
    default = "required" if argument.required else argument.default
    return f"| {of} | `{argument.name}` | {default} | {argument.kind.expected} | {here} |"


def plugin_rows() -> Iterator[str]:
    """The plugins as the page has them."""
    for plugin in PLUGINS.values():
        yield f"| `{plugin.name}` | {' and '.join(plugin.uses)} | {plugin.here} |"


def argument_rows() -> Iterator[str]:
    """The arguments as the page has them: those that many have once."""
    yield from (row("a ruleset", key) for key in KEYS)
    yield from (row("detectors of cgroups", argument) for argument in WHERE)
    yield from (row("actions that kill", argument) for argument in KILL)
    for plugin in PLUGINS.values():
        for argument in plugin.arguments:
            if argument not in (*WHERE, *KILL):
                yield row(f"`{plugin.name}`", argument)


def test_the_page_has_every_plugin_as_the_code_has_it() -> None:
    uses = {" and ".join(plugin.uses) for plugin in PLUGINS.values()}
    rows = [line for line in PAGE.read_text().splitlines() if line.count(" | ") == 2 and line.split(" | ")[1] in uses]
    assert rows == list(plugin_rows())


def test_the_page_has_every_argument_as_the_code_has_it() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and line.count(" | ") == 4]
    assert rows[0].startswith("| of | argument |")
    assert rows[1:] == list(argument_rows())
