"""Applications of GLib hear how short memory is, from a guard in a box, by org.freedesktop.LowMemoryMonitor."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from jeepney.bus_messages import DBusNameFlags, message_bus  # type: ignore[import-untyped]

from okoomer.courier.low_memory import AGAIN, NAME, PATH, SETTLE
from tests.box.guards import events
from tests.box.process import Proc
from tests.box.procfiles import GIB
from tests.bus.scene import CRITICAL, LEVELS, LOW, MEDIUM, Application, Scene, absent
from tests.unit.loops import Client
from tests.unit.sessions import Session, until

OKOOMER1 = "org.okoomer.Okoomer1"
PORTAL = "/usr/libexec/xdg-desktop-portal"
#: So many times all three levels are timed.
ROUNDS = int(os.environ.get("OKOOMER_ROUNDS") or 2)


@pytest.mark.parametrize("preset", ["desktop", "server"])
def test_pressure_and_shortage_together_are_told_and_pressure_alone_is_not(scene: Scene, preset: str) -> None:
    scene.box.memory(available=int(0.95 * scene.box.total))
    guard = scene.guard(preset)
    with Application() as application:
        assert application.said("listens") == [["GMemoryMonitorDBus"]]
        application.follows()
        with scene.stall(some=0.6, full=0.4):
            time.sleep(4.0)
            assert application.heard == [], "memory is plentiful"
            # A guard that would end somebody below 1.5 GiB finds nobody here anyway.
            for available, levels in ((4.5, [LOW]), (2.3, [LOW, MEDIUM]), (1.6, [LOW, MEDIUM, CRITICAL])):
                scene.box.memory(available=int(available * GIB))
                application.hears(*levels)
    assert not events(guard, "signalled", "died") and guard.alive


def test_who_comes_late_hears_it_when_it_is_told_again(scene: Scene) -> None:
    scene.guard(LEVELS)
    with Application() as early:
        early.follows()
        time.sleep(SETTLE)
        scene.short(LOW)
        early.hears(LOW)
        with Application() as late:
            late.follows()
            late.hears(LOW, seconds=AGAIN + 60)
            until(lambda: len(early.heard) == 2)
            [(_, first), (_, second)] = early.levels
            assert AGAIN - 5 < second - first < 2 * AGAIN - 1


def test_a_courier_that_is_killed_and_comes_again_is_heard_by_who_heard_it_before(scene: Scene) -> None:
    scene.apart(LEVELS)
    courier = scene.courier()
    with Application() as application:
        application.follows()
        scene.short(LOW)
        application.hears(LOW)
        courier.stop()
        before = len(application.heard)
        scene.courier()
        application.follows(times=2)
        # What holds is told without waiting for the next time; what is worse comes as ever.
        until(lambda: len(application.heard) > before)
        scene.short(CRITICAL)
        application.hears(LOW, CRITICAL)


def test_a_guard_that_is_killed_and_started_again_is_heard_through_the_same_courier(scene: Scene) -> None:
    courier = scene.courier()
    with Application() as application:
        application.follows()  # before there is a guard
        guard = scene.apart(LEVELS)
        scene.short(LOW)
        application.hears(LOW)
        guard.stop()
        scene.short(0)
        scene.apart(LEVELS)
        scene.short(MEDIUM)
        application.hears(LOW, MEDIUM)
    assert courier.alive


def test_with_somebody_else_on_the_name_the_rest_is_done_and_the_name_is_taken_when_it_is_free(scene: Scene) -> None:
    with Client("SYSTEM", NAME, PATH) as other, Client("SYSTEM", OKOOMER1, "/org/okoomer/Okoomer1") as asking:
        asked = message_bus.RequestName(NAME, DBusNameFlags.do_not_queue)
        assert other.connection.send_and_get_reply(asked).body == (1,)
        guard = scene.guard(LEVELS)
        guard.wait_line(f"{NAME} is somebody else's", 60)
        asking.waits()
        with Application() as application:
            scene.short(LOW)
            until(lambda: asking.property("Level") == LOW)
            time.sleep(1.0)
            assert application.heard == []
            other.connection.send_and_get_reply(message_bus.ReleaseName(NAME))
            application.follows()
            until(lambda: LOW in application.heard)
    assert sum(f"{NAME} is somebody else's" in line.text for line in guard.lines) == 1


def test_what_somebody_else_says_in_our_name_is_not_heard(scene: Scene) -> None:
    scene.guard(LEVELS)
    with Application() as application:
        application.follows()
        for user in (0, 65534):
            signal = ("-o", PATH, "-s", f"{NAME}.LowMemoryWarning", "byte 255")
            done = subprocess.run(["gdbus", "emit", "--system", *signal], user=user, check=False, capture_output=True)
            assert done.returncode == 0, done.stderr
        scene.short(LOW)
        application.hears(LOW)


def level_of(guard: Proc) -> int:
    """What a guard has told last."""
    return next((int(event["level"]) for event in reversed(events(guard, "level"))), 0)


def test_how_soon_an_application_hears_of_it(scene: Scene) -> None:
    """OKOOMER_ROUNDS=17 makes a figure of it."""
    guard, took = scene.apart(LEVELS), list[float]()
    with Application() as application:
        for number in range(1, ROUNDS + 1):
            courier = scene.courier()
            application.follows(times=number)
            for level in (LOW, MEDIUM, CRITICAL):
                before = len(application.levels)
                scene.short(level)
                until(lambda: level in application.heard[before:])  # noqa: B023
                until(lambda: level_of(guard) == level)  # noqa: B023
                at = next(at for heard, at in application.levels[before:] if heard == level)
                took.append(at - events(guard, "level")[-1]["at"])
            courier.stop()
            scene.short(0)
            until(lambda: level_of(guard) == 0)
    took.sort()
    median, nine = (1000 * value for value in (statistics.median(took), took[len(took) * 9 // 10]))
    print(f"from the guard's event to an application: median {median:.2f} ms, 90 % within {nine:.2f} ms, n {len(took)}")
    assert 1000 * took[0] < 50, "a busy machine may hold up the others"


# --- by the portal ----------------------------------------------------------------------------------------------


@contextmanager
def portal(scene: Scene) -> Iterator[dict[str, str]]:
    """A session with a real xdg-desktop-portal: what an application in it has in its environment. It has no system bus
    of its own, as in a sandbox."""
    runtime = scene.directory / "session"
    runtime.mkdir(mode=0o700)
    bus = Session(runtime)
    bus.start()
    own = {"DBUS_SESSION_BUS_ADDRESS": bus.address, "XDG_RUNTIME_DIR": str(runtime), "HOME": str(runtime)}
    with (runtime / "portal.log").open("wb") as log:
        process = subprocess.Popen([PORTAL], env={**os.environ, **own}, stdout=log, stderr=log, start_new_session=True)
    try:
        with Client(bus.address, "org.freedesktop.portal.Desktop", "/org/freedesktop/portal/desktop") as client:
            client.waits()
        yield {**own, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={runtime}/none"}
    finally:
        process.kill()
        process.wait()
        bus.stop()


@pytest.mark.skipif(bool(absent(PORTAL)), reason="no xdg-desktop-portal here")
def test_an_application_in_a_sandbox_hears_it_by_the_portal(scene: Scene) -> None:
    scene.guard(LEVELS)
    # The name of the switch is GIO_USE_PORTALS since GLib 2.76, and was GTK_USE_PORTAL before.
    with portal(scene) as own, Application(**own, GTK_USE_PORTAL="1", GIO_USE_PORTALS="1") as application:
        assert application.said("listens") == [["GMemoryMonitorPortal"]]
        for levels in ([LOW], [LOW, MEDIUM], [LOW, MEDIUM, CRITICAL]):
            scene.short(levels[-1])
            application.hears(*levels)
