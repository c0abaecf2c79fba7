"""Whom the desktop's policy ends on desktops as people have them: what grows, and never what holds the desktop
together, whatever its name is."""

from __future__ import annotations

import pytest

from okoomer.facts import Memory, Process, Snapshot
from okoomer.policy.choose import Choice, choose, least_of, needs_of
from okoomer.policy.language import load
from okoomer.policy.scale import LAST
from okoomer.record import replace
from tests.unit.desktops import DESKTOPS, MIB, Desktop, ended, seen, without_names

POLICY = load("desktop")
ENDING = {rule.name: rule for rule in POLICY.rules if not rule.only_warns}
TOTAL = 8 * 1024 * MIB
SNAPSHOT = Snapshot(0.0, Memory(TOTAL, 0, 60 * MIB))
MACHINES = {**DESKTOPS, **{f"{name}, other names": without_names(machine) for name, machine in DESKTOPS.items()}}

#: Who grows, and which pids may go then.
HOGS = {
    "a tab": (2010, {2010}),
    "a browser": (2000, {2000, 2010, 2011}),
    "a program in a browser": (2110, {2110}),
    "an editor": (2200, {2200}),
    "a game": (2310, {2310}),
    "a build": (2430, {2430}),
}


def decided(processes: tuple[Process, ...], rule: str = "exhausted") -> Choice:
    return choose(ENDING[rule], POLICY, SNAPSHOT, seen(processes))


def growing(machine: Desktop, pid: int, mib: int = 4000) -> tuple[Process, ...]:
    return tuple(replace(p, anon=mib * MIB, growth=200e6) if p.pid == pid else p for p in machine.processes)


def last_resort(machine: Desktop, choice: Choice) -> None:
    """Nobody who holds the desktop together is in a unit that comes earlier, nor in one with an application."""
    for unit in (choice.victim, *choice.ranking):
        if unit and not machine.held.isdisjoint(unit.pids):
            assert unit.tier == LAST and len(unit.pids) == 1, unit


@pytest.mark.parametrize("rule", ["exhausted", "low"])  # the second prefers what is easily lost
@pytest.mark.parametrize("hog", HOGS)
@pytest.mark.parametrize("name", MACHINES)
def test_what_grows_is_ended_and_the_desktop_stays(name: str, hog: str, rule: str) -> None:
    pid, goes = HOGS[hog]
    choice = decided(growing(MACHINES[name], pid), rule)
    assert choice.victim and set(choice.victim.pids) <= goes and pid in choice.victim.pids
    last_resort(MACHINES[name], choice)


@pytest.mark.parametrize("name", MACHINES)
def test_a_build_of_many_compilers_goes_without_its_shell_and_its_terminal(name: str) -> None:
    machine = MACHINES[name]
    (one,) = (process for process in machine.processes if process.pid == 2430)
    many = tuple(replace(one, pid=3000 + n, anon=250 * MIB, growth=20e6) for n in range(16))
    choice = decided((*machine.processes, *many))
    assert choice.victim and set(choice.victim.pids) == {2420, 2430, *range(3000, 3016)}
    last_resort(machine, choice)


@pytest.mark.parametrize("name", MACHINES)
def test_whoever_of_the_desktop_grows_an_application_goes_first(name: str) -> None:
    machine = MACHINES[name]
    for pid in sorted(machine.held - {1}):
        choice = decided(growing(machine, pid, mib=6000))
        assert choice.victim and pid not in choice.victim.pids, pid
        last_resort(machine, choice)


@pytest.mark.parametrize("name", MACHINES)
def test_the_desktop_goes_when_no_application_is_left_that_is_worth_it(name: str) -> None:
    machine, processes = MACHINES[name], growing(MACHINES[name], 1200, mib=2000)
    least = least_of(ENDING["exhausted"], TOTAL)
    gone: list[int] = []
    while victim := decided(processes).victim:
        gone += victim.pids
        if not machine.held.isdisjoint(victim.pids):
            left = [process for process in processes if process.pid not in machine.held]
            assert all(process.anon < least for process in left), left
        processes = ended(processes, victim.pids)
    assert 1200 in gone
    held = [pid in machine.held for pid in gone]
    assert held == sorted(held)


@pytest.mark.parametrize("name", ["Xfce", "sway", "Window Maker by xdm", "Window Maker by startx"])
def test_without_systemd_names_and_terminals_are_enough(name: str) -> None:
    machine = DESKTOPS[name]
    for pid in (2010, 2110, 2310, 2430, 1200):
        processes = tuple(replace(process, cgroup="") for process in growing(machine, pid))
        choice = decided(processes)
        assert choice.victim and (pid == 1200 or choice.victim.pids == (pid,))
        # Who is known by its place in the packages' or the session's cgroup may go there.
        unknown = {450, 455, 999, 1110} if pid != 1200 else {455}
        assert not (machine.held - unknown) & set(choice.victim.pids)


# --- what only looks as if it held a desktop together -----------------------------------------------------------


def hog(pid: int, parent: int, cgroup: str, session: int = 0, terminal: bool = False) -> Process:
    return Process(pid, parent, "hog", 1e4, session=session or pid, terminal=terminal, anon=4000 * MIB,
                   growth=200e6, cgroup=cgroup)  # fmt: skip


MANAGER = "/user.slice/user-1000.slice/user@1000.service"
SSH = "/user.slice/user-0.slice/session-9.scope"
SSHD = (
    Process(700, 1, "sshd", 50.0, session=700, anon=5 * MIB, cgroup="/system.slice/ssh.service"),
    Process(710, 700, "sshd", 60.0, session=710, anon=6 * MIB, cgroup=SSH),
)
CRON = (
    Process(720, 1, "crond", 50.0, session=720, anon=5 * MIB, cgroup="/system.slice/crond.service"),
    Process(730, 720, "crond", 60.0, session=720, anon=6 * MIB, cgroup="/user.slice/user-0.slice/session-8.scope"),
)


@pytest.mark.parametrize(
    "more",
    [
        (*SSHD, hog(5000, 710, SSH)),  # ssh root@here hog
        (*CRON, hog(5000, 730, CRON[1].cgroup)),  # a job of cron
        (hog(5000, 995, f"{MANAGER}/session.slice/dbus.service", 995),),  # started by the bus, in its unit
        (hog(5000, 1200, f"{MANAGER}/session.slice/org.gnome.Shell@wayland.service", 1200),),  # by Alt-F2
        (hog(5000, 990, f"{MANAGER}/app.slice/run-u12.service"),),  # systemd-run --user
        (hog(5000, 1, f"{MANAGER}/app.slice/app-gnome-hog-1.scope", 4999),),  # its parent is gone
        (hog(5000, 1, "/user.slice/user-1000.slice/session-2.scope", 4999),),
        (hog(5000, 1, "/user.slice/user-1000.slice/session-2.scope"),),  # and it leads a session
        (hog(5000, 1, "/system.slice/hog.service"),),
        (hog(5000, 2410, f"{MANAGER}/app.slice/vte-spawn-aa.scope", 2410, terminal=True),),
        (hog(5000, 2410, f"{MANAGER}/app.slice/vte-spawn-aa.scope"),),  # setsid hog
    ],
)
def test_a_hog_in_the_place_of_a_desktop_goes_first(more: tuple[Process, ...]) -> None:
    choice = decided((*DESKTOPS["GNOME"].processes, *more))
    assert choice.victim and choice.victim.pids == (5000,)


def test_a_hog_typed_into_a_console_goes_without_the_shell() -> None:
    scope = "/user.slice/user-1000.slice/session-7.scope"
    login = Process(800, 1, "login", 1e3, session=800, terminal=True, anon=5 * MIB, cgroup=scope)
    shell = Process(810, 800, "bash", 1e3, user=1000, session=800, terminal=True, anon=5 * MIB, cgroup=scope)
    job = Process(820, 810, "make", 1e3, user=1000, session=800, terminal=True, anon=5 * MIB, cgroup=scope)
    parts = [replace(hog(5000 + n, 820, scope, 800, terminal=True), anon=400 * MIB) for n in range(8)]
    choice = decided((*DESKTOPS["GNOME"].processes, login, shell, job, *parts))
    assert choice.victim and set(choice.victim.pids) == {820, *range(5000, 5008)}


def test_cgroups_are_read_and_command_lines_only_where_a_rule_prefers_some() -> None:
    assert "cgroup" in needs_of(POLICY, ENDING["exhausted"])
    assert "cmdline" not in needs_of(POLICY, ENDING["exhausted"])
    assert "cmdline" in needs_of(POLICY, ENDING["low"])
