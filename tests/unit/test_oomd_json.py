"""The JSON of oomd's configuration: comments, and every mistake with its place."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from okoomer.compat import oomd_json
from okoomer.compat.oomd_config import parse
from okoomer.compat.oomd_json import ARRAY, NULL, NUMBER, OBJECT, STRING, TRUTH, Node
from okoomer.policy.error import PolicyError
from tests.unit.strategies import cases

EXAMPLES = Path(__file__).parent / "oomd"


def plain(node: Node) -> object:
    """A value as Python's own reader gives it."""
    if node.kind == OBJECT:
        return {key.value: plain(item) for key, item in zip(node.keys, node.items, strict=True)}
    if node.kind == ARRAY:
        return [plain(item) for item in node.items]
    return node.text.value if node.kind == STRING else json.loads(node.text.value)


def some_json(random: Random, depth: int = 3) -> object:
    kind = random.randrange(7 if depth else 5)
    if kind == 5:
        return [some_json(random, depth - 1) for _ in range(random.randrange(4))]
    if kind == 6:
        return {some_text(random): some_json(random, depth - 1) for _ in range(random.randrange(4))}
    return (some_text(random), random.randrange(-99, 10**6), random.random() * 1e9, random.random() < 0.5, None)[kind]


def some_text(random: Random) -> str:
    return "".join(random.choice('aZ/*"\\\b\n\t é€😀{}[],:') for _ in range(random.randrange(6)))


@cases(5_000)
def test_json_is_read_as_python_reads_it(random: Random) -> None:
    value = some_json(random)
    source = json.dumps(value, ensure_ascii=random.random() < 0.5, indent=random.choice((None, 1)))
    assert plain(oomd_json.read(source, "x")) == value


@cases(1_000)
def test_whatever_is_broken_is_an_error_with_its_place(random: Random) -> None:
    source = (EXAMPLES / random.choice(("desktop.json", "workload.json"))).read_text()
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(source))
        source = (
            source[:at] + random.choice(("", '"', "{", "]", ",", "\\", "1", "*", "/", "x", "\n")) + source[at + 1 :]
        )
    try:
        parse(source, "x.json")
    except PolicyError as error:
        assert error.line >= 1 and error.column >= 1 and str(error).startswith(f"x.json:{error.line}:{error.column}: ")


def test_comments_and_a_last_comma_are_fine() -> None:
    source = '// one\n{ /* two\n */ "a": [1, 2,], // three\n "b": {"c": true,},\n "d": "//x", "e": null, }\n// four'
    assert plain(oomd_json.read(source, "x")) == {"a": [1, 2], "b": {"c": True}, "d": "//x", "e": None}
    kinds = [item.kind for item in oomd_json.read(source, "x").items]
    assert kinds == [ARRAY, OBJECT, STRING, NULL]
    assert [item.kind for item in oomd_json.read("[1, false]", "x").items] == [NUMBER, TRUTH]


@pytest.mark.parametrize(
    ("source", "place", "problem"),
    [
        ("", (1, 1), "ends too early"),
        ("{", (1, 2), "ends too early"),
        ('{"a": 1', (1, 8), "ends too early"),
        ('{"a" 1}', (1, 6), "a key without a value"),
        ("{a: 1}", (1, 2), "not a key"),
        ('{"a": 1 "b": 2}', (1, 9), "out of place"),
        ("[1 2]", (1, 4), "out of place"),
        ("[,]", (1, 2), "not a value"),
        ("[01]", (1, 2), "not a value"),
        ("[0x10]", (1, 2), "not a value"),
        ("[NaN]", (1, 2), "not a value"),
        ("[tru]", (1, 2), "not a value"),
        ("[+1]", (1, 2), "not a value"),
        ('{"a": 1,\n "a": 2}', (2, 3), "a key for the second time"),
        ("{} x", (1, 4), "more after the end"),
        ("{} /* x", (1, 4), "a comment that does not end"),
        ('["a\nb"]', (1, 2), "a text that does not end"),
        (r'["a\qb"]', (1, 4), "unknown escape"),
        (r'["a\u12"]', (1, 4), "not part of a text"),
        (r'["\ud83d"]', (1, 3), "half a character"),
        ("[" * 60, (1, 52), "too much within each other"),
    ],
)
def test_what_is_no_json_is_an_error_at_its_place(source: str, place: tuple[int, int], problem: str) -> None:
    with pytest.raises(PolicyError) as caught:
        oomd_json.read(source, "x.json")
    assert (caught.value.line, caught.value.column) == place
    assert problem in str(caught.value)
