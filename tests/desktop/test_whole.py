"""All of it: a guard in a box with its courier, the agent, dunst, and a person who presses. What becomes of a real
process is what was pressed."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.box.box import Box
from tests.box.conftest import box as box  # the fixture
from tests.box.guards import OKOOMER, events, state
from tests.box.process import Proc
from tests.box.procfiles import GIB, MIB
from tests.desktop.stage import MISSING, Stage, staged
from tests.unit.buses import Listener
from tests.unit.sessions import until

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed here: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="a box needs root and unshare"),
]
POLICY = """
[[rule]]
name  = "early"
when  = "mem.available <= 30%"
steps = ["warn"]
[[rule]]
name  = "low"
when  = "mem.available <= 10%"
unit  = "process"
least = "8MiB"
steps = ["pause 1s", "ask 30s", "term 5s", "kill"]
"""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as made:
        yield made


@pytest.fixture
def guard(box: Box, stage: Stage, tmp_path: Path) -> Proc:
    """A guard in the box, whose courier is on the stage's system bus."""
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)
    argv = [OKOOMER, "run", "--json", "--runtime-dir", "/run/okoomer", "--policy", str(policy)]
    made = box.daemon(argv, env={**stage.environment, "DISPLAY": ""})
    made.wait_line('"event": "started"', 60)
    until(lambda: "org.okoomer.Okoomer1" in stage.names())
    return made


def asked(box: Box, stage: Stage) -> Proc:
    """A hog that a person is asked about."""
    hog = box.spawn(rss_bytes=300 * MIB, gives_back=12 * GIB, name="make")
    box.memory(available=box.total * 8 // 100)
    until(lambda: "End it" in stage.shown().get("make is paused", ()))
    return hog


def test_before_anything_happens_it_is_told_who_grows(box: Box, stage: Stage, guard: Proc) -> None:
    box.spawn(rss_bytes=300 * MIB, name="firefox")
    box.fall(box.total // 20, start=box.total * 35 // 100)
    until(lambda: "firefox is growing" in stage.shown())
    box.hold()


def test_who_listens_as_systembus_notify_does_hears_it_only_without_an_agent(
    box: Box, stage: Stage, guard: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", stage.system.address)
    listener = Listener()
    try:
        hog = asked(box, stage)
        stage.choose("End it")
        assert hog.wait(60).signal == signal.SIGTERM
        until(lambda: list(stage.shown()) == ["make was ended"])
        assert not listener.heard
        stage.agent.end()
        hog = box.spawn(rss_bytes=300 * MIB, gives_back=12 * GIB, name="ninja")
        box.memory(available=box.total * 8 // 100)
        until(lambda: any("ninja" in " ".join(heard.words) for heard in listener.heard))
    finally:
        listener.close()


def test_end_it_ends_it_and_that_is_told(box: Box, stage: Stage, guard: Proc) -> None:
    hog = asked(box, stage)
    assert state(hog) == "T"
    stage.choose("End it")
    assert hog.wait(60).signal == signal.SIGTERM
    guard.wait_line('"event": "died"', 60)
    [closed] = events(guard, "closed")
    assert (closed["how"], closed["answer"], closed["user"]) == ("answered", "end", 0)
    until(lambda: list(stage.shown()) == ["make was ended"])


def test_resume_lets_it_go_on(box: Box, stage: Stage, guard: Proc) -> None:
    hog = asked(box, stage)
    stage.choose("Resume")
    guard.wait_line('"event": "closed"', 60)
    until(lambda: state(hog) != "T" and "make is paused" not in stage.shown())
    assert hog.alive and events(guard, "closed")[0]["answer"] == "resume"


def test_limit_gives_it_a_ceiling(box: Box, stage: Stage, guard: Proc) -> None:
    hog = asked(box, stage)
    stage.choose("Limit it to")
    guard.wait_line('"event": "limited"', 60)
    [limited], [question] = events(guard, "limited"), events(guard, "question")
    assert limited["bytes"] == question["limit"] >= 300 * MIB
    until(lambda: state(hog) != "T" and "make is paused" not in stage.shown())
    until(lambda: "make is limited" in stage.shown())
    limits = (hog.proc / "limits").read_text().splitlines()
    [data] = [line.split()[3] for line in limits if line.startswith("Max data size")]
    # Never less than what it has, or it could not even go on.
    assert limited["bytes"] <= int(data) <= limited["bytes"] + 16 * MIB


def test_what_is_over_before_anybody_answers_goes_from_the_screen(box: Box, stage: Stage, guard: Proc) -> None:
    hog = asked(box, stage)
    box.kill(hog)
    until(lambda: "make is paused" not in stage.shown())
    guard.wait_line('"event": "closed"', 60)
