"""docs/from-nohang.md says what the tables of the code say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from okoomer.compat.nohang_directives import ADJUSTMENTS, FLAGS, SOFT_ACTIONS
from okoomer.compat.nohang_keys import DEFAULTS, KEYS, Key
from okoomer.policy.model import Amount

PAGE = Path(__file__).parents[2] / "docs/from-nohang.md"


def key_row(key: Key) -> str:
    """A key as the page has it."""
    value = getattr(DEFAULTS, key.name)
    default = f"{value.value * 100:g} %" if isinstance(value, Amount) else "" if value == () else _plain(value)
    here = f"nothing: {key.here}" if key.idle else key.here
    return f"| `{key.name}` | {default} | {key.kind.expected} | {here} |"


def directive_rows() -> Iterator[str]:
    """The directives as the page has them."""
    for name, (kind, what) in ADJUSTMENTS.items():
        yield f'| `@{name} N /// RE` | {what} | `points = ["N {kind}~RE"]` |'
    for name, (kind, what) in SOFT_ACTIONS.items():
        yield f'| `@{name} RE /// CMD` | {what} | `instead = ["{kind}~RE => CMD"]` |'
    for name, why in FLAGS.items():
        yield f"| `@{name}` | | {why} |"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_page_has_every_key_as_the_code_has_it() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `") and line.count(" | ") == 3]
    assert rows == [key_row(key) for key in KEYS.values()]


def test_the_page_has_every_directive_as_the_code_has_it() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `@")]
    assert rows == list(directive_rows())
