"""A container in a box: all of its cgroup stands still and goes on, again and again, and none of its work is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.box.box import Box, BoxError
from tests.box.guards import events
from tests.box.procfiles import MIB
from tests.box.terminal import BUSY, ROUNDS, guarded, until

pytestmark = pytest.mark.timeout(120 + 10 * ROUNDS)

CONTAINER = f"machine.slice/libpod-{'0c' * 32}.scope"
POLICY = """
[[rule]]
name  = "low"
when  = "mem.available <= 10%"
unit  = "auto"
least = "8MiB"
target = "10.1%"
steps = ["pause 100ms", "ask 10min", "kill"]
"""
#: A first process with children, as a container has it, in a PID namespace of its own: two work and write, one reads.
PROGRAM = f"""
import os, sys, time
ballast = bytearray({128 * MIB})
ballast[::4096] = b"x" * len(ballast[::4096])
enough, out = sys.argv[1:]
reading, writing = os.pipe()
def work(who):
    number = 0
    while not os.path.exists(enough):
        os.write(writing, b"%d %d\\n" % (who, number))
        number += 1
        time.sleep(0.005)
    os._exit(0)
for who in (1, 2):
    if os.fork() == 0:
        work(who)
os.close(writing)
with os.fdopen(reading) as lines, open(out, "w") as file:
    for line in lines:
        file.write(line)
"""


def test_a_container_is_frozen_and_goes_on_with_all_of_its_work(tmp_path: Path) -> None:
    policy, enough, out = tmp_path / "policy.toml", tmp_path / "enough", tmp_path / "out"
    policy.write_text(POLICY)
    try:
        box = Box(cgroups=True)
    except (BoxError, OSError) as error:
        pytest.skip(f"no cgroups of our own here: {error}")
    with box:
        assert box.cgroup
        guard = guarded(box, policy)
        for _ in range(2):
            box.spawn(BUSY, nice=5)
        program = ["/usr/bin/python3", "-I", "-S", "-c", PROGRAM, str(enough), str(out)]
        container = box.spawn(["unshare", "--pid", "--fork", "--mount-proc", *program], cgroup=CONTAINER)
        frozen = box.cgroup / CONTAINER / "cgroup.events"
        until(lambda: out.exists(), "the container to work")
        for number in range(1, ROUNDS + 1):
            box.memory(available=box.total * 999 // 10000)
            until(lambda: "frozen 1" in frozen.read_text(), "the container to stand still")
            box.memory(available=box.total * 8 // 10)
            until(lambda: "frozen 0" in frozen.read_text(), "the container to run")
            until(lambda number=number: len(events(guard, "resumed")) == number, "the event")  # type: ignore[misc]
        assert all(event["frozen"] for event in events(guard, "paused")) and not events(guard, "signalled")
        enough.touch()
        assert container.wait(60).code == 0
    found = [tuple(map(int, line.split())) for line in out.read_text().splitlines()]
    for who in (1, 2):
        numbers = [number for one, number in found if one == who]
        assert numbers == [*range(len(numbers))] and len(numbers) > ROUNDS
