"""What systemd's managers say of units' settings, and what the guard is told of it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from okoomer.courier.managed import (
    EACH,
    LONGEST,
    MOST,
    PRESSURE,
    RULES,
    RULESETS,
    SWAP,
    SYSTEM,
    USERS,
    Board,
    Change,
    Nonsense,
    Setting,
    changes_of,
    path_of,
)
from okoomer.events.model import Trouble
from okoomer.guard.managed import Managed
from okoomer.record import Record

WHOLE = (1 << 32) - 1


def item(**fields: Any) -> dict[str, Any]:
    return {"mode": "kill", "path": "/a.slice", "property": PRESSURE} | fields


def changed(**fields: Any) -> list[Change]:
    return changes_of({"cgroups": [item(**fields)]})


def packets(board: Board) -> list[bytes]:
    """What the guard would be sent now."""
    sent = []
    while news := board.news():
        sent.append(news[1])
        board.sent(news[0])
    return sent


@pytest.mark.parametrize(
    ("limit", "share"),
    [
        (None, None), (0, None), (WHOLE, 1.0), (WHOLE // 2, 0.5), (858993459, 0.2), (WHOLE * 6 // 10, 0.6),
        (1, 0.0), (429497, 0.0001), (WHOLE * 4999 // 10000, 0.4999),
    ],
)  # fmt: skip
def test_a_limit_is_a_share_of_32_bits(limit: int | None, share: float | None) -> None:
    [change] = changed(limit=limit) if limit is not None else changed()
    assert change.settings == (Setting(PRESSURE, "/a.slice", share),)


@pytest.mark.parametrize("percent", range(1, 101))
def test_each_percentage_comes_back_as_it_was_set(percent: int) -> None:
    scaled = (percent * 100 * WHOLE + 5000) // 10000
    [change] = changed(limit=scaled)
    assert change.settings[0].limit == percent / 100


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (None, None), (0, None), (999_999, None), (1_000_000, 1.0), (2_500_000, 2.5), ((1 << 64) - 1, None),
        (1 << 60, 86400.0),
    ],
)  # fmt: skip
def test_a_duration_is_microseconds(duration: int | None, seconds: float | None) -> None:
    [change] = changed(duration=duration) if duration is not None else changed()
    assert change.settings == (Setting(PRESSURE, "/a.slice", None, seconds),)


def test_each_property_has_its_settings() -> None:
    assert changed(property=SWAP, limit=7) == [Change(SWAP, "/a.slice", (Setting(SWAP, "/a.slice"),))]
    assert changed(property=RULES, rules=["one", "two", "one"]) == [
        Change(RULES, "/a.slice", (Setting("OOMRules:one", "/a.slice"), Setting("OOMRules:two", "/a.slice")))
    ]
    assert changed(property=RULES, mode="auto") == [Change(RULES, "/a.slice")]
    assert changed(mode="auto", limit=5) == [Change(PRESSURE, "/a.slice")]


def test_what_a_later_systemd_may_say_is_passed_over() -> None:
    assert changed(property="ManagedOOMWeather") == changed(mode="ask") == []
    assert len(changed(colour="red")) == 1


@pytest.mark.parametrize(
    "parameters",
    [
        None, [], {}, {"cgroups": None}, {"cgroups": {}}, {"cgroups": ["x"]}, {"cgroups": [[]]},
        *({"cgroups": [item(**fields)]} for fields in (
            {"mode": 1}, {"property": None}, {"path": None}, {"path": 5}, {"path": "a.slice"}, {"path": "/a/../b"},
            {"path": "/./a"}, {"path": "/a//b"}, {"path": "/a\0b"}, {"path": "/\ud800"}, {"path": "/" + "x" * LONGEST},
            {"limit": -1}, {"limit": 1 << 32}, {"limit": "5"}, {"limit": 0.5}, {"limit": True}, {"limit": [1]},
            {"duration": -1}, {"duration": 1.5}, {"duration": "1s"}, {"duration": False},
            {"property": RULES}, {"property": RULES, "rules": "one"}, {"property": RULES, "rules": [1]},
            {"property": RULES, "rules": [""]}, {"property": RULES, "rules": ["a b"]},
            {"property": RULES, "rules": ["a\nb"]}, {"property": RULES, "rules": ["x" * 256]},
            {"property": RULES, "rules": ["x"] * (RULESETS + 1)}, {"property": RULES, "rules": [["x"]]},
        )),
    ],
)  # fmt: skip
def test_what_no_manager_says_is_nonsense(parameters: Any) -> None:
    with pytest.raises(Nonsense):
        changes_of(parameters)


@pytest.mark.parametrize(("given", "path"), [("", "/"), ("/", "/"), ("/a/", "/a"), ("/a b/c\nd", "/a b/c\nd")])
def test_paths(given: str, path: str) -> None:
    assert path_of(given) == path


def test_the_guard_is_told_what_is_new_and_nothing_else() -> None:
    board = Board("/nowhere")
    board.take(SYSTEM, changed(limit=WHOLE // 5, duration=2_000_000), whole=True)
    assert packets(board) == [b"managed ManagedOOMMemoryPressure 0.2 2 /a.slice"]
    board.take(SYSTEM, changed(limit=WHOLE // 5, duration=2_000_000))
    assert packets(board) == []
    board.take(SYSTEM, changed(path=""))
    assert packets(board) == [b"managed ManagedOOMMemoryPressure - - /"]
    board.take(SYSTEM, changed(mode="auto"))
    assert packets(board) == [b"unmanaged ManagedOOMMemoryPressure /a.slice"]
    board.take(SYSTEM, changed(property=RULES, rules=["one", "two"], path="/b c\nd"))
    assert packets(board) == [b"managed OOMRules:one - - /b c\nd", b"managed OOMRules:two - - /b c\nd"]
    board.take(SYSTEM, changed(property=RULES, rules=["two", "three"], path="/b c\nd"))
    assert packets(board) == [b"unmanaged OOMRules:one /b c\nd", b"managed OOMRules:three - - /b c\nd"]


def test_what_was_not_sent_yet_is_sent_as_it_is_in_the_end() -> None:
    board = Board("/nowhere")
    board.take(SYSTEM, changed())
    board.take(SYSTEM, changed(limit=WHOLE))
    board.take(SYSTEM, changed(path="/b", property=SWAP))
    board.take(SYSTEM, changed(path="/b", property=SWAP, mode="auto"))
    assert packets(board) == [b"managed ManagedOOMMemoryPressure 1 - /a.slice", b"unmanaged ManagedOOMSwap /b"]


def test_a_whole_list_takes_away_what_is_not_in_it() -> None:
    board = Board("/nowhere")
    board.take(SYSTEM, [*changed(), *changed(path="/b")])
    packets(board)
    board.take(SYSTEM, [*changed(path="/b"), *changed(path="/c")], whole=True)
    assert sorted(packets(board)) == [
        b"managed ManagedOOMMemoryPressure - - /c",
        b"unmanaged ManagedOOMMemoryPressure /a.slice",
    ]
    assert [setting.path for setting in board.settings()] == ["/b", "/c"]


def test_nobody_takes_away_what_the_machines_manager_has_set() -> None:
    board = Board("/nowhere")
    board.take(SYSTEM, changed(limit=WHOLE))
    board.take(1000, changed(limit=WHOLE // 2))
    board.take(1000, changed(mode="auto"))
    board.take(1000, changed(limit=WHOLE // 2))
    assert packets(board) == [b"managed ManagedOOMMemoryPressure 1 - /a.slice"]
    board.take(SYSTEM, changed(mode="auto"))
    assert packets(board) == [b"managed ManagedOOMMemoryPressure 0.5 - /a.slice"]


def test_settings_are_never_too_many() -> None:
    board = Board("/nowhere")
    lots = [change for number in range(MOST + 10) for change in changed(path=f"/{number}")]
    assert board.take(SYSTEM, lots) == 10
    assert len(board.settings()) == MOST
    users = USERS // EACH + 2
    lost = [board.take(user, changes_of({"cgroups": [item(path=f"/{user}/{n}") for n in range(EACH + 1)]}))
            for user in range(users)]  # fmt: skip
    assert lost == [1] * (users - 2) + [EACH + 1] * 2
    assert len(board.settings()) == MOST + USERS


def test_what_users_said_of_cgroups_that_are_gone_is_forgotten(tmp_path: Path) -> None:
    board = Board(str(tmp_path))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        board.take(1000, changed(path=f"/{name}"))
    board.take(SYSTEM, changed(path="/gone"))
    packets(board)
    (tmp_path / "a").rmdir()
    board.tidy()
    assert packets(board) == [b"unmanaged ManagedOOMMemoryPressure /a"]
    assert board.owner("/b") == os.geteuid() and board.owner("/a") is None and board.owner("/\0") is None


#: What may follow one another in any order: who says it, what, and whether it is all.
STEPS = st.lists(
    st.tuples(
        st.sampled_from([SYSTEM, 0, 1000]),
        st.lists(
            st.fixed_dictionaries(
                {
                    "mode": st.sampled_from(["kill", "auto"]),
                    "path": st.sampled_from(["", "/a", "/a/b", "/c d"]),
                    "property": st.sampled_from([SWAP, PRESSURE, RULES]),
                    "limit": st.sampled_from([0, 1 << 20, WHOLE]),
                    "rules": st.lists(st.sampled_from(["one", "two", "three"]), max_size=3),
                }
            ),
            max_size=4,
        ),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(STEPS)
def test_the_guard_knows_in_the_end_what_the_courier_knows(steps: list[Any]) -> None:
    board = Board("/nowhere")
    told: list[Record] = []
    managed = Managed(told.append)
    for who, cgroups, whole, sent in steps:
        board.take(who, changes_of({"cgroups": cgroups}), whole)
        if sent:
            for packet in packets(board):
                managed.take(packet)
    for packet in packets(board):
        managed.take(packet)
    known = {(one.kind, one.path, one.limit, one.seconds) for one in managed.settings}
    assert known == {tuple(setting) for setting in board.settings()}
    assert not [event for event in told if isinstance(event, Trouble)]


def test_the_longest_packet_reaches_the_guard() -> None:
    managed = Managed(lambda _event: None)
    [change] = changed(property=RULES, rules=["x" * 255], path="/" + "y" * (LONGEST - 1))
    managed.take(change.settings[0].packet)
    assert managed.settings and re.fullmatch("/y+", managed.settings[0].path)
