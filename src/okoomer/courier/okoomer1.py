"""org.okoomer.Okoomer1: what is known, what happens and what is asked, and the answers of persons, whom the guard
believes as far as the bus says who they are (docs/dbus.md)."""

from __future__ import annotations

from time import monotonic, time

from okoomer import __version__
from okoomer.bus.quota import Share
from okoomer.bus.service import Call, Interface, sayable
from okoomer.courier.details import NEVER, details, number, question
from okoomer.courier.parse import fields_of
from okoomer.events.model import BY_RULE, END, LIMIT, NORMAL, PAUSE, RESUME
from okoomer.people import is_person

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from okoomer.bus.service import Service
    from okoomer.courier.details import Details
    from okoomer.courier.history import History

    #: Asks the guard; see line.Line.ask.
    Ask: TypeAlias = Callable[[str, Callable[[str, str], None]], None]

NAME, PATH = "org.okoomer.Okoomer1", "/org/okoomer/Okoomer1"
#: Events that are told with the signal Acted.
ACTED = ("died", "stuck", "refused", "paused", "resumed", "limited", "slowed", "eased", "recovered")
#: What the guard's status is as an error.
ERRORS = {
    "none": "NoQuestion", "denied": "NotYours", "refused": "Refused", "busy": "Busy", "bad": "BadAnswer",
    "silent": "NoGuard",
}  # fmt: skip
_WORDS = {
    "none": "there is no such question any more",
    "denied": "these are not your processes",
    "refused": "that cannot be done",
    "busy": "too many requests",
    "bad": "that is no answer",
    "silent": "no guard answers",
}
#: Seconds for which what was learnt of memory is good enough; so many wait for it; so many agents attend, and of one
#: user; so many questions are known at once.
FRESH, WAITING, AGENTS, AGENTS_OF_ONE, QUESTIONS = 1.0, 256, 64, 8, 64
#: The most events that are told at once.
MOST = 256


class Okoomer1:
    """The name and the object.

    Args:
        bus: The system bus.
        ask: Asks the guard.
        history: Is given all events to remember.
    """

    def __init__(self, bus: Service, ask: Ask, history: History, stat: str = "/proc/%d/stat") -> None:
        self._bus = bus
        self._ask = ask
        self._history = history
        self._stat = stat
        self._level, self._available, self._left = NORMAL, 0, NEVER
        self._known = float("-inf")
        self._questions: dict[int, Details] = {}
        self._share = Share()
        #: The users of those who attend, by unique name.
        self._agents: dict[str, int] = {}
        self._waiting: list[Callable[[], None]] = []
        self._done: set[str] = set()
        self._interface = Interface(
            NAME,
            {
                "Why": ("t sequence", "s explanation", self._shared(self._why)),
                "History": ("u most", "as events", self._shared(self._lines)),
                "Answer": ("u question, s word, t bytes", "", self._shared(self._answer)),
                "Pause": ("u pid", "", self._shared(lambda call: self._request("pause", call))),
                "Resume": ("u pid", "", self._shared(lambda call: self._request("resume", call))),
                "Attend": ("", "", self._shared(self._attend)),
            },
            {
                "Version": ("s", lambda: __version__),
                "Level": ("y", lambda: self._level),
                "Available": ("t", lambda: self._available),
                "Forecast": ("d", lambda: self._left),
                "Questions": ("a{ua{sv}}", lambda: dict(self._questions)),
            },
            {
                "Warned": "a{sv} details",
                "Acting": "a{sv} details",
                "Acted": "a{sv} details",
                "Question": "u question, a{sv} details",
                "Closed": "u question, s how, s answer",
            },
            changing=("Level", "Questions"),
            constant=("Version",),
            fresh=self._fresh,
        )
        bus.serve(PATH, self._interface)
        bus.own(NAME)
        bus.connection.on_down.append(self._down)

    # --- as a part of the courier --------------------------------------------------------------------------------

    @property
    def attended(self) -> bool:
        """Whether an agent is there that shows people what is told here."""
        return bool(self._agents)

    def hear(self, event: dict[str, Any], at: float, now: float) -> None:
        """Tells of an event."""
        self._history.add(event)
        name = event["event"]
        if name == "level":
            self._learn(event, now)
        elif name == "warned":
            self._emit("Warned", "a{sv}", details(event))
        elif name in ("chosen", "takenover"):
            took_over = event.get("before") in self._done  # then what was done is its own now
            (self._done.add if took_over else self._done.discard)(str(event.get("rule")))
            self._emit("Acting", "a{sv}", details(event))
        elif name == "question":
            self._asked(event, at + number("d", event.get("seconds")))
        elif name == "closed":
            self._closed(event)
        elif name in ACTED and (name != "recovered" or self._did(event)):
            self._emit("Acted", "a{sv}", details(event))
        if name in ("signalled", "paused", "slowed"):
            self._done.add(str(event.get("rule") or event.get("by", "")).removeprefix(BY_RULE))

    def lost(self, now: float) -> None:
        """The guard is gone, and whatever it asked."""
        self._available, self._left, self._known = 0, NEVER, float("-inf")
        self._done.clear()
        for number_of in list(self._questions):
            self._emit("Closed", "uss", number_of, "stopped", "")
        self._renew(NORMAL, {})

    def wants(self) -> list[tuple[int, int]]:
        return []

    def wait(self, now: float) -> float:
        return float("inf")

    def turn(self, ready: dict[int, int], now: float) -> None:
        pass

    def close(self) -> None:
        pass

    # --- what is known -------------------------------------------------------------------------------------------

    def _learn(self, found: dict[str, Any], now: float) -> None:
        self._available = number("t", found.get("available"))
        self._left = number("d", found.get("left"), NEVER)
        self._known = now
        self._renew(number("y", found.get("level")), self._questions)

    def _renew(self, level: int, questions: dict[int, Details]) -> None:
        names = []
        if level != self._level:
            names.append("Level")
        if questions.keys() != self._questions.keys() or any(
            questions[each].get("choices") != self._questions[each].get("choices") for each in questions
        ):
            names.append("Questions")
        self._level, self._questions = level, questions
        if names:
            self._bus.changed(PATH, self._interface, *names)

    def _fresh(self, then: Callable[[], None]) -> None:
        """Asks the guard if what is known is old, and goes on when it has answered or does not."""
        if monotonic() - self._known <= FRESH or len(self._waiting) >= WAITING:
            return then()
        self._waiting.append(then)
        if len(self._waiting) == 1:
            self._ask("state {ref}", self._state)
        return None

    def _state(self, status: str, text: str) -> None:
        found = fields_of(text) if status == "ok" else None
        if found is not None:
            self._learn(found, monotonic())
            listed = found.get("questions")
            self._sync(listed if isinstance(listed, list) else [])
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            self._bus.connection.later(then)

    def _sync(self, listed: list[Any]) -> None:
        """Takes the guard's word for what is asked: something of it may have been missed."""
        now, questions = time(), {}
        for one in listed[:QUESTIONS]:
            if isinstance(one, dict) and isinstance(one.get("question"), int):
                each = number("u", one["question"])
                until = now + number("d", one.get("left"))
                questions[each] = question(one, until)
                if each in self._questions:
                    questions[each]["until"] = self._questions[each]["until"]
        self._renew(self._level, questions)

    def _asked(self, event: dict[str, Any], until: float) -> None:
        each = number("u", event["question"])
        known = self._questions.get(each)
        # What is told once more of a question changes nothing of its end.
        found = question(event, known["until"][1] if known else until)
        if len(self._questions) < QUESTIONS:
            self._renew(self._level, {**self._questions, each: found})
        self._emit("Question", "ua{sv}", each, found)

    def _closed(self, event: dict[str, Any]) -> None:
        each = number("u", event["question"])
        self._renew(self._level, {key: value for key, value in self._questions.items() if key != each})
        self._emit("Closed", "uss", each, sayable(event["how"]), sayable(event["answer"]))

    def _did(self, event: dict[str, Any]) -> bool:
        return event.get("asked") is True or str(event.get("rule")) in self._done

    def _emit(self, member: str, kinds: str, *body: Any) -> None:
        self._bus.emit(PATH, NAME, member, kinds, body)

    # --- what is asked of us -------------------------------------------------------------------------------------

    def _shared(self, handler: Callable[[Call], None]) -> Callable[[Call], None]:
        """Whoever calls has a share of our time and of the guard's, and leaves the others theirs."""

        def handle(call: Call) -> None:
            if self._share.admits(call.uid, monotonic()):
                handler(call)
            else:
                _failed(call, "busy", "")

        return handle

    def _why(self, call: Call) -> None:
        text = self._history.why(call.body[0], call.uid)
        if text:
            call.answer(sayable(text))
        else:
            call.fail("org.freedesktop.DBus.Error.InvalidArgs", f"no act with the number {call.body[0]} is remembered")

    def _lines(self, call: Call) -> None:
        call.answer(self._history.lines(min(call.body[0], MOST), call.uid))

    def _answer(self, call: Call) -> None:
        asked, word, size = call.body
        if word not in (RESUME, PAUSE, END, LIMIT):
            return _failed(call, "bad", f"{word[:40]!r} is no answer; there are {RESUME}, {PAUSE}, {END} and {LIMIT}")
        return self._ask(f"answer {{ref}} {asked} {call.uid} {word} {size}", lambda *reply: _replied(call, *reply))

    def _request(self, verb: str, call: Call) -> None:
        pid = call.body[0]
        # At once: by the time that the guard hears of it, the number could be another process's.
        request = f"{verb} {{ref}} {pid} {start_time(self._stat % pid)} {call.uid}"

        def replied(status: str, text: str) -> None:
            gone = "it is not there, or okoomer has not paused it" if verb == "resume" else "there is no such process"
            _replied(call, *(("refused", text or gone) if status == "none" else (status, text)))

        self._ask(request, replied)

    def _attend(self, call: Call) -> None:
        """An agent attends as long as its connection lives. A service's user has nobody at a screen: what it says here
        must not keep from people what they would be told otherwise."""
        if call.uid and not is_person(call.uid):
            return _failed(call, "refused", "only a person's agent attends")
        sender = call.sender
        if sender not in self._agents:
            mine = sum(user == call.uid for user in self._agents.values())
            if len(self._agents) >= AGENTS or mine >= AGENTS_OF_ONE:
                return _failed(call, "busy", f"{len(self._agents)} agents attend already, and {mine} are this user's")
            self._agents[sender] = call.uid
            self._bus.connection.watch(sender, lambda owner: None if owner else self._left_us(sender))
        return call.answer()

    def _left_us(self, sender: str) -> None:
        self._agents.pop(sender, None)
        self._bus.connection.forget(sender)

    def _down(self) -> None:
        for sender in list(self._agents):
            self._left_us(sender)


def start_time(path: str) -> int:
    """When a process was started, in clock ticks; 0 if it is gone, or not ours to see."""
    try:
        with open(path, "rb") as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        return int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0


def _replied(call: Call, status: str, text: str) -> None:
    if status == "ok":
        call.answer()
    else:
        _failed(call, status, text)


def _failed(call: Call, status: str, text: str) -> None:
    call.fail(f"{NAME}.Error.{ERRORS.get(status, 'Refused')}", text or _WORDS.get(status, status))
