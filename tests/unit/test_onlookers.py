"""Who would see that a unit stands still: shells and their like on real terminals, held while it does, and let go."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import pytest

from okoomer import facts
from okoomer.guard import onlookers
from okoomer.guard.left import Left
from okoomer.guard.onlookers import BRIEF, sees
from okoomer.kernel import clock, trace
from okoomer.kernel.process import Stat
from tests.unit.standing import holds, name, runs, seen, stands, state, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from okoomer.guard.hold import Holds

pytestmark = pytest.mark.timeout(120)

if os.geteuid() != 0:
    pytest.skip("others can be held by root only", allow_module_level=True)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr(onlookers, "PATIENT", 30.0)


class Terminal:
    """A program that leads a session on a terminal of its own."""

    def __init__(self, *argv: str) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.execve(argv[0], argv, {"PATH": "/usr/bin:/bin", "PS1": "ready> "})
        self.said = b""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def says(self, text: str) -> bool:
        """Whether it comes to say something."""

        def said() -> bool:
            while select.select([self._master], [], [], 0)[0]:
                self.said += os.read(self._master, 4096)
            return text.encode() in self.said

        return within(said)

    @property
    def children(self) -> list[int]:
        return [int(child) for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    @property
    def foreground(self) -> int:
        return os.tcgetpgrp(self._master)

    def close(self) -> None:
        for pid in (*self.children, self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._master)


@contextmanager
def shell(command: str, job: str = "sleep") -> Iterator[tuple[Terminal, int]]:
    """A shell that has been told a command, and the job of that name."""
    made = Terminal("/bin/bash", "--norc", "--noprofile", "-i")
    try:
        assert made.says("ready> ")
        made.type(command + "\r")
        assert within(lambda: any(name(child) == job for child in made.children))
        yield made, next(child for child in made.children if name(child) == job)
    finally:
        made.close()


@contextmanager
def watched(note: Path | str = "") -> Iterator[Holds]:
    """Holds that are told when it is time to look; nobody is, here, but by the test."""
    with holds(note) as (made, _):
        made.onlookers.watch(lambda fd, call: None)
        yield made


def pause(made: Holds, *pids: int) -> object:
    hold = made.pause("rule low", "hog", seen(*pids), "", 0, 7, 1.0)
    assert hold
    return hold


def noted(note: Path) -> set[int]:
    left = Left(str(note))
    left.close()
    return {pid for pid, _ in left.processes}


def test_a_shell_does_not_see_its_job_stand_still_and_the_job_keeps_the_terminal(tmp_path: Path) -> None:
    note = tmp_path / "paused"
    with shell("sleep 300") as (bash, job), watched(note) as made:
        for _ in range(20):
            hold = pause(made, job)
            assert stands(job) and state(bash.pid) == "t" and noted(note) == {job}
            made.resume(hold, "", 2.0)  # type: ignore[arg-type]
            assert runs(job) and within(lambda: state(bash.pid) == "S") and bash.foreground == job
        bash.said = b""
        bash.type("\x03")
        assert bash.says("ready> ") and b"Stopped" not in bash.said


def test_a_shell_that_somebody_types_into_meanwhile_is_not_held() -> None:
    with shell("sleep 300 &") as (bash, job), watched() as made:
        assert bash.says("ready> ")
        assert within(lambda: bash.foreground == bash.pid)
        pause(made, job)
        assert stands(job) and state(bash.pid) != "t"
        bash.type("echo $((6 * 7))nd\r")
        assert bash.says("42nd")


def test_a_shell_has_its_terminal_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with shell("sleep 300") as (bash, job), watched() as made:
        hold = pause(made, job)
        made.onlookers.tend()
        assert state(bash.pid) == "t"
        monkeypatch.setattr(made.onlookers, "_now", lambda: clock.monotonic() + BRIEF)
        made.onlookers.tend()
        assert bash.says("Stopped") and bash.foreground == bash.pid and stands(job)
        made.resume(hold, "", 2.0)  # type: ignore[arg-type]
        bash.type("fg\r")
        assert within(lambda: bash.foreground == job) and runs(job)


def test_the_time_that_a_machine_sleeps_does_not_count() -> None:
    told: list[int] = []
    with holds() as (made, _):
        made.onlookers.watch(lambda fd, call: told.append(fd))
        assert f"clockid: {time.CLOCK_MONOTONIC}\n" in Path(f"/proc/self/fdinfo/{told[0]}").read_text()


def test_one_that_holds_two_jobs_of_a_pipeline_goes_on_when_both_run(tmp_path: Path) -> None:
    with shell("sleep 300 | sleep 301") as (bash, _), watched() as made:
        assert within(lambda: [name(child) for child in bash.children] == ["sleep", "sleep"])
        first, second = (pause(made, job) for job in bash.children)
        assert state(bash.pid) == "t"
        made.resume(first, "", 2.0)  # type: ignore[arg-type]
        assert state(bash.pid) == "t"
        made.resume(second, "", 2.0)  # type: ignore[arg-type]
        assert within(lambda: state(bash.pid) == "S") and b"Stopped" not in bash.said


def test_when_all_are_let_go_so_are_the_shells() -> None:
    with shell("sleep 300") as (bash, job):
        with watched() as made:
            pause(made, job)
            assert state(bash.pid) == "t"
        assert within(lambda: state(bash.pid) == "S") and runs(job)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_shell_that_is_killed_is_forgotten(resumed: bool) -> None:
    with shell("sleep 300") as (bash, job), watched() as made:
        hold = pause(made, job)
        os.kill(bash.pid, signal.SIGKILL)
        if resumed:
            made.resume(hold, "", 2.0)  # type: ignore[arg-type]
        assert within(lambda: (made.onlookers.tend(), bash.pid not in made.onlookers._held)[1])
        os.kill(job, signal.SIGKILL)
        pid, bash.pid = bash.pid, os.posix_spawn("/bin/true", ["true"], {})
        assert pid != bash.pid


def test_where_nobody_looks_after_them_or_they_must_not_none_is_held() -> None:
    with shell("sleep 300") as (bash, job), holds() as (made, _):
        pause(made, job)
        assert stands(job) and state(bash.pid) != "t"
    with shell("sleep 300") as (bash, job), watched() as made:
        made.never.add(bash.pid)
        pause(made, job)
        assert stands(job) and state(bash.pid) != "t"


#: One that calls itself sudo, below a shell of its own group, and has a command in a group of its own.
SUDO = """if True:
    import os, time
    open("/proc/self/comm", "w").write("sudo")
    if os.fork() == 0:
        os.setpgid(0, 0)
        open("/proc/self/comm", "w").write("command")
        time.sleep(300)
    time.sleep(300)
"""


def test_sudo_is_held_as_long_as_it_takes_and_noted_with_those_whom_it_would_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = tmp_path / "paused"
    script = tmp_path / "sudo.py"
    script.write_text(SUDO)
    made = Terminal("/bin/sh", "-c", f"{sys.executable} {script}; true")
    try:
        assert within(lambda: [name(child) for child in made.children] == ["sudo"])
        [sudo] = made.children
        children = Path(f"/proc/{sudo}/task/{sudo}/children")
        assert within(lambda: bool(children.read_text()))
        command = int(children.read_text())
        assert within(lambda: name(command) == "command")
        with watched(note) as all_:
            hold = pause(all_, command)
            assert state(sudo) == "t" and state(made.pid) != "t"
            assert noted(note) == {made.pid, sudo, command}
            monkeypatch.setattr(all_.onlookers, "_now", lambda: clock.monotonic() + 100 * BRIEF)
            all_.onlookers.tend()
            assert state(sudo) == "t"
            all_.resume(hold, "", 2.0)  # type: ignore[arg-type]
            assert within(lambda: state(sudo) == "S") and runs(command) and noted(note) == set()
        os.kill(command, signal.SIGKILL)
    finally:
        made.close()


@pytest.mark.parametrize(
    ("name", "state", "group", "session", "terminal", "threads", "child", "foreground", "expected"),
    [
        ("bash", "S", 9, 9, True, 1, 10, 10, True),  # its job in the foreground
        ("bash", "S", 9, 9, True, 1, 10, 9, False),  # in the background
        ("make", "S", 10, 9, True, 1, 10, 10, False),  # one group: a child of no shell
        ("bash", "S", 9, 8, True, 1, 10, 10, False),  # another session
        ("bash", "S", 9, 9, False, 1, 10, 10, False),  # no terminal
        ("fish", "S", 9, 9, True, 3, 10, 10, False),  # several threads cannot be held as one
        ("bash", "T", 9, 9, True, 1, 10, 10, False),  # stands still itself
        ("sudo", "S", 10, 9, True, 1, 10, 9, True),
        ("su", "S", 10, 8, True, 1, 10, 10, True),  # its command may have a session of its own
        ("sudo", "Z", 10, 9, True, 1, 10, 10, False),
    ],
)
def test_who_would_do_something_about_it(
    name: str, state: str, group: int, session: int, terminal: bool, threads: int, child: int, foreground: int,
    expected: bool,
) -> None:  # fmt: skip
    process = facts.Process(10, 9, "make", 1.0, session=9, group=child)
    parent = Stat(name, state, 1, group, session, terminal, False, threads, 0.5)
    assert sees(process, parent, foreground) is expected


#: Counts the signals that it gets.
COUNTER = """if True:
    import os, signal
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGRTMIN, lambda number, frame: None)
    print("ready", flush=True)
    while not signal.sigpending():
        pass
    print(len(os.read(reading, 4096)), flush=True)
"""


def test_no_signal_is_lost_that_comes_to_one_who_is_held() -> None:
    child = subprocess.Popen([sys.executable, "-c", COUNTER], stdout=subprocess.PIPE)
    assert child.stdout and child.stdout.readline() == b"ready\n"
    for _ in range(300):
        os.kill(child.pid, signal.SIGRTMIN)
        trace.seize(child.pid)
        os.kill(child.pid, signal.SIGRTMIN)
        found: int | None = None
        while found is None:
            found = trace.settled(child.pid)
        assert state(child.pid) == "t"
        trace.release(child.pid, found)
    sleep(0.05)
    os.kill(child.pid, signal.SIGTERM)
    assert child.stdout.read() == b"600\n"
    child.wait()
    child.stdout.close()
    with pytest.raises(OSError, match="No such process"):
        trace.seize(child.pid)
