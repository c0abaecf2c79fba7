"""Cgroups that must not end whole: which these are, and who goes in their place."""

from __future__ import annotations

import pytest

from okoomer.facts import Process
from okoomer.policy.cgroups import is_bag, taken_apart
from okoomer.policy.choose import Choice
from okoomer.policy.model import Policy, Rule
from okoomer.record import replace
from tests.unit.hierarchies import RULE, cgroup, machine
from tests.unit.strategies import selector
from tests.unit.test_choose import INIT, process, shell

PRESSED = replace(RULE, rank="pgscan")
SESSION = "/user.slice/user-1000.slice/session-2.scope"
TERMINAL = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-kitty-1.scope"
SERVICE = "/system.slice/build.service"


def within(path: str, *processes: Process) -> list[Process]:
    return [replace(one, cgroup=path) for one in processes]


def apart(
    path: str, *processes: Process, rule: Rule = PRESSED, whole: bool = False, user: int | None = None, me: int = 0
) -> Choice | None:
    policy = Policy("test", (rule,), supervisors=(selector("name:supervisord"),))
    chosen = cgroup(path, 1000, whole=whole)
    return taken_apart(rule, policy, machine(), chosen, (INIT, *processes), me, user=user)


def pids(choice: Choice | None) -> tuple[int, ...] | None:
    return choice and choice.victim and tuple(sorted(choice.victim.pids))


def test_a_service_of_any_processes_can_end_whole() -> None:
    make = within(SERVICE, process(10, 1, "make", 5), process(11, 10, "cc1", 900), process(12, 1, "other", 300))
    assert apart(SERVICE, *make) is None


def test_a_session_is_taken_apart_and_its_biggest_family_goes() -> None:
    hog = within(SESSION, process(10, 1, "app", 5), process(11, 10, "make", 5), process(12, 11, "ld", 900))
    assert pids(apart(SESSION, *hog)) == (12,)
    assert is_bag(PRESSED, Policy("test", ()), cgroup(SESSION), hog) == "a session"


@pytest.mark.parametrize(
    ("keeper", "because"),
    [
        (shell(10, 1, "zsh"), "zsh: a shell with a terminal"),
        (process(10, 1, "supervisord", 9), "supervisord: name:supervisord"),
        (process(10, 1, "precious", 9), "precious: name:precious"),
        (process(10, 1, "dpkg", 9), "dpkg: a package manager and what it runs"),
    ],
)
def test_one_who_holds_the_work_of_others_makes_a_cgroup_be_taken_apart(keeper: Process, because: str) -> None:
    rule = replace(PRESSED, avoid=(selector("name:precious"),))
    inside = within(TERMINAL, keeper, process(20, 1, "hog", 900), process(30, 1, "small", 300))
    policy = Policy("test", (rule,), supervisors=(selector("name:supervisord"),))
    assert is_bag(rule, policy, cgroup(TERMINAL), inside) == because
    assert pids(apart(TERMINAL, *inside, rule=rule)) == (20,)
    elsewhere = [replace(inside[0], cgroup=SERVICE), *inside[1:]]
    assert apart(TERMINAL, *elsewhere, rule=rule) is None


def test_a_terminal_whose_shell_lies_in_it_is_taken_apart() -> None:
    inside = within(TERMINAL, process(10, 1, "kitty", 200), shell(11, 10), process(12, 11, "hog", 900))
    assert pids(apart(TERMINAL, *inside)) == (12,)


CONTAINER = f"/system.slice/docker-{'0a' * 32}.scope"


def contained(path: str = CONTAINER, *more: Process) -> list[Process]:
    """A container whose init supervises by name, and who has started it."""
    inside = within(path, process(10, 5, "supervisord", 9), process(11, 10, "hog", 900), *more)
    return [process(5, 1, "containerd-shim", 9), *inside]


def test_a_container_ends_whole_with_its_own_init_and_so_does_a_pod_of_them() -> None:
    assert apart(CONTAINER, *contained()) is None
    pod = "/kubepods.slice/kubepods-pod1.slice"
    assert apart(pod, *contained(f"{pod}/cri-containerd-{'0b' * 32}.scope")) is None


def test_a_part_of_a_container_in_which_its_init_lies_is_taken_apart() -> None:
    assert pids(apart(f"{CONTAINER}/init", *contained(f"{CONTAINER}/init"))) == (11,)


def test_a_service_whose_first_process_supervises_is_taken_apart() -> None:
    assert pids(apart(SERVICE, *contained(SERVICE))) == (11,)


@pytest.mark.parametrize(
    "other", [shell(12, 5), shell(12, 10), process(12, 10, "supervisord", 9), process(12, 5, "supervisord", 9)]
)
def test_a_container_in_which_somebody_else_holds_the_work_of_others_is_taken_apart(other: Process) -> None:
    assert pids(apart(CONTAINER, *contained(CONTAINER, other))) == (11,)


def test_nobody_outside_of_the_cgroup_is_taken_in_its_place() -> None:
    inside = within(SESSION, shell(10, 1), process(11, 10, "job", 300))
    outside = within(SERVICE, process(20, 1, "giant", 5000), process(21, 10, "stray", 4000))
    assert pids(apart(SESSION, *inside, *outside)) == (11,)


def test_who_is_spared_in_there_stays_and_the_others_can_go() -> None:
    rule = replace(PRESSED, spare=(selector("name:sshd"),))
    inside = within(SERVICE, process(10, 1, "sshd", 200), process(11, 1, "hog", 900))
    assert pids(apart(SERVICE, *inside, rule=rule)) == (11,)
    nobody = apart(SERVICE, inside[0], rule=rule)
    assert nobody and nobody.victim is None and nobody.refusal


@pytest.mark.parametrize("more", [{"adjustment": -1000}, {"user": 7}])
def test_who_must_not_be_touched_in_there_stays(more: dict[str, int]) -> None:
    inside = within(SERVICE, process(10, 1, "kept", 700, **more), process(11, 1, "hog", 900, user=5))
    assert pids(apart(SERVICE, *inside, user=5 if "user" in more else None)) == (11,)


def test_okoomer_itself_in_there_stays() -> None:
    inside = within(SERVICE, process(10, 1, "okoomer", 20), process(11, 1, "hog", 900))
    assert pids(apart(SERVICE, *inside, me=10)) == (11,)


def test_one_that_ends_as_a_whole_is_not_taken_apart_and_stays_for_whom_it_holds() -> None:
    rule = replace(PRESSED, spare=(selector("name:sshd"),))
    inside = within(SESSION, shell(10, 1), process(11, 10, "hog", 900))
    assert apart(SESSION, *inside, rule=rule, whole=True) is None
    kept = apart(SESSION, *inside, *within(SESSION, process(12, 1, "sshd", 9)), rule=rule, whole=True)
    assert kept and kept.victim is None
    assert kept.refusal == "it ends as a whole and holds sshd: spared by name:sshd"


def test_by_a_rank_that_processes_have_it_is_kept_and_else_goes_who_frees_most() -> None:
    inside = within(
        SESSION,
        shell(10, 1),
        process(11, 10, "great", 900, growth=0.0),
        process(12, 10, "grower", 300, growth=1e6),
    )
    for rank, pid in (("pgscan", 11), ("pressure", 11), ("size_or_growth", 11), ("rss", 11), ("growth", 12)):
        assert pids(apart(SESSION, *inside, rule=replace(RULE, rank=rank))) == (pid,)
