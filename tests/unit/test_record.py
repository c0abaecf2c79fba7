"""Records: what a frozen dataclass would give, at the price of a tuple."""

from __future__ import annotations

import marshal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okoomer.record import Record, from_plain, replace, to_plain


class Point(Record):
    x: int
    y: int = 7


class Place(Record):
    x: int
    y: int = 7


class Tree(Record):
    name: str
    parts: tuple[Any, ...] = ()


class Empty(Record):
    pass


CLASSES: dict[str, type[Record]] = {"Point": Point, "Tree": Tree, "Empty": Empty}


def test_fields_come_from_position_name_or_default() -> None:
    assert (Point(1).x, Point(1).y) == (1, 7)
    assert Point(1, 2) == Point(1, y=2) == Point(y=2, x=1)


def test_defaults_are_those_of_the_class_and_not_attributes_that_shadow_the_field() -> None:
    assert Point(1, 9).y == 9
    assert list(Point(3)) == [3, 7]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1}), ((1,), {"x": 1}), ((), {"y": 1}), ((1, 2), {"y": 2})],
)
def test_wrong_arguments_are_a_type_error(arguments: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError):
        Point(*arguments, **named)


def test_a_record_without_fields_takes_no_arguments() -> None:
    assert Empty() == Empty()
    assert repr(Empty()) == "Empty()"


def test_records_of_two_classes_are_never_equal() -> None:
    assert Point(1, 2) != Place(1, 2)
    assert Point(1, 2) != (1, 2)
    assert len({Point(1, 2), Place(1, 2), Point(1, 2)}) == 2


def test_equal_records_hash_alike_and_unequal_ones_differ() -> None:
    assert Point(1, 2) == Point(1, 2) and hash(Point(1, 2)) == hash(Point(1, 2))
    assert Point(1, 2).__ne__(Point(1, 2)) is False
    assert Point(1, 2) != Point(1, 3)


def test_records_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Point(1).z = 2  # type: ignore[attr-defined]


def test_a_record_shows_its_class_and_fields() -> None:
    assert repr(Point(1)) == "Point(x=1, y=7)"


def test_records_can_be_matched_by_position() -> None:
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_replace_changes_some_fields_and_leaves_the_original() -> None:
    point = Point(1, 2)
    assert replace(point, y=5) == Point(1, 5)
    assert point == Point(1, 2)
    with pytest.raises(TypeError):
        replace(point, z=1)


PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary())
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        st.builds(Point, inner, inner),
        st.builds(Tree, st.text(), st.lists(inner, max_size=4).map(tuple)),
        st.builds(Empty),
    ),
    max_leaves=12,
)


@given(VALUES)
def test_plain_values_go_through_marshal_and_come_back_the_same(value: object) -> None:
    there = marshal.loads(marshal.dumps(to_plain(value)))
    back = from_plain(there, CLASSES)
    assert back == value
    assert type(back) is type(value)


def test_a_tuple_that_looks_like_a_plain_record_stays_a_tuple() -> None:
    assert from_plain(to_plain(("Point", 1, 2)), CLASSES) == ("Point", 1, 2)


def test_an_unknown_class_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        from_plain(to_plain(Place(1)), CLASSES)
