"""Speaking with the guard itself, at its door ({runtime_dir}/guard.sock): root may, and whoever the guard runs as."""

from __future__ import annotations

import json
import os
import socket
from itertools import count
from time import monotonic
from typing import Any

from okoomer.cli.errors import CannotHere

#: Seconds that the guard has to reply: its loop turns as soon as it is asked, unless the machine stalls.
PATIENCE = 5.0
#: No reply is longer.
LONGEST = 1 << 18


def is_ours(directory: str) -> bool:
    """Whether a guard of this directory would let us in: we are root, or it runs as us."""
    if os.geteuid() == 0:
        return True
    try:
        return os.stat(f"{directory}/guard.sock").st_uid == os.geteuid()  # noqa: PTH116
    except OSError:
        return False


class Door:
    """A line to the guard.

    Raises:
        CannotHere: No guard is there, or it does not let us in; so do all that ask it something.
    """

    def __init__(self, directory: str) -> None:
        self._path = f"{directory}/guard.sock"
        self._numbers = count(1)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.connect(self._path)
        except PermissionError as error:
            self._socket.close()
            raise CannotHere(f"{self._path}: the guard does not let us in; ask as root") from error
        except OSError as error:
            self._socket.close()
            raise CannotHere(f"no guard answers at {self._path}: {error.strerror} (okoomer run starts one)") from error

    def close(self) -> None:
        self._socket.close()

    def questions(self) -> list[dict[str, Any]]:
        """The open ones: the fields of events.model.Question, and the seconds that are `left`."""
        found: list[dict[str, Any]] = self._state()["questions"]
        return found

    def paused(self) -> list[tuple[int, int, str]]:
        """Who stands still: pid, start time in ticks, and name."""
        return [(pid, start, str(name)) for pid, start, name, *_ in self._state()["paused"]]

    def answer(self, question: int, word: str, ceiling: int) -> tuple[str, str]:
        """Answers a question; the status and what there is to say about it."""
        return self._ask("answer", question, os.geteuid(), word, ceiling)

    def pause(self, pid: int, start: int) -> tuple[str, str]:
        """Pauses a process and its descendants."""
        return self._ask("pause", pid, start, os.geteuid())

    def resume(self, pid: int, start: int) -> tuple[str, str]:
        """Lets a paused process run again."""
        return self._ask("resume", pid, start, os.geteuid())

    def state(self) -> dict[str, Any]:
        """All that the guard says of itself, as guard.state has it."""
        return self._state()

    def _state(self) -> dict[str, Any]:
        _, text = self._ask("state")
        try:
            state: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise CannotHere(f"{self._path}: what the guard says of its state is no JSON: {error}") from error
        return state

    def _ask(self, verb: str, *words: object) -> tuple[str, str]:
        number = str(next(self._numbers))
        deadline = monotonic() + PATIENCE
        try:
            self._socket.settimeout(PATIENCE)
            self._socket.send(" ".join((verb, number, *map(str, words))).encode("ascii"))
            while True:
                self._socket.settimeout(max(0.001, deadline - monotonic()))
                packet = self._socket.recv(LONGEST)
                if not packet:
                    raise CannotHere(f"{self._path}: the guard does not let us in; ask as root")
                head, reference, status, *rest = packet.decode("utf-8", "replace").split(" ", 3)
                if (head, reference) == ("reply", number):
                    return status, rest[0] if rest else ""
        except TimeoutError as error:
            raise CannotHere(f"{self._path}: the guard does not answer within {PATIENCE:g} s") from error
        except ValueError as error:
            raise CannotHere(f"{self._path}: this is no guard's door") from error
        except OSError as error:
            raise CannotHere(f"{self._path}: {error.strerror}") from error
