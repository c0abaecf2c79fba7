"""Whom an event is about, and what a command is told of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okoomer.courier.subject import NOBODY, REMEMBERED, Subject, Subjects, arguments, cut, expand, of_run, variables

HOG = Subject(42, "hog & co", 7, "/system.slice/web.service", "hog --size 1 GiB")


def chosen(rule: str = "low", *pids: int, **more: Any) -> dict[str, Any]:
    fields = {"event": "chosen", "rule": rule, "name": "family of hog", "pids": list(pids), "command": "hog -x"}
    return fields | {"root": "hog", "user": 3, "cgroup": "/a/b.service"} | more


@pytest.mark.parametrize(
    ("argument", "expanded"),
    [
        ("$PID", "42"),
        ("pid=$PID,$PID", "pid=42,42"),
        ("$NAME", "hog & co"),
        ("$SERVICE/$UID", "web.service/7"),
        ("<$CMDLINE>", "<hog --size 1 GiB>"),
        ("$PIDS $PID_ $Pid $NAMEs", "$PIDS $PID_ $Pid $NAMEs"),
        ("$PID.log $PID-1 $PIDé", "42.log 42-1 42é"),
        ("costs 5$ or $ 5", "costs 5$ or $ 5"),
        ("$$PID", "$42"),
        ("", ""),
    ],
)
def test_a_word_is_replaced_wherever_it_stands_and_only_that_word(argument: str, expanded: str) -> None:
    assert expand(argument, HOG) == expanded


def test_what_was_put_in_is_not_looked_at_again() -> None:
    assert expand("$NAME $CMDLINE", Subject(1, "$PID", 0, "", "$NAME")) == "$PID $NAME"


def test_where_nobody_is_meant_nothing_is_put_in() -> None:
    assert expand("[$PID][$NAME][$SERVICE][$UID][$CMDLINE]", NOBODY) == "[][][][][]"


@given(st.text(), st.text())
def test_a_value_stays_one_argument_whatever_it_is(name: str, cmdline: str) -> None:
    done = arguments(["/bin/program", "$NAME", "$CMDLINE"], Subject(1, name, 0, "", cmdline))
    assert len(done) == 3 and done[0] == b"/bin/program"
    assert not any(b"\0" in argument for argument in done)


def test_the_program_itself_is_not_expanded() -> None:
    assert arguments(["/bin/$NAME", "$NAME"], HOG) == [b"/bin/$NAME", b"hog & co"]


@pytest.mark.parametrize(
    ("cgroup", "service"),
    [
        ("/system.slice/web.service", "web.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope", ""),
        ("/system.slice/web.service/worker", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_the_service_is_the_last_part_of_the_cgroup_if_it_is_one(cgroup: str, service: str) -> None:
    assert Subject(1, "x", 0, cgroup).service == service


def test_all_variables_are_there_even_for_nobody() -> None:
    given = variables("refused", {"event": "refused", "rule": "low"}, NOBODY, "earlyoom")
    assert given == {
        b"OKOOMER_EVENT": b"refused",
        b"OKOOMER_RULE": b"low",
        b"OKOOMER_PID": b"",
        b"OKOOMER_UID": b"",
        b"OKOOMER_NAME": b"",
        b"OKOOMER_CMDLINE": b"",
        b"OKOOMER_SERVICE": b"",
        b"OKOOMER_SIGNAL": b"",
        b"OKOOMER_QUESTION": b"",
        b"OKOOMER_LEVEL": b"",
    }


def test_the_variables_tell_who_and_what() -> None:
    given = variables("killed", {"event": "signalled", "rule": "low", "signal": "SIGKILL"}, HOG, "")
    assert given == {
        b"OKOOMER_EVENT": b"killed",
        b"OKOOMER_RULE": b"low",
        b"OKOOMER_PID": b"42",
        b"OKOOMER_UID": b"7",
        b"OKOOMER_NAME": b"hog & co",
        b"OKOOMER_CMDLINE": b"hog --size 1 GiB",
        b"OKOOMER_SERVICE": b"web.service",
        b"OKOOMER_SIGNAL": b"SIGKILL",
        b"OKOOMER_QUESTION": b"",
        b"OKOOMER_LEVEL": b"",
    }
    given = variables("question", {"event": "question", "question": 7}, HOG, "")
    assert (given[b"OKOOMER_QUESTION"], given[b"OKOOMER_LEVEL"]) == (b"7", b"")
    assert variables("level", {"event": "level", "level": 100}, NOBODY, "")[b"OKOOMER_LEVEL"] == b"100"


def test_earlyooms_variables_have_earlyooms_limits() -> None:
    long = Subject(9, "n" * 20, 1, "", "c" * 254 + "é" + "rest")
    given = variables("signalled", {"event": "signalled"}, long, "earlyoom")
    assert (given[b"EARLYOOM_PID"], given[b"EARLYOOM_UID"]) == (b"9", b"1")
    assert given[b"EARLYOOM_NAME"] == b"n" * 15
    assert given[b"EARLYOOM_CMDLINE"] == b"c" * 254
    assert not any(name.startswith(b"EARLYOOM") for name in variables("signalled", {}, long, "nohang"))


@given(st.text(), st.integers(0, 30))
def test_a_text_is_cut_between_characters(text: str, length: int) -> None:
    kept = cut(text, length)
    assert len(kept) <= length
    kept.decode()


def test_later_events_are_about_whom_the_rule_has_chosen() -> None:
    subjects = Subjects()
    subjects.remember(chosen("low", 5, 6))
    subjects.remember(chosen("stalled", 8))
    hog = Subject(5, "hog", 3, "/a/b.service", "hog -x")
    assert subjects.of({"event": "signalled", "rule": "low", "pids": [5, 6], "lost": []}) == hog
    assert subjects.of({"event": "warned", "rule": "low", "text": "..."}) == hog
    assert subjects.of({"event": "warned", "rule": "stalled", "text": "..."}).pid == 8


def test_a_rule_that_goes_on_with_anothers_victim_is_about_that_one() -> None:
    subjects = Subjects()
    subjects.remember(chosen("critical", 3))
    subjects.remember(chosen("low", 5))
    assert subjects.of({"event": "signalled", "rule": "critical", "pids": [5], "lost": []}).pid == 5
    assert subjects.of({"event": "signalled", "rule": "critical", "pids": [], "lost": [5]}).pid == 5


def test_where_nobody_was_found_or_chosen_it_is_nobody() -> None:
    subjects = Subjects()
    assert subjects.of({"event": "warned", "rule": "low"}) == NOBODY
    subjects.remember(chosen("low", 5))
    assert subjects.of({"event": "refused", "rule": "low", "why": "..."}) == NOBODY


@pytest.mark.parametrize(
    "event",
    [
        {"event": "warned", "rule": "early", "text": "...", "pid": 9},
        {"event": "question", "question": 3, "rule": "early", "pids": [9, 10]},
        {"event": "paused", "by": "user 1000", "pids": [9], "lost": []},
        {"event": "resumed", "pids": [9]},
        {"event": "limited", "pids": [9], "bytes": 1},
        {"event": "slowed", "rule": "early", "pids": [9], "bytes": 1},
        {"event": "eased", "rule": "early", "pids": [9]},
    ],
)
def test_an_event_that_names_somebody_is_about_him(event: dict[str, Any]) -> None:
    subjects = Subjects()
    subjects.remember(chosen("early", 5))
    named = event | {"name": "make", "user": 1000, "cgroup": "/x.service"}
    assert subjects.of(named) == Subject(9, "make", 1000, "/x.service")
    subjects.remember(chosen("early", 9))
    assert subjects.of(named).cmdline == "hog -x", "more is known of whom a rule has chosen"


def test_the_end_of_a_question_is_about_whom_it_was_about() -> None:
    subjects = Subjects()
    for number in range(1, REMEMBERED + 2):
        subjects.of(
            {"event": "question", "question": number, "rule": "low", "pids": [number], "name": "make", "user": -1}
        )
    about = subjects.of({"event": "closed", "question": 2, "how": "late"})
    assert (about.pid, about.name) == (2, "make")
    assert expand("$PID $NAME [$UID]", about) == "2 make []", "they are of several users"
    assert subjects.of({"event": "closed", "question": 1, "how": "late"}) == NOBODY


def test_how_short_memory_is_is_about_nobody() -> None:
    subjects = Subjects()
    subjects.remember(chosen("low", 5))
    assert subjects.of({"event": "level", "level": 50, "rules": ["low"]}) == NOBODY


def test_old_acts_are_forgotten() -> None:
    subjects = Subjects()
    for pid in range(1, REMEMBERED + 2):
        subjects.remember(chosen(f"rule {pid}", pid))
    assert subjects.of({"event": "warned", "rule": "rule 1"}) == NOBODY
    assert subjects.of({"event": "warned", "rule": "rule 2"}).pid == 2


def test_a_guard_that_names_no_root_is_understood() -> None:
    subjects = Subjects()
    old = {key: value for key, value in chosen("low", 5).items() if key not in ("root", "user", "cgroup")}
    subjects.remember(old)
    assert subjects.of({"event": "warned", "rule": "low"}) == Subject(5, "family of hog", 0, "", "hog -x")


def test_a_command_for_a_victim_is_about_that_victim() -> None:
    event = {"event": "run", "pid": 4, "name": "x", "user": 2, "cgroup": "/s.service", "cmdline": "x y", "rule": "r"}
    assert of_run(event) == Subject(4, "x", 2, "/s.service", "x y")
