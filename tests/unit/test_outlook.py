"""Who a warning names: whoever grows, found at a bounded price and never while there is something better to do."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from okoomer.events.model import Warned
from okoomer.facts import Cgroup, Memory, Process, Snapshot, Swap
from okoomer.guard.outlook import LOOK_AGAIN, NOBODY, Grower
from okoomer.guard.scan import Scan
from okoomer.policy.choose import at_its_level, need_of
from okoomer.policy.engine import FIRED, QUIET, RuleVerdict, Verdict
from okoomer.policy.model import Amount, And, Comparison, Rule, Step
from okoomer.record import replace
from tests.unit.bodies import Body
from tests.unit.strategies import MIB, selector
from tests.unit.test_loop import KILLS, LOW, TOTAL, Stage

if TYPE_CHECKING:
    from okoomer.guard.outlook import Outlook

EARLY = Rule(
    "early", Comparison("mem.available", "<", 0.12, share=True), "mem.available < 12%", steps=(Step("warn"),), rest=1.0
)
ME = os.geteuid()


class Scene(Stage):
    """A stage whose processes are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *rules: Rule, dry_run: bool = False) -> None:
        self.processes = [
            Process(1, 0, "init", 0.0),
            Process(3, 1, "okoomer", 0.0, anon=9 * MIB),
            Process(20, 1, "database", 1.0, user=ME, anon=2000 * MIB, growth=0.0, cgroup="/db"),
            Process(21, 1, "browser", 1.0, user=ME, anon=900 * MIB, growth=50e6, cgroup="/web"),
            Process(22, 21, "tab", 1.0, user=ME, anon=300 * MIB, growth=90e6, cgroup="/web"),
            Process(23, 1, "crumb", 1.0, user=ME, anon=3 * MIB, growth=1e9, cgroup="/web"),
        ]
        super().__init__(monkeypatch, *(rules or (KILLS, EARLY)), dry_run=dry_run)
        self.sizes = {process.pid: process.anon // MIB for process in self.processes}
        self.world.bodies = {process.pid: Body(process.pid) for process in self.processes}

    def scan(self, *_: object) -> Scan:
        self.scans += 1
        if self.unlistable:
            raise OSError(24, "Too many open files")
        return Scan(self.world.now, tuple(self.processes), len(self.processes))

    def warned(self, share: float, seconds: float = 0.5) -> list[Warned]:
        self.share = share
        return [event for event in self.run(seconds) if isinstance(event, Warned)]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_a_warning_names_who_grows_with_its_whole_family(scene: Scene) -> None:
    (warning,) = scene.warned(0.1)
    assert (warning.name, warning.pid, warning.user, warning.cgroup) == ("browser and 1 more", 21, ME, "/web")
    assert warning.rule == "early" and warning.available == int(TOTAL * 0.1) and not warning.act


def test_it_says_how_long_memory_lasts_where_a_rule_is_about_that(monkeypatch: pytest.MonkeyPatch) -> None:
    lasts = replace(KILLS, name="lasts", when=Comparison("forecast.exhausted", "<", 0.001))
    scene = Scene(monkeypatch, lasts, EARLY)
    scene.run(2)
    for _ in range(30):
        scene.share -= 0.01
        scene.run(0.2)
    scene.events.clear()
    for _ in range(10):
        scene.share = max(0.11 - 0.002 * _, 0.01)
        left = [event.left for event in scene.run(0.2) if isinstance(event, Warned)]
        if left:
            break
    assert left and left[0] is not None and 1 < left[0] < 20


@pytest.mark.parametrize(
    "growths",
    [
        {20: 0.0, 21: 0.0, 22: 0.0, 23: 1e9},  # who grows is too small to matter
        {20: None, 21: None, 22: None, 23: None},  # nobody knows
        {20: -1e6, 21: -5e6, 22: 1e6, 23: 0.0},
    ],
)
def test_where_nobody_grows_nobody_is_named(scene: Scene, growths: dict[int, float | None]) -> None:
    scene.processes = [replace(p, growth=growths.get(p.pid)) for p in scene.processes]
    (warning,) = scene.warned(0.1)
    assert (warning.name, warning.pid, warning.user, warning.cgroup) == ("", 0, -1, "")


def test_who_is_spared_or_is_none_of_ours_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, KILLS, replace(EARLY, spare=(selector("name:browser|tab"),)))
    scene.processes.append(Process(24, 1, "editor", 1.0, user=ME, anon=100 * MIB, growth=1e6))
    assert [warning.name for warning in scene.warned(0.1)] == ["editor"]


def test_there_is_one_look_in_five_seconds_however_many_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [replace(EARLY, name=f"early{number}", rest=0.05) for number in range(5)]
    scene = Scene(monkeypatch, *many)
    scene.guard.outlook.growth.due = lambda *_: False  # type: ignore[method-assign]
    warnings = scene.warned(0.1, 20)
    assert len(warnings) > 300 and {warning.pid for warning in warnings} == {21}
    assert scene.scans <= 20 / LOOK_AGAIN + 1


def test_nobody_is_looked_for_once_a_rule_that_ends_has_fired(scene: Scene) -> None:
    scene.guard.outlook.growth.due = lambda *_: False  # type: ignore[method-assign]
    scene.cycle(0.04)
    (warning, *_) = scene.told(Warned)
    assert (warning.name, scene.scans) == ("", 1), "the one look is that of the act"


def test_nobody_is_looked_for_while_an_act_is_under_way(scene: Scene) -> None:
    scene.guard.outlook.growth.due = lambda *_: False  # type: ignore[method-assign]
    scene.guard.ladder.rest(scene.world.now)  # as in a dry run
    (warning, *_) = scene.warned(0.1, 3)
    assert (warning.name, scene.scans) == ("", 0)


def test_that_processes_cannot_be_listed_leaves_the_warning(scene: Scene) -> None:
    scene.unlistable = True
    (warning,) = scene.warned(0.1)
    assert warning.name == ""


def test_a_rule_that_only_has_a_level_looks_at_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, replace(EARLY, steps=(), rest=0.0, level=50))
    scene.guard.outlook.growth.due = lambda *_: False  # type: ignore[method-assign]
    assert scene.warned(0.1, 10) == [] and scene.scans == 0


def test_a_warning_about_a_cgroup_names_nobody_outside_of_it(scene: Scene) -> None:
    outlook: Outlook = scene.guard.outlook
    snapshot = scene.snapshot()

    def grower(path: str, at: float) -> Grower:
        verdict = Verdict(at, (RuleVerdict("low", QUIET, ()), RuleVerdict("early", FIRED, ())), None, (), 0.0)
        return outlook.grower(EARLY, Cgroup(path), Snapshot(at, snapshot.memory), verdict)

    assert grower("/web", 100.0).pid == 21
    assert grower("/db", 101.0) == NOBODY, "what was seen is of another"
    assert grower("/web", 102.0).pid == 21
    assert grower("/db", 110.0) == NOBODY, "it does not grow"
    assert grower("/web", 120.0).pid == 21


# --- whom the kernel's own killer should take -------------------------------------------------------------------------


class Primes:
    """Keeps who was to be first, in place of guard.prime."""

    def __init__(self) -> None:
        self.is_short = False
        self.told: list[tuple[float, tuple[int, ...]]] = []
        self.releases = 0

    def short(self, *_: object) -> bool:
        return self.is_short

    def due(self, now: float) -> bool:
        return not self.told or now - self.told[-1][0] >= LOOK_AGAIN

    def first(self, processes: tuple[Process, ...], now: float) -> None:
        self.told.append((now, tuple(process.pid for process in processes)))

    def release(self) -> None:
        self.releases += 1


def test_as_long_as_memory_is_short_the_first_choice_is_looked_for_every_five_seconds(scene: Scene) -> None:
    scene.guard.outlook.primes = primes = Primes()  # type: ignore[assignment]
    scene.guard.outlook.growth.due = lambda *_: False  # type: ignore[method-assign]
    scene.share = 0.2
    scene.run(12)
    assert scene.scans == 0 and not primes.told and primes.releases
    primes.is_short, primes.releases = True, 0
    scene.run(12)
    assert [pids for _, pids in primes.told] == [(20,)] * scene.scans and 2 <= scene.scans <= 4
    assert not primes.releases
    scene.unlistable = True
    scene.run(6)
    assert primes.told[-1][1] == (), "nobody is known any more"


def test_whom_a_rule_passes_over_is_not_first_for_the_kernel_either(scene: Scene) -> None:
    scene.guard.outlook.primes = primes = Primes()  # type: ignore[assignment]
    primes.is_short = True
    scene.guard.outlook.passed = lambda rule, processes, now: (frozenset((20,)), frozenset())
    scene.share = 0.2
    scene.run(1)
    assert primes.told and set(primes.told[0][1]) == {21, 22}


def test_nothing_is_put_back_while_an_act_is_under_way(scene: Scene) -> None:
    scene.guard.outlook.primes = primes = Primes()  # type: ignore[assignment]
    scene.cycle(0.04)
    scene.cycle(0.04)
    assert not primes.told and not primes.releases


@pytest.mark.parametrize("target", [None, Amount(0.1, share=True), Amount(900 * MIB), Amount(1.0)])
@pytest.mark.parametrize("swap", [None, Comparison("swap.free", "<", 0.05, share=True)])
def test_whoever_looks_ahead_needs_what_it_will_need(swap: Comparison | None, target: Amount | None) -> None:
    def machine(available: float) -> Snapshot:
        return Snapshot(0.0, Memory(TOTAL, 0, int(available)), Swap())

    asked = replace(KILLS, when=And((LOW, swap)) if swap else LOW, target=target)
    early = at_its_level(asked, machine(TOTAL / 2))
    assert need_of(early, machine(TOTAL / 2)) == pytest.approx(need_of(asked, machine(TOTAL * 0.05)), abs=2)
    assert at_its_level(asked, machine(TOTAL * 0.04)) == asked
    stalls = replace(asked, when=Comparison("psi.memory.full", ">", 0.2, over=2.0))
    assert at_its_level(stalls, machine(TOTAL / 2)) == stalls
