"""Speaking with okoomer on the system bus (org.okoomer.Okoomer1), as anybody may about his own processes."""

from __future__ import annotations

import json
import time
from typing import Any

from jeepney import DBusAddress, HeaderFields, MessageType, Properties, new_method_call  # type: ignore[import-untyped]

from okoomer.cli.errors import CannotHere
from okoomer.cli.owners import connect
from okoomer.kernel.process import ticks

NAME, PATH = "org.okoomer.Okoomer1", "/org/okoomer/Okoomer1"
OKOOMER = DBusAddress(PATH, bus_name=NAME, interface=NAME)
#: Seconds for an answer; so many acts are looked through for who was paused.
PATIENCE, MOST = 5.0, 256
#: What an error says, by the last part of its name.
_STATUS = {
    "NoQuestion": "none",
    "NotYours": "denied",
    "Refused": "refused",
    "Busy": "busy",
    "BadAnswer": "bad",
    "LimitsExceeded": "busy",
    "AccessDenied": "denied",
}


class Bus:
    """A line to okoomer; does what door.Door does.

    Raises:
        CannotHere: There is no bus, or no okoomer on it; so do all that ask it something.
    """

    def __init__(self) -> None:
        try:
            self._connection = connect("SYSTEM")
        except OSError as error:
            raise CannotHere(f"the guard cannot be asked: there is no system bus ({error})") from error

    def close(self) -> None:
        self._connection.close()

    def questions(self) -> list[dict[str, Any]]:
        """The open ones."""
        _, listed = self._get(Properties(OKOOMER).get("Questions"))[0]
        found = []
        for number, variants in listed.items():
            details = {key: value for key, (_, value) in variants.items()}
            until = details.pop("until", None)
            found.append({"question": number, **details, "left": max(0.0, until - time.time()) if until else None})
        return found

    def paused(self) -> list[tuple[int, int, str]]:
        """Who stands still as far as okoomer remembers."""
        return _paused(self._history())

    def answer(self, question: int, word: str, ceiling: int) -> tuple[str, str]:
        """Answers a question; the status and what there is to say about it."""
        return self._do("Answer", "ust", question, word, ceiling)

    def pause(self, pid: int, _start: int) -> tuple[str, str]:
        """Pauses a process and its descendants."""
        return self._do("Pause", "u", pid)

    def resume(self, pid: int, _start: int) -> tuple[str, str]:
        """Lets a paused process run again."""
        return self._do("Resume", "u", pid)

    def state(self) -> dict[str, Any]:
        """What the guard says of itself at its door, as far as that is told on the bus, or okoomer remembers it."""
        history = self._history()
        paused = [(pid, start, name, -1, None) for pid, start, name in _paused(history)]
        return {"questions": self.questions(), "paused": paused, "slowed": _slowed(history)}

    def _history(self) -> list[dict[str, Any]]:
        """The latest events, oldest first."""
        (lines,) = self._get(new_method_call(OKOOMER, "History", "u", (MOST,)))
        return [json.loads(line) for line in reversed(lines)]

    def _do(self, member: str, signature: str, *words: Any) -> tuple[str, str]:
        try:
            self._call(new_method_call(OKOOMER, member, signature, words))
        except _Refused as refused:
            return refused.status, refused.text
        return "ok", ""

    def _get(self, message: Any) -> Any:
        try:
            return self._call(message)
        except _Refused as refused:
            raise CannotHere(f"{NAME}: {refused.text}") from refused

    def _call(self, message: Any) -> Any:
        try:
            answer = self._connection.send_and_get_reply(message, timeout=PATIENCE)
        except TimeoutError as error:
            raise CannotHere(f"{NAME} does not answer within {PATIENCE:g} s") from error
        except OSError as error:
            raise CannotHere(f"the system bus: {error.strerror or error}") from error
        if answer.header.message_type is not MessageType.error:
            return answer.body
        name = str(answer.header.fields.get(HeaderFields.error_name, "")).rpartition(".")[2]
        said = answer.body[0] if answer.body and isinstance(answer.body[0], str) else name
        if name in ("ServiceUnknown", "NameHasNoOwner", "NoGuard") or name.startswith("Spawn"):
            raise CannotHere(f"the guard cannot be asked: {said} (see okoomer status; as root it is asked directly)")
        if name in _STATUS:
            raise _Refused(_STATUS[name], said)
        raise CannotHere(f"{NAME}: {said}")


def _paused(history: list[dict[str, Any]]) -> list[tuple[int, int, str]]:
    """Who stands still after all that: pid, 0 for the start, and name."""
    standing: list[tuple[list[int], str]] = []
    for event in history:
        pids = list(event.get("pids") or ())
        if event["event"] == "paused":
            standing.append((pids, str(event.get("name", ""))))
        elif event["event"] in ("resumed", "died"):
            standing = [([pid for pid in held if pid not in pids], name) for held, name in standing]
    # One of those who were paused together stands for all: the first who is still there.
    return [(next(filter(_lives, held), held[0]), 0, name) for held, name in standing if held]


def _slowed(history: list[dict[str, Any]]) -> list[list[Any]]:
    """Who is slowed down after all that: pid and name."""
    told = [event for event in history if event["event"] in ("slowed", "eased")]
    latest = told[-1] if told and told[-1]["event"] == "slowed" else {}
    return [[int(pid), str(latest.get("name", ""))] for pid in list(latest.get("pids") or ())[:1]]


def _lives(pid: int) -> bool:
    return bool(ticks("/proc", pid))


class _Refused(Exception):
    def __init__(self, status: str, text: str) -> None:
        super().__init__(status)
        self.status = status
        self.text = text
