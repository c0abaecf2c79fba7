"""What is done about each event: commands, announcements, hooks before a kill, and word of kills."""

from __future__ import annotations

from okoomer.courier.dump import Limits
from okoomer.courier.launch import ALL, OWN, REST
from okoomer.courier.prekill import COMMAND, Prekill
from okoomer.courier.runs import Runs
from okoomer.courier.subject import Subjects, arguments, of_run, variables
from okoomer.courier.words import announcement, happenings
from okoomer.events.model import NOT_STARTED
from okoomer.record import replace
from okoomer.say import Once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, Protocol

    from okoomer.courier.launch import Hook, Options, Place
    from okoomer.courier.managed import Setting

    class Takes(Protocol):
        """Whoever announces; see shout.SystemNotifications."""

        def add(self, summary: str, body: str) -> None: ...
        @property
        def busy(self) -> bool: ...

    class Shouts(Takes, Protocol):
        """The same, as a part that announces by itself, unless the policy names what it wants."""

        notify: tuple[str, ...]

    class Tells(Protocol):
        """Whoever tells of cgroups that were killed; see oom1.Manager."""

        limits: Limits
        settings: Sequence[Setting]

        def killed(self, cgroup: str, reason: str) -> None: ...
        @property
        def busy(self) -> bool: ...


#: A command for a victim may go on so long, in seconds, even if nobody waits for it any more; one that was asked for
#: longer ago is not even begun.
AT_LEAST = 10.0


class Desk:
    """What is done about each event.

    Args:
        environment: What commands get beside the variables of the event.
        announcer: Makes what announces, or cannot, when that is first wanted; None if nothing is to be announced.
        prekill: Tells those who want to know of a kill before it.
        teller: Is told of cgroups that were killed.
        shout: Announces in its place.
    """

    def __init__(
        self,
        options: Options,
        environment: Mapping[bytes, bytes],
        runs: Runs,
        announcer: Callable[[], Takes | None] | None,
        prekill: Prekill,
        teller: Tells | None = None,
        shout: Shouts | None = None,
    ) -> None:
        self._options = options
        self._environment = environment
        self._runs = runs
        self._make = announcer
        self._announcer: Takes | None = shout
        self._shout = shout
        self._prekill = prekill
        self._teller = teller
        self._subjects = Subjects()
        self._once = Once()
        self.configure(options.hooks, options.notify, options.place)

    def configure(self, hooks: tuple[Hook, ...], notify: tuple[str, ...], place: Place | None) -> None:
        """From now on these hooks are run and these events announced, as far as that is this courier's part, and this
        is told of systemd-oomd's place."""
        part = self._options.part
        named = [(*hook, "")[:4] for hook in hooks]
        hooks = tuple(hook for hook in named if part == ALL or bool(hook[3]) == (part == OWN))
        notify = () if part == OWN else notify
        self._options = replace(self._options, hooks=hooks, notify=notify, place=place)
        if place and self._teller:
            self._teller.limits = Limits(*place.limits, place.dry_run)
        if self._shout:
            self._shout.notify = notify
        if notify and self._announcer is None and self._make:
            self._announcer = self._make()

    @property
    def busy(self) -> bool:
        """Whether something is still to be announced."""
        return any(one is not None and one.busy for one in (self._announcer, self._teller))

    def take(self, text: str, event: dict[str, Any], now: float, late: float) -> list[tuple[int, int]]:
        """Does what an event asks for; the requests that are answered at once, with their status.

        Args:
            text: The event's JSON.
            late: Seconds since it happened.
        """
        try:
            return self._take(text, event, now, late)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # The ring is a file: whatever somebody has written there, the next event is another one.
            self._once("garbage", f"an event makes no sense and is passed over: {type(error).__name__}: {error}")
            return []

    def _take(self, text: str, event: dict[str, Any], now: float, late: float) -> list[tuple[int, int]]:
        if event["event"] == "run":
            if self._options.part == REST:
                return []
            request = int(event["request"])
            begun = self._step(request, text, event, now, late)
            return [] if begun else [(request, NOT_STARTED)]
        if event["event"] == "chosen":
            self._subjects.remember(event)
        names = happenings(event)
        subject = self._subjects.of(event)
        for on, command, seconds, *user in self._options.hooks:
            if on in names:
                environment = {**self._environment, **variables(on, event, subject, self._options.voice)}
                self._runs.begin(
                    arguments(command, subject), environment, _line(text), seconds, now, user="".join(user)
                )
        if self._announcer and any(name in self._options.notify for name in names):
            self._announcer.add(*announcement(event, subject, self._options.voice))
        cgroup = event.get("cgroup")
        if self._teller and cgroup and "killed" in names and event.get("pids"):
            self._teller.killed(str(cgroup), self._reason(str(event["rule"])))
        return []

    def _reason(self, rule: str) -> str:
        """Why a rule kills, as systemd-oomd says it."""
        reasons = self._options.place.reasons if self._options.place else ()
        return next((why for name, why in reasons if rule == name or rule.startswith(f"{name}:/")), rule)

    def _step(self, request: int, text: str, event: dict[str, Any], now: float, late: float) -> bool:
        seconds = max(float(event["seconds"]), AT_LEAST)
        command, subject = event["command"], of_run(event)
        if late > seconds:
            self._once("late", f"a command was asked for {late:.0f} s ago and is not begun any more")
            return False
        if command == [COMMAND]:
            self._prekill.begin(request, subject.cgroup, float(event["seconds"]) - late, now)
            return True
        environment = {**self._environment, **variables("run", event, subject, self._options.voice)}
        return self._runs.begin(arguments(command, subject), environment, _line(text), seconds, now, request)


def _line(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace") + b"\n"
