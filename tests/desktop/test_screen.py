"""What a person sees and presses: a notification server on a screen of its own shows what the agent is told.

With OKOOMER_PICTURES=DIR the pictures of docs/images are made anew there.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.desktop.stage import BUTTONS, MISSING, Stage, staged
from tests.unit.sessions import question, until

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed here: {', '.join(MISSING)}")
GIB = 1024**3
#: Bytes of a picture with nothing on it.
EMPTY = 2000


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as made:
        until(lambda: made.okoomer.called("Get"))
        yield made


@pytest.fixture
def picture(stage: Stage, tmp_path: Path) -> Callable[[str], None]:
    """Takes a picture of the screen, on which something has to be."""
    directory = Path(os.environ.get("OKOOMER_PICTURES") or tmp_path)

    def take(name: str) -> None:
        path = directory / f"{name}.png"
        until(lambda: stage.picture(path) > EMPTY)

    return take


def test_a_warning_is_seen(stage: Stage, picture: Callable[[str], None]) -> None:
    stage.okoomer.tell("Warned", rule="low", name="firefox", user=0, left=40.0, available=GIB // 3, act=False)
    until(lambda: stage.on_screen() == 1)
    picture("warning")


@pytest.mark.parametrize(
    ("words", "answer"),
    [("Resume", (3, "resume", 0)), ("End it", (3, "end", 0)), ("Limit it to", (3, "limit", 512 * 1024**2))],
)
def test_a_question_is_seen_and_what_is_pressed_reaches_okoomer(
    stage: Stage, picture: Callable[[str], None], words: str, answer: tuple[int, str, int]
) -> None:
    stage.okoomer.ask(3, **question())
    until(lambda: stage.on_screen() == 1)
    picture("question")
    stage.choose(words)
    until(lambda: stage.okoomer.called("Answer"))
    assert stage.okoomer.called("Answer") == [answer]
    assert sorted(line.partition(" (")[0] for line in stage.menu()) == [
        "#End it", "#Leave it to the policy", "#Limit it to 512 MiB", "#Resume",
    ]  # fmt: skip
    stage.okoomer.over(3, "answered", answer[1])
    until(lambda: stage.on_screen() == 0)


@pytest.mark.skipif(not BUTTONS.exists(), reason="not installed here: notification-daemon")
def test_a_button_on_the_screen_is_pressed_with_the_mouse(tmp_path: Path) -> None:
    with staged(tmp_path, buttons=True) as stage:
        until(lambda: stage.okoomer.called("Get"))
        stage.okoomer.ask(3, **question())
        until(stage.windows)
        time.sleep(1.5)  # it comes up slowly
        path = Path(os.environ.get("OKOOMER_PICTURES") or tmp_path, "buttons.png")
        until(lambda: stage.picture(path) > EMPTY)
        [window] = stage.windows()
        # The buttons stand in the last row; where the first begins depends on the font.
        y = window["Y"] + window["HEIGHT"] - 38
        for x in range(window["X"] + 60, window["X"] + window["WIDTH"], 20):
            stage.run("xdotool", "mousemove", str(x), str(y), "click", "1")
            with contextlib.suppress(TimeoutError):
                until(lambda: stage.okoomer.called("Answer"), 1.0)
                break
        assert stage.okoomer.called("Answer") == [(3, "resume", 0)]


def test_a_click_that_means_nothing_leaves_the_question_on_the_screen(stage: Stage) -> None:
    stage.okoomer.ask(3, **question())
    until(lambda: stage.on_screen() == 1)
    stage.run("dunstctl", "action", "0")
    time.sleep(2.0)
    assert stage.on_screen() == 1 and not stage.okoomer.called("Answer")


def test_a_result_is_seen_and_markup_in_a_name_is_not_markup(stage: Stage, picture: Callable[[str], None]) -> None:
    stage.okoomer.tell("Acting", rule="low", name="make", user=0, reason="low-memory-and-stall", freed=GIB)
    stage.okoomer.tell("Acted", event="died", rule="low", name="make", came_back=16 * GIB // 5)
    until(lambda: stage.on_screen() == 1)
    picture("result")
    stage.okoomer.tell("Acted", event="died", rule="low", name="<b>x</b> & <img src='/etc/passwd'>", came_back=GIB)
    until(lambda: any(summary.startswith("<b>x</b> & <img") for summary in stage.shown()))
    picture("markup")
    assert stage.on_screen() == 1, "one episode"
