"""A real canary: what it is, that it answers, and that it is late when it does not run."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING

import pytest

from okoomer.guard import canary_start
from okoomer.guard.canary import PAGE, Canary
from okoomer.guard.canary_process import FILE_PAGES, NOBODY
from tests.unit.standing import name, state, within

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds in which a machine that is busy with other tests surely lets somebody run.
PATIENCE = 20.0


@dataclass
class Bird:
    canary: Canary
    pid: int

    def answers(self) -> bool:
        """Whether it answers, however late."""
        self.canary.ask()
        return within(lambda: not self.canary._is_owed(), PATIENCE)

    def status(self, field: str) -> str:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return " ".join(next(line for line in lines if line.startswith(f"{field}:")).split()[1:])

    def memory(self, field: str) -> int:
        """Bytes."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024

    def maps(self) -> list[str]:
        """What it has mapped, a part of it each."""
        return Path(f"/proc/{self.pid}/smaps").read_text().split("VmFlags:")

    def files(self) -> list[str]:
        """What its descriptors are, those aside that everybody inherits from this process."""
        common = {fd.name for fd in Path("/proc/self/fd").iterdir() if is_inherited(int(fd.name))}
        return [
            str(fd.readlink())
            for fd in Path(f"/proc/{self.pid}/fd").iterdir()
            if fd.name in "012" or fd.name not in common
        ]


def is_inherited(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def children() -> set[int]:
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


@pytest.fixture
def bird(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bird]:
    # That would be for the rest of these tests.
    monkeypatch.setattr(canary_start, "disable_huge_pages", lambda: None)
    before = children()
    line, page = canary_start.start()
    assert not os.get_inheritable(line) and not os.get_inheritable(page)
    [pid] = children() - before
    made = Bird(Canary(line, page), pid)
    yield made
    made.canary.close()
    assert within(lambda: state(pid) in "ZX", PATIENCE), "it ends when nobody can ask any more"
    os.waitpid(pid, 0)


def test_it_answers_as_soon_as_it_is_asked_again_and_again(bird: Bird) -> None:
    for _ in range(50):
        assert bird.answers()
    assert 0.0 < bird.canary.late() < float("inf") and bird.canary.alive
    assert name(bird.pid) == "okoomer-canary"


def test_it_is_small_and_comes_to_all_of_its_memory(bird: Bird) -> None:
    assert bird.answers()
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "print(flush=True); input()"], stdin=PIPE, stdout=PIPE
    ) as bare:
        assert bare.stdout and bare.stdout.readline()
        assert bird.memory("Anonymous") < Bird(bird.canary, bare.pid).memory("Anonymous") + 0.75 * 2**20
        bare.kill()
    [code] = [part for part in bird.maps() if ".py\n" in part]
    assert " r-xp " in code and f"Rss: {FILE_PAGES * PAGE // 1024} kB" in " ".join(code.split())


def test_it_does_not_wake_unless_it_is_asked(bird: Bird) -> None:
    assert bird.answers() and within(lambda: state(bird.pid) == "S")
    before = bird.status("voluntary_ctxt_switches"), bird.status("nonvoluntary_ctxt_switches")
    assert not within(lambda: bird.status("voluntary_ctxt_switches") != before[0], 1.0)
    assert bird.answers()
    assert int(bird.status("voluntary_ctxt_switches")) > int(before[0])


def test_it_is_late_when_it_cannot_run_for_as_long_as_that_lasts(bird: Bird) -> None:
    assert bird.answers()
    os.kill(bird.pid, signal.SIGSTOP)
    assert within(lambda: state(bird.pid) == "T", PATIENCE)
    bird.canary.ask()
    assert within(lambda: bird.canary.late() > 0.5, PATIENCE)
    assert bird.canary._is_owed() and bird.canary.alive
    os.kill(bird.pid, signal.SIGCONT)
    assert within(lambda: not bird.canary._is_owed(), PATIENCE)
    assert bird.canary.late() > 0.5, "the worst still counts"
    assert within(lambda: bird.canary.late() == 0.0, PATIENCE)


def test_it_is_an_ordinary_process_of_nobody(bird: Bird) -> None:
    assert bird.answers()
    assert Path(f"/proc/{bird.pid}/oom_score_adj").read_text() == "0\n"
    assert os.getpriority(os.PRIO_PROCESS, bird.pid) == 0
    assert os.sched_getscheduler(bird.pid) == os.SCHED_OTHER
    assert os.getsid(bird.pid) == bird.pid != os.getsid(0)
    assert bird.status("VmLck") == "0 kB"
    if os.geteuid() == 0:
        assert (bird.status("Uid"), bird.status("Gid")) == (" ".join([str(NOBODY)] * 4),) * 2
        assert bird.status("Groups") == "" and int(bird.status("CapEff"), 16) == int(bird.status("CapPrm"), 16) == 0


def test_it_holds_nothing_but_the_pipe_and_what_it_maps(bird: Bird) -> None:
    assert bird.answers()
    files = bird.files()
    assert len(files) == 5 and files.count("/dev/null") == 2
    for what in ("pipe:", "/memfd:okoomer-canary", str(Path(os.__file__).parent)):
        assert len([file for file in files if file.startswith(what)]) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="who it has to be hidden from is another user")
def test_others_of_that_user_cannot_lay_hands_on_what_it_says(bird: Bird) -> None:
    assert bird.answers()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        said = b"reached"
        try:
            os.open(f"/proc/{bird.pid}/mem", os.O_RDWR)
        except PermissionError:
            said = b"denied" if ctypes.CDLL(None).ptrace(16, bird.pid, 0, 0) == -1 else b"traced"
        finally:
            os.write(writer, said)
            os._exit(0)
    os.waitpid(child, 0)
    said = os.read(reader, 64)
    os.close(reader)
    os.close(writer)
    assert said == b"denied"


def test_what_it_does_to_its_page_leaves_it_a_page(bird: Bird) -> None:
    assert bird.answers()
    [page] = [fd for fd in Path(f"/proc/{bird.pid}/fd").iterdir() if "memfd:" in str(fd.readlink())]
    descriptor = os.open(page, os.O_RDWR)
    try:
        for size in (0, 1, 2 * PAGE):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)
    assert bird.answers()


def test_it_is_deaf_to_what_is_sent_to_everybody(bird: Bird) -> None:
    assert bird.answers()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(bird.pid, number)
    assert bird.answers()


def test_without_a_file_to_read_it_does_with_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary_start, "disable_huge_pages", lambda: None)
    monkeypatch.setattr(canary_start, "_code", lambda: -1)
    before = children()
    made = Canary(*canary_start.start())
    [pid] = children() - before
    made.ask()
    answered = within(lambda: not made._is_owed(), PATIENCE)
    made.close()
    os.waitpid(pid, 0)
    assert answered


# --- where it lives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("least", "low", "moves"), [("16777216", "0", True), ("0", "8388608", True), ("0", "0", False), ("", "", False)]
)
def test_it_moves_only_out_of_a_cgroup_that_is_protected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: str, low: str, moves: bool
) -> None:
    mount = tmp_path / "cgroup"
    own = mount / "system.slice/okoomer.service"
    own.mkdir(parents=True)
    if least:
        (own / "memory.min").write_text(f"{least}\n")
        (own / "memory.low").write_text(f"{low}\n")
    monkeypatch.setattr(canary_start.cgroup, "mount", lambda: str(mount))
    monkeypatch.setattr(canary_start.process, "cgroup", lambda _proc, _pid: f"/{own.relative_to(mount)}")
    assert canary_start._elsewhere() == (f"{mount}/cgroup.procs" if moves else "")


def test_where_there_are_no_cgroups_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary_start.cgroup, "mount", lambda: None)
    assert canary_start._elsewhere() == ""
