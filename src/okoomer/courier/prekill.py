"""Programs that want to know of a kill before it: each listens at a socket of its own in one directory, and is told the
cgroup. All are told at once, and nobody is waited for any longer than the step says."""

from __future__ import annotations

import os
import stat

from okoomer.courier.varlink import Broken, Line, connect
from okoomer.events.text import harmless
from okoomer.say import Once

METHOD = "io.systemd.oom.PreKill.Notify"
#: What a step `prekill` asks for, in the place of a command.
COMMAND = "prekill"
#: Hooks at most, and bytes of an answer.
MOST, LONGEST = 64, 1 << 16
#: How the guard is told: all have answered, or not all.
ALL, SOME = 0, 1


class Call:
    """One kill that is told of."""

    def __init__(self, request: int, limit: float) -> None:
        self.request = request
        self.limit = limit
        self.lines: dict[str, Line] = {}
        self.status = ALL


class Prekill:
    """See the module.

    Args:
        directory: Where the sockets are.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._once = Once()
        self._calls: list[Call] = []
        self._answers: list[tuple[int, int]] = []

    def begin(self, request: int, cgroup: str, seconds: float, now: float) -> None:
        """Tells all hooks of a cgroup that is to be killed; they have so long."""
        call = Call(request, now + seconds)
        for path in self._sockets():
            message = {"method": METHOD, "parameters": {"cgroup": cgroup}}
            try:
                line = connect(path, LONGEST)
            except OSError as error:
                self._failed(call, path, error.strerror or str(error))
                continue
            try:
                line.send(message)
                call.lines[path] = line
            except Broken as error:
                line.close()
                self._failed(call, path, str(error))
        self._calls.append(call)
        self._advance(now)

    @property
    def busy(self) -> bool:
        """Whether an answer is waited for."""
        return bool(self._calls)

    def answers(self) -> list[tuple[int, int]]:
        """The requests that are answered since the last look, with their status."""
        answers, self._answers = self._answers, []
        return answers

    def wants(self) -> list[tuple[int, int]]:
        """What to wait for: descriptors and events."""
        return [(line.fd, line.wants) for call in self._calls for line in call.lines.values()]

    def wait(self, now: float) -> float:
        """Seconds until there is something to do even if nothing comes."""
        return max(0.0, min((call.limit for call in self._calls), default=float("inf")) - now)

    def turn(self, ready: dict[int, int], now: float) -> None:
        """Does what can be done now."""
        for call in self._calls:
            for path, line in list(call.lines.items()):
                if line.fd in ready:
                    self._hear(call, path, line)
        self._advance(now)

    def close(self) -> None:
        """Ends all lines."""
        for call in self._calls:
            for line in call.lines.values():
                line.close()
        self._calls.clear()

    def _hear(self, call: Call, path: str, line: Line) -> None:
        try:
            line.flush()
            answers = line.take()
            if not answers:
                return
            # An error is an answer, too: the hook has done what it could.
            self._once.over(path)
        except Broken as error:
            self._failed(call, path, str(error))
        line.close()
        del call.lines[path]

    def _advance(self, now: float) -> None:
        for call in list(self._calls):
            if call.lines and now < call.limit:
                continue
            for path, line in call.lines.items():
                line.close()
                self._failed(call, path, "it has not answered in time")
            self._calls.remove(call)
            self._answers.append((call.request, call.status))

    def _failed(self, call: Call, path: str, why: str) -> None:
        call.status = SOME
        self._once(path, f"{harmless(path)} was not told of a kill: {harmless(why)}")

    def _sockets(self) -> list[str]:
        """The hooks; nobody but root may have put them there."""
        try:
            names = sorted(os.listdir(self._directory))
            own = os.stat(self._directory)
        except OSError:
            return []  # nobody wants to know
        if own.st_uid not in (0, os.geteuid()) or own.st_mode & stat.S_IWOTH:
            self._once("owner", f"{self._directory} can be written by others than root: no hook in it is called")
            return []
        paths = [f"{self._directory}/{name}" for name in names if not name.startswith(".")]
        found = [path for path in paths if _is_socket(path)]
        if len(found) > MOST:
            self._once("most", f"{self._directory} has more than {MOST} hooks: the others are not called")
        return found[:MOST]


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False
