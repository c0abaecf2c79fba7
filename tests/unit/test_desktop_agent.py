"""The agent as a process, on real buses of our own, with a notification server that the test is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from jeepney import DBusAddress, new_signal  # type: ignore[import-untyped]
from jeepney.io.blocking import open_dbus_connection  # type: ignore[import-untyped]

from okoomer.desktop.agent import GONE, NAME
from okoomer.desktop.screen import PAUSE
from tests.unit.buses import DAEMON, Daemon
from tests.unit.loops import Client
from tests.unit.sessions import POLICY, ROOT, AgentProcess, Okoomer, Server, Session, question, until

pytestmark = pytest.mark.skipif(DAEMON is None, reason="there is no dbus-daemon (Debian: dbus-daemon)")
#: KiB of anonymous memory, and wake-ups in an idle minute.
MEMORY, WAKEUPS = 6 * 1024, 2
EARLYOOM = ("earlyoom", "Low memory! Killing process 4 hog &amp; co")
VOUCHING = ROOT / "dbus/net.nuetzlich.SystemNotifications.conf"
#: The user daemon, who is no person either: the bus may be quick enough to say whose a signal was.
DAEMONS = 1
NOTIFY = ("/", "net.nuetzlich.SystemNotifications.Notify")


@contextmanager
def system_bus(*policies: Path) -> Iterator[Daemon]:
    """A system bus that other users can reach."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        daemon = Daemon(Path(directory), POLICY, *policies)
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.stop()


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with system_bus() as daemon:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
        yield daemon


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    daemon = Session(tmp_path)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", daemon.address)
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def server(session: Session) -> Iterator[Server]:
    made = Server(session.address)
    yield made
    made.close()


@pytest.fixture
def okoomer(system: Daemon) -> Iterator[Okoomer]:
    made = Okoomer(system.address)
    yield made
    made.close()


@pytest.fixture
def agent(system: Daemon, session: Session) -> Iterator[AgentProcess]:
    made = AgentProcess()
    yield made
    made.close()


def is_there(okoomer: Okoomer) -> None:
    """Waits until the agent listens: it asks what is open after it has asked for signals."""
    until(lambda: okoomer.called("Get"))


def test_a_question_is_shown_answered_and_taken_away(okoomer: Okoomer, server: Server, agent: AgentProcess) -> None:
    is_there(okoomer)
    assert [name for name, _ in okoomer.calls] == ["Attend", "Get"]
    okoomer.ask(3, **question(name="<b>make"))
    until(lambda: server.shown)
    [(number, words)] = server.shown.items()
    assert words[3] == "<b>make is paused" and "<" not in words[4]
    assert words[5] == [
        "default", "Leave it to the policy", "resume", "Resume", "end", "End it", "limit", "Limit it to 512 MiB",
    ]  # fmt: skip
    server.press(number, "default", closes=True)
    until(lambda: server.shown)
    [number] = server.shown
    server.press(number, "limit")
    until(lambda: okoomer.called("Answer"))
    assert okoomer.called("Answer") == [(3, "limit", 512 * 1024**2)]
    okoomer.over(3, "answered", "limit")
    until(lambda: not server.shown)
    assert agent.end() == (0, "")


def test_who_forges_a_press_or_a_question_is_not_heard(
    okoomer: Okoomer, server: Server, agent: AgentProcess, system: Daemon, session: Session
) -> None:
    is_there(okoomer)
    okoomer.ask(3, **question())
    until(lambda: server.shown)
    [number] = server.shown
    stranger = open_dbus_connection(session.address, auth_timeout=60)
    address = DBusAddress(Server.path, interface=Server.name)
    stranger.send(new_signal(address, "ActionInvoked", "us", (number, "end")))
    stranger.close()
    forger = open_dbus_connection(system.address, auth_timeout=60)
    address = DBusAddress(Okoomer.path, interface=Okoomer.name)
    forger.send(new_signal(address, "Closed", "uss", (3, "late", "")))
    forger.send(new_signal(address, "Warned", "a{sv}", ({"name": ("s", "nobody")},)))
    forger.close()
    okoomer.tell("Warned", name="firefox", act=False)
    until(lambda: len(server.shown) == 2)
    assert [summary for summary, _ in server.texts()] == ["make is paused", "firefox is growing"]
    assert not okoomer.called("Answer")


def test_a_server_that_died_is_followed_by_another_and_the_question_is_there(
    okoomer: Okoomer, server: Server, agent: AgentProcess, session: Session
) -> None:
    is_there(okoomer)
    okoomer.ask(3, **question())
    until(lambda: server.shown)
    server.close()
    other = Server(session.address, ("body",))
    try:
        until(lambda: other.shown)
        [(number, words)] = other.shown.items()
        assert words[5] == [] and words[4].endswith("To answer: okoomer answer 3 resume|end|limit")
        other.press(number, "end")
        okoomer.over(3)
        until(lambda: not other.shown)
    finally:
        other.close()


def test_before_there_is_a_server_questions_wait(okoomer: Okoomer, agent: AgentProcess, session: Session) -> None:
    is_there(okoomer)
    okoomer.ask(3, **question())
    okoomer.ask(4, **question())
    okoomer.over(4)
    time.sleep(0.5)
    server = Server(session.address)
    try:
        until(lambda: server.shown)
        assert len(server.called("Notify")) == 1
    finally:
        server.close()


def test_a_server_that_hangs_delays_nothing_else(okoomer: Okoomer, server: Server, agent: AgentProcess) -> None:
    is_there(okoomer)
    server.hangs = True
    okoomer.ask(3, **question())
    until(lambda: server.calls)
    began = time.monotonic()
    okoomer.over(3)
    assert agent.end()[0] == 0
    assert time.monotonic() - began < PAUSE - 3.0


def test_okoomers_courier_may_come_late_and_again(
    system: Daemon, session: Session, server: Server, agent: AgentProcess
) -> None:
    time.sleep(0.3)
    first = Okoomer(system.address)
    try:
        is_there(first)
        first.ask(3, **question())
        until(lambda: server.shown)
    finally:
        first.close()
    until(lambda: not server.shown)
    second = Okoomer(system.address, {3: question()})
    try:
        until(lambda: server.shown)
        until(lambda: second.called("Attend"))
    finally:
        second.close()


def test_a_system_bus_that_was_started_anew_is_joined_again(
    system: Daemon, session: Session, server: Server, agent: AgentProcess
) -> None:
    for _ in range(2):
        okoomer = Okoomer(system.address)
        try:
            is_there(okoomer)
        finally:
            okoomer.close()
        system.stop()
        system.start()
    okoomer = Okoomer(system.address, {3: question()})
    try:
        until(lambda: server.shown)
    finally:
        okoomer.close()


def test_without_a_system_bus_it_waits(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    agent = AgentProcess()
    until(lambda: "the bus at SYSTEM cannot be used" in agent.words)
    time.sleep(1.0)
    code, said = agent.end()
    assert code == 0 and said.count("\n") == 1


def test_when_it_ends_its_questions_do_not_stay(okoomer: Okoomer, server: Server, agent: AgentProcess) -> None:
    is_there(okoomer)
    okoomer.ask(3, **question())
    okoomer.tell("Acted", event="died", name="hog")
    until(lambda: len(server.shown) == 2)
    assert agent.end() == (0, "")
    until(lambda: len(server.shown) == 1)
    assert server.texts() == [("hog was ended", "")]


def test_when_the_session_ends_it_ends_and_that_is_no_success(agent: AgentProcess, session: Session) -> None:
    with Client(session.address, NAME, "/") as client:
        client.waits()
    session.stop()
    code, said = agent.ended(GONE + 60)
    assert code == 1 and "cannot be used" in said


def test_a_second_agent_of_a_session_is_one_too_many(okoomer: Okoomer, agent: AgentProcess) -> None:
    is_there(okoomer)
    code, said = AgentProcess().ended()
    assert (code, said) == (0, "okoomer: another agent is in this session already\n")
    assert agent.process.poll() is None


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({"DBUS_SESSION_BUS_ADDRESS": "nonsense"}, 2, "'nonsense' is no address of a bus"),
        ({"DBUS_SESSION_BUS_ADDRESS": "tcp:host=localhost"}, 2, "is no address of a bus"),
        ({"DBUS_SESSION_BUS_ADDRESS": "", "XDG_RUNTIME_DIR": "/nowhere"}, 3, "there is no /nowhere/bus"),
    ],
)
def test_without_a_session_it_says_so_in_one_line(environment: dict[str, str], code: int, said: str) -> None:
    agent = AgentProcess(**environment)
    ended, text = agent.ended()
    assert ended == code and said in text and text.count("\n") == 1, text


# --- what other daemons announce ------------------------------------------------------------------------------------


def announce(system: Daemon, *words: str, user: int = 0, count: int = 1) -> None:
    sender = shutil.which("dbus-send")
    assert sender
    command = [sender, f"--bus={system.address}", "--type=signal", *NOTIFY, *(f"string:{word}" for word in words)]
    for _ in range(count):
        subprocess.run(command, check=True, user=user, timeout=60)


needs_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("dbus-send"), reason="only root can be others")


@needs_root
@pytest.mark.parametrize("vouched", [False, True])
def test_earlyooms_word_is_shown_where_nobody_else_could_have_sent_it(
    server: Server, tmp_path: Path, vouched: bool
) -> None:
    """Whose dbus-send was cannot be asked any more when its signal is here."""
    # Root runs the tests, and so the agent: here it is another whom the bus trusts, and root who tries in vain.
    policy = tmp_path / "vouching.conf"
    policy.write_text(VOUCHING.read_text().replace('user="root"', 'user="daemon"'))
    trusted, stranger = (DAEMONS, 0) if vouched else (0, 65534)
    with system_bus(*([policy] if vouched else [])) as system:
        okoomer, agent = Okoomer(system.address), AgentProcess(DBUS_SYSTEM_BUS_ADDRESS=system.address)
        try:
            is_there(okoomer)
            announce(system, "your bank", "<b>click here</b>", user=stranger)
            announce(system, *EARLYOOM, user=trusted)
            okoomer.ask(3, **question())
            until(lambda: "make is paused" in [summary for summary, _ in server.texts()])
            if vouched:
                until(lambda: EARLYOOM in server.texts())
            time.sleep(0.2)
            shown = [words for words in server.texts() if words[0] != "make is paused"]
            # The bus may have been quick enough to say that it was root's.
            assert shown in ([[EARLYOOM]] if vouched else [[], [EARLYOOM]])
        finally:
            agent.close()
            okoomer.close()


@needs_root
def test_a_system_service_that_stays_is_heard_and_a_person_is_not(
    okoomer: Okoomer, server: Server, agent: AgentProcess, system: Daemon
) -> None:
    is_there(okoomer)
    service = open_dbus_connection(system.address, auth_timeout=60)
    address = DBusAddress("/", interface="net.nuetzlich.SystemNotifications")
    try:
        # The first has the agent ask whose it is, and until it knows that it does not hear the next.
        for count in (1, 2):
            service.send(new_signal(address, "Notify", "ss", EARLYOOM))
            until(lambda count=count: len(server.shown) == count)  # type: ignore[misc]
    finally:
        service.close()
    assert server.texts() == [EARLYOOM] * 2


@needs_root
def test_a_flood_leaves_room_for_a_question(
    okoomer: Okoomer, server: Server, agent: AgentProcess, system: Daemon
) -> None:
    is_there(okoomer)
    flood = open_dbus_connection(system.address, auth_timeout=60)
    address = DBusAddress("/", interface="net.nuetzlich.SystemNotifications")
    for _ in range(10_000):
        flood.send(new_signal(address, "Notify", "ss", EARLYOOM))
    okoomer.ask(3, **question(seconds=600.0, until=time.time() + 600))
    until(lambda: "make is paused" in [summary for summary, _ in server.texts()])
    flood.close()
    assert [summary for summary, _ in server.texts()].count("earlyoom") <= 20


# --- what it costs --------------------------------------------------------------------------------------------------


def anonymous(pid: int) -> int:
    """KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])


def switches(pid: int) -> int:
    """How often it went to sleep."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("voluntary_ctxt")).split()[1])


def test_it_is_small_also_after_work(okoomer: Okoomer, server: Server, agent: AgentProcess) -> None:
    is_there(okoomer)
    for number in range(1, 51):
        okoomer.ask(number, **question(name=f"make {number}"))
        okoomer.tell("Warned", name="firefox", act=False, left=40.0, available=300 * 1024**2)
        okoomer.tell("Acted", event="died", rule="low", name="hog", came_back=1024**3)
        okoomer.over(number)
        if number % 10 == 0:
            time.sleep(0.25)  # it hears no more than 200 in a second of one sender

    def last_is_shown() -> bool:
        okoomer.ask(99, **question(name="the last"))
        time.sleep(1.5)  # on a busy machine it has not even begun to hear the others
        return "the last is paused" in [summary for summary, _ in server.texts()]

    until(last_is_shown)
    assert anonymous(agent.pid) <= MEMORY


def test_it_sleeps_as_long_as_nothing_happens(okoomer: Okoomer, server: Server, agent: AgentProcess) -> None:
    is_there(okoomer)
    okoomer.ask(3, **question(seconds=600.0, until=time.time() + 600))
    until(lambda: server.shown)
    time.sleep(6.0)  # calls that are open have a deadline

    def sleeps() -> bool:
        before = switches(agent.pid)
        time.sleep(10.0)
        return switches(agent.pid) - before <= WAKEUPS * 10 / 60

    # Its memory may have to come back from somewhere.
    assert any(sleeps() for _ in range(6))


def test_it_is_called_what_it_is_and_ends_on_a_signal(okoomer: Okoomer, agent: AgentProcess) -> None:
    is_there(okoomer)
    assert Path(f"/proc/{agent.pid}/comm").read_text() == "okoomer-desktop\n"
    agent.process.send_signal(signal.SIGINT)
    assert agent.ended() == (0, "")
