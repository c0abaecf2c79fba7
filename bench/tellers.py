"""What it costs to have those who tell waiting, and how soon what happens is heard on the bus."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles

from jeepney import HeaderFields, MatchRule  # type: ignore[import-untyped]
from jeepney.bus_messages import message_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import DBusConnection, open_dbus_connection  # type: ignore[import-untyped]

from bench.daemons import Daemon
from bench.process import memory_kib, wakeups
from bench.result import Measure
from tests.box.emergency import NAME, RUN, START, Scene, owned
from tests.box.process import Proc
from tests.box.procfiles import MIB
from tests.unit.sessions import AgentProcess, Server, Session

EVENTS = 200
MINUTES = 2
SETTLE = 5.0
PLENTY = 80.0
AGENT = "org.okoomer.Desktop"
#: A guard without a door, as in the roles; `okoomer run` always has one.
CLOSED = """
import sys
from okoomer.cli.start import start
from okoomer.guard.launch import Options
from okoomer.policy.language import load
start(Options(load(sys.argv[1]), "bench", "/run/closed", True, False, 1e10), apart=True)
"""
PLAIN = """
[[rule]]
name  = "low"
when  = "mem.available <= 10%"
steps = ["kill"]
"""


def run(daemons: list[Daemon], trials: int | None) -> list[Measure]:
    """okoomer alone; `trials` counts minutes of rest."""
    with ExitStack() as stack:
        scene = Scene(stack)
        scene.box.memory(available=scene.bytes(PLENTY))
        heard = _latency(scene)
        agent = stack.enter_context(_agent(scene))
        pids = {
            "courier": scene.courier.proc,
            "courier of the guard's own": scene.child.proc,
            "desktop agent": Path("/proc", str(agent.pid)),
            "guard": scene.guard.proc,
            "guard without a door": _closed(scene).proc,
            "bare Python": scene.box.spawn(
                [sys.executable, "-I", "-S", "-c", "import time; time.sleep(1e9)"]
            ).proc,
        }  # fmt: skip
        time.sleep(SETTLE)
        memory = [_memory(name, process) for name, process in pids.items()]
        rest = _rest({name: pids[name] for name in list(pids)[:3]}, trials or MINUTES)
        (scene.out / "courier.toml").write_text('metrics = "127.0.0.1:9779"\n')
        scene.courier.stop()
        scene.start_courier()
        time.sleep(SETTLE)
        measures = [heard, *rest]
        for one in [*memory, _memory("courier with metrics", scene.courier.proc)]:
            measures += one
        return measures


def _memory(name: str, process: Path) -> list[Measure]:
    found = memory_kib(process)
    measures = []
    for field in ("Rss", "Anonymous"):
        measure = Measure(f"{name}: {field}", "KiB")
        measure.add("okoomer", found[field])
        measures.append(measure)
    return measures


def _rest(processes: dict[str, Path], minutes: int) -> list[Measure]:
    before = {name: wakeups(process) for name, process in processes.items()}
    time.sleep(60.0 * minutes)
    measures = []
    for name, process in processes.items():
        measure = Measure(f"{name}, idle: wake-ups", "1/min")
        measure.add("okoomer", (wakeups(process) - before[name]) / minutes)
        measures.append(measure)
    return measures


def _latency(scene: Scene) -> Measure:
    """From the guard's event to the signal in a client's hands: a process is paused and resumed at the door."""
    measure = Measure("event to signal", "ms")
    sleeper = scene.box.spawn(rss_bytes=MIB)
    with (
        open_dbus_connection(scene.bus.address, auth_timeout=60) as client,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door,
    ):
        rule = MatchRule(type="signal", interface=NAME, member="Acted")
        client.send_and_get_reply(message_bus.AddMatch(rule), timeout=20)
        door.settimeout(20)
        door.connect(f"/proc/{scene.box.init_pid}/root{RUN}/guard.sock")
        received: dict[int, float] = {}
        for number in range(EVENTS):
            time.sleep(0.0 if number % 2 else 0.55)  # more is not heard of one user
            door.send(b"%s %d %d 0 0" % (b"resume" if number % 2 else b"pause", number + 1, sleeper.pid))
            answer = door.recv(4096)
            assert answer.split()[2] == b"ok", answer
            sequence, at = _acted(client)
            received[sequence] = at
    told: dict[int, float] = {}
    scene.until(lambda: len(told := _told(scene)) > 0 and max(received) in told, "the events")
    told = _told(scene)
    for sequence, at in received.items():
        measure.add("okoomer", (at - told[sequence]) * 1000)
    p90 = quantiles(measure.samples["okoomer"], n=10)[-1]
    measure.name += f" (p90 {p90:.2f})"
    sleeper.stop()
    return measure


def _acted(client: DBusConnection) -> tuple[int, float]:
    """The number of the event that the next signal tells of, and when it came (Unix time)."""
    while True:
        message = client.receive(timeout=20)
        at = time.time()
        if message.header.fields.get(HeaderFields.member) == "Acted":
            return int(message.body[0]["sequence"][1]), at


def _told(scene: Scene) -> dict[int, float]:
    """When the guard told each event, by its number (Unix time)."""
    events = [json.loads(line.text) for line in scene.guard.lines if line.text.startswith("{")]
    return {event["sequence"]: event["at"] for event in events}


@contextlib.contextmanager
def _agent(scene: Scene) -> Iterator[AgentProcess]:
    place = scene.out / "session"
    place.mkdir()
    session = Session(place)
    session.start()
    server = Server(session.address)
    agent = AgentProcess(DBUS_SYSTEM_BUS_ADDRESS=scene.bus.address, DBUS_SESSION_BUS_ADDRESS=session.address)
    try:
        scene.until(lambda: owned(session.address, AGENT), "the agent")
        yield agent
    finally:
        agent.close()
        server.close()
        session.stop()


def _closed(scene: Scene) -> Proc:
    policy = scene.out / "plain.toml"
    policy.write_text(PLAIN)
    guard = scene.box.daemon([sys.executable, "-c", CLOSED, str(policy)])
    guard.wait_line('"event": "started"', START)
    return guard
