"""The loop's cycle over a tree of cgroups whose processes only seem to be: files, bodies and time are the test's."""

from __future__ import annotations

import posix
import subprocess
import sys
from _signal import SIGKILL
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

import okoomer
from okoomer.events import model
from okoomer.facts import Cgroup, Memory, Snapshot
from okoomer.guard import loop
from okoomer.guard.ladder import Ladder
from okoomer.guard.loop import AGAIN, SECOND_LOOK, Guard
from okoomer.guard.managed import Managed
from okoomer.kernel.machine import recorded
from okoomer.policy.engine import FIRED
from okoomer.policy.model import Amount, Comparison, Policy, Rule, Step
from okoomer.policy.scope import scope_of
from okoomer.record import Record, replace
from okoomer.units import GIB, MIB
from tests.unit.bodies import NEVER, Body, Enclosure, World
from tests.unit.machines import App
from tests.unit.strategies import selector
from tests.unit.trees import Group, tree

BIG = Comparison("cgroup.memory", ">", 200 * MIB)
LOW = Comparison("mem.available", "<", 0.05, share=True)
#: Ends each cgroup in w that is too big.
EACH = Rule("each", BIG, "cgroup.memory > 200MiB", unit="cgroup", rank="rss", scope=scope_of("w/*"))
SHRINKS = replace(EACH, name="shrinks", steps=(Step("shrink", amount=Amount(0.01, True)),), rest=1.0)
PATTERN = replace(EACH, name="p", scope=None, managed="ManagedOOMMemoryPressure")


class Line:
    """The courier's line, of which only what systemd says is heard."""

    alive = True

    def __init__(self, managed: Managed) -> None:
        self.managed = managed


class Shrinks:
    """Takes note of what would be taken away."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def begin(self, rule: str, cgroup: Cgroup, amount: Amount) -> bool:
        self.asked.append((rule, cgroup.path))
        return True


class Stage:
    """A machine with a tree, the guard on it and what it said. A cgroup of which all have died is gone."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, groups: dict[str, Group], *rules: Rule, **more: Any
    ) -> None:
        self.folder, self.groups, self.share = folder, groups, 0.5
        tree(folder, 100.0, groups)
        pids = {path: [app.pid for app in group.apps] or [n] for n, (path, group) in enumerate(groups.items(), 101)}
        self.world = World(*(Body(pid) for some in pids.values() for pid in some))
        self.world.now = 100.0
        self.world.groups = {
            path: Enclosure(self.world, *(self.world.bodies[pid] for pid in some)) for path, some in pids.items()
        }
        self.pids = pids
        self.events: list[Record] = []
        monkeypatch.setattr(loop.clock, "since_boot", lambda: self.world.now)
        monkeypatch.setattr(posix, "geteuid", lambda: 0)
        dry_run = more.pop("dry_run", False)
        policy = Policy("test", rules, **more)
        ladder = Ladder(self.world, self.events.append, policy)
        machine = recorded(str(folder))
        self.guard = Guard(
            machine, policy, self, ladder, self.events.append, me=3, dry_run=dry_run, now=lambda: self.world.now  # type: ignore[arg-type]
        )  # fmt: skip
        self.shrinks = self.guard.ladder.shrinks = Shrinks()  # type: ignore[assignment]

    def snapshot(self) -> Snapshot:
        self.world.now += 1e-4
        for path, pids in self.pids.items():
            directory = self.folder / "sys/fs/cgroup" / path.strip("/")
            if directory.exists() and all(self.world.bodies[pid].dies <= self.world.now for pid in pids):
                # Who holds a file of it open would read on in a plain directory.
                (directory / "memory.current").write_text("0\n")
                rmtree(directory)
                for pid in pids:
                    rmtree(self.folder / f"proc/{pid}")
                self.share += self.groups[path].memory / 8192
        return Snapshot(self.world.now, Memory(8 * GIB, 0, int(8 * GIB * self.share)))

    def troubles(self) -> list[str]:
        return []

    def run(self, seconds: float) -> list[Record]:
        """Cycles as the loop does, for so long; what was said meanwhile."""
        self.events.clear()
        until = self.world.now + seconds
        while self.world.now < until:
            self.world.now += max(self.guard.cycle(), 1e-3)
        return self.events

    def chosen(self) -> list[tuple[str, str, str]]:
        return [(one.rule, one.target, one.cgroup) for one in self.events if isinstance(one, model.Chosen)]


# --- scopes -----------------------------------------------------------------------------------------------------


def test_each_cgroup_of_a_scope_has_its_turn_the_worst_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    groups = {"/w/a": Group(300), "/w/b": Group(700), "/w/c": Group(200), "/v/d": Group(900)}
    stage = Stage(monkeypatch, tmp_path, groups, EACH)
    stage.run(5.0)
    assert stage.chosen() == [("each", "/w/b", "/w/b"), ("each", "/w/a", "/w/a")]
    assert stage.world.signals(SIGKILL) == [101, 102]
    died = [event.cgroup for event in stage.events if isinstance(event, model.Died)]
    assert died == ["/w/b", "/w/a"]


def test_one_in_which_nobody_can_be_ended_is_passed_over_for_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stay = (App(50, b"stays", anon=700 * MIB, adjustment=-1000),)
    stage = Stage(monkeypatch, tmp_path, {"/w/a": Group(300), "/w/b": Group(700, apps=stay)}, EACH)
    stage.run(AGAIN / 2)
    refused = [event for event in stage.events if isinstance(event, model.Refused)]
    assert [event.target for event in refused] == ["/w/b"] and "no process that may be touched" in refused[0].why
    assert stage.chosen() == [("each", "/w/a", "/w/a")]
    assert stage.world.signals(SIGKILL) == [101]


def test_recovery_of_the_cgroup_between_choice_and_act_touches_nobody(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stage = Stage(monkeypatch, tmp_path, {"/w/a": Group(300), "/w/b": Group(210)}, EACH)
    plain = loop.scan

    def shrinking(*given: Any, **named: Any) -> Any:
        (tmp_path / "sys/fs/cgroup/w/a/memory.current").write_text("5\n")
        return plain(*given, **named)

    monkeypatch.setattr(loop, "scan", shrinking)
    stage.guard.cycle()
    assert [event for event in stage.events if isinstance(event, model.Recovered)] and stage.chosen() == []
    assert stage.world.signals(SIGKILL) == []


def test_rates_are_looked_at_twice_before_anybody_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rule = Rule("r", LOW, "mem.available < 5%", unit="cgroup", rank="pgscan", among=scope_of("w/*"))
    stage = Stage(monkeypatch, tmp_path, {"/w/a": Group(300, scan=99), "/w/b": Group(200)}, rule)
    stage.share = 0.04
    stage.run(SECOND_LOOK / 2)
    assert stage.world.signals(SIGKILL) == [] and not [e for e in stage.events if isinstance(e, model.Refused)]
    stat = tmp_path / "sys/fs/cgroup/w/b/memory.stat"
    stat.write_text(stat.read_text().replace("pgscan 0", "pgscan 9"))
    stage.run(SECOND_LOOK)
    assert stage.chosen() == [("r", "", "/w/b")]
    assert stage.world.signals(SIGKILL) == [102]


def test_a_service_ends_as_its_cgroup_and_one_that_does_not_die_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    groups = {"/w/x.service": Group(700), "/w/y.service": Group(300)}
    stage = Stage(monkeypatch, tmp_path, groups, Rule("r", LOW, "mem.available < 5%", unit="auto"))
    stage.world.bodies[101].patience[int(SIGKILL)] = NEVER
    assert stage.world.groups
    stage.world.groups["/w/x.service"].inode = _inode(stage, "/w/x.service")
    stage.share = 0.04
    stage.run(5.0)
    assert [cgroup for _, _, cgroup in stage.chosen()] == ["/w/x.service", "/w/y.service"]
    assert [event.cgroup for event in stage.events if isinstance(event, model.Stuck)] == ["/w/x.service"]


def _inode(stage: Stage, path: str) -> int:
    assert stage.guard._cgroups
    (found,) = stage.guard._cgroups.area(None, path, False, frozenset(), stage.world.now)
    return found.inode


# --- taking away ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dry_run", [False, True])
def test_who_only_takes_memory_away_stands_in_nobodys_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dry_run: bool
) -> None:
    kills = Rule("low", LOW, "mem.available < 5%", unit="cgroup", rank="rss", among=scope_of("v/*"))
    groups = {"/w/a": Group(300), "/v/d": Group(900)}
    stage = Stage(monkeypatch, tmp_path, groups, SHRINKS, kills, dry_run=dry_run)
    stage.share = 0.04
    stage.run(2.5)
    assert stage.chosen() == [("low", "", "/v/d")]
    assert stage.shrinks.asked == ([] if dry_run else [("shrinks", "/w/a")] * 3)
    assert stage.world.signals(SIGKILL) == ([] if dry_run else [102])


# --- what systemd says ------------------------------------------------------------------------------------------


def test_what_systemd_says_during_an_act_holds_after_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    groups = {"/w/a": Group(300), "/w/b": Group(700)}
    slow = replace(PATTERN, steps=(Step("term", 2.0), Step("kill")))
    stage = Stage(monkeypatch, tmp_path, groups, slow)
    managed = Managed(stage.events.append)
    stage.guard.link = Line(managed)  # type: ignore[assignment]
    stage.run(1.0)
    assert stage.chosen() == [], "a pattern by itself never fires"
    stage.world.bodies[101].patience = {15: NEVER, 9: 0.0}
    managed.take(b"managed ManagedOOMMemoryPressure - - /w/a")
    stage.run(1.0)
    assert stage.chosen() == [("p:/w/a", "/w/a", "/w/a")]
    managed.take(b"managed ManagedOOMMemoryPressure - - /w/b")
    managed.take(b"unmanaged ManagedOOMMemoryPressure /w/a")
    stage.run(0.5)
    assert [rule.name for rule in stage.guard.policy.rules] == ["p", "p:/w/a"]
    assert stage.chosen() == [] and stage.world.signals(SIGKILL) == []
    stage.run(3.0)
    assert [rule.name for rule in stage.guard.policy.rules] == ["p", "p:/w/b"]
    assert stage.world.signals(SIGKILL) == [101]
    assert stage.chosen() == [("p:/w/b", "/w/b", "/w/b")]
    managed.take(b"unmanaged-all")
    stage.run(0.5)
    assert [rule.name for rule in stage.guard.policy.rules] == ["p"]
    assert stage.guard._changes.quiet()


def test_a_pattern_is_no_emergency_but_its_copy_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pattern = Rule("p", replace(LOW, threshold=0.1), "", unit="cgroup", rank="swap", managed="ManagedOOMSwap")
    stage = Stage(monkeypatch, tmp_path, {"/w/a": Group(300)}, pattern)
    snapshot = stage.snapshot()
    assert stage.guard.emergency(snapshot) == 8 * GIB / 50
    managed = Managed(stage.events.append)
    stage.guard.link = Line(managed)  # type: ignore[assignment]
    managed.take(b"managed ManagedOOMSwap - - /w/a")
    stage.guard.cycle()
    assert stage.guard.emergency(snapshot) == pytest.approx(8 * GIB / 10)


# --- another policy ---------------------------------------------------------------------------------------------


def test_a_policy_about_cgroups_can_come_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = Rule("low", LOW, "mem.available < 5%", spare=(selector("name:nobody"),))
    stage = Stage(monkeypatch, tmp_path, {"/w/a": Group(300)}, plain)
    assert stage.guard._cgroups is None
    stage.run(1.0)
    stage.guard.adopt(Policy("other", (EACH,)), stage)  # type: ignore[arg-type]
    assert stage.guard._cgroups and stage.guard.ladder.shrinks is not stage.shrinks
    stage.run(1.0)
    assert stage.chosen() == [("each", "/w/a", "/w/a")]
    assert next(e.state for e in stage.events if isinstance(e, model.RuleChanged)) == FIRED


#: Modules that are loaded only for a policy about cgroups.
ABOUT = ("okoomer.guard.cgroups", "okoomer.guard.among", "okoomer.guard.shrink", "okoomer.guard.band")
#: Makes a guard under a policy of one rule, cycles once and says what is loaded.
PROGRAM = """if True:
    import sys
    sys.path.insert(0, sys.argv[1])
    import okoomer.guard.main
    from okoomer.guard.ladder import Ladder
    from okoomer.guard.loop import Guard
    from okoomer.guard.sense import Sense
    from okoomer.kernel.machine import LIVE
    from okoomer.policy.model import Comparison, Policy, Rule
    policy = Policy("p", (Rule("r", Comparison("mem.available", "<", 0.0), "", unit=sys.argv[2]),))
    ladder = Ladder(None, lambda event: None, policy)
    Guard(LIVE, policy, Sense(LIVE), ladder, lambda event: None, 0, dry_run=True).cycle()
    print(*sorted(sys.modules))
"""


@pytest.mark.parametrize(("unit", "loaded"), [("process", ()), ("family", ()), ("cgroup", ABOUT)])
def test_what_is_about_cgroups_is_loaded_only_for_policies_that_are(unit: str, loaded: tuple[str, ...]) -> None:
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(Path(okoomer.__file__).parents[1]), unit]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.split()
    assert sorted({*found} & {*ABOUT}) == sorted(loaded)
