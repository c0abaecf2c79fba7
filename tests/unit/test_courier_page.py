"""One page over HTTP: who asks for it gets it, and whoever does anything else does no harm."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from select import poll
from threading import Thread
from typing import Any

import pytest

from okoomer.courier.gate import listen, place_of
from okoomer.courier.page import HEAD, KNOCKS, LIFE, LINE, READERS, SLOW, Page

BODY = b"okoomer_guard_up 1.0\n" * 20_000


class Stage:
    """The loop around one page, on a clock that the test turns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.page = Page(place_of(f"unix:{path}"), "/metrics", "text/plain")
        self.lines: list[socket.socket] = []
        self.now = 50.0

    def turn(self, later: float = 0.0) -> None:
        """Turns of the loop until nothing is to be done."""
        self.now += later
        for _ in range(10_000):
            poller = poll()
            for fd, events in self.page.wants():
                poller.register(fd, events)
            ready = dict(poller.poll(0))
            if not ready and not self.page.asked and self.page.wait(self.now) > 0:
                return
            self.page.turn(ready, self.now)
            if self.page.asked:
                self.page.show(BODY)
        raise AssertionError("it never rests")

    def line(self, words: bytes = b"") -> socket.socket:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.lines.append(line)
        line.setblocking(False)
        line.connect(str(self.path))
        if words:
            line.sendall(words)
        return line

    def heard(self, line: socket.socket) -> tuple[bytes, bool]:
        """What a line has got, and whether it is closed."""
        got = b""
        while True:
            try:
                piece = line.recv(1 << 20)
            except BlockingIOError:
                return got, False
            except ConnectionResetError:
                return got, True
            if not piece:
                return got, True
            got += piece
            self.turn()

    def asked(self, words: bytes) -> bytes:
        """The answer's first line."""
        line = self.line(words)
        self.turn()
        got, closed = self.heard(line)
        assert closed
        line.close()
        self.turn()
        return got.partition(b"\r\n")[0]

    def close(self) -> None:
        for line in self.lines:
            line.close()
        self.page.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path / "metrics")
    yield stage
    stage.close()


GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


def test_the_page_is_given_whole_however_much_it_is(stage: Stage) -> None:
    line = stage.line(GET)
    stage.turn()
    got, closed = stage.heard(line)
    head, _, body = got.partition(b"\r\n\r\n")
    assert closed and body == BODY
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK", b"Content-Type: text/plain", b"Content-Length: %d" % len(BODY), b"Connection: close"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (b"GET /metrics HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK"),
        (b"GET /metrics?x=1 HTTP/1.1\n\n", b"HTTP/1.1 200 OK"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"GET /../metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"HTTP/1.1 405 Method Not Allowed"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"GET /metrics\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET /metrics HTTP/2.0\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\0\xff\x16\x03\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET /" + b"x" * LINE, b"HTTP/1.1 414 URI Too Long"),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * (HEAD // 6), b"HTTP/1.1 431 Request Header Fields Too Large"),
    ],
)
def test_each_request_has_its_answer(stage: Stage, words: bytes, answer: bytes) -> None:
    assert stage.asked(words) == answer


def test_a_request_may_come_in_pieces(stage: Stage) -> None:
    line = stage.line()
    for at in range(len(GET)):
        line.sendall(GET[at : at + 1])
        stage.turn(0.01)
    assert stage.heard(line)[0].endswith(BODY)


@pytest.mark.parametrize("words", [b"", b"GET /met", GET])
def test_nobody_stays_longer_than_his_time(stage: Stage, words: bytes) -> None:
    line = stage.line(words)
    stage.turn()
    assert stage.page.wait(stage.now) == LIFE
    stage.turn(LIFE)
    assert stage.page.wait(stage.now) == float("inf")
    got, closed = stage.heard(line)
    assert closed and len(got) < len(BODY), "he did not read, so he did not get it all"


def test_few_are_served_at_once_and_the_next_when_they_have_gone(stage: Stage) -> None:
    slow = [stage.line() for _ in range(READERS)]
    stage.turn()
    eager = stage.line(GET)
    stage.turn(SLOW / 2)
    assert stage.heard(eager) == (b"", False) and stage.page.wait(stage.now) == SLOW / 2
    stage.turn(SLOW / 2)
    stage.turn()
    assert stage.heard(eager)[0].endswith(BODY)
    gone = [stage.heard(line)[1] for line in slow]
    assert gone == sorted(gone, reverse=True) and 1 <= gone.count(True) < READERS, "no more than there have to be"
    stage.turn(LIFE)
    assert all(stage.heard(line) == (b"", True) for line in slow)


def test_a_crowd_that_comes_again_and_again_keeps_nobody_out_for_long(stage: Stage) -> None:
    """They say nothing, or have their answer and stay: whoever reads numbers every few seconds has his all the same."""
    crowd = [stage.line(words) for words in (b"", b"GET / HTTP/1.1\r\n\r\n") * READERS]
    eager = stage.line(GET)
    got = b""
    for _ in range(8):
        stage.turn(SLOW)
        crowd += [stage.line() for _ in range(READERS)]
        got += stage.heard(eager)[0]
    assert got.endswith(BODY)


def test_a_crowd_is_let_in_bit_by_bit(stage: Stage) -> None:
    def answers(count: int) -> int:
        return sum(stage.asked(b"GET / HTTP/1.1\r\n\r\n") != b"" for _ in range(count))

    assert answers(KNOCKS) == KNOCKS
    late = stage.line(b"GET / HTTP/1.1\r\n\r\n")
    stage.turn()
    assert stage.heard(late) == (b"", False) and stage.page.wait(stage.now) <= 1.0
    stage.turn(1.0)
    assert stage.heard(late)[0].startswith(b"HTTP/1.1 404")


def test_who_talks_on_after_his_answer_is_shown_out(stage: Stage) -> None:
    line = stage.line(b"GET / HTTP/1.1\r\n\r\n")
    stage.turn()
    for _ in range(8):
        try:
            line.send(b"x" * HEAD)
        except OSError:
            break
        stage.turn()
    assert not [fd for fd, _ in stage.page.wants()][1:], "only the door is left"


def test_who_leaves_before_his_answer_leaves_nothing_behind(stage: Stage) -> None:
    line = stage.line(GET)
    line.close()
    stage.turn()
    assert stage.page.wait(stage.now) == float("inf") and not stage.page.asked


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:9779", (socket.AF_INET, ("127.0.0.1", 9779))),
        ("127.8.0.1:1", (socket.AF_INET, ("127.8.0.1", 1))),
        ("[::1]:65535", (socket.AF_INET6, ("::1", 65535))),
        ("unix:/run/okoomer-courier/metrics", (socket.AF_UNIX, "/run/okoomer-courier/metrics")),
    ],
)
def test_a_place_on_this_machine_is_understood(text: str, place: Any) -> None:
    assert place_of(text) == place


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0.0.0.0:9779", "can be reached from other machines"),
        ("192.168.1.1:9779", "can be reached from other machines"),
        ("[::]:9779", "can be reached from other machines"),
        ("[::ffff:127.0.0.1]:9779", "can be reached from other machines"),
        ("::1:9779", "is not an address"),
        ("localhost:9779", "is not an address"),
        ("127.1:9779", "is not an address"),
        ("127.0.0.1\0:9779", "is not an address"),
        (":9779", "is not an address"),
        ("127.0.0.1", "has no port between 1 and 65535"),
        ("127.0.0.1:", "has no port between 1 and 65535"),
        ("127.0.0.1:0", "has no port between 1 and 65535"),
        ("127.0.0.1:65536", "has no port between 1 and 65535"),
        ("127.0.0.1:-1", "has no port between 1 and 65535"),
        ("127.0.0.1:٣", "has no port between 1 and 65535"),
        ("127.0.0.1:" + "9" * 5000, "has no port between 1 and 65535"),
        ("unix:metrics", "the path has to be absolute"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        ("", "has no port"),
    ],
)
def test_any_other_place_is_refused_with_what_was_expected(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        place_of(text)
    assert str(refused.value).endswith("expected 127.0.0.1:PORT, [::1]:PORT or unix:PATH")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_usual_client_gets_it_over_the_loopback_interface(host: str) -> None:
    family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((host.strip("[]"), 0))
            port = probe.getsockname()[1]
    except OSError as error:
        pytest.skip(f"this machine has no {host}: {error}")
    page = Page(place_of(f"{host}:{port}"), "/metrics", "text/plain")
    try:
        with Asking(page, f"http://{host}:{port}/metrics") as got:
            assert got == [BODY]
        with Asking(page, f"http://{host}:{port}/") as got:
            assert isinstance(got[0], urllib.error.HTTPError) and got[0].code == 404
            got[0].close()
        with pytest.raises(OSError, match="Address already in use"):
            listen(place_of(f"{host}:{port}"))
    finally:
        page.close()


class Asking:
    """What urllib gets while the page is served."""

    def __init__(self, page: Page, url: str) -> None:
        self._page = page
        self._got: list[Any] = []
        self._thread = Thread(target=self._ask, args=(url,))

    def _ask(self, url: str) -> None:
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                self._got.append(answer.read())
        except OSError as error:
            self._got.append(error)

    def __enter__(self) -> list[Any]:
        self._thread.start()
        now = 0.0
        while self._thread.is_alive():
            now += 0.001
            poller = poll()
            for fd, events in self._page.wants():
                poller.register(fd, events)
            self._page.turn(dict(poller.poll(1)), now)
            if self._page.asked:
                self._page.show(BODY)
        self._thread.join()
        return self._got

    def __exit__(self, *_: object) -> None:
        pass
