"""What systemd is told of its units becomes rules, and nothing that makes no sense becomes anything."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import Trouble
from okoomer.guard import managed as module
from okoomer.guard.link import PACKET, Link
from okoomer.guard.managed import Managed
from okoomer.policy.glob import literal, matches
from okoomer.policy.instances import LIMITED, Setting, instance, instances
from okoomer.policy.model import And, Comparison, Held, Not, Or, Policy, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from okoomer.policy.model import Condition
    from okoomer.record import Record

PRESSURE, SWAP = "ManagedOOMMemoryPressure", "ManagedOOMSwap"
PATH = "/system.slice/hog.service"


class Board:
    def __init__(self) -> None:
        self.events: list[Record] = []
        self.managed = Managed(self.events.append)

    def take(self, *packets: str | bytes) -> Board:
        for packet in packets:
            self.managed.take(packet.encode() if isinstance(packet, str) else packet)
        return self

    def changes(self, *packets: str) -> bool:
        self.managed.changed = False
        self.take(*packets)
        return self.managed.changed


# --- packets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "setting"),
    [
        (f"managed {SWAP} - - {PATH}", Setting(SWAP, PATH)),
        (f"managed {PRESSURE} 0.5 20 {PATH}", Setting(PRESSURE, PATH, 0.5, 20.0)),
        (f"managed {PRESSURE} 0.5107 - /", Setting(PRESSURE, "/", 0.5107)),
        (f"managed {PRESSURE} - 1.5 {PATH}", Setting(PRESSURE, PATH, None, 1.5)),
        (f"managed {PRESSURE} 1e-04 - {PATH}", Setting(PRESSURE, PATH, 0.0001)),
        ("managed OOMRules:calm - - /a b\n c/.d", Setting("OOMRules:calm", "/a b\n c/.d")),
        ("managed OOMRules:größe - - /größe", Setting("OOMRules:größe", "/größe")),
    ],
)
def test_a_setting_is_kept_until_it_is_taken_back(packet: str, setting: Setting) -> None:
    board = Board()
    assert board.changes(packet)
    assert board.managed.settings == (setting,)
    assert not board.changes(packet)
    assert not board.changes(f"unmanaged {setting.kind} /elsewhere", f"unmanaged Other {setting.path}")
    assert board.changes(f"unmanaged {setting.kind} {setting.path}")
    assert board.managed.settings == () and board.events == []


def test_a_name_whose_bytes_are_no_text_is_kept_as_files_are_named() -> None:
    assert Board().take(b"managed A - - /\xff").managed.settings[0].path == os.fsdecode(b"/\xff")


def test_a_setting_replaces_the_one_of_the_same_unit() -> None:
    board = Board().take(f"managed {PRESSURE} 0.5 20 {PATH}", f"managed {SWAP} - - {PATH}")
    assert board.changes(f"managed {PRESSURE} 0.6 - {PATH}")
    assert board.managed.settings == (Setting(PRESSURE, PATH, 0.6), Setting(SWAP, PATH))


def test_all_can_be_taken_back_at_once() -> None:
    board = Board()
    assert not board.changes("unmanaged-all")
    assert board.changes(f"managed {SWAP} - - /a", f"managed {SWAP} - - /b", "unmanaged-all")
    assert board.managed.settings == ()


@pytest.mark.parametrize(
    "packet",
    [
        "", "managed", "managed ", f"managed {SWAP} - -", f"managed {SWAP} -  - {PATH}", f"managed  - - {PATH}",
        f"managed {PRESSURE} 1.1 - {PATH}", f"managed {PRESSURE} -0.1 - {PATH}", f"managed {PRESSURE} nan - {PATH}",
        f"managed {PRESSURE} inf - {PATH}", f"managed {PRESSURE} x - {PATH}", f"managed {PRESSURE} - -1 {PATH}",
        f"managed {PRESSURE} - 1e9 {PATH}", f"managed {PRESSURE} 50% - {PATH}", f"managed {SWAP} - - relative",
        f"managed {SWAP} - - /../etc", f"managed {SWAP} - - /a/./b", f"managed {SWAP} - - /a\0b",
        f"managed {'x' * 2000} - - {PATH}", b"managed \xff - - /a", "unmanaged", f"unmanaged {SWAP}",
        f"unmanaged {SWAP} relative", "unmanaged-all really", "kill 1", b"\x00", "unmanagedx A /a",
    ],
)  # fmt: skip
def test_what_makes_no_sense_changes_nothing_and_is_said_once(packet: str | bytes) -> None:
    board = Board().take(f"managed {SWAP} - - {PATH}")
    board.managed.changed = False
    board.take(packet, packet, "nonsense")
    assert board.managed.settings == (Setting(SWAP, PATH),) and not board.managed.changed
    assert len(board.events) == 1 and isinstance(board.events[0], Trouble)


def test_no_more_are_kept_than_can_be_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    board = Board().take(*(f"managed {SWAP} - - /{number}" for number in range(6)))
    assert [setting.path for setting in board.managed.settings] == ["/0", "/1", "/2"]
    assert len(board.events) == 1
    assert board.changes(f"managed {SWAP} 0.5 - /1")
    assert board.changes(f"unmanaged {SWAP} /0", f"managed {SWAP} - - /5")
    assert [setting.path for setting in board.managed.settings] == ["/1", "/2", "/5"]


# --- on the line ----------------------------------------------------------------------------------------------------


@pytest.fixture
def line() -> Iterator[tuple[Link, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link = Link(ours.detach())
    with theirs:
        yield link, theirs
    link.close()


def test_settings_and_answers_come_on_the_same_line(line: tuple[Link, socket.socket]) -> None:
    link, theirs = line
    board = Board()
    link.managed = board.managed
    longest = f"managed OOMRules:{'x' * 1000} 0.5 20 /{'y' * 4000}"
    for packet in (f"managed {SWAP} - - {PATH}", "done 7 0", longest, "done 8 -15", "done x", "done 1 2 3"):
        theirs.send(packet.encode())
    assert link.answers() == [(7, 0), (8, -15)]
    assert [setting.path for setting in board.managed.settings] == [PATH, "/" + "y" * 4000]
    assert board.events == []
    theirs.send(b"managed A - - /" + b"z" * PACKET)
    assert link.answers() == [] and len(board.managed.settings) == 2
    assert len(board.events) == 1
    theirs.close()
    assert link.answers() == [] and not link.alive


def test_where_nobody_takes_settings_they_are_passed_over(line: tuple[Link, socket.socket]) -> None:
    link, theirs = line
    theirs.send(f"managed {SWAP} - - {PATH}".encode())
    theirs.send(b"done 1 0")
    assert link.answers() == [(1, 0)]


# --- rules ----------------------------------------------------------------------------------------------------------

HIGH = Comparison(LIMITED, ">", 0.6)
SCAN = Comparison("cgroup.scan", ">", 0.0, over=30.0)
LOW = Comparison("mem.available", "<", 0.1, share=True)


def pattern(when: Condition, managed: str = PRESSURE) -> Rule:
    return Rule("pressure", when, "as written", unit="cgroup", rank="pgscan", managed=managed)


@pytest.mark.parametrize(
    ("when", "suited"),
    [
        (HIGH, Comparison(LIMITED, ">", 0.5)),
        (Held(HIGH, 30.0), Held(Comparison(LIMITED, ">", 0.5), 20.0)),
        (And((Held(HIGH, 30.0), SCAN)), And((Held(Comparison(LIMITED, ">", 0.5), 20.0), SCAN))),
        (Held(And((HIGH, SCAN)), 30.0), Held(And((Comparison(LIMITED, ">", 0.5), SCAN)), 20.0)),
        (Held(Held(HIGH, 30.0), 60.0), Held(Held(Comparison(LIMITED, ">", 0.5), 20.0), 60.0)),
        (Or((Held(LOW, 5.0), Held(HIGH, 30.0))), Or((Held(LOW, 5.0), Held(Comparison(LIMITED, ">", 0.5), 20.0)))),
        (Not(Held(HIGH, 30.0)), Not(Held(Comparison(LIMITED, ">", 0.5), 20.0))),
        (Held(Not(HIGH), 30.0), Held(Not(Comparison(LIMITED, ">", 0.5)), 20.0)),
        (Held(LOW, 30.0), Held(LOW, 30.0)),
    ],
)
def test_a_unit_has_its_own_limit_and_its_own_time(when: Condition, suited: Condition) -> None:
    rule = instance(pattern(when), Setting(PRESSURE, PATH, 0.5, 20.0))
    assert rule.when == suited
    assert rule.name == f"pressure:{PATH}"
    assert rule.scope == literal(PATH) and matches(rule.scope, PATH) and not matches(rule.scope, "/system.slice")
    assert rule.managed == "" and (rule.unit, rule.rank) == ("cgroup", "pgscan")
    assert rule.when_text == "as written (here 50% for 20s)"


@pytest.mark.parametrize(
    ("setting", "when", "text"),
    [
        (Setting(PRESSURE, PATH), Held(HIGH, 30.0), "as written"),
        (Setting(PRESSURE, PATH, 0.4), Held(Comparison(LIMITED, ">", 0.4), 30.0), "as written (here 40%)"),
        (Setting(PRESSURE, PATH, None, 5.0), Held(HIGH, 5.0), "as written (here for 5s)"),
    ],
)
def test_what_a_unit_has_not_is_the_patterns(setting: Setting, when: Condition, text: str) -> None:
    rule = instance(pattern(Held(HIGH, 30.0)), setting)
    assert (rule.when, rule.when_text) == (when, text)


def test_each_unit_has_its_rule_after_the_pattern_for_its_setting() -> None:
    rules = (pattern(HIGH), Rule("last", LOW, ""), Rule("calm", HIGH, "", managed="OOMRules:calm"))
    policy = Policy("p", rules)
    settings = [Setting("OOMRules:calm", "/c"), Setting(PRESSURE, "/a"), Setting(SWAP, "/x"), Setting(PRESSURE, "/b")]
    found = instances(policy, settings)
    assert [rule.name for rule in found.rules] == ["pressure", "pressure:/a", "pressure:/b", "last", "calm", "calm:/c"]
    assert [rule for rule in found.rules if rule.managed] == [rules[0], rules[2]]
    assert instances(policy, []) is policy
    assert instances(Policy("p", rules[1:2]), settings) == Policy("p", rules[1:2])


def test_a_pattern_about_the_machine_is_one_rule_that_chooses_among_all_units_with_the_setting() -> None:
    policy = Policy("p", (pattern(LOW, SWAP),))
    settings = [Setting(SWAP, "/a"), Setting(PRESSURE, "/b"), Setting(SWAP, "/c d/*")]
    _, rule = instances(policy, settings).rules
    assert rule.managed == "" and rule.scope is None and rule.among
    assert [path for path in ("/a", "/b", "/c d/*", "/c d/e") if matches(rule.among, path)] == ["/a", "/c d/*"]
