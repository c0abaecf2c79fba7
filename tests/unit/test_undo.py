"""What a dead guard has left is undone: only what is ours, and what somebody else has made of it since stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from okoomer.guard.left import Left
from okoomer.guard.note import END, HEADER, Note
from okoomer.guard.undo import recover, set_back
from okoomer.kernel.adjustment import lower, lower_born
from okoomer.kernel.process import PAGE, ticks
from tests.unit.standing import runs, sleepers, stands

pytestmark = pytest.mark.timeout(60)

#: Nobody is born that late.
SINCE = 2**60
#: A shell that starts a child when it is told to, and then another, and waits.
PARENT = "read _; sleep 300 & echo $!; wait"


def adj(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def raise_to(pid: int, value: int) -> None:
    Path(f"/proc/{pid}/oom_score_adj").write_text(f"{value}")


def dead(note: Path) -> str:
    """The guard of a note, as if it were dead."""
    left = Left(str(note))
    left.close()
    return left.owner


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "paused"


# --- oom_score_adj --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "after"),
    [(0, 987, 0), (5, 987, 5), (0, 988, 988), (0, 0, 0)],
    ids=["ours", "what it was", "somebody else's", "not written yet"],
)
def test_a_process_has_its_own_back_if_it_has_ours(path: Path, before: int, now: int, after: int) -> None:
    with sleepers() as [pid]:
        note = Note(str(path))
        note.add_adj(pid, ticks("/proc", pid), before, 987, SINCE)
        raise_to(pid, now)
        assert recover(str(path)) == 0 and adj(pid) == now, "this process, the guard, lives"
        assert recover(str(path), guard=dead(path)) == int(now == 987)
        assert adj(pid) == after and not dead(path)
        note.close()


def test_a_pid_that_is_another_process_by_now_is_left_alone(path: Path) -> None:
    with sleepers() as [pid]:
        note = Note(str(path))
        note.add_adj(pid, ticks("/proc", pid) + 1, 0, 987, SINCE)
        note.add(pid, ticks("/proc", pid) + 1)
        raise_to(pid, 987)
        os.kill(pid, signal.SIGSTOP)
        assert stands(pid)
        assert recover(str(path), guard=dead(path)) == 0
        assert adj(pid) == 987 and stands(pid)
        note.close()


def test_who_was_born_to_it_since_has_its_own_back_also_when_it_has_died(path: Path) -> None:
    with sleepers() as [older]:
        parent = subprocess.Popen(["sh", "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert parent.stdin and parent.stdout
        note = Note(str(path))
        note.add_adj(parent.pid, ticks("/proc", parent.pid), 0, 987, ticks("/proc", older))
        raise_to(parent.pid, 987)
        parent.stdin.write(b"\n")
        parent.stdin.flush()
        child = int(parent.stdout.readline())
        try:
            assert adj(child) == 987
            parent.kill()
            parent.wait()
            recover(str(path), guard=dead(path))
            assert adj(child) == 0
            # Who was there before has it from somebody else.
            raise_to(older, 987)
            assert lower_born("/proc", ticks("/proc", older) + 1, 0, 987) == 0 and adj(older) == 987
        finally:
            os.kill(child, signal.SIGKILL)
            parent.stdin.close()
            parent.stdout.close()
        note.close()


def test_who_has_ended_has_nothing_to_be_given_back() -> None:
    child = subprocess.Popen(["true"])
    start = ticks("/proc", child.pid)
    child.wait()
    assert not lower("/proc", child.pid, 0, 0, start)


# --- cgroups --------------------------------------------------------------------------------------------------------


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    """A directory like a cgroup's."""
    made = tmp_path / "hog.scope"
    made.mkdir()
    return made


@pytest.mark.parametrize(
    ("file", "said", "ours", "now", "after"),
    [
        ("cgroup.freeze", "0", "1", "1\n", "0"),
        ("cgroup.freeze", "0", "1", "0\n", "0\n"),
        ("memory.high", "max", f"{9 * PAGE}", f"{9 * PAGE}\n", "max"),
        ("memory.high", "max", f"{9 * PAGE + 77}", f"{9 * PAGE}\n", "max"),
        ("memory.high", "max", f"{9 * PAGE}", f"{8 * PAGE}\n", f"{8 * PAGE}\n"),
        ("memory.high", f"{2**40}", f"{9 * PAGE}", "max\n", "max\n"),
        ("memory.high", "max", "", "12345\n", "max"),
        ("cpu.max", "max 100000", "20000 100000", "20000 100000\n", "max 100000"),
        ("cpu.max", "max 100000", "20000 100000", "30000 100000\n", "30000 100000\n"),
    ],
)
def test_a_file_says_again_what_it_said_if_it_says_what_we_wrote(
    cgroup: Path, path: Path, file: str, said: str, ours: str, now: str, after: str
) -> None:
    (cgroup / file).write_text(now)
    note = Note(str(path))
    note.add_setting(str(cgroup), cgroup.stat().st_ino, file, said, ours)
    assert recover(str(path), guard=dead(path)) == int(now != after)
    assert (cgroup / file).read_text() == after
    note.close()


@pytest.mark.parametrize("what", ["it is gone", "another has its name", "the file is gone", "a link is there"])
def test_a_cgroup_that_was_removed_meanwhile_hinders_nobody(cgroup: Path, path: Path, what: str) -> None:
    frozen, other = cgroup / "cgroup.freeze", cgroup.with_name("other.scope")
    frozen.write_text("1")
    note = Note(str(path))
    note.add_setting(str(cgroup), cgroup.stat().st_ino, "cgroup.freeze", "0", "1")
    with sleepers() as [pid]:
        note.add(pid, ticks("/proc", pid))
        os.kill(pid, signal.SIGSTOP)
        cgroup.rename(other)
        frozen = other / "cgroup.freeze"
        if what == "another has its name":
            cgroup.mkdir()
            (cgroup / "cgroup.freeze").write_text("1")
            frozen = cgroup / "cgroup.freeze"
        elif what == "the file is gone":
            other.rename(cgroup)
            (cgroup / "cgroup.freeze").unlink()
        elif what == "a link is there":
            cgroup.symlink_to(other)
        assert recover(str(path), guard=dead(path)) == 1
        assert runs(pid), "whoever else was left"
        assert not frozen.exists() or frozen.read_text() == "1"
    note.close()


def test_what_the_kernel_refuses_is_not_told_as_undone(cgroup: Path) -> None:
    (cgroup / "memory.high").mkdir()
    assert not set_back(str(cgroup), cgroup.stat().st_ino, "memory.high", "max", "")


def test_what_is_damaged_in_the_middle_of_a_note_keeps_nothing_else_from_being_undone(cgroup: Path, path: Path) -> None:
    (cgroup / "cgroup.freeze").write_text("1")
    (cgroup / "memory.high").write_text("4096")
    with sleepers(3) as pids:
        note = Note(str(path))
        for pid in pids:
            note.add(pid, ticks("/proc", pid))
            os.kill(pid, signal.SIGSTOP)
        note.add_setting(str(cgroup), cgroup.stat().st_ino, "memory.high", "max", "4096")
        note.add_setting(str(cgroup), cgroup.stat().st_ino, "cgroup.freeze", "0", "1")
        note.add_adj(pids[0], ticks("/proc", pids[0]), 0, 987, SINCE)
        raise_to(pids[0], 987)
        assert stands(*pids)
        owner, text = dead(path), bytearray(path.read_bytes())
        second = text.index(END, text.index(END, HEADER) + 1)
        text[second - 3] = ord("x")  # of the second process
        at = text.index(b"memory.high")
        text[at : at + 4] = b"\0\xff\n\n"
        path.write_bytes(text)
        assert recover(str(path), guard=owner) == 4
        assert runs(pids[0], pids[2]) and stands(pids[1]) and adj(pids[0]) == 0
        assert (cgroup / "cgroup.freeze").read_text() == "0" and (cgroup / "memory.high").read_text() == "4096"
        note.close()


def test_a_watcher_of_an_older_guard_finds_what_undoes_a_note(path: Path) -> None:
    program = "from okoomer.guard.hold import recover; import sys; print(recover(sys.argv[1], guard='1 1'))"
    ended = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("0\n", "")
