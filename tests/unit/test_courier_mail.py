"""Mail: one for an episode, over SMTP or by sendmail, whatever the server does."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from select import poll
from threading import Thread

import pytest

from okoomer.courier import mail as module
from okoomer.courier.mail import GAP, LINES, PATIENCE, QUIET, Post, letter, recipient
from okoomer.courier.runs import Runs
from okoomer.courier.smtp import Delivery
from okoomer.events import model
from okoomer.events.text import line
from okoomer.record import Record
from tests.unit.couriers import KILLED, VICTIM

DIED = model.Died("low", "hog", (42, 43), 0.004, 1 << 30)


class Server:
    """A mail server for one mail: it says what the test tells it to."""

    def __init__(self, *answers: bytes) -> None:
        self.heard = b""
        self._answers = list(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        self._listener.settimeout(20)
        try:
            line, _ = self._listener.accept()
        except OSError:
            return
        with line:
            line.settimeout(20)
            try:
                for answer in self._answers:
                    line.sendall(answer)
                    if answer is self._answers[-1] and answer != TAKEN[-1]:
                        return
                    if answer.startswith(b"354"):
                        while not self.heard.endswith(b"\r\n.\r\n"):
                            self.heard += line.recv(65536)
                    else:
                        self.heard += line.recv(65536)
            except OSError:
                pass

    def close(self) -> bytes:
        """What it has heard."""
        self._thread.join()
        self._listener.close()
        return self.heard


GOOD = (b"220 mail.example ESMTP\r\n", b"250-hello\r\n250 HELP\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n")
TAKEN = (*GOOD, b"250 queued\r\n")


class Stage:
    """The loop around one Post, on a clock that the test turns."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        monkeypatch.setattr("okoomer.say.say", self.said.append)
        self.monkeypatch = monkeypatch
        self.out = directory / "mails"
        self.sendmail = directory / "sendmail"
        monkeypatch.setattr(module, "SENDMAIL", str(self.sendmail))
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            monkeypatch.setattr(module, "SERVER", nobody.getsockname())
        self.runs = Runs()
        self.post = Post("root", self.runs)
        self.now = 1000.0
        self.servers: list[Server] = []

    def serve(self, *answers: bytes) -> Server:
        server = Server(*answers)
        self.servers.append(server)
        self.monkeypatch.setattr(module, "SERVER", server.address)
        return server

    def program(self) -> None:
        """There is a sendmail, which keeps what it gets."""
        self.sendmail.write_text(f'#!/bin/sh\n{{ echo "arguments: $*"; cat; echo; }} >> {self.out}\n')
        self.sendmail.chmod(0o755)

    def hear(self, *events: Record, later: float = 0.0) -> None:
        self.now += later
        for event in events:
            self.post.hear(json.loads(line(event, 1.7e9, 1)), 1.7e9, self.now)

    def turn(self, later: float = 0.0) -> None:
        """Lets time pass, and then as much real time as the others need."""
        self.now += later
        until = time.monotonic() + 60
        while (self.post.wait(self.now) == 0 or self.post.wants() or self.runs.busy) and time.monotonic() < until:
            poller = poll()
            for fd, events in self.post.wants():
                poller.register(fd, events)
            self.post.turn(dict(poller.poll(10)), self.now)
            self.runs.advance(self.now)

    def mails(self) -> list[str]:
        text = self.out.read_text() if self.out.exists() else ""
        return text.split("arguments: ")[1:]

    def close(self) -> None:
        self.post.close()
        self.turn()
        for server in self.servers:
            server.close()


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(tmp_path, monkeypatch)
    yield stage
    stage.close()


def test_an_episode_is_one_mail_when_it_has_been_quiet_for_a_minute(stage: Stage) -> None:
    stage.program()
    stage.hear(VICTIM, KILLED)
    stage.hear(DIED, later=30.0)
    assert stage.post.wait(stage.now) == QUIET
    stage.turn(QUIET - 1)
    assert stage.mails() == []
    stage.turn(1.0)
    [mail] = stage.mails()
    arguments, _, text = mail.partition("\n")
    assert arguments == "-i -- root"
    read = message_from_bytes(text.encode())
    assert read["Subject"].endswith("memory ran out, ended hog") and read["To"] == "root"
    assert read["Auto-Submitted"] == "auto-generated"
    assert "SIGKILL to hog (pid 42)" in text and "1.0 GiB came back" in text and "okoomer why" in text
    assert stage.post.wait(stage.now) == float("inf") and not stage.said


def test_a_bad_night_is_some_mails(stage: Stage) -> None:
    stage.program()
    for _ in range(8 * 60):
        stage.hear(VICTIM, KILLED, DIED)
        stage.turn(60.0)
    stage.turn(GAP)
    assert 1 < len(stage.mails()) <= 8 * 3600 / GAP + 1
    assert sum(mail.count("SIGKILL to hog") for mail in stage.mails()) == 8 * 60


def test_of_an_episode_that_does_not_end_something_is_heard_all_the_same(stage: Stage) -> None:
    stage.program()
    for _ in range(int(GAP / 10) + 1):
        stage.hear(KILLED)
        stage.turn(10.0)
    assert len(stage.mails()) == 1


def test_a_mail_has_room_for_so_much_and_says_how_much_more_there_was(stage: Stage) -> None:
    stage.program()
    stage.hear(*[DIED] * (LINES + 7))
    stage.turn(QUIET)
    [mail] = stage.mails()
    assert mail.count("is gone after") == LINES and "\nand 7 more\n" in mail
    assert f"ended hog, hog, hog, {LINES - 3} more" in mail


@pytest.mark.parametrize(
    "event",
    [
        model.Warned("early", "it gets short"), model.Level(50, 1, None, ("low",)),
        model.RuleChanged("low", "fired", ()), model.Recovered("low", False), model.Report(1, 1, 1, 0, 0),
    ],
)  # fmt: skip
def test_nothing_is_written_of_what_nobody_has_done(stage: Stage, event: Record) -> None:
    stage.hear(event)
    assert stage.post.wait(stage.now) == float("inf")


def test_a_mail_server_on_this_machine_takes_it(stage: Stage) -> None:
    stage.program()
    server = stage.serve(*TAKEN)
    stage.hear(VICTIM, DIED)
    stage.turn(QUIET)
    heard = server.close()
    assert stage.mails() == [] and not stage.said
    host = module.address().partition("@")[2].encode()
    begin = b"HELO %b\r\nMAIL FROM:<okoomer@%b>\r\nRCPT TO:<root>\r\nDATA\r\n" % (host, host)
    assert heard.startswith(begin + b"From: okoomer <okoomer@") and heard.endswith(b"\r\n.\r\nQUIT\r\n")
    assert b"\n" not in heard.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ((b"554 no\r\n",), "554 no"),
        ((*GOOD[:2], b"250 ok\r\n", b"550 no such user\x1b[31m\r\n"), "550 no such user\\x1b[31m"),
        ((*GOOD, b"452 disk full\r\n"), "452 disk full"),
        ((*GOOD[:1], b"25"), "the server hung up"),
        ((b"220-" + b"x" * 40_000, b""), "the server says too much"),
    ],
)
def test_what_a_server_does_not_take_is_said_once(stage: Stage, answers: tuple[bytes, ...], why: str) -> None:
    for _ in range(2):
        stage.serve(*answers)
        stage.hear(DIED)
        stage.turn(max(QUIET, GAP))
        stage.turn(PATIENCE)
    assert stage.said == [f"mail to root was not taken: {why}"]


def test_a_server_that_says_nothing_is_given_up_and_sendmail_takes_it(stage: Stage) -> None:
    stage.program()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stage.monkeypatch.setattr(module, "SERVER", silent.getsockname())
        stage.hear(DIED)
        stage.now += QUIET
        stage.post.turn({}, stage.now)
        assert stage.post.wait(stage.now) == PATIENCE
        stage.turn(PATIENCE)
    assert len(stage.mails()) == 1


def test_without_a_server_and_without_sendmail_that_is_said_once(stage: Stage) -> None:
    for _ in range(2):
        stage.hear(DIED)
        stage.turn(GAP)
    [said] = stage.said
    assert said.startswith("mail cannot be sent: 127.0.0.1 port ") and "Connection refused" in said
    assert said.endswith(f"and there is no {stage.sendmail}")


def test_what_is_left_at_the_end_is_sent(stage: Stage) -> None:
    server = stage.serve(*TAKEN)
    stage.hear(VICTIM, DIED)
    stage.post.close()
    assert b"is gone after" in server.close()


def test_a_server_that_hangs_does_not_hold_up_the_end(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stage.monkeypatch.setattr(module, "SERVER", silent.getsockname())
        stage.hear(DIED)
        stage.post.close()  # whoever waited for that server would wait for ever
    assert len(stage.said) == 1


def test_a_line_that_begins_with_a_dot_comes_through(stage: Stage) -> None:
    server = stage.serve(*TAKEN)
    delivery = Delivery(server.address, "a@b", "root", b"Subject: x\n\n.\n..x\nend\n", time.monotonic() + 20)
    while not delivery.over:
        poller = poll()
        for fd, events in delivery.wants():
            poller.register(fd, events)
        delivery.turn(dict(poller.poll(100)), time.monotonic())
    assert not delivery.why
    assert server.close().endswith(b"Subject: x\r\n\r\n..\r\n...x\r\nend\r\n.\r\nQUIT\r\n")


def test_names_of_processes_forge_neither_a_head_nor_a_line() -> None:
    mail = letter("root", ["x"], 0, ["a\\r\\nBcc: everybody"])
    assert message_from_bytes(mail)["Bcc"] is None and mail.isascii()


def test_a_hostile_name_stays_on_its_line(stage: Stage) -> None:
    stage.program()
    stage.hear(model.Died("low", "x\r\nBcc: everybody\n.\n\u202e", (1,), 0.1, 1))
    stage.turn(QUIET)
    [mail] = stage.mails()
    read = message_from_bytes(mail.partition("\n")[2].encode())
    assert read["Bcc"] is None and "x\\r\\nBcc: everybody\\n.\\n\\u202e" in str(read.get_payload())


@pytest.mark.parametrize("text", ["root", "admin@example.org", "a.b+c@x", "x" * 254])
def test_an_address_is_taken(text: str) -> None:
    assert recipient(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "-oQ/tmp", "a b", "a\nb", "a>b", "a,b", "@x", "a@", "a@b@c", "|/bin/sh", "é", "x" * 255, '"a"@b', "a\0"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address for mail"):
        recipient(text)
