"""Nothing that happens to those who tell of an emergency reaches the guard: each is resolved, and as soon as ever.

`python -m bench telling` makes more of them and prints how long they took.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

import pytest

from tests.box.disturbance import DISTURBANCES, MORE, Scenes, ring_overrun
from tests.box.emergency import RUN, Scene
from tests.unit.sessions import until

pytestmark = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon")
PAIRS = 3
#: Seconds. The guard looks every 20 ms, and a busy machine may hold everybody up: so few medians differ by as much by
#: chance, and by more if the guard has waited for anybody. Where they do, more pairs tell which it was.
CHANCE = 0.05


@pytest.fixture(scope="module")
def scenes() -> Iterator[Scenes]:
    with Scenes() as scenes:
        yield scenes


def quiet(scene: Scene) -> dict[str, int]:
    """How often each command was run when the last of them is over."""
    before = None
    while before != scene.noted():
        before = scene.noted()
        time.sleep(1.0)
    return before


@pytest.mark.parametrize("name", DISTURBANCES)
def test_nothing_that_happens_to_a_courier_reaches_the_guard(scenes: Scenes, name: str) -> None:
    pairs: list[tuple[float, float]] = []
    for count in (PAIRS, 2 * PAIRS, 4 * PAIRS):
        pairs += [scenes.pair(DISTURBANCES[name]) for _ in range(count)]
        calm, disturbed = zip(*pairs, strict=True)
        assert math.isfinite(max(calm)) and math.isfinite(max(disturbed))
        if fast := median(disturbed) < max(1.2 * median(calm), median(calm) + CHANCE):
            break
    assert fast, (calm, disturbed)


def test_what_an_emergency_gives_to_tell_is_told_unless_somebody_disturbs_it(scenes: Scenes) -> None:
    scene = scenes.of(DISTURBANCES["couriers stand still"])
    before = quiet(scene)
    scene.emergency()
    until(lambda: scene.noted() == {word: count + 1 for word, count in before.items()})


def test_a_courier_that_has_missed_events_says_how_many_and_goes_on() -> None:
    with ExitStack() as stack:
        scene = Scene(stack, more=MORE)
        with ring_overrun(scene):
            scene.emergency()
        said = scene.courier.wait_line("events were overwritten", 60).text
        assert int(said.split(":")[-1].split()[0]) > 2 * MORE
        before = quiet(scene)
        scene.emergency()
        until(lambda: scene.noted() == {word: count + 1 for word, count in before.items()})


def test_a_guard_that_finds_its_disk_full_acts_as_ever() -> None:
    with ExitStack() as stack:
        scene = Scene(stack, small=True)
        scene.stop()
        scene.shell(f"rm -f {RUN}/*; cat /dev/zero >{RUN}/full 2>/dev/null; true")
        scene.start_guard()
        assert "events are not kept" in "".join(line.text for line in scene.guard.lines)
        assert math.isfinite(scene.emergency())
