"""The guard as it is started, in a dry run: its door, through a reload and its end, and whom it starts beside it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from marshal import loads
from pathlib import Path

import pytest

from tests.unit.couriers import until
from tests.unit.standing import name

OKOOMER = str(Path(sys.executable).with_name("okoomer"))
QUIET = '[[rule]]\nname = "never"\nwhen = "mem.available < 1kB"\n'
HOOK = '[[hook]]\non = "died"\nrun = "/bin/true"\n'


class Run:
    """A guard that touches nobody; its words are in a file."""

    def __init__(self, directory: Path, *options: str, policy: str = QUIET, **environment: str) -> None:
        self.directory = directory
        self.policy = directory / "policy.toml"
        self.policy.write_text(policy)
        self.words = directory / "words"
        command = [OKOOMER, "run", "--dry-run", "--policy", str(self.policy), "--runtime-dir", str(directory / "run")]
        without = {name: value for name, value in os.environ.items() if name != "DBUS_SYSTEM_BUS_ADDRESS"}
        with self.words.open("wb") as file:
            self.process = subprocess.Popen([*command, *options], stderr=file, env={**without, **environment})
        until(lambda: "guards" in self.words.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self.words.read_text()

    def children(self) -> list[str]:
        """The names of the processes beside it."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return sorted(filter(None, map(name, map(int, text.split()))))

    def knock(self) -> socket.socket:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line.settimeout(60)
        line.connect(str(self.directory / "run" / "guard.sock"))
        return line

    def close(self) -> None:
        self.process.terminate()
        try:
            assert self.process.wait(60) == 0, self.words.read_text()
        finally:
            self.process.kill()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path, "--service")
    yield run
    if run.process.poll() is None:
        run.close()


def test_a_courier_hears_of_another_policy_and_of_the_end(run: Run) -> None:
    with run.knock() as line:
        line.send(b"hello")
        packet, fds, _, _ = socket.recv_fds(line, 4096, 4)
        assert packet.split()[0] == b"welcome" and int(packet.split()[2]) == run.process.pid and len(fds) == 2
        assert loads(line.recv(1 << 16)) == ((), (), ())
        for count in (1, 2):
            run.policy.write_text(QUIET + HOOK * count)
            run.process.send_signal(signal.SIGHUP)
            hooks, _, _ = loads(line.recv(1 << 16))
            assert hooks == (("died", ("/bin/true",), 20.0, ""),) * count
            line.send(b"state 1")
            head, text = line.recv(1 << 16).split(b" ok ", 1)
            assert head == b"reply 1" and json.loads(text)["questions"] == []
        run.close()
        assert line.recv(100) == b""
        for fd in fds:
            os.close(fd)
    assert not (run.directory / "run" / "guard.sock").exists()


def test_nothing_stays_of_a_guard_that_was_killed_that_keeps_the_next_out(run: Run, tmp_path: Path) -> None:
    run.process.kill()
    run.process.wait()
    assert (tmp_path / "run" / "guard.sock").is_socket()
    again = Run(tmp_path, "--service")
    try:
        with again.knock() as line:
            line.send(b"state 1")
            assert line.recv(1 << 16).startswith(b"reply 1 ok")
    finally:
        again.close()


def test_with_a_courier_beside_it_only_what_needs_root_has_a_child(tmp_path: Path, run: Run) -> None:
    # The watcher is a shell.
    until(lambda: run.children() == ["sh"])
    run.close()
    for policy, child in ((QUIET + HOOK, False), (QUIET + HOOK + 'user = "nobody"\n', True)):
        other = Run(tmp_path, "--service", policy=policy)
        try:
            # A courier takes a moment to call itself so.
            until(lambda child=child, other=other: len(other.children()) == 1 + child)  # type: ignore[misc]
            if child:
                until(lambda other=other: "okoomer-courier" in other.children())  # type: ignore[misc]
        finally:
            other.close()


def test_a_dry_run_offers_nothing_to_anybody(tmp_path: Path) -> None:
    run = Run(tmp_path, DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={tmp_path}/no-bus")
    try:
        until(lambda: run.children() == ["sh"])
    finally:
        run.close()


def test_the_watcher_and_the_courier_are_gone_with_a_guard_that_ends_in_order(tmp_path: Path) -> None:
    run = Run(tmp_path, "--service", policy=QUIET + HOOK + 'user = "nobody"\n')
    pid = run.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    assert len(children) == 2
    run.close()
    until(lambda: not any(alive(int(child)) for child in children))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_nobody_but_root_and_the_guards_user_is_let_in_where_there_is_no_user_for_couriers(run: Run) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    for path in (run.directory, *run.directory.parents[:2]):
        path.chmod(0o755)
    path = run.directory / "run" / "guard.sock"
    program = (
        "import os, socket, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534);"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(20); s.connect(sys.argv[1]);"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=60)
    assert "PermissionError" in done.stderr
    assert run.process.poll() is None
