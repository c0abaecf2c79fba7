"""Whom an event is about, and how a command learns of it: by its arguments and its environment."""

from __future__ import annotations

from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: So many acts of the past are remembered.
REMEMBERED = 16
#: What earlyoom gives its hooks at most, in bytes.
EARLYOOM_NAME, EARLYOOM_CMDLINE = 15, 255
#: The kernel takes no longer argument or variable (MAX_ARG_STRLEN is 128 KiB).
LONGEST = 100_000


class Subject(Record):
    """A process that something is done to. Without a pid nobody is meant."""

    pid: int = 0
    name: str = ""
    user: int = 0
    cgroup: str = ""
    cmdline: str = ""

    @property
    def uid(self) -> str:
        """The user's number, or "" if there is nobody, or several."""
        return str(self.user) if self.pid and self.user >= 0 else ""

    @property
    def service(self) -> str:
        """The systemd service that it runs in, or ""."""
        last = self.cgroup.rstrip("/").rpartition("/")[2]
        return last if last.endswith(".service") else ""


NOBODY = Subject()
#: Events that name somebody themselves.
NAMING = ("warned", "question", "paused", "resumed", "limited", "slowed", "eased")


def _named(event: dict[str, Any]) -> Subject:
    pids = event.get("pids") or event.get("lost") or [event.get("pid", 0)]
    if not pids[0]:
        return NOBODY
    # The user is -1 where they are several, or nobody knows.
    user = int(event.get("user", 0))
    return Subject(int(pids[0]), str(event.get("name", "")), user, str(event.get("cgroup", "")))


def of_run(event: dict[str, Any]) -> Subject:
    """Whom a `run` event is about.

    Raises:
        KeyError, TypeError, ValueError: It is no such event.
    """
    return Subject(
        int(event["pid"]), str(event["name"]), int(event["user"]), str(event["cgroup"]), str(event["cmdline"])
    )


class Subjects:
    """Remembers whom rules have chosen and whom questions are about, since later events name only the rule and the
    pids, or the question."""

    def __init__(self) -> None:
        self._chosen: list[tuple[str, list[Any], Subject]] = []
        self._asked: list[tuple[int, Subject]] = []

    def remember(self, event: dict[str, Any]) -> None:
        """Takes a `chosen` event.

        Raises:
            KeyError, TypeError, ValueError, IndexError: It is no such event.
        """
        pids = list(event["pids"])
        name = str(event.get("root") or event["name"])
        subject = Subject(
            int(pids[0]), name, int(event.get("user", 0)), str(event.get("cgroup", "")), str(event["command"])
        )
        self._chosen = [(str(event["rule"]), pids, subject), *self._chosen[: REMEMBERED - 1]]

    def of(self, event: dict[str, Any]) -> Subject:
        """Whom any other event is about: the last who was chosen among its pids, since a more urgent rule goes on with
        another's victim, else whom the event names itself, else the last whom its rule chose. Where nobody was found,
        it is nobody."""
        name = event["event"]
        if name in ("refused", "level"):
            return NOBODY
        if name == "closed":
            return next((subject for question, subject in self._asked if question == event["question"]), NOBODY)
        subject = self._of(event)
        if name == "question":
            self._asked = [(int(event["question"]), subject), *self._asked[: REMEMBERED - 1]]
        return subject

    def _of(self, event: dict[str, Any]) -> Subject:
        for key in ("pids", "lost", "pid"):
            pids = event.get(key)
            for _, chosen, subject in self._chosen:
                if any(pid in chosen for pid in (pids if isinstance(pids, list) else [pids])):
                    return subject
        if event["event"] in NAMING and (subject := _named(event)).pid:
            return subject
        rule = event.get("rule")
        return next((subject for name, _, subject in self._chosen if name == rule), NOBODY)


def encode(text: str) -> bytes:
    """Text for arguments and variables, which cannot hold a NUL."""
    return text[:LONGEST].replace("\0", " ").encode("utf-8", "backslashreplace")


def cut(text: str, length: int) -> bytes:
    """The first bytes of a text, without half a character at the end."""
    return encode(text)[:length].decode("utf-8", "ignore").encode()


def expand(argument: str, subject: Subject) -> str:
    """An argument with `$PID $NAME $SERVICE $UID $CMDLINE` replaced, each as often as it stands there. A longer word
    that begins like one of them is another word, and what is put in is not looked at again."""
    values = {
        "PID": str(subject.pid) if subject.pid else "",
        "NAME": subject.name,
        "SERVICE": subject.service,
        "UID": subject.uid,
        "CMDLINE": subject.cmdline,
    }
    first, *rest = argument.split("$")
    done = [first]
    for piece in rest:
        length = next((at for at, c in enumerate(piece) if not (c.isascii() and (c.isalnum() or c == "_"))), len(piece))
        word = piece[:length]
        done.append(values[word] + piece[length:] if word in values else f"${piece}")
    return "".join(done)


def arguments(command: Sequence[str], subject: Subject) -> list[bytes]:
    """A command's program and arguments: the program as it stands, each argument expanded and still one argument."""
    program, *rest = command
    return [encode(program), *(encode(expand(argument, subject)) for argument in rest)]


def variables(what: str, event: dict[str, Any], subject: Subject, voice: str) -> dict[bytes, bytes]:
    """The variables that a command gets beside the courier's own. All of okoomer's are always there, if need be empty.

    Args:
        what: What the command was wanted for, as the policy names it; `run` for a step.
        voice: Whose variables besides.
    """
    known = subject.pid > 0
    signal = event.get("signal", "")
    given = {
        b"OKOOMER_EVENT": encode(what),
        b"OKOOMER_RULE": encode(str(event.get("rule", ""))),
        b"OKOOMER_PID": b"%d" % subject.pid if known else b"",
        b"OKOOMER_UID": subject.uid.encode(),
        b"OKOOMER_NAME": encode(subject.name),
        b"OKOOMER_CMDLINE": encode(subject.cmdline),
        b"OKOOMER_SERVICE": encode(subject.service),
        b"OKOOMER_SIGNAL": encode(signal if isinstance(signal, str) else ""),
        b"OKOOMER_QUESTION": encode(str(event.get("question", ""))),
        b"OKOOMER_LEVEL": encode(str(event.get("level", ""))),
    }
    if voice == "earlyoom" and known:
        given[b"EARLYOOM_PID"] = b"%d" % subject.pid
        given[b"EARLYOOM_UID"] = b"%d" % subject.user
        given[b"EARLYOOM_NAME"] = cut(subject.name, EARLYOOM_NAME)
        given[b"EARLYOOM_CMDLINE"] = cut(subject.cmdline, EARLYOOM_CMDLINE)
    return given
