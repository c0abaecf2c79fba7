"""What a guest says becomes data: times from the incident's begin, roles from the cast."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lab.daemons import DAEMONS
from lab.observe import observed
from lab.run import Beat, By, Cost, Ending, Late, Pause, Role, Served, Work
from lab.scenarios import SCENARIOS
from tests.vm import result

START = 100.0
BEGUN = 110.0  # the incident, by the guest's clock
SCENARIO = replace(SCENARIOS["S6"], voices=("hog",))
DAEMON = replace(DAEMONS["earlyoom"], unit="earlyoom.service", reason=r"^record (?P<victim>\S+) (?P<why>.+)")


def trace(at: float, sender: str, pid: int, signal: int, target: str, victim: int, code: int = 0) -> tuple[float, str]:
    text = f"{sender:>16}-{pid:<7} [000] d..1. {at:.6f}: signal_generate: sig={signal} errno=0 code={code} "
    return at - START, f"trace {text}comm={target} pid={victim} grp=1 res=0"


def say(at: float, voice: str, text: str) -> tuple[float, str]:
    return at - START, f"say {voice} {text}"


QUIET = [
    (0.0, f"start {START}"),
    *((at / 10, f"mem {START + at / 10:.3f} 9 {400 * 1024} 0 {at * 1000} {at * 500}") for at in range(400)),
    say(BEGUN - 1, "run", "version earlyoom 1.7"),
    say(BEGUN - 0.5, "run", "cost before 1024 2048 512 300 10 0 1000000000"),
    say(BEGUN, "run", f"incident {BEGUN:.2f}"),
    say(BEGUN + 20, "run", f"over {BEGUN + 20:.2f}"),
    say(BEGUN + 24, "run", "cost after 2048 4096 1024 450 30 2 1500000000"),
]


def seen(*more: tuple[float, str], ending: result.Ending = result.Ending.DONE) -> result.Result:
    return result.Result.of(ending, sorted([*QUIET, *more]), "")


def test_times_count_from_the_incident() -> None:
    got = observed(
        seen(
            say(BEGUN + 3, "canary-ui", f"beat {BEGUN + 2.5:.3f} 63 0.001"),
            say(BEGUN + 3, "canary-ui", f"late {BEGUN + 2:.3f} 0.750"),
            say(BEGUN + 3, "canary-login", f"late {BEGUN + 1:.3f} 1.250"),
            say(BEGUN + 3, "canary-web", f"served {BEGUN + 2:.3f} 49"),
            say(BEGUN + 5, "hog", "work job-3 1.500 8.000"),
            say(BEGUN + 6, "hog", "work job-3 2.500 8.000"),
            say(BEGUN + 9, "second", "work job-3 1.000 8.000"),
            say(BEGUN + 7, "hog", "finished 31 of 32 in 7.0 s"),
            say(BEGUN + 8, "daemon", "record job-3 pressure"),
        ),
        SCENARIO,
        DAEMON,
    )
    assert got.ending is Ending.DONE and got.over == 20
    assert got.screen == [Beat(2.5, 63, 0.001)] and got.screen_late == [Late(2, 0.75)]
    assert got.login == [Late(1, 1.25)] and got.service == [Served(2, 49)]
    assert got.work == [Work(6, "job-3", 2.5, 8, "hog"), Work(9, "job-3", 1, 8, "second")]
    assert got.notes == ["hog: finished 31 of 32 in 7.0 s"]
    assert got.reasons == [8] and got.said == ["8.00 record job-3 pressure"]
    assert got.versions["daemon"] == "earlyoom 1.7"
    assert got.cost == Cost(rss=2, peak_rss=4, anon=1, cpu_s=1.5, switches=20, major_faults=2, waited_s=0.5)
    assert got.memory[0].some_s == pytest.approx(-0.001, abs=0.002)  # the stall before does not count
    assert got.noise_s == pytest.approx(0, abs=0.01)


def test_who_killed_whom() -> None:
    got = observed(
        seen(
            (1.0, "unit 50 0::/system.slice/earlyoom.service"),
            (1.0, "unit 60 0::/system.slice/agent.service"),
            (1.0, "unit 1 0::/init.scope"),
            trace(BEGUN + 0.5, "systemd", 1, 15, "job-9", 79),  # a program of the scenario that came to its end
            trace(BEGUN - 2, "earlyoom", 50, 9, "job-1", 7),  # before it began
            trace(BEGUN + 0.7, "earlyoom", 50, 9, "earlyoom", 51),  # a child of its own
            trace(BEGUN + 1, "earlyoom", 50, 15, "job-1", 71),
            trace(BEGUN + 2, "earlyoom", 50, 9, "job-1", 71),  # the same one again
            trace(BEGUN + 3, "worker", 72, 9, "job-2", 72, code=128),
            (BEGUN + 3 - START, f"trace {'worker':>16}-72      [000] d..1. {BEGUN + 3:.6f}: mark_victim: pid=72"),
            trace(BEGUN + 4, "sh", 60, 9, "job-3", 73),  # the scenario's own script
            trace(BEGUN + 5, "systemd", 1, 15, "build", 74),  # what is left of a culprit's unit
            trace(BEGUN + 6, "systemd", 1, 15, "nobody", 75),
        ),
        SCENARIO,
        DAEMON,
    )
    assert [(kill.at, kill.by, kill.comm, kill.role) for kill in got.kills] == [
        (1, By.DAEMON, "job-1", Role.WORKER),
        (3, By.KERNEL, "job-2", Role.WORKER),
        (6, By.OTHER, "nobody", Role.INNOCENT),
    ]


def test_a_guest_that_was_lost_before_the_incident_has_failed() -> None:
    heard = [(0.0, f"start {START}"), (5.0, "failed mount: no")]
    got = observed(result.Result.of(result.Ending.FAILED, heard, "the console"), SCENARIO, DAEMON)
    assert got.ending is Ending.FAILED and got.notes


def test_a_script_that_was_killed_in_the_incident_is_a_result() -> None:
    assert observed(seen(ending=result.Ending.FAILED), SCENARIO, DAEMON).ending is Ending.LIMIT
    assert observed(seen(ending=result.Ending.MACHINE_GONE), SCENARIO, DAEMON).ending is Ending.GONE


def test_who_had_to_stand_still_and_for_how_long() -> None:
    def told(at: float, event: str, **more: object) -> tuple[float, str]:
        said = {"at": 1.0, "sequence": 1, "event": event, "by": "rule hurting", "pids": [7], "user": 1000} | more
        return say(BEGUN + at, "daemon", json.dumps(said))

    got = observed(
        seen(
            told(-5, "paused", name="job-1"),  # before it began
            told(1, "paused", name="job-1 and 3 more"),
            told(2.5, "resumed", name="job-1 and 3 more", seconds=1.5),
            told(4, "paused", name="editor", pids=[8]),
            told(6, "paused", name="job-1"),
            say(BEGUN + 7, "daemon", '{"event": "paused", "by": "rule hur'),
        ),
        SCENARIO,
        DAEMON,
    )
    assert got.pauses == [
        Pause(1, "job-1", Role.WORKER, 1.5),
        Pause(4, "editor", Role.INNOCENT, None),
        Pause(6, "job-1", Role.WORKER, None),
    ]
