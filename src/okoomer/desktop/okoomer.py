"""What okoomer tells on the system bus (org.okoomer.Okoomer1), on the screen of one person; and his answers back."""

from __future__ import annotations

from time import monotonic, time

from jeepney import (  # type: ignore[import-untyped]
    DBusAddress,
    HeaderFields,
    MatchRule,
    MessageType,
    Properties,
    new_method_call,
)

from okoomer.desktop import texts
from okoomer.events.model import BY_RULE, BY_TURNS, BY_USER, LIMIT
from okoomer.people import PEOPLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jeepney import Message

    from okoomer.bus.connection import Connection
    from okoomer.desktop.screen import Screen

NAME, PATH = "org.okoomer.Okoomer1", "/org/okoomer/Okoomer1"
OKOOMER = DBusAddress(PATH, bus_name=NAME, interface=NAME)
PROPERTIES = "org.freedesktop.DBus.Properties"
#: Seconds within which results go into one notification.
EPISODE = 30.0
#: So many acts are remembered until their result comes, and so many results are told together.
ACTS, RESULTS = 32, 64
#: So many questions are open at once at the most: okoomer asks one at a time.
QUESTIONS = 16
#: The keys of a warning, of what is told of an act under way, and of a question.
WARNING, ACT, QUESTION = "warning", "act", "question"


class Okoomer:
    """See the module.

    Args:
        system: The system bus.
        user: Whose session this is. Root is told and asked of everybody.
    """

    def __init__(self, system: Connection, screen: Screen, user: int, clock: Callable[[], float] = monotonic) -> None:
        self._bus = system
        self._screen = screen
        self._user = user
        self._clock = clock
        self._acting: dict[str, dict[str, Any]] = {}
        self._questions: dict[int, dict[str, Any]] = {}
        self._answered: set[int] = set()
        self._results: list[tuple[str, str]] = []
        self._episode = 0
        self._latest = float("-inf")
        self._owner = ""
        system.watch(NAME, self._other)
        heard: dict[str, tuple[Callable[..., None], str]] = {
            "Warned": (self._warned, "a{sv}"),
            "Acting": (self._begun, "a{sv}"),
            "Acted": (self._acted, "a{sv}"),
            "Question": (self._asked, "ua{sv}"),
            "Closed": (self._closed, "uss"),
        }
        for member, (take, signature) in heard.items():
            rule = MatchRule(type="signal", sender=NAME, interface=NAME, path=PATH, member=member)
            system.match(rule, _with_body(signature, take))
        changed = MatchRule(
            type="signal", sender=NAME, interface=PROPERTIES, path=PATH, member="PropertiesChanged"
        )  # fmt: skip
        changed.add_arg_condition(0, NAME)
        system.match(changed, _with_body("sa{sv}as", self._changed))

    def close(self) -> None:
        """Takes the open questions off the screen."""
        for number in list(self._questions):
            self._over(number)

    # --- okoomer comes and goes -----------------------------------------------------------------------------------

    def _other(self, owner: str) -> None:
        if owner == self._owner:
            return
        self._owner = owner
        self.close()
        self._acting.clear()
        if owner:
            now = self._clock()
            # Who attends is told before anybody is asked, so that nothing is announced twice.
            self._bus.call(new_method_call(OKOOMER, "Attend"), lambda _answer: None, now)
            self._bus.call(Properties(OKOOMER).get("Questions"), self._listed, now)

    def _listed(self, message: Message | None) -> None:
        if message is None or message.header.message_type is not MessageType.method_return:
            return
        signature, listed = message.body[0]
        if signature == "a{ua{sv}}":
            for number, details in listed.items():
                if number not in self._questions:
                    self._asked(number, details)

    # --- whose --------------------------------------------------------------------------------------------------

    def _is_mine(self, user: object) -> bool:
        return self._user == 0 or user == self._user

    def _may_know(self, user: object) -> bool:
        """Whether somebody's processes are told of by name: the person's own and the system's, which anybody may know,
        not another person's."""
        return self._is_mine(user) or (isinstance(user, int) and 0 <= user < PEOPLE)

    # --- signals ------------------------------------------------------------------------------------------------

    def _warned(self, variants: dict[str, Any]) -> None:
        details = plain(variants)
        known = "user" not in details or self._may_know(details["user"])
        if details.get("act") is not True:
            self._screen.show(WARNING, texts.warning(details, known))
        elif known:
            self._screen.show(_of_act(details), texts.warning(details))

    def _changed(self, _interface: str, variants: dict[str, Any], _unknown: list[str]) -> None:
        if plain(variants).get("Level") == 0:
            self._screen.close(WARNING)

    def _begun(self, variants: dict[str, Any]) -> None:
        details = plain(variants)
        rule = texts.text(details, "rule")
        self._acting.pop(rule, None)
        self._acting[rule] = details
        if len(self._acting) > ACTS:
            del self._acting[next(iter(self._acting))]

    def _acted(self, variants: dict[str, Any]) -> None:
        details = plain(variants)
        event, acting = details.get("event"), self._acting.get(texts.text(details, "rule"), {})
        user = details.get("user", owner_of(acting))
        if event in ("died", "recovered"):
            self._screen.close(WARNING)  # it was before that
        if event in ("died", "stuck", "refused"):
            self._screen.close(_of_act(details))
            if self._may_know(user):
                self._ended(texts.result(details, acting))
        elif event == "recovered":
            if self._screen.shows(_of_act(details)):
                self._passing(_of_act(details), texts.result(details, acting))
        elif event in ("slowed", "eased") and self._is_mine(user):
            if event == "slowed" or self._screen.shows(_of_act(details)):
                self._passing(_of_act(details), texts.result(details, acting))
        elif event in ("paused", "resumed", "limited") and self._is_mine(user):
            self._stood_still(details)

    def _stood_still(self, details: dict[str, Any]) -> None:
        """Somebody was paused, runs again, or has a ceiling. What the person has done himself, he knows."""
        event, by = details["event"], texts.text(details, "by")
        key = f"pids {details.get('pids')}"
        if by.startswith(BY_TURNS):
            return  # jobs of a build come and go: nothing that anybody has to know
        if event == "paused":
            if any(asked.get("pids") == details.get("pids") for asked in self._questions.values()):
                return  # the question says it, which is told once more
            if by != f"{BY_USER}{self._user}":
                acting = self._acting.get(by.removeprefix(BY_RULE), {})
                self._passing(key, texts.result(details, acting))
        elif event == "limited":
            # With a key of its own: that it runs again is told next, and is no news then.
            self._passing(f"ceiling {details.get('pids')}", texts.result(details, {}))
        elif self._screen.shows(key):
            self._passing(key, texts.result(details, {}))

    def _passing(self, key: str, told: tuple[str, str]) -> None:
        self._screen.show(key, texts.Note(*told, texts.QUIET, icon="dialog-information"))

    def _ended(self, told: tuple[str, str]) -> None:
        """One notification for one episode: a bad minute must not fill the screen."""
        if not told[0]:
            return
        now = self._clock()
        if now > self._latest + EPISODE:
            self._episode += 1
            self._results = []
        self._latest = now
        self._results = [*self._results[-RESULTS:], told]
        self._screen.show(f"result {self._episode}", texts.ended(self._results), gone=self._results.clear)

    # --- questions ----------------------------------------------------------------------------------------------

    def _asked(self, number: int, variants: dict[str, Any]) -> None:
        details = plain(variants)
        if not self._is_mine(details.get("user")):
            return
        self._screen.close(_of_act(details))
        self._screen.close(f"pids {details.get('pids')}")
        self._ask(number, details)

    def _ask(self, number: int, details: dict[str, Any]) -> None:
        self._questions[number] = details
        self._answered.discard(number)
        if len(self._questions) > QUESTIONS:
            self._over(next(iter(self._questions)))
        note = texts.question(number, details, time())
        self._screen.show(f"{QUESTION} {number}", note, lambda word: self._answer(number, word))

    def _answer(self, number: int, word: str) -> None:
        details = self._questions.get(number)
        if details is None or number in self._answered:
            return  # it was pressed twice
        self._answered.add(number)
        # What the button has said holds, and nothing that came later.
        ceiling = int(texts.number(details, "limit") or 0) if word == LIMIT else 0
        message = new_method_call(OKOOMER, "Answer", "ust", (number, word, max(0, ceiling)))
        self._bus.call(message, lambda answer: self._taken(number, details, answer), self._clock())

    def _taken(self, number: int, details: dict[str, Any], message: Message | None) -> None:
        if message is not None and message.header.message_type is MessageType.method_return:
            return  # Closed or Paused says the rest
        error = "" if message is None else str(message.header.fields.get(HeaderFields.error_name, ""))
        self._screen.show(f"error {number}", texts.not_taken(error, details))
        if error.endswith(".NoQuestion"):
            self._over(number)
        elif number in self._questions:
            self._ask(number, self._questions[number])

    def _closed(self, number: int, _how: str, _answer: str) -> None:
        self._over(number)

    def _over(self, number: int) -> None:
        self._questions.pop(number, None)
        self._answered.discard(number)
        self._screen.close(f"{QUESTION} {number}")


def _with_body(signature: str, take: Callable[..., None]) -> Callable[[Message], None]:
    """Hears messages that have such a body, and no others."""

    def heard(message: Message) -> None:
        if message.header.fields.get(HeaderFields.signature) == signature:
            take(*message.body)

    return heard


def plain(variants: dict[str, Any]) -> dict[str, Any]:
    """a{sv} without the signatures."""
    return {key: value for key, (_signature, value) in variants.items()}


def owner_of(acting: dict[str, Any]) -> object:
    """Whose an act's unit is. A whole cgroup has no user; if it lies in a person's slice, it is that person's."""
    if acting.get("kind") != "cgroup":
        return acting.get("user", 0)
    digits = texts.text(acting, "cgroup").partition("/user-")[2].partition(".slice")[0]
    return int(digits) if digits.isdecimal() and digits.isascii() else 0


def _of_act(details: dict[str, Any]) -> str:
    return f"{ACT} {texts.text(details, 'rule')}"
