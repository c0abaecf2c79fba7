"""The commands that run: no more than a few at once, and none for longer than it may."""

from __future__ import annotations

from okoomer.courier.child import start
from okoomer.events.model import NOT_STARTED
from okoomer.events.text import harmless
from okoomer.say import Once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from signal import SIGKILL, SIGTERM
    from typing import Protocol

    class Started(Protocol):
        """A program that was started; see child.Child."""

        def status(self) -> int | None: ...
        def signal(self, number: int) -> None: ...
        def bury(self) -> None: ...
else:
    from _signal import SIGKILL, SIGTERM

#: So many commands run at once.
MOST = 8
#: Seconds between being asked to end and being killed.
GRACE = 2.0


class Running:
    """A command that runs: asked to end at `limit`, killed at `kill`. `request` is 0 where nobody waits for it;
    `program` is what it is called where something is said of it."""

    def __init__(self, child: Started, program: str, request: int, limit: float) -> None:
        self.child = child
        self.program = program
        self.request = request
        self.limit = limit
        self.kill = float("inf")
        self.told = False


class Runs:
    """Starts commands and sees them to their end.

    Args:
        start: See child.start; tests have another.
    """

    def __init__(
        self,
        start: Callable[[Sequence[bytes], Mapping[bytes, bytes], bytes, str], Started] = start,
        once: Callable[[], Once] = Once,
    ) -> None:
        self._start = start
        self._once = once()
        self._running: list[Running] = []

    @property
    def busy(self) -> bool:
        """Whether any command runs."""
        return bool(self._running)

    def begin(
        self,
        arguments: Sequence[bytes],
        environment: Mapping[bytes, bytes],
        stdin: bytes,
        seconds: float,
        now: float,
        request: int = 0,
        user: str = "",
    ) -> bool:
        """Starts a command that may take so many seconds, as a user if one is named; False if it cannot be started."""
        program = harmless(arguments[0].decode("utf-8", "replace"))
        if user:
            event = environment.get(b"OKOOMER_EVENT", b"").decode("utf-8", "replace")
            program = f"{program}, as user {harmless(user)} on {harmless(event)},"
        if len(self._running) >= MOST:
            self._once("crowd", f"{program} is not run: {MOST} commands run already, and no more are while they do")
            return False
        try:
            child = self._start(arguments, environment, stdin, user)
        except (OSError, ValueError) as error:
            self._refused(program, error)
            return False
        self._running.append(Running(child, program, request, now + seconds))
        return True

    def advance(self, now: float) -> list[tuple[int, int]]:
        """Ends those whose time is over; the requests that are answered, with their status."""
        answers: list[tuple[int, int]] = []
        for run in list(self._running):
            ended = self._look(run, answers)
            if now >= run.kill:
                # The group, too: who ended at once may have left somebody behind who does not.
                run.child.signal(SIGKILL)
                run.kill = float("inf")
                over = ended
            elif now >= run.limit:
                if not ended:
                    self._once(f"slow {run.program}", f"{run.program} takes too long and is ended")
                    run.child.signal(SIGTERM)
                    run.kill = now + GRACE
                run.limit = float("inf")
                over = ended
            else:
                over = ended and run.kill == float("inf")
            if over:
                run.child.bury()
                self._running.remove(run)
        if len(self._running) < MOST:
            self._once.over("crowd")
        return answers

    def wait(self, now: float) -> float:
        """Seconds until `advance` has something to do even if no command ends."""
        return max(0.0, min((min(run.limit, run.kill) for run in self._running), default=float("inf")) - now)

    def hurry(self, until: float) -> None:
        """Nobody may go on beyond this."""
        for run in self._running:
            if run.kill == float("inf"):
                run.limit = min(run.limit, until)

    def _look(self, run: Running, answers: list[tuple[int, int]]) -> bool:
        """Whether it has ended, and an answer if that is news."""
        if run.told:
            return True
        try:
            status = run.child.status()
        except OSError as error:
            self._refused(run.program, error)
            status = NOT_STARTED
        if status is None:
            return False
        run.told = True
        if status != NOT_STARTED:
            self._once.over(f"cannot {run.program}")
            if run.kill == float("inf"):
                self._once.over(f"slow {run.program}")
        if run.request:
            answers.append((run.request, status))
        return True

    def _refused(self, program: str, error: Exception) -> None:
        self._once(f"cannot {program}", f"{program} cannot be run: {getattr(error, 'strerror', None) or error}")
