"""Who is paused on a whole system: under the shipped unit a job keeps its terminal, and where swap is full nothing of a
process is lost that is put there."""

from collections.abc import Callable

import pytest

from .job import File, Job
from .machine import DiskSwap, Machine
from .qemu import Hardware
from .result import Ending, Result

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

LIMIT_S = 300

#: A shell on a terminal of its own, with a job that is paused and resumed at the guard's door.
SHELL = """
import os, pty, signal, sys, threading, time
sys.path.insert(0, "/opt/okoomer/lib")
from okoomer.cli.door import Door

said = b""
shell, master = pty.fork()
if shell == 0:
    os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], {"PATH": "/usr/bin:/bin", "PS1": "ready> "})
def read():
    global said
    while True:
        said += os.read(master, 4096)
threading.Thread(target=read, daemon=True).start()
def until(check):
    for _ in range(600):
        if check():
            return
        time.sleep(0.1)
    print("waited in vain; it said", said, flush=True)
    os._exit(1)
def state(pid):
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
def children():
    return [int(pid) for pid in open(f"/proc/{shell}/task/{shell}/children").read().split()]
until(lambda: b"ready> " in said)
os.write(master, b"sleep 1000\\r")
until(lambda: children() and os.tcgetpgrp(master) == children()[0])
[job] = children()
door = Door("/run/okoomer")
for _ in range(10):
    assert door.pause(job, 0)[0] == "ok"
    until(lambda: state(job) == "T")
    print("the shell is", state(shell), flush=True)
    assert door.resume(job, 0)[0] == "ok"
    until(lambda: state(job) == "S" and state(shell) == "S")
    print("the job has", "its" if os.tcgetpgrp(master) == job else "lost its", "terminal", flush=True)
os.write(master, b"\\x03")
until(lambda: said.count(b"ready> ") == 2)
os.write(master, b"echo $((6 * 7))nd\\r")
until(lambda: b"42nd" in said)
print("stopped" if b"Stopped" in said else "the shell has seen nothing", flush=True)
os._exit(0)
"""

#: Puts a process that stands still into a swap that has no room for it, and has it look whether all is there.
PAGES = """
import os, signal, sys, time
sys.path.insert(0, "/opt/okoomer/lib")
from okoomer.guard.paging import Paging
from okoomer.kernel.process import ticks

MIB = 192
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    memory = bytearray(MIB << 20)
    for page in range(0, len(memory), 4096):
        memory[page : page + 8] = page.to_bytes(8, "big")
    go = []
    signal.signal(signal.SIGUSR1, lambda number, frame: go.append(1))
    os.write(writing, b"1")
    while not go:
        time.sleep(0.1)
    lost = [page for page in range(0, len(memory), 4096) if memory[page : page + 8] != page.to_bytes(8, "big")]
    print("all is there" if not lost else f"lost: {len(lost)} pages", flush=True)
    os._exit(0)
os.read(reading, 1)
def free():
    return next(int(line.split()[1]) // 1024 for line in open("/proc/meminfo") if line.startswith("SwapFree:"))
key = child, ticks("/proc", child)
os.kill(child, signal.SIGSTOP)
paging = Paging("/proc")
print("swap has", free(), "MiB", flush=True)
for _ in range(20):
    paging.put_out([key], MIB << 20)
    while paging._busy:
        time.sleep(0.05)
left = free()
print("swap is full" if left < 8 else f"swap has {left} MiB left", flush=True)
print("trouble:", paging.trouble or "none", flush=True)
paging.fetch([key])
while not paging.fetched([key]):
    time.sleep(0.05)
os.kill(child, signal.SIGCONT)
os.kill(child, signal.SIGUSR1)
print("it ended with", os.waitpid(child, 0)[1], flush=True)
"""


def ran(machine: Machine, job: Job) -> tuple[Result, str]:
    result = machine.run(job, LIMIT_S)
    said = "\n".join(line for voice in ("run", *job.voices) for line in result.said(voice))
    print(said)
    assert result.ending is Ending.DONE, str(result)
    # The guard rehearses on a child of its own.
    assert {kill.target.comm for kill in result.kills} <= {"okoomer"}, str(result)
    return result, said


def test_under_the_shipped_unit_a_shell_does_not_see_its_job_stand_still(
    hardware: Hardware, installed: Callable[..., tuple[File, ...]]
) -> None:
    job = Job(
        script="""
            systemctl daemon-reload
            systemctl start okoomer.service
            start shell root /usr/bin/python3 /job/shell.py
            await 200 ended shell
            journalctl --unit okoomer --output cat
            systemctl stop okoomer.service
        """,
        voices=("shell",),
        until="run",
        files=(*installed("okoomer.service"), File("/job/shell.py", SHELL)),
        settle_s=0,
    )
    result, said = ran(Machine(hardware), job)
    assert said.count("the shell is t") == 10 and said.count("the job has its terminal") == 10, str(result)
    assert "the shell has seen nothing" in said, str(result)


def test_where_swap_is_full_nothing_is_lost_of_whom_is_put_there(
    hardware: Hardware, installed: Callable[..., tuple[File, ...]]
) -> None:
    job = Job(
        script="""
            start pages root /usr/bin/python3 /job/pages.py
            await 200 ended pages
        """,
        voices=("pages",),
        until="run",
        files=(*installed("okoomer.service"), File("/job/pages.py", PAGES)),
        settle_s=0,
    )
    result, said = ran(Machine(hardware, DiskSwap(64)), job)
    for sentence in ("swap has 63 MiB", "swap is full", "trouble: none", "all is there", "it ended with 0"):
        assert sentence in said, str(result)
