"""A guard in a box and its canary: what is late is warned of, and without one the guard goes on."""

from __future__ import annotations

import signal
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import pytest

from tests.box.box import Box
from tests.box.guards import OKOOMER, events
from tests.box.process import Proc
from tests.box.procfiles import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable

LATE = """
[[rule]]
name  = "late"
when  = "mem.available <= 50% and canary.late > 5s"
steps = ["warn"]
[[rule]]
name  = "low"
when  = "mem.available <= 10%"
unit  = "process"
steps = ["kill"]
"""
PLAIN = """
[[rule]]
name  = "plain"
when  = "mem.available < 1MiB"
"""
#: A stall may be anything on a busy machine; nothing comes of it in ten seconds.
FAR = """
[[rule]]
name  = "far"
when  = "psi.memory.full > 95% over 10s and mem.available < 2% and canary.late > 100ms"
steps = ["warn"]
"""


def start(box: Box, file: Path, policy: str, name: str = "0") -> Proc:
    file.write_text(policy)
    argv = [OKOOMER, "run", "--json", "--force", "--runtime-dir", f"/run/okoomer-{name}", "--policy", str(file)]
    guard = box.daemon(argv)
    guard.wait_line('"event": "started"', 20)
    return guard


def canaries(box: Box) -> list[Path]:
    found = []
    for entry in box.proc.iterdir():
        try:
            if entry.name.isdigit() and (entry / "comm").read_text() == "okoomer-canary\n":
                found.append(entry)
        except OSError:
            pass
    return found


def canary(box: Box) -> Path:
    box.until(lambda: len(canaries(box)) == 1, 20, "the canary")
    return canaries(box)[0]


def send(box: Box, number: signal.Signals, to: Path) -> None:
    box.spawn(["sh", "-c", f"kill -{number.name.removeprefix('SIG')} {to.name}"]).wait(10)


def turns(guard: Proc) -> list[tuple[str, str]]:
    return [(event["rule"], event["state"]) for event in events(guard, "rulechanged")]


def test_a_canary_that_stands_still_is_warned_of_and_what_needs_no_canary_goes_on(box: Box, tmp_path: Path) -> None:
    hog = box.spawn(rss_bytes=300 * MIB, gives_back=12 * GIB)
    guard = start(box, tmp_path / "policy.toml", LATE)
    bird = canary(box)
    box.memory(available=int(box.total * 0.4))
    sleep(1.0)
    assert not events(guard, "warned")
    send(box, signal.SIGSTOP, bird)
    guard.wait_line('"event": "warned"', 60)
    box.memory(available=int(box.total * 0.08))
    assert hog.wait(20).signal == signal.SIGKILL
    send(box, signal.SIGCONT, bird)
    box.until(lambda: ("late", "quiet") in turns(guard), 60, "the canary to be in time again")
    assert guard.alive and bird.exists()


def test_when_it_has_ended_that_is_told_once_and_its_rules_go_by_the_rest(box: Box, tmp_path: Path) -> None:
    guard = start(box, tmp_path / "policy.toml", LATE)
    send(box, signal.SIGKILL, canary(box))
    guard.wait_line("the canary has ended", 20)
    box.memory(available=int(box.total * 0.4))
    guard.wait_line('"event": "warned"', 20)
    assert [event["text"].split(":")[0] for event in events(guard, "trouble")] == ["the canary has ended"]
    assert guard.alive


def test_its_pipe_is_held_by_the_guard_alone(box: Box, tmp_path: Path) -> None:
    hook = '[[hook]]\non = "died"\nrun = "/bin/true"\n'
    guard = start(box, tmp_path / "policy.toml", LATE.replace('"kill"', '"pause 1s", "kill"') + hook)
    bird = canary(box)
    pipe = (bird / "fd/0").readlink()
    processes = [entry for entry in box.proc.iterdir() if entry.name.isdigit() and (entry / "cmdline").read_bytes()]
    names = [(entry / "comm").read_text().strip() for entry in processes]
    assert "okoomer-courier" in names, names
    held = {entry.name for entry in processes for fd in (entry / "fd").iterdir() if fd.readlink() == pipe}
    assert held == {str(guard.pid), bird.name}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_the_guard(box: Box, tmp_path: Path, number: signal.Signals) -> None:
    guard = start(box, tmp_path / "policy.toml", LATE)
    canary(box)
    guard.kill(number)
    guard.wait(20)
    box.until(lambda: not canaries(box), 20, "the end of the canary")


def test_another_policy_is_served_by_the_same_canary_and_none_is_started_where_none_is_named(
    box: Box, tmp_path: Path
) -> None:
    file = tmp_path / "policy.toml"
    guard = start(box, file, LATE)
    bird = canary(box)
    file.write_text(LATE.replace('late"\n', 'later"\n'))
    guard.kill(signal.SIGHUP)
    guard.wait_line("loaded again", 20)
    box.memory(available=int(box.total * 0.4))
    send(box, signal.SIGSTOP, bird)
    guard.wait_line('"event": "warned"', 60)
    assert canaries(box) == [bird] and not events(guard, "trouble")
    plain = start(box, tmp_path / "plain.toml", PLAIN, "1")
    assert canaries(box) == [bird]
    (tmp_path / "plain.toml").write_text(LATE)
    plain.kill(signal.SIGHUP)
    plain.wait_line("loaded again", 20)
    assert [event["text"].split(",")[0] for event in events(plain, "trouble")] == ["there is no canary"]


def test_nobody_chooses_it(box: Box, tmp_path: Path) -> None:
    guard = start(box, tmp_path / "policy.toml", LATE.replace('"process"', '"process"\nleast = "1MiB"'))
    bird = canary(box)
    box.memory(available=int(box.total * 0.08))
    guard.wait_line('"event": "refused"', 20)
    assert bird.exists() and guard.alive


def test_nothing_wakes_it_in_a_machine_that_is_well(tmp_path: Path) -> None:
    def woken(bird: Path) -> int:
        lines = (bird / "status").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)

    with Box(invented=False) as box:
        guard = start(box, tmp_path / "policy.toml", FAR)
        bird = canary(box)
        settled: Callable[[], bool] = lambda: (bird / "wchan").read_text() != "0"  # noqa: E731
        box.until(settled, 20, "the canary to sleep")
        sleep(1.0)
        before = woken(bird)
        sleep(5.0)
        assert woken(bird) == before and guard.alive
