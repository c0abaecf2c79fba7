"""What of okoomer's word reaches whose screen; and what others may put there."""

from __future__ import annotations

from typing import Any, cast

import pytest
from jeepney import HeaderFields  # type: ignore[import-untyped]

from okoomer.bus.connection import Connection
from okoomer.desktop.okoomer import EPISODE, NAME, PATH, PROPERTIES, QUESTIONS, Okoomer, owner_of
from okoomer.desktop.others import INTERFACE, MOST, SECONDS, SENDERS, Others
from okoomer.desktop.screen import Screen
from okoomer.desktop.texts import Note
from tests.unit.other_end import Bus
from tests.unit.sessions import question, typed

ME, OTHER, SERVICE = 1000, 1001, 110


class Shown:
    """A screen that takes note."""

    def __init__(self) -> None:
        self.notes: dict[str, Note] = {}
        self.pressed: dict[str, Any] = {}
        self.gone: dict[str, Any] = {}
        self.count = 0

    def show(self, key: str, note: Note, pressed: Any = None, gone: Any = None) -> None:
        self.count += 1
        self.notes[key], self.pressed[key], self.gone[key] = note, pressed, gone

    def close(self, key: str) -> None:
        self.notes.pop(key, None)

    def shows(self, key: str) -> bool:
        return key in self.notes

    def summaries(self) -> list[str]:
        return [note.summary for note in self.notes.values()]


class Scene:
    """An agent without buses."""

    def __init__(self, user: int = ME) -> None:
        self.screen = Shown()
        self.bus = Bus(NAME, PATH)
        screen, bus = cast(Screen, self.screen), cast(Connection, self.bus)
        self.okoomer = Okoomer(bus, screen, user, lambda: self.bus.now)
        self.others = Others(bus, screen, lambda: self.bus.now)

    def begins(self, **questions: Any) -> None:
        """okoomer comes, and is asked what is open."""
        self.bus.becomes(":1.5")
        assert self.bus.open_calls() == ["Attend", "Get"]
        self.bus.answer("")
        self.bus.answer("v", ("a{ua{sv}}", {int(n[1:]): typed(asked) for n, asked in questions.items()}))

    def tell(self, member: str, sender: str = ":1.5", **details: Any) -> None:
        self.bus.signal(member, "a{sv}", typed(details), sender=sender)

    def ask(self, number: int = 3, sender: str = ":1.5", **changes: Any) -> None:
        self.bus.signal("Question", "ua{sv}", number, typed(question(**{"user": ME, **changes})), sender=sender)

    def over(self, number: int = 3, how: str = "late") -> None:
        self.bus.signal("Closed", "uss", number, how, "")

    def announce(self, *words: str, sender: str = ":1.9", signature: str | None = None) -> None:
        kinds = "s" * len(words) if signature is None else signature
        self.bus.signal("Notify", kinds, *words, sender=sender, interface=INTERFACE, path="/")


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    made.begins()
    return made


@pytest.mark.parametrize(
    ("me", "theirs", "asked"), [(ME, ME, True), (ME, OTHER, False), (ME, 0, False), (ME, -1, False), (0, OTHER, True)]
)
def test_a_person_is_asked_about_his_own_processes_and_root_about_all(me: int, theirs: int, asked: bool) -> None:
    scene = Scene(me)
    scene.begins()
    scene.ask(user=theirs)
    assert scene.screen.shows("question 3") is asked


def test_who_comes_late_is_asked_what_is_open() -> None:
    scene = Scene()
    scene.begins(q3=question(user=ME), q4=question(user=OTHER))
    assert list(scene.screen.notes) == ["question 3"]


def test_a_question_that_is_over_is_taken_away(scene: Scene) -> None:
    scene.ask()
    scene.over(4)
    assert scene.screen.shows("question 3")
    scene.over(3)
    assert not scene.screen.notes


def test_a_question_that_is_told_once_more_is_updated_in_its_place(scene: Scene) -> None:
    scene.ask(paused=False, choices=["resume", "pause", "end", "limit"])
    scene.screen.pressed["question 3"]("pause")
    scene.bus.answer("")
    scene.tell("Acted", event="paused", by="user 1000", name="make", pids=[42, 43], user=ME)
    scene.ask(paused=True)
    [(key, note)] = scene.screen.notes.items()
    assert (key, note.summary) == ("question 3", "make is paused") and "pause" not in note.actions
    scene.screen.pressed["question 3"]("end")
    assert [message.body for message, _ in scene.bus.asked] == [(3, "end", 0)]


@pytest.mark.parametrize(("word", "ceiling"), [("resume", 0), ("end", 0), ("limit", 512 * 1024**2), ("pause", 0)])
def test_an_answer_goes_to_okoomer_once_with_what_the_button_said(scene: Scene, word: str, ceiling: int) -> None:
    scene.ask()
    for _ in range(3):
        scene.screen.pressed["question 3"](word)
    [(message, _)] = scene.bus.asked
    assert message.header.fields[HeaderFields.member] == "Answer"
    assert message.header.fields[HeaderFields.destination] == NAME
    assert message.body == (3, word, ceiling)
    scene.bus.answer("")
    assert list(scene.screen.notes) == ["question 3"], "Closed says when it is over"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("org.okoomer.Okoomer1.Error.NotYours", "The process is not yours."),
        ("org.okoomer.Okoomer1.Error.NoQuestion", "The question is over already."),
        ("org.okoomer.Okoomer1.Error.Refused", "It must not be touched, or it cannot be limited."),
        ("org.freedesktop.DBus.Error.NoReply", "okoomer does not answer."),
        ("", "okoomer does not answer."),
    ],
)
def test_an_answer_that_is_not_taken_is_said_and_can_be_given_again(scene: Scene, error: str, said: str) -> None:
    scene.ask()
    scene.screen.pressed["question 3"]("end")
    if error:
        scene.bus.answer("", error=error)
    else:
        scene.bus.times_out()
    assert scene.screen.notes["error 3"].body == said
    assert scene.screen.notes["error 3"].summary == "make: nothing was done"
    if error.endswith("NoQuestion"):
        assert not scene.screen.shows("question 3")
        return
    scene.screen.pressed["question 3"]("resume")
    assert [message.body for message, _ in scene.bus.asked] == [(3, "resume", 0)]


def test_an_answer_to_what_is_over_is_not_sent(scene: Scene) -> None:
    scene.ask()
    press = scene.screen.pressed["question 3"]
    scene.over()
    press("end")
    assert not scene.bus.asked


def test_only_who_owns_the_name_is_heard(scene: Scene) -> None:
    scene.ask(sender=":1.66")
    scene.tell("Warned", sender=":1.66", name="firefox", user=ME)
    scene.tell("Acted", sender=":1.66", event="died", name="hog", user=ME)
    assert not scene.screen.notes
    scene.ask()
    scene.bus.signal("Closed", "uss", 3, "late", "", sender=":1.66")
    assert scene.screen.shows("question 3")


@pytest.mark.parametrize("member", ["Warned", "Acting", "Acted", "Question", "Closed"])
def test_what_has_another_form_is_passed_over(scene: Scene, member: str) -> None:
    scene.bus.signal(member, "s", "what?")
    scene.bus.signal(member, "uu", 3, 3)
    assert not scene.screen.notes


def test_when_okoomer_goes_its_questions_go_and_when_it_comes_again_they_come_again(scene: Scene) -> None:
    scene.ask()
    scene.bus.becomes("")
    assert not scene.screen.notes
    scene.begins(q3=question(user=ME))
    assert list(scene.screen.notes) == ["question 3"]
    scene.bus.becomes(":1.5")
    assert scene.screen.shows("question 3"), "it is the same one"


def test_questions_do_not_pile_up(scene: Scene) -> None:
    for number in range(100):
        scene.ask(number)
    assert len(scene.screen.notes) == QUESTIONS


# --- warnings and results ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "summary"),
    [
        (ME, "firefox is growing"),
        (SERVICE, "firefox is growing"),
        (OTHER, "a process of another user is growing"),
        (None, "firefox is growing"),
    ],
)
def test_a_warning_is_for_everybody_but_the_names_are_not(scene: Scene, user: int | None, summary: str) -> None:
    whose = {} if user is None else {"user": user}
    scene.tell("Warned", name="firefox", act=False, **whose)
    assert scene.screen.summaries() == [summary]


def test_one_warning_takes_the_place_of_the_other_and_goes_when_memory_is_back(scene: Scene) -> None:
    scene.tell("Warned", name="firefox", user=ME, act=False)
    scene.tell("Warned", name="gimp", user=ME, act=False)
    assert scene.screen.summaries() == ["gimp is growing"]

    def level(value: int, interface: str = NAME) -> None:
        body = (interface, {"Level": ("y", value)}, [])
        scene.bus.signal("PropertiesChanged", "sa{sv}as", *body, interface=PROPERTIES)

    level(50)
    assert scene.screen.shows("warning")
    level(0)
    assert not scene.screen.notes


def test_a_warning_goes_when_something_was_done(scene: Scene) -> None:
    scene.tell("Warned", name="hog", user=ME, act=False)
    scene.tell("Acted", event="stuck", rule="low", name="hog", why="it waits for a disk")
    assert scene.screen.shows("warning")
    scene.tell("Acted", event="died", rule="low", name="hog")
    assert not scene.screen.shows("warning")


@pytest.mark.parametrize(("user", "told"), [(ME, True), (SERVICE, True), (OTHER, False)])
def test_a_result_says_why_and_is_told_to_whom_it_concerns(scene: Scene, user: int, told: bool) -> None:
    scene.tell("Acting", rule="low", name="hog", user=user, reason="low-memory")
    scene.tell("Warned", rule="low", name="hog", user=user, act=True)
    scene.tell("Acted", event="died", rule="low", name="hog", came_back=1024**3)
    notes = list(scene.screen.notes.values())
    assert [(note.summary, note.body) for note in notes] == (
        [("hog was ended", "Memory was nearly full; 1.0 GiB came back.")] if told else []
    )


@pytest.mark.parametrize(
    ("cgroup", "user"),
    [
        ("/user.slice/user-1001.slice/user@1001.service/app.slice/a.scope", 1001),
        ("/user.slice/user-1000.slice/session-2.scope", 1000),
        ("/system.slice/web.service", 0),
        ("/user.slice/user-²x.slice", 0),
        ("/user.slice", 0),
    ],
)
def test_a_whole_cgroup_is_whose_slice_it_lies_in(scene: Scene, cgroup: str, user: int) -> None:
    assert owner_of({"kind": "cgroup", "cgroup": cgroup, "user": 0}) == user
    scene.tell("Acting", rule="low", kind="cgroup", name=cgroup, cgroup=cgroup, user=0)
    scene.tell("Acted", event="died", rule="low", name=cgroup)
    assert bool(scene.screen.notes) is (user != OTHER)


def test_the_results_of_an_episode_are_one_notification_until_it_is_read(scene: Scene) -> None:
    def died(name: str) -> None:
        scene.tell("Acted", event="died", rule="low", name=name)

    for n in range(20):
        died(f"hog {n}")
        scene.bus.now += EPISODE / 2
    [(key, note)] = scene.screen.notes.items()
    assert note.body.endswith("and 15 more")
    scene.screen.gone[key]()
    died("hog 20")
    assert scene.screen.notes[key].body == ""
    scene.bus.now += EPISODE + 1
    died("hog 21")
    assert scene.screen.summaries() == ["hog 20 was ended", "hog 21 was ended"]


def test_what_one_has_paused_oneself_one_knows(scene: Scene) -> None:
    paused = {"event": "paused", "name": "make", "pids": [42], "user": ME}
    scene.tell("Acted", **paused, by=f"user {ME}")
    scene.tell("Acted", event="resumed", name="make", pids=[42], user=ME, seconds=3.0)
    assert not scene.screen.notes
    scene.tell("Acted", **paused, by="user 0")
    scene.tell("Acted", **{**paused, "pids": [43], "user": OTHER}, by="user 0")
    assert scene.screen.summaries() == ["make is paused"]
    scene.tell("Acted", event="resumed", name="make", pids=[42], user=ME, seconds=3.0)
    assert scene.screen.summaries() == ["make runs again"]


def test_a_pause_before_a_question_gives_way_to_it(scene: Scene) -> None:
    scene.tell("Acting", rule="low", name="make", user=ME, reason="forecast")
    scene.tell("Acted", event="paused", name="make", pids=[42, 43], user=ME, by="rule low")
    assert [note.body for note in scene.screen.notes.values()] == ["Memory was about to run out."]
    scene.ask()
    assert list(scene.screen.notes) == ["question 3"]


def test_recovery_is_told_to_who_was_warned(scene: Scene) -> None:
    scene.tell("Acted", event="recovered", rule="low")
    assert not scene.screen.notes
    scene.tell("Acting", rule="low", name="hog", user=ME)
    scene.tell("Warned", rule="low", name="hog", user=ME, act=True)
    scene.tell("Acted", event="recovered", rule="low")
    assert [(note.summary, note.body) for note in scene.screen.notes.values()] == [("Memory came back", "hog goes on.")]


# --- others -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("user", "heard"), [(0, True), (999, True), (1000, False), (65534, False)])
def test_only_the_systems_own_users_are_heard(scene: Scene, user: int, heard: bool) -> None:
    scene.announce("earlyoom", "Low memory! Killing process 4 hog")
    assert not scene.screen.notes, "not before it is known whose it is"
    message = scene.bus.answer("u", user, sender="org.freedesktop.DBus")
    assert (message.header.fields[HeaderFields.member], message.body) == ("GetConnectionUnixUser", (":1.9",))
    scene.announce("earlyoom", "again")
    assert not scene.bus.asked, "it is known"
    assert scene.screen.summaries() == ["earlyoom"] * (2 * heard)


@pytest.mark.parametrize("anybody_can_send", [True, False])
def test_a_sender_that_has_gone_is_heard_only_where_the_bus_vouches_for_it(
    scene: Scene, anybody_can_send: bool
) -> None:
    for told in scene.bus.on_up:
        told()
    [probe] = scene.bus.sent
    assert probe.header.fields[HeaderFields.destination] == Bus.unique
    if anybody_can_send:
        scene.announce(sender=Bus.unique)
    scene.announce("earlyoom", "bye")
    scene.bus.answer("", error="org.freedesktop.DBus.Error.NameHasNoOwner")
    assert scene.screen.summaries() == ([] if anybody_can_send else ["earlyoom"])
    scene.announce("earlyoom", "bye", sender=":1.77")
    scene.bus.times_out()
    assert len(scene.screen.notes) == (not anybody_can_send)


def test_okoomer_is_not_heard_twice(scene: Scene) -> None:
    scene.announce("okoomer", "SIGKILL to hog", sender=":1.5")
    assert not scene.bus.asked
    scene.announce("okoomer", "SIGKILL to hog", sender=":1.9")
    scene.bus.answer("u", 0)
    assert not scene.screen.notes
    scene.bus.becomes("")
    scene.announce("okoomer", "SIGKILL to hog", sender=":1.9")
    assert scene.screen.summaries() == ["okoomer"], "a guard without a courier on the bus"


def test_of_a_flood_as_much_is_shown_as_can_be_read(scene: Scene) -> None:
    scene.announce("a", "b")
    scene.bus.answer("u", 0)
    for _ in range(10_000):
        scene.announce("a", "b")
    assert scene.screen.count == MOST
    scene.bus.now += SECONDS + 1
    scene.announce("a", "b")
    assert scene.screen.count == MOST + 1


def test_of_many_senders_few_are_asked_about(scene: Scene) -> None:
    for n in range(10_000):
        scene.announce("a", "b", sender=f":1.{100 + n}")
    assert len(scene.bus.asked) == SENDERS
    while scene.bus.asked:
        scene.bus.answer("u", 0)
    assert scene.screen.count == MOST
    scene.bus.now += SECONDS + 1
    scene.announce("a", "b", sender=":1.7")
    assert len(scene.bus.asked) == 1


@pytest.mark.parametrize(("signature", "words"), [("ss", ("", "")), ("", ()), ("i", (3,)), ("sss", ("a", "b", "c"))])
def test_what_says_nothing_is_not_shown(scene: Scene, signature: str, words: tuple[Any, ...]) -> None:
    scene.announce(*words, signature=signature)
    while scene.bus.asked:
        scene.bus.answer("u", 0)
    assert not scene.screen.notes


def test_who_is_slowed_down_is_told_quietly_and_of_its_end_where_that_is_on_the_screen(scene: Scene) -> None:
    slowed = {"event": "slowed", "rule": "low", "name": "make", "pids": [42], "user": ME}
    scene.tell("Acted", **slowed | {"user": OTHER})
    scene.tell("Acted", **slowed | {"event": "eased", "seconds": 3.0})
    assert not scene.screen.notes
    scene.tell("Acted", **slowed)
    [note] = scene.screen.notes.values()
    assert note.summary == "make is slowed down" and not note.actions
    scene.tell("Acted", **slowed | {"event": "eased", "seconds": 3.0})
    [note] = scene.screen.notes.values()
    assert (note.summary, note.body) == ("make is slowed down no more", "It was for 3 s.")
