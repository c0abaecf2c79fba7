"""What is new in the ring, however the courier falls behind and whatever stands there."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from okoomer.courier.feed import Feed, decode, position
from okoomer.events.ring import HEADER_SIZE, LONGEST, SLOT, SLOTS, NotARing, Ring


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ring")


def event(name: str) -> str:
    return json.dumps({"event": name})


def names(feed: Feed) -> list[str]:
    return [fields["event"] for _, fields in feed.new()[0]]


def test_each_event_is_new_once(path: str) -> None:
    ring, feed = Ring(path), Feed(path, position(path))
    assert names(feed) == []
    ring.write(event("one"))
    ring.write(event("two"))
    assert names(feed) == ["one", "two"]
    assert names(feed) == []
    ring.write(event("three"))
    assert feed.new() == ([(event("three"), {"event": "three"})], 0, 0)


def test_what_an_earlier_guard_has_written_is_not_new(path: str) -> None:
    Ring(path).write(event("old"))
    first = position(path)
    Ring(path).write(event("new"))
    assert names(Feed(path, first)) == ["new"]


def test_where_a_guard_will_begin_a_ring_all_is_new(path: str) -> None:
    assert position(path) == 1
    Path(path).write_bytes(b"something else" * 1000)
    assert position(path) == 1
    ring = Ring(path)
    ring.write(event("first"))
    assert names(Feed(path, 1)) == ["first"]


def test_a_ring_that_is_not_there_yet_is_looked_for_again(path: str) -> None:
    feed = Feed(path, 1)
    with pytest.raises(FileNotFoundError):
        feed.new()
    Ring(path).write(event("first"))
    assert names(feed) == ["first"]


def test_something_else_in_its_place_is_an_error_until_it_is_a_ring(path: str) -> None:
    feed = Feed(path, 1)
    Path(path).write_text("nothing of the kind")
    with pytest.raises(NotARing):
        feed.new()
    Ring(path).write(event("first"))
    assert names(feed) == ["first"]


def test_a_ring_whose_name_is_gone_is_read_on(path: str) -> None:
    ring, feed = Ring(path), Feed(path, 1)
    ring.write(event("one"))
    assert names(feed) == ["one"]
    Path(path).unlink()
    ring.write(event("two"))
    assert names(feed) == ["two"]


def test_who_comes_late_hears_how_many_were_missed_once(path: str) -> None:
    ring, feed = Ring(path), Feed(path, 1)
    for number in range(SLOTS + 10):
        ring.write(event(f"number {number}"))
    events, missed, damaged = feed.new()
    assert (len(events), missed, damaged) == (SLOTS, 10, 0)
    ring.write(event("next"))
    assert feed.new() == ([(event("next"), {"event": "next"})], 0, 0)


def test_an_event_that_was_too_long_to_be_kept_is_missed(path: str) -> None:
    ring, feed = Ring(path), Feed(path, 1)
    ring.write("x" * LONGEST)
    assert feed.new() == ([], 0, 0)
    ring.write(event("next"))
    events, missed, _ = feed.new()
    assert (len(events), missed) == (1, 1)


def test_an_event_that_is_still_being_written_is_neither_missed_nor_lost(path: str) -> None:
    ring, feed = Ring(path), Feed(path, 1)
    ring.write(event("one"))
    ring.write(event("two"))
    at = HEADER_SIZE + SLOT
    with Path(path).open("r+b") as file:
        file.seek(at)
        kept = file.read(8)
        file.seek(at)
        file.write(bytes(8))
        file.flush()
        assert feed.new() == ([(event("one"), {"event": "one"})], 0, 0)
        file.seek(at)
        file.write(kept)
    assert feed.new() == ([(event("two"), {"event": "two"})], 0, 0)


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"event"', '{"event": ', "nonsense", "[]", "7", '{"event": 7}', '{"no": "event"}', "[" * 9999,
     '{"event": "x"} trailing', '{"event": "x",}', '"unended', "\ufffd"],
)  # fmt: skip
def test_what_is_no_event_is_none(text: str) -> None:
    assert decode(text) is None


def test_damaged_events_are_counted_and_the_others_read(path: str) -> None:
    ring, feed = Ring(path), Feed(path, 1)
    for text in (event("one"), "{damaged", event("three")):
        ring.write(text)
    events, missed, damaged = feed.new()
    assert ([fields["event"] for _, fields in events], missed, damaged) == (["one", "three"], 0, 1)


def test_a_number_far_ahead_is_not_believed(path: str) -> None:
    ring, feed = Ring(path), Feed(path, 1)
    ring.write(event("one"))
    with Path(path).open("r+b") as file:
        file.seek(16)
        file.write(struct.pack("<Q", 1 << 62))
        file.seek(HEADER_SIZE + 9 * SLOT)
        file.write(struct.pack("<QHHI", 1 << 61, 0, 1, 10))
    assert names(feed) == ["one"]
    ring.write(event("two"))
    assert feed.new() == ([(event("two"), {"event": "two"})], 0, 0)


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_written_over_the_ring_only_the_known_errors_come(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = str(tmp_path_factory.mktemp("ring") / "ring")
    ring, feed = Ring(path), Feed(path, 1)
    for number in range(20):
        ring.write(event(f"number {number}"))
    with Path(path).open("r+b") as file:
        for _ in range(data.draw(st.integers(1, 8))):
            file.seek(data.draw(st.sampled_from([0, 16, HEADER_SIZE, HEADER_SIZE + 3 * SLOT])))
            file.write(data.draw(st.binary(max_size=40) | st.just(struct.pack("<QHHI", 1 << 63, 0, 1, 10))))
    try:
        events, missed, damaged = feed.new()
    except (OSError, NotARing):
        return
    assert all(isinstance(fields["event"], str) for _, fields in events) and missed >= 0 and damaged >= 0
