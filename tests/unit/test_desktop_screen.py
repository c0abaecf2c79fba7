"""Notifications that are updated, closed and lost, with a server that does what the test says, and a clock."""

from __future__ import annotations

from typing import Any, cast

import pytest
from jeepney import Message  # type: ignore[import-untyped]

from okoomer.bus.connection import Connection
from okoomer.desktop.screen import MOST, NAME, PATH, PAUSE, SOON, TRIES, Screen
from okoomer.desktop.texts import SERVERS_OWN, STAYS, Note
from tests.unit.other_end import Bus

ASK = Note("End make?", "a < b & c", 2, STAYS, ("default", "Leave it", "end", "End it"), "To answer: okoomer answer 1")
WARN = Note("firefox is growing", "soon", 1, SERVERS_OWN)


@pytest.fixture
def bus() -> Bus:
    return Bus(NAME, PATH)


@pytest.fixture
def screen(bus: Bus) -> Screen:
    made = Screen(cast(Connection, bus), lambda: bus.now)
    bus.becomes(":1.5")
    return made


def able(bus: Bus, *capabilities: str) -> None:
    bus.answer("as", list(capabilities))


def shown(bus: Bus, screen: Screen, key: str = "a", note: Note = ASK, number: int = 7, **more: Any) -> Message:
    """Shows a notification that gets a number; the call."""
    screen.show(key, note, **more)
    if bus.open_calls() == ["GetCapabilities"]:
        able(bus, "actions", "body", "body-markup")
    return bus.answer("u", number)


def test_it_is_shown_with_buttons_and_escaped(bus: Bus, screen: Screen) -> None:
    app, replaces, _icon, summary, body, actions, hints, timeout = shown(bus, screen).body
    assert (app, replaces, summary, body) == ("okoomer", 0, "End make?", "a &lt; b &amp; c")
    assert (actions, hints["urgency"], timeout) == (["default", "Leave it", "end", "End it"], ("y", 2), 0)


def test_a_server_without_buttons_is_told_the_command(bus: Bus, screen: Screen) -> None:
    screen.show("a", ASK)
    able(bus, "body")
    words = bus.answer("u", 7).body
    assert words[4] == "a < b & c\nTo answer: okoomer answer 1" and words[5] == []


@pytest.mark.parametrize("fails", ["late", "error", "nonsense"])
def test_a_server_that_does_not_say_what_it_can_gets_plain_harmless_text(bus: Bus, screen: Screen, fails: str) -> None:
    screen.show("a", ASK)
    if fails == "late":
        bus.times_out()
    elif fails == "error":
        bus.answer("", error="org.freedesktop.DBus.Error.UnknownMethod")
    else:
        bus.answer("s", "actions")
    words = bus.answer("u", 7).body
    assert words[4] == "a &lt; b &amp; c\nTo answer: okoomer answer 1" and words[5] == []
    screen.show("b", ASK)
    assert bus.open_calls() == ["GetCapabilities"], "it is asked again"


def test_a_server_that_dies_before_it_says_what_it_can_is_no_reason_to_have_no_buttons(
    bus: Bus, screen: Screen
) -> None:
    screen.show("a", ASK)
    bus.becomes("")
    bus.becomes(":1.9")
    bus.answer("", error="org.freedesktop.DBus.Error.NoReply")
    able(bus, "actions")
    assert bus.answer("u", 7).body[5] == list(ASK.actions) and not bus.asked


def test_it_is_updated_in_its_place_and_closed(bus: Bus, screen: Screen) -> None:
    shown(bus, screen)
    assert shown(bus, screen, note=WARN).body[1] == 7
    screen.close("a")
    assert bus.closed() == [7]
    screen.close("a")
    assert bus.closed() == [7] and not screen.shows("a")


def test_what_changes_while_the_server_takes_its_time_is_shown_once_and_last(bus: Bus, screen: Screen) -> None:
    screen.show("a", ASK)
    able(bus, "actions")
    for n in range(5):
        screen.show("a", Note(f"n {n}", ""))
    assert bus.open_calls() == ["Notify"]
    bus.answer("u", 7)
    words = bus.answer("u", 7).body
    assert (words[1], words[3]) == (7, "n 4") and not bus.asked


def test_what_is_closed_while_the_server_takes_its_time_is_closed_after(bus: Bus, screen: Screen) -> None:
    screen.show("a", ASK)
    able(bus, "actions")
    screen.close("a")
    assert not bus.closed()
    bus.answer("u", 7)
    assert bus.closed() == [7] and not bus.asked


def test_only_the_servers_own_number_can_be_pressed_and_only_a_button_that_is_there(bus: Bus, screen: Screen) -> None:
    pressed: list[str] = []
    shown(bus, screen, pressed=pressed.append)
    bus.signal("ActionInvoked", "us", 8, "end")
    bus.signal("ActionInvoked", "us", 7, "end", sender=":1.66")
    bus.signal("ActionInvoked", "us", 7, "format the disk")
    bus.signal("ActionInvoked", "us", 7, "End it")
    bus.signal("ActionInvoked", "uu", 7, 1)
    assert pressed == []
    bus.signal("ActionInvoked", "us", 7, "end")
    assert pressed == ["end"]


@pytest.mark.parametrize("order", [("press", "close"), ("close", "press")])
def test_a_press_is_heard_before_and_after_the_server_closes(bus: Bus, screen: Screen, order: tuple[str, str]) -> None:
    pressed: list[str] = []
    shown(bus, screen, pressed=pressed.append)
    for what in order:
        if what == "press":
            bus.signal("ActionInvoked", "us", 7, "end")
        else:
            bus.signal("NotificationClosed", "uu", 7, 2)
    assert pressed == ["end"]


@pytest.mark.parametrize("order", [("press", "close"), ("close", "press"), ("press",)])
def test_a_click_that_means_nothing_leaves_the_question_there(bus: Bus, screen: Screen, order: tuple[str, ...]) -> None:
    pressed: list[str] = []
    shown(bus, screen, pressed=pressed.append)
    for what in order:
        if what == "press":
            bus.signal("ActionInvoked", "us", 7, "default")
        else:
            bus.signal("NotificationClosed", "uu", 7, 2)
    bus.now += screen.wait(bus.now)
    assert bus.now <= SOON
    screen.turn(bus.now)
    assert bus.answer("u", 8).body[1] == 0
    assert bus.closed() == ([7] if order == ("press",) else []), "or it might be there twice, or hidden"
    assert pressed == [] and screen.wait(bus.now) == float("inf")


def test_a_question_that_was_put_aside_stays_aside(bus: Bus, screen: Screen) -> None:
    shown(bus, screen, pressed=lambda _key: None)
    bus.signal("NotificationClosed", "uu", 7, 2)
    assert not screen.shows("a") and screen.wait(0.0) == float("inf")
    screen.close("a")
    assert bus.closed() == [], "it is gone already"


def test_who_is_told_that_something_was_closed_hears_it_once(bus: Bus, screen: Screen) -> None:
    gone: list[int] = []
    shown(bus, screen, gone=lambda: gone.append(1))
    bus.signal("NotificationClosed", "uu", 7, 2, sender=":1.66")
    assert not gone
    bus.signal("NotificationClosed", "uu", 7, 2)
    bus.signal("NotificationClosed", "uu", 7, 2)
    assert gone == [1]


def test_another_server_is_shown_what_is_open_and_not_what_would_have_passed(bus: Bus, screen: Screen) -> None:
    shown(bus, screen)
    shown(bus, screen, "w", WARN, 8)
    bus.becomes("")
    assert not bus.asked and not screen.shows("w")
    bus.becomes(":1.9")
    assert bus.open_calls() == ["GetCapabilities"]
    able(bus, "actions")
    words = bus.answer("u", 1, sender=":1.9").body
    assert (words[1], words[3]) == (0, "End make?") and not bus.asked
    bus.signal("ActionInvoked", "us", 7, "end")  # the old one's
    screen.close("a")
    assert bus.closed() == [1]


def test_a_server_that_hangs_is_tried_again_at_once_then_rarely_then_not(bus: Bus, screen: Screen) -> None:
    screen.show("a", ASK)
    able(bus, "actions")
    tried = 1
    while True:
        bus.times_out()
        pause = screen.wait(bus.now)
        if pause == float("inf"):
            break
        assert pause == (0.0 if tried == 1 else PAUSE)
        bus.now += pause
        screen.turn(bus.now)
        assert bus.open_calls() == ["Notify"]
        tried += 1
    assert tried == TRIES
    bus.becomes(":1.9")
    assert bus.open_calls() == ["GetCapabilities"], "another may do better"


def test_a_warning_that_could_not_be_shown_is_forgotten(bus: Bus, screen: Screen) -> None:
    screen.show("a", WARN)
    able(bus, "actions")
    bus.times_out()
    assert not screen.shows("a") and screen.wait(0.0) == float("inf")


def test_before_there_is_a_bus_it_waits(bus: Bus) -> None:
    bus.up = False
    screen = Screen(cast(Connection, bus), lambda: bus.now)
    screen.show("a", ASK)
    assert not bus.asked
    bus.up = True
    for told in bus.on_up:
        told()
    assert bus.open_calls() == ["GetCapabilities"]


def test_there_are_never_too_many_and_questions_stay_longest(bus: Bus, screen: Screen) -> None:
    shown(bus, screen, "question", ASK, 1, pressed=lambda _key: None)
    for n in range(3 * MOST):
        shown(bus, screen, f"w {n}", Note(f"w {n}", "", timeout=STAYS), 100 + n)
    assert screen.shows("question")
    assert sum(screen.shows(f"w {n}") for n in range(3 * MOST)) == MOST - 1
    assert len(bus.closed()) == 2 * MOST + 1


def test_a_server_that_never_answers_makes_nothing_pile_up(bus: Bus, screen: Screen) -> None:
    screen.show("a", ASK)
    able(bus, "actions")
    for n in range(10 * MOST):
        screen.show(f"w {n}", WARN)
    assert sum(screen.shows(f"w {n}") for n in range(10 * MOST)) <= MOST
    while bus.asked:
        bus.answer("u", 1000 + len(bus.asked))
    assert len(bus.closed()) >= 9 * MOST, "what was given up meanwhile is closed once it is there"
