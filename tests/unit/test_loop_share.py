"""The guard's cycle where a rule goes by what each user holds."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from okoomer.events import model
from okoomer.facts import Process
from okoomer.guard.rehearsal import rehearse
from okoomer.guard.sense import Sense
from okoomer.kernel.machine import LIVE
from okoomer.policy.model import Amount, Comparison, Policy, Rule, Step
from okoomer.policy.share import LONGEST, SHORTEST
from okoomer.record import replace
from tests.unit.console import okoomer
from tests.unit.machines import App, build
from tests.unit.strategies import GIB, MIB
from tests.unit.test_loop import TOTAL, Stage
from tests.unit.test_outlook import Scene

LOW = Comparison("mem.available", "<", 0.2, share=True)
SHARE = Rule("share", LOW, "mem.available < 20%", by="user", share=Amount(0.25, share=True))
HARD = Rule("hard", replace(LOW, threshold=0.05), "mem.available < 5%")


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The guard is root, and on the machine are two users and a service."""
    monkeypatch.setattr("okoomer.guard.loop.os.geteuid", lambda: 0)
    scene = Scene(monkeypatch, SHARE, HARD)
    scene.processes = [
        Process(1, 0, "init", 0.0),
        Process(3, 1, "okoomer", 0.0, anon=9 * MIB),
        Process(20, 1, "database", 1.0, user=110, anon=2500 * MIB),
        Process(21, 1, "single", 1.0, user=1001, anon=1500 * MIB),
        Process(22, 1, "job", 1.0, user=1002, anon=1100 * MIB),
        Process(23, 1, "job", 1.0, user=1002, anon=900 * MIB),
    ]
    return scene


def kinds(scene: Stage) -> list[str]:
    return [type(event).__name__ for event in scene.events]


def test_as_long_as_all_are_within_their_shares_nothing_is_said_and_seldom_looked(scene: Scene) -> None:
    scene.share = 0.15
    scene.run(3 * LONGEST)
    assert kinds(scene) == ["RuleChanged"]
    # The one who holds most has room for 48 MiB more, which takes a tenth of a second.
    often = scene.scans
    assert 3 * LONGEST / (2 * SHORTEST) < often <= 3 * LONGEST / SHORTEST + 1
    scene.processes[5] = replace(scene.processes[5], anon=100 * MIB)
    scene.run(3 * LONGEST)
    assert kinds(scene) == [] and 2 <= scene.scans - often <= 12


def test_whoever_comes_to_hold_more_is_taken_and_nobody_else(scene: Scene) -> None:
    scene.share = 0.15
    scene.run(1.0)
    scene.processes[4] = replace(scene.processes[4], anon=1400 * MIB)
    until = scene.world.now + LONGEST + 1.0
    while not scene.told(model.Chosen) and scene.world.now < until:
        scene.world.now += max(scene.cycle(), 1e-3)
    chosen, *later = scene.told(model.Chosen)
    assert isinstance(chosen, model.Chosen) and not later
    assert (chosen.pids, chosen.user, chosen.reason) == ((22,), 1002, "over-share")
    assert chosen.why.startswith("user 1002 holds 2.2 GiB, 252 MiB over his share; ")
    assert not scene.told(model.Refused)


def test_a_less_urgent_rule_has_its_turn_where_all_are_within(scene: Scene) -> None:
    scene.share = 0.04
    scene.run(0.5)
    [chosen] = scene.told(model.Chosen)
    assert isinstance(chosen, model.Chosen)
    assert (chosen.rule, chosen.pids, chosen.reason) == ("hard", (20,), "low-memory")


def test_a_guard_that_hangs_takes_whoever_holds_too_much_or_else_anybody(scene: Scene) -> None:
    watchdog = SimpleNamespace(best=None)
    scene.guard.watchdog = watchdog  # type: ignore[assignment]
    for anon, pid in ((1100, 20), (1400, 22)):
        scene.processes[4] = replace(scene.processes[4], anon=anon * MIB)
        scene.guard.prepare(scene.snapshot())
        assert watchdog.best and [one.pid for one in watchdog.best[1]] == [pid]


def test_a_rehearsal_takes_nobody_for_lack_of_a_share() -> None:
    policy = Policy("test", (replace(SHARE, steps=(Step("term", 0.1), Step("kill"))),))
    lacks = rehearse(LIVE, policy, Sense(LIVE), 0)
    assert not any("could not be" in lack for lack in lacks)
    assert "okoomer.policy.share" in sys.modules


# --- recorded machines ------------------------------------------------------------------------------------------

TEXT = """
[[rule]]
name = "share"
when = "mem.available < 20%"
by = "user"
share = "25%"
steps = ["pause 10s", "kill"]
[[rule]]
name = "hard"
when = "mem.available < 10%"
"""
APPS = (
    App(40, b"database", anon=5 * GIB // 2, user=110),
    App(41, b"single", anon=3 * GIB // 2, user=1001),
    App(42, b"job", anon=1100 * MIB, user=1002),
)


@pytest.mark.parametrize(
    ("available", "more", "expected"),
    [
        (1200 * MIB, 0, ("share", "over-share", None)),
        (700 * MIB, 0, ("hard", "low-memory", "database")),
        (1200 * MIB, 1100 * MIB, ("share", "over-share", "job")),
        (700 * MIB, 1100 * MIB, ("share", "over-share", "job")),
        (4 * GIB, 1100 * MIB, None),
    ],
)
def test_why_goes_on_to_the_next_rule_as_the_guard_does(
    tmp_path: Path, available: int, more: int, expected: tuple[str, ...] | None
) -> None:
    (tmp_path / "p.toml").write_text(TEXT)
    apps = [*APPS, *([App(43, b"job", anon=more, user=1002)] if more else ())]
    machine = build(tmp_path / "m", total=TOTAL, available=available, apps=apps)
    ended = okoomer("why", "--machine", machine, "--policy", tmp_path / "p.toml")
    assert ended.code == 0
    if expected is None:
        assert "no rule acts" in ended.out
        return
    rule, reason, name = expected
    assert f"rule {rule} acts ({reason})" in ended.out
    if name is None:
        assert "it takes nobody: no user holds more than the share, 2.0 GiB; user 1001 holds most, 1.5 GiB" in ended.out
    else:
        assert f"it takes {name}" in ended.out
        assert ("user 1002 holds 2.1 GiB, 152 MiB over his share; " in ended.out) == (rule == "share")
