"""What can happen to those who tell of an emergency, and must not reach the guard.

Each disturbance is a context: within it an emergency is disturbed, before and after it all is as it should be. What it
gives is done as soon as memory has fallen, or is None.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import NamedTuple

from jeepney import DBusAddress, HeaderFields, MessageFlag, new_method_call  # type: ignore[import-untyped]
from jeepney.bus_messages import message_bus  # type: ignore[import-untyped]

from okoomer.desktop.agent import NAME as AGENT
from okoomer.events.ring import SLOTS
from tests.box.emergency import NAME, NEAR, NOBODY, RUN, SEEN, Scene, owned
from tests.unit.sessions import AgentProcess, Server, Session

#: Rules that only warn, and how often they fire and calm down, for more events than the ring has room for.
MORE, WAVES = 180, 2
EVENTS = 1000
#: Messages a second, and how many at once.
RATE, BATCH = 10_000, 50

Meanwhile = Callable[[], None]
Around = Callable[[Scene], contextlib.AbstractContextManager[Meanwhile | None]]

KNOCK = f"""
import os, socket
os.setgroups([])
os.setgid({NOBODY})
os.setuid(1)
while True:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as line:
        try:
            line.connect("{RUN}/guard.sock")
        except OSError:
            pass
"""
#: Says as much as the line takes, and reads nothing. Who is closed out comes again.
TALK = f"""
import socket
while True:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        try:
            line.connect("{RUN}/guard.sock")
            while True:
                line.send(b"state 1")
        except OSError:
            pass
"""
FLOOD = """
import socket, time
line = socket.socket(socket.AF_UNIX)
line.connect(ADDRESS)
line.sendall(b"\\0AUTH EXTERNAL\\r\\nDATA\\r\\nBEGIN\\r\\n")
line.sendall(bytes.fromhex(HELLO))
blob = bytes.fromhex(CALL) * BATCH
due = time.monotonic()
while True:
    line.sendall(blob)
    due += BATCH / RATE
    time.sleep(max(0.0, due - time.monotonic()))
    try:
        line.recv(1 << 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        pass
"""


@contextmanager
def nothing(scene: Scene) -> Iterator[None]:
    yield


@contextmanager
def stopped(scene: Scene) -> Iterator[None]:
    """Both couriers stand still."""
    couriers = (scene.courier, scene.child)
    for courier in couriers:
        scene.box.kill(courier, SIGSTOP)
    yield
    for courier in couriers:
        scene.box.kill(courier, SIGCONT)


@contextmanager
def killed(scene: Scene) -> Iterator[Meanwhile]:
    """Both couriers are killed in the middle of it."""

    def meanwhile() -> None:
        time.sleep(random.uniform(0.0, 0.03))
        for courier in (scene.courier, scene.child):
            scene.box.kill(courier)

    yield meanwhile
    # There is one child in a guard's life.
    scene.stop()
    scene.start()


@contextmanager
def bus_gone(scene: Scene) -> Iterator[Meanwhile]:
    """The bus ends in the middle of it."""

    def meanwhile() -> None:
        time.sleep(random.uniform(0.0, 0.03))
        scene.bus.stop()

    yield meanwhile
    scene.bus.stop()
    scene.bus.start()
    _again(scene)


def _again(scene: Scene) -> None:
    """Starts the courier anew: it would find the bus by itself, but later and later the more often that has gone."""
    scene.courier.stop()
    scene.start_courier()


@contextmanager
def bus_hangs(scene: Scene) -> Iterator[None]:
    """The bus lets everybody in and says nothing."""
    scene.bus.stop()
    path, held, over = str(scene.bus.socket), [], threading.Event()
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(path)
        Path(path).chmod(0o666)
        mute.listen()
        mute.settimeout(0.05)

        def accept() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    held.append(mute.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            scene.until(lambda: bool(held), "the courier to come to the bus that hangs")
            yield
        finally:
            over.set()
            thread.join()
            for connection in held:
                connection.close()
    Path(path).unlink()
    scene.bus.start()
    _again(scene)


@contextmanager
def disk_full(scene: Scene) -> Iterator[None]:
    """No byte is free where the ring, the notes and the courier's sockets are."""
    places = (RUN, f"{RUN}-courier")
    for path in places:
        scene.shell(f"cat /dev/zero >{path}/full 2>/dev/null; ! (echo 12345 >{path}/full2) 2>/dev/null")
    yield
    for path in places:
        scene.shell(f"rm -f {path}/full {path}/full2")


@contextmanager
def ring_overrun(scene: Scene) -> Iterator[None]:
    """The couriers stand still while far more happens than the ring can hold."""
    with stopped(scene):
        before = scene.told()
        for _ in range(WAVES):
            # Each changes and warns; each changes back.
            for percent, events in ((40.0, 2 * MORE), (90.0, MORE)):
                seen = scene.told()
                scene.box.memory(available=scene.bytes(percent))
                scene.until(lambda seen=seen, events=events: scene.told() >= seen + events, "the rules")  # type: ignore[misc]
        assert scene.told() - before > max(EVENTS, SLOTS)
        scene.box.memory(available=scene.bytes(NEAR))
        time.sleep(SEEN)
        yield


@contextmanager
def knocking(scene: Scene) -> Iterator[None]:
    """Somebody of the courier's group, who gets as far as the door but not in, knocks as fast as it can."""
    with _program(scene, KNOCK, uid=0):
        yield


@contextmanager
def talking(scene: Scene) -> Iterator[None]:
    """Somebody who is let in says as much as it can."""
    with _program(scene, TALK, uid=NOBODY):
        yield


@contextmanager
def flooded(scene: Scene) -> Iterator[None]:
    """The courier's name on the bus gets 10,000 messages a second."""
    call = new_method_call(DBusAddress("/org/okoomer/Okoomer1", bus_name=NAME, interface=NAME), "Why", "t", (1,))
    call.header.flags |= MessageFlag.no_reply_expected
    assert HeaderFields.destination in call.header.fields
    words = {"ADDRESS": repr(str(scene.bus.socket)), "BATCH": str(BATCH), "RATE": str(RATE)}
    words |= {"HELLO": repr(message_bus.Hello().serialise(1).hex()), "CALL": repr(call.serialise(2).hex())}
    program = FLOOD
    for word, value in words.items():
        program = program.replace(word, value)
    with _program(scene, program, uid=1):
        yield


@contextmanager
def notifications_hang(scene: Scene) -> Iterator[None]:
    """The server that is to show notifications answers nothing, and an agent waits for it."""
    with ExitStack() as stack:
        place = scene.out / "session"
        place.mkdir()
        session = Session(place)
        stack.callback(session.stop)
        session.start()
        server = Server(session.address)
        server.hangs = True
        stack.callback(server.close)
        agent = AgentProcess(
            DBUS_SYSTEM_BUS_ADDRESS=scene.bus.address, DBUS_SESSION_BUS_ADDRESS=session.address, HOME=str(place)
        )
        stack.callback(agent.close)
        scene.until(lambda: owned(session.address, AGENT), "the agent")
        time.sleep(SEEN)
        yield
        scene.until(lambda: bool(server.calls), "the agent to speak with the server")
        assert agent.process.poll() is None
    for path in sorted(place.iterdir()):
        path.unlink()
    place.rmdir()


@contextmanager
def _program(scene: Scene, program: str, uid: int) -> Iterator[None]:
    """A program that is at it when the context begins, and is dead when it ends."""
    proc = scene.box.spawn(program, uid=uid)
    time.sleep(0.1)
    assert proc.alive, proc.lines
    yield
    assert proc.alive, proc.lines
    proc.stop()


class Disturbance(NamedTuple):
    """One, and whether it wants a scene of its own: with many rules, or with small file systems."""

    around: Around
    more: int = 0
    small: bool = False


DISTURBANCES = {
    "couriers stand still": Disturbance(stopped),
    "couriers are killed": Disturbance(killed),
    "the bus ends": Disturbance(bus_gone),
    "the bus hangs": Disturbance(bus_hangs),
    "the disk is full": Disturbance(disk_full, small=True),
    "the ring is overrun": Disturbance(ring_overrun, more=MORE),
    "a stranger knocks": Disturbance(knocking),
    "somebody talks without end": Disturbance(talking),
    "10,000 messages a second": Disturbance(flooded),
    "notifications hang": Disturbance(notifications_hang),
}


class Scenes:
    """A scene for each kind of disturbance; ends them all."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._scenes: dict[tuple[int, bool], Scene] = {}

    def __enter__(self) -> Scenes:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def of(self, disturbance: Disturbance) -> Scene:
        key = (disturbance.more, disturbance.small)
        if key not in self._scenes:
            self._scenes[key] = Scene(self._stack, *key)
        return self._scenes[key]

    def pair(self, disturbance: Disturbance) -> tuple[float, float]:
        """An emergency that nothing disturbs and one that is disturbed, in either order: how long each took."""
        scene = self.of(disturbance)
        took = {}
        for around in random.sample([nothing, disturbance.around], 2):
            with around(scene) as meanwhile:
                took[around] = scene.emergency(meanwhile)
        return took[nothing], took[disturbance.around]
