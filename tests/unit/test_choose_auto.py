"""Applications, services and containers that end as one, and where a rule seeks whom it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.facts import Process
from okoomer.policy.choose import Choice, choose, needs_of
from okoomer.policy.glob import literal
from okoomer.policy.model import Policy, Rule
from okoomer.policy.scale import LAST, ORDINARY
from okoomer.policy.scope import scope_of
from okoomer.policy.select import container_of
from okoomer.policy.whole import WHOLE, whole_of
from okoomer.record import replace
from tests.unit.hierarchies import cgroup
from tests.unit.strategies import cases, selector
from tests.unit.test_choose import INIT, RULE, machine, pids, process, shell

if TYPE_CHECKING:
    from random import Random

AUTO = replace(RULE, unit="auto")
USER = "/user.slice/user-1000.slice"
MANAGER = f"{USER}/user@1000.service"
APP = f"{MANAGER}/app.slice/app-firefox-1.scope"
SERVICE = "/system.slice/postgresql.service"
CONTAINER = f"/system.slice/docker-{'0a' * 32}.scope"


def within(path: str, *processes: Process) -> list[Process]:
    return [replace(one, cgroup=path) for one in processes]


def chosen(*processes: Process, rule: Rule = AUTO, supervisors: tuple[str, ...] = (), target: str = "") -> Choice:
    policy = Policy("test", (rule,), supervisors=tuple(map(selector, supervisors)))
    return choose(
        rule, policy, machine(), (INIT, *processes), target=cgroup(target) if target else None
    )  # fmt: skip


# --- which cgroups are one --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "so"),
    [
        (SERVICE, SERVICE),
        (f"{SERVICE}/part", SERVICE),
        (APP, APP),
        (CONTAINER, CONTAINER),
        (f"{CONTAINER}/init", CONTAINER),
        (f"{CONTAINER}/system.slice/cron.service", CONTAINER),
        (f"/docker/{'0a' * 32}", f"/docker/{'0a' * 32}"),
        (f"/kubepods/burstable/pod1/{'0b' * 32}/x", f"/kubepods/burstable/pod1/{'0b' * 32}"),
        (f"{USER}/session-2.scope", ""),
        (f"{USER}/session-2.scope/deeper", ""),
        (f"{MANAGER}/init.scope", ""),
        (MANAGER, ""),
        (f"{MANAGER}/app.slice", ""),
        ("/init.scope", ""),
        ("/system.slice", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_an_application_a_service_and_a_container_is_one_and_a_session_is_not(path: str, so: str) -> None:
    assert whole_of(path) == so


# --- they end as one --------------------------------------------------------------------------------------------


def test_all_of_a_service_goes_whoever_started_its_processes() -> None:
    database = within(SERVICE, process(10, 1, "postgres", 200), process(11, 10, "postgres", 900), process(12, 1, "pg"))
    choice = chosen(*database, process(50, 1, "other", 500))
    assert pids(choice) == (10, 11, 12)
    assert choice.victim and (choice.victim.kind, choice.victim.cgroup) == (WHOLE, "")
    assert choice.victim.name == "postgres and 2 more"
    assert pids(chosen(*database, rule=RULE)) == (11,)


def test_a_service_of_one_process_is_that_process() -> None:
    choice = chosen(*within(SERVICE, process(10, 1, "postgres", 900)))
    assert pids(choice) == (10,) and choice.victim and choice.victim.kind == "process"


def test_services_of_one_name_are_not_one_group() -> None:
    services = [within(f"/system.slice/worker{n}.service", process(n, 1, "worker", 500))[0] for n in range(10, 15)]
    assert len(pids(chosen(*services)) or ()) == 1
    assert len(pids(chosen(*services, rule=RULE)) or ()) == 5


def test_who_is_started_from_one_application_in_another_belongs_to_the_other() -> None:
    launcher = within(APP, process(10, 1, "launcher", 400), process(11, 10, "helper", 10))
    started = within(CONTAINER, process(20, 11, "sh", 1), process(21, 20, "hog", 600))
    assert pids(chosen(*launcher, *started)) == (20, 21)


def test_tabs_that_an_application_marked_as_expendable_go_before_all_of_it() -> None:
    browser = within(
        APP,
        process(300, 1, "chrome", 900),
        process(301, 300, "tab", 400, adjustment=300),
        process(302, 300, "tab", 300, adjustment=300),
    )
    assert pids(chosen(*browser)) == (301,)
    assert pids(chosen(browser[0], browser[2], process(50, 1, "other", 9), rule=AUTO)) == (302,)
    assert pids(chosen(browser[0])) == (300,)


def test_an_application_is_preferred_as_a_whole() -> None:
    preferring = replace(AUTO, prefer=(selector("name:worker"),))
    service = within(SERVICE, process(10, 1, "main", 50), process(11, 10, "worker", 400))
    choice = chosen(*service, process(50, 1, "hog", 3000), rule=preferring)
    assert pids(choice) == (10, 11) and choice.victim and "preferred by name:worker" in choice.victim.why


# --- what is not one --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keeper",
    [shell(10, 1), process(10, 1, "tmux: server", 9), process(10, 1, "kept", 9), process(10, 1, "x", adjustment=-1000)],
)
def test_where_somebody_holds_the_work_of_others_or_stays_each_family_is_for_itself(keeper: Process) -> None:
    careful = replace(AUTO, avoid=(selector("name:kept"),))
    scope = within(APP, keeper, process(11, 10, "make", 5), process(12, 11, "cc1", 900), process(13, 10, "vim", 300))
    assert pids(chosen(*scope, rule=careful, supervisors=("name:tmux.*",))) == (12,)


def test_a_session_and_what_no_unit_holds_is_as_ever() -> None:
    for path in (f"{USER}/session-2.scope", "/system.slice", ""):
        two = within(path, process(10, 1, "one", 600), process(11, 1, "two", 500))
        assert pids(chosen(*two)) == (10,)


# --- the init of a container -------------------------------------------------------------------------------------

SHIM = process(5, 1, "containerd-shim", 9)
NAMED = ("name:tini|s6-.*|supervisord|systemd|containerd.*",)


def contained(*more: Process, path: str = CONTAINER, init: str = "tini") -> list[Process]:
    """A container with an init that supervises by name."""
    return within(path, process(10, 5, init, 1), process(11, 10, "app", 5), process(12, 11, "java", 900), *more)


@pytest.mark.parametrize("init", ["tini", "s6-svscan", "supervisord", "systemd"])
def test_a_container_ends_with_its_init_whatever_that_is_called(init: str) -> None:
    choice = chosen(SHIM, *contained(init=init), supervisors=NAMED)
    assert pids(choice) == (10, 11, 12) and choice.victim and choice.victim.tier == ORDINARY
    assert pids(chosen(SHIM, *contained(init=init), supervisors=NAMED, rule=RULE)) == (12,)


def test_the_init_of_a_container_within_a_container_ends_with_the_inner_one() -> None:
    inner = within(f"{CONTAINER}/docker/{'0c' * 32}", process(20, 13, "tini", 1), process(21, 20, "hog", 2000))
    outer = contained(process(13, 10, "containerd", 40))
    assert pids(chosen(SHIM, *outer, *inner, supervisors=NAMED)) == (20, 21)


@pytest.mark.parametrize(
    "other",
    [
        shell(13, 5),
        shell(13, 10),
        process(13, 10, "supervisord", 9),
        process(13, 5, "supervisord", 9),
        process(13, 11, "s6-supervise", 9),
        process(13, 10, "kept", 9),
        process(13, 10, "x", 9, adjustment=-1000),
    ],
)
def test_a_container_is_many_things_for_anybody_else_in_it_and_its_init_stays_then(other: Process) -> None:
    careful = replace(AUTO, avoid=(selector("name:kept"),))
    choice = chosen(SHIM, *contained(other), supervisors=NAMED, rule=careful)
    assert pids(choice) == (12,)
    assert next(one for one in choice.ranking if 11 in one.pids).pids == (11, 12)


def test_an_init_that_comes_last_or_is_a_shell_makes_a_container_many_things() -> None:
    last = replace(AUTO, avoid=(selector("name:tini"),))
    assert pids(chosen(SHIM, *contained(), supervisors=NAMED, rule=last)) == (12,)
    typed = replace(contained()[0], session=10, terminal=True)
    assert pids(chosen(SHIM, typed, *contained()[1:], supervisors=NAMED)) == (12,)


def test_the_first_process_of_a_service_is_no_init() -> None:
    assert pids(chosen(SHIM, *contained(path=SERVICE, init="supervisord"), supervisors=NAMED)) == (12,)


@cases(400)
def test_no_supervisor_but_the_init_of_a_container_is_ever_taken_before_others(random: Random) -> None:
    everyone = [INIT, SHIM]
    paths = (
        CONTAINER,
        f"/docker/{'0b' * 32}",
        f"{CONTAINER}/docker/{'0c' * 32}",
        SERVICE,
        f"{USER}/session-2.scope",
        "",
    )
    for pid in range(10, 10 + random.randint(2, 25)):
        parent = random.choice(everyone)
        path = random.choice((parent.cgroup, parent.cgroup, *paths))
        one = process(pid, parent.pid, random.choice(("tini", "kept", *"abc")), random.randrange(1, 900), cgroup=path)
        everyone.append(replace(one, session=pid if random.random() < 0.1 else 1, terminal=random.random() < 0.3))
    sparing = replace(AUTO, spare=(selector("name:kept"),))
    choice = chosen(*random.sample(everyone[1:], len(everyone) - 1), supervisors=NAMED, rule=sparing)
    by_pid = {one.pid: one for one in everyone}
    for candidate in choice.ranking:
        taken = [by_pid[pid] for pid in candidate.pids]
        assert not any(one.name == "kept" for one in taken)
        for one in taken if candidate.tier != LAST else ():
            assert not (one.terminal and one.session == one.pid)
            if one.name == "tini":
                path = whole_of(one.cgroup)
                assert container_of(path) and whole_of(by_pid[one.parent].cgroup) != path
                inside = [other for other in everyone if whole_of(other.cgroup) == path]
                assert {*candidate.pids} == {other.pid for other in inside}
                assert [other.name for other in inside].count("tini") == 1


# --- where a rule seeks -----------------------------------------------------------------------------------------

ANYWHERE = (
    *within(SERVICE, process(10, 1, "postgres", 3000)),
    *within(APP, process(20, 1, "firefox", 900)),
    *within(f"{APP}/deeper", process(21, 1, "plugin", 50)),
    *within(CONTAINER, process(30, 1, "java", 2000)),
    process(40, 1, "nowhere", 4000),
)


@pytest.mark.parametrize("unit", ["auto", "family", "process", "group"])
def test_with_a_scope_only_processes_in_the_cgroup_that_the_rule_is_about_are_taken(unit: str) -> None:
    scoped = replace(AUTO, unit=unit, scope=literal("/user.slice"))
    assert 20 in (pids(chosen(*ANYWHERE, rule=scoped, target="/user.slice")) or ())
    assert chosen(*ANYWHERE, rule=scoped, target="/machine.slice").victim is None


def test_whom_a_rule_seeks_among_lies_in_one_of_these_cgroups_however_deep() -> None:
    among = replace(AUTO, among=scope_of("user.slice/*/*/*/*,system.slice/docker-*"))
    choice = chosen(*ANYWHERE, rule=among)
    assert [tuple(sorted(one.pids)) for one in choice.ranking] == [(30,), (20, 21)]
    relative = replace(AUTO, scope=scope_of("*.slice"), among=scope_of("./user-*", relative=True))
    assert pids(chosen(*ANYWHERE, rule=relative, target="/user.slice")) == (20, 21)
    assert chosen(*ANYWHERE, rule=relative, target="/system.slice").victim is None


def test_for_any_of_this_the_cgroups_of_processes_have_to_be_read() -> None:
    plain = replace(RULE, unit="process")
    for one, so in ((plain, False), (replace(plain, scope=literal("/a")), True), (AUTO, True)):
        assert ("cgroup" in needs_of(Policy("test", (one,)), one)) is so
