"""The courier as a process: commands, hooks, answers, and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from okoomer import courier
from okoomer.courier.runs import GRACE, MOST
from okoomer.events import model
from okoomer.events.model import NOT_STARTED
from okoomer.events.ring import SLOTS, Ring
from okoomer.events.sign import Sign
from okoomer.guard.link import Link
from okoomer.policy.model import Hook, Policy
from tests.unit.couriers import KILLED, VICTIM, Guarded, asked, children, until
from tests.unit.standing import stands

#: Writes all that a program can see of how it was started, as JSON, to the file that is its first argument.
DUMP = """
import json, os, signal, sys
os.set_blocking(0, True)
seen = {
    "arguments": sys.argv[2:],
    "stdin": sys.stdin.read(),
    "environment": dict(os.environ),
    "descriptors": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")),
    "directory": os.getcwd(),
    "leads": os.getpgid(0) == os.getpid(),
    "courier": os.getppid(),
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "oom_score_adj": int(open("/proc/self/oom_score_adj").read()),
    "status": dict(line.rstrip().split(":\\t", 1) for line in open("/proc/self/status") if line.startswith("Sig")),
}
with open(sys.argv[1] + ".new", "w") as file:
    json.dump(seen, file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
"""


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """A program that dumps."""
    path = tmp_path / "dump"
    path.write_text(f"#!{sys.executable} -IS\n{DUMP}")
    path.chmod(0o755)
    return path


def seen_in(path: Path) -> dict[str, Any]:
    until(path.exists)
    seen: dict[str, Any] = json.loads(path.read_text())
    return seen


def test_a_hook_hears_of_the_victim_of_its_rule(tmp_path: Path, dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if "OOM" in name]:
        monkeypatch.delenv(name)
    out = tmp_path / "out"
    hook = ("killed", (str(dump), str(out), "$PID", "<$NAME>", "$SERVICE", "$CMDLINE"), 100.0)
    with Guarded(tmp_path, hooks=(hook,)) as guarded:
        guarded.tell(VICTIM, KILLED)
        seen = seen_in(out)
    assert seen["arguments"] == ["42", "<hog & co>", "web.service", "hog --size 1 GiB"]
    assert json.loads(seen["stdin"])["pids"] == [42]
    assert seen["stdin"].endswith("\n")
    given = {name: value for name, value in seen["environment"].items() if "OOM" in name}
    assert given == {
        "OKOOMER_EVENT": "killed",
        "OKOOMER_RULE": "low",
        "OKOOMER_PID": "42",
        "OKOOMER_UID": "7",
        "OKOOMER_NAME": "hog & co",
        "OKOOMER_CMDLINE": "hog --size 1 GiB",
        "OKOOMER_SERVICE": "web.service",
        "OKOOMER_SIGNAL": "SIGKILL",
        "OKOOMER_QUESTION": "",
        "OKOOMER_LEVEL": "",
    }


def test_a_program_is_started_as_if_nobody_stood_behind_it(
    tmp_path: Path, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("CANARY", "sings")
    leaked, other = os.pipe()
    os.set_inheritable(leaked, True)
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        with Guarded(tmp_path, hooks=(("killed", (str(dump), str(out)), 100.0),)) as guarded:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            guarded.tell(VICTIM, KILLED)
            seen = seen_in(out)
            assert Path(f"/proc/{guarded.pid}/comm").read_text() == "okoomer-courier\n"
            assert os.getsid(guarded.pid) == guarded.pid
            courier_pid = guarded.pid
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(leaked)
        os.close(other)
    assert seen["descriptors"] == [0, 1, 2]
    assert seen["environment"]["CANARY"] == "sings"
    assert (seen["directory"], seen["leads"], seen["courier"]) == ("/", True, courier_pid)
    # Who is nobody special cannot take back what whoever started these tests has set.
    assert seen["nice"] in (0, os.getpriority(os.PRIO_PROCESS, 0))
    assert seen["oom_score_adj"] in (0, int(Path("/proc/self/oom_score_adj").read_text()))
    # A Python program ignores two signals by itself; 32 and 33 are the C library's.
    own = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1 | 3 << 31
    assert int(seen["status"]["SigIgn"], 16) & ~own == 0 and int(seen["status"]["SigBlk"], 16) == 0


def test_a_priority_that_the_guard_needs_is_not_passed_on(tmp_path: Path, dump: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may take such a priority and give it back")
    adjustment, nice = Path("/proc/self/oom_score_adj").read_text(), os.getpriority(os.PRIO_PROCESS, 0)
    out = tmp_path / "out"
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -5)
        Path("/proc/self/oom_score_adj").write_text("500")
        with Guarded(tmp_path, hooks=(("killed", (str(dump), str(out)), 100.0),)) as guarded:
            guarded.tell(VICTIM, KILLED)
            seen = seen_in(out)
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        Path("/proc/self/oom_score_adj").write_text(adjustment)
    assert (seen["nice"], seen["oom_score_adj"]) == (0, 0)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("/bin/true",), 0),
        (("/bin/sh", "-c", "exit 3"), 3),
        (("/bin/sh", "-c", "kill -USR1 $$"), -signal.SIGUSR1),
        (("/bin/sh", "-c", '[ "$0" = "hog & co" ] && [ $# = 0 ]', "$NAME"), 0),
        (("/nonexistent/program",), NOT_STARTED),
        (("/etc/passwd",), NOT_STARTED),
        (("/",), NOT_STARTED),
    ],
)
def test_the_end_of_a_command_is_told(tmp_path: Path, command: tuple[str, ...], status: int) -> None:
    with Guarded(tmp_path) as guarded:
        guarded.tell(asked(9, *command))
        assert guarded.answered(1) == [(9, status)]
        assert guarded.link.alive


def test_each_request_is_answered_whatever_the_order_of_their_ends(tmp_path: Path) -> None:
    with Guarded(tmp_path) as guarded:
        guarded.tell(asked(1, "/bin/sleep", "0.5"), asked(2, "/bin/true"), asked(3, "/bin/false"))
        assert sorted(guarded.answered(3)) == [(1, 0), (2, 0), (3, 1)]


def test_a_hook_that_takes_too_long_is_ended_with_its_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    stubborn = f"trap '' TERM; sleep 60 & echo $! $$ >{pids}.new; mv {pids}.new {pids}; wait; wait; sleep 60"
    with Guarded(tmp_path, hooks=(("killed", ("/bin/sh", "-c", stubborn), 0.2),)) as guarded:
        guarded.tell(VICTIM, KILLED)
        until(pids.exists)
        child, leader = (int(pid) for pid in pids.read_text().split())
        until(lambda: not running(leader) and not running(child), GRACE + 60)


def running(pid: int) -> bool:
    """Whether a process does anything yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_no_more_than_a_few_run_at_once(tmp_path: Path) -> None:
    with Guarded(tmp_path) as guarded:
        guarded.tell(*(asked(number, "/bin/sleep", "60") for number in range(1, MOST + 3)))
        assert guarded.answered(2) == [(MOST + 1, NOT_STARTED), (MOST + 2, NOT_STARTED)]


def test_a_request_that_is_old_is_not_begun(tmp_path: Path) -> None:
    with Guarded(tmp_path) as guarded:
        guarded.tell(asked(1, "/bin/touch", str(tmp_path / "touched"), seconds=1.0), at=time.time() - 60)
        assert guarded.answered(1) == [(1, NOT_STARTED)]
        assert not (tmp_path / "touched").exists()


def test_what_an_earlier_guard_has_written_is_not_done_again(tmp_path: Path) -> None:
    hook = ("killed", ("/bin/sh", "-c", f"echo >>{tmp_path}/done"), 100.0)
    for count in (1, 2):
        with Guarded(tmp_path, hooks=(hook,)) as guarded:
            guarded.tell(VICTIM, KILLED, asked(1, "/bin/true"))
            guarded.answered(1)
            guarded.leave()
            until(guarded.ended)
        assert len((tmp_path / "done").read_text()) == count


@pytest.mark.parametrize(
    "garbage",
    [
        "nonsense", "[1, 2]", '{"event": "run"}', '{"event": "run", "request": "x"}', '{"event": "chosen", "pids": []}',
        '{"event": "run", "request": 1e999, "seconds": 1}', '{"event": "signalled", "signal": 7, "pids": "x"}',
        '{"event": "run", "request": 5, "seconds": NaN, "command": [], "pid": 1, "name": "x", "user": 0,'
        ' "cgroup": "", "cmdline": ""}', '{"event": "chosen", "pids": [{}], "name": 7}', "[" * 20000, "x" * 40000,
    ],
)  # fmt: skip
def test_garbage_in_the_ring_is_passed_over(tmp_path: Path, garbage: str) -> None:
    with Guarded(tmp_path, hooks=(("killed", ("/bin/true",), 1.0),), voice="earlyoom") as guarded:
        guarded.ring.write(garbage)
        guarded.sign()
        guarded.tell(asked(9, "/bin/true"))
        assert guarded.answered(1)[-1] == (9, 0)


def test_a_courier_that_was_stopped_goes_on_with_what_is_left(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Guarded(tmp_path) as guarded:
        os.kill(guarded.pid, signal.SIGSTOP)
        assert stands(guarded.pid)
        guarded.tell(*(model.Changed("something") for _ in range(2 * SLOTS)))
        guarded.tell(asked(1, "/bin/true"))
        os.kill(guarded.pid, signal.SIGCONT)
        assert guarded.answered(1) == [(1, 0)]
        guarded.tell(asked(2, "/bin/true"))
        guarded.answered(2)
    assert capfd.readouterr().err.count(f"{SLOTS + 1} events were overwritten") == 1


def test_a_command_that_is_not_there_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Guarded(tmp_path) as guarded:
        guarded.tell(asked(1, "/none"), asked(2, "/none"))
        guarded.answered(2)
    assert capfd.readouterr().err == "okoomer: /none cannot be run: No such file or directory\n"


def test_a_ring_that_is_no_ring_is_said_once_and_read_when_it_is_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Guarded(tmp_path) as guarded:
        whole = Path(guarded.options.ring).read_bytes()
        guarded.ring.close()
        Path(guarded.options.ring).write_text("nothing of the kind" * 10)
        for _ in range(3):  # it is through with two of them
            guarded.sign()
            until(guarded.heeded)
        Path(guarded.options.ring).write_bytes(whole)
        guarded.ring = Ring(guarded.options.ring)
        guarded.tell(asked(1, "/bin/true"))
        assert guarded.answered(1) == [(1, 0)]
    assert capfd.readouterr().err == f"okoomer: events cannot be read: {tmp_path}/ring is not a ring of events\n"


def test_a_guard_that_never_says_anything_is_no_trouble(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = children()
    wake, answers = courier.start(courier.Options(str(tmp_path / "nowhere" / "ring")))
    [pid] = children() - before
    os.close(answers)
    os.close(wake)
    until(lambda: os.waitpid(pid, os.WNOHANG)[0])
    assert capfd.readouterr().err == ""


def test_it_ends_with_the_guard(tmp_path: Path) -> None:
    with Guarded(tmp_path) as guarded:
        guarded.tell(asked(1, "/bin/true"))
        guarded.answered(1)
        guarded.leave()
        until(guarded.ended)
        assert guarded.status == 0


@pytest.mark.parametrize("how", ["guard", "term"])
def test_what_is_asked_for_last_is_still_done_and_what_runs_has_its_time(tmp_path: Path, how: str) -> None:
    begun, done = tmp_path / "begun", tmp_path / "done"
    with Guarded(tmp_path) as guarded:
        guarded.tell(asked(1, "/bin/sh", "-c", f"echo >{begun}; sleep 0.1; echo >{done}"))
        if how == "guard":
            guarded.leave()
        else:
            until(begun.exists)
            os.kill(guarded.pid, signal.SIGTERM)
        until(guarded.ended)
        assert guarded.status == 0 and done.exists()


def test_at_the_end_nothing_that_runs_is_left_behind(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with Guarded(tmp_path) as guarded:
        guarded.tell(asked(1, "/bin/sh", "-c", f"echo $$ >{pid}.new; mv {pid}.new {pid}; trap '' TERM; sleep 60"))
        until(pid.exists)
        guarded.leave()
        until(guarded.ended)
        # It has its SIGKILL, and dies as soon as it has the processor for that.
        until(lambda: not running(int(pid.read_text())))


def test_another_policy_has_other_hooks_from_the_next_event_on(tmp_path: Path) -> None:
    old, new = (("killed", ("/bin/sh", "-c", f"echo >>{tmp_path}/{name}"), 100.0) for name in ("old", "new"))
    with Guarded(tmp_path, hooks=(old,)) as guarded:
        guarded.tell(VICTIM, KILLED, asked(1, "/bin/true"))
        guarded.answered(1)
        guarded.link.configure(Policy("new", (), hooks=(Hook(*new),)))
        guarded.tell(KILLED)
        guarded.leave()
        until(guarded.ended)
    assert [(tmp_path / name).read_text() for name in ("old", "new")] == ["\n", "\n"]


def test_signals_of_a_terminal_do_not_end_it(tmp_path: Path) -> None:
    with Guarded(tmp_path) as guarded:
        guarded.tell(asked(1, "/bin/true"))
        guarded.answered(1)
        os.kill(guarded.pid, signal.SIGINT)
        os.kill(guarded.pid, signal.SIGHUP)
        guarded.tell(asked(2, "/bin/true"))
        assert guarded.answered(2)[-1] == (2, 0)


def test_the_guard_sees_that_the_courier_is_gone_and_goes_on(tmp_path: Path) -> None:
    with Guarded(tmp_path) as guarded:
        guarded.tell(asked(1, "/bin/true"))
        guarded.answered(1)
        os.kill(guarded.pid, signal.SIGKILL)
        until(guarded.ended)
        assert guarded.link.answers() == [] and not guarded.link.alive
        guarded.tell(asked(2, "/bin/true"))
        assert guarded.link.answers() == [] and not guarded.link.alive


def test_the_line_outlasts_an_exec_and_the_courier_does_not_hold_the_guards_end(tmp_path: Path) -> None:
    before = children()
    wake, answers = courier.start(courier.Options(str(tmp_path / "ring")))
    [pid] = children() - before
    assert os.get_inheritable(wake) and os.get_inheritable(answers)
    sign, link = Sign(wake), Link(answers)
    assert not os.get_inheritable(wake) and not os.get_inheritable(answers)
    link.close()
    sign.close()
    until(lambda: os.waitpid(pid, os.WNOHANG)[0])


def test_it_is_lean_and_takes_along_no_other_room() -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); import okoomer.courier.main; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", program, str(Path(courier.__file__).parents[2])]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("okoomer.")}
    assert rooms == {"courier", "events", "record", "say", "units"}
    heavy = {"collections", "enum", "json", "jeepney", "pathlib", "re", "signal", "socket", "subprocess", "typing"}
    assert not heavy & set(loaded)


# --- the guard's end alone ------------------------------------------------------------------------------------------


@pytest.fixture
def line() -> Iterator[tuple[Link, socket.socket]]:
    """A link, and the courier's end of the socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link = Link(ours.detach())
    with theirs:
        yield link, theirs
    link.close()


@pytest.mark.parametrize(
    ("packets", "answers"),
    [
        ([b"done 1 0", b"done 2 -9"], [(1, 0), (2, -9)]),
        ([b"done 1", b"done 1 2 3", b"done x y", b"gone 1 2", b"\xff\0", b"done 7 1"], [(7, 1)]),
        ([], []),
    ],
)
def test_answers_are_heard_and_nonsense_is_passed_over(
    line: tuple[Link, socket.socket], packets: list[bytes], answers: list[tuple[int, int]]
) -> None:
    link, theirs = line
    for packet in packets:
        theirs.send(packet)
    assert link.answers() == answers and link.alive
    theirs.close()
    assert link.answers() == [] and not link.alive
