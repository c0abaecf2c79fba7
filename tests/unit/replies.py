"""Somebody in the guard's place at its door, who says what a test wants."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from okoomer.events.ring import Ring
from tests.unit.sessions import question

CALM = '[[rule]]\nname = "calm"\nwhen = "mem.available < 1MiB"\n'


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """One that never acts."""
    found = tmp_path / "p.toml"
    found.write_text(CALM)
    return found


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    """That of a guard which runs."""
    made = Ring(f"{tmp_path}/ring")
    yield made
    made.close()


class Guard:
    """In the guard's place at its door: replies what the test says."""

    def __init__(self, directory: Path) -> None:
        self.questions: list[dict[str, Any]] = []
        self.paused: list[list[Any]] = []
        #: What else it says of its state.
        self.more: dict[str, Any] = {}
        self.asked: list[str] = []
        self.reply: Callable[[str], str | None] = lambda _verb: "ok"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(directory / "guard.sock"))
        self._listener.listen(4)
        self._listener.settimeout(0.05)
        self._over = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over:
            try:
                line, _ = self._listener.accept()
            except TimeoutError:
                continue
            with contextlib.suppress(OSError), line:  # it was left, or went away
                line.settimeout(60)
                while packet := line.recv(4096):
                    verb, reference, *rest = packet.decode().split(" ", 2)
                    text = " ".join((verb, *rest))
                    if verb != "state":
                        self.asked.append(text)
                    reply = self.reply(verb)
                    if reply is None:
                        break
                    if verb == "state":
                        state = {"questions": self.questions, "paused": self.paused, **self.more}
                        reply = f"ok {json.dumps(state)}"
                    line.send(b"reply 77 ok of something else")
                    line.send(f"reply {reference} {reply}".encode())
                    if verb == "resume":
                        self.paused = [one for one in self.paused if str(one[0]) != rest[0].split()[0]]

    def close(self) -> None:
        self._over = True
        self._thread.join()
        self._listener.close()


def asked(number: int, left: float = 14.2, **changes: Any) -> dict[str, Any]:
    """A question as the guard tells of it in its state."""
    found = question(**changes)
    found.pop("until")
    return {"question": number, **found, "left": left}
