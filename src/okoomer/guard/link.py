"""The guard's end of the line to the courier that is its child: it hears which commands have ended, and what the
courier's callers ask for. Nothing here waits or allocates in the kernel, and a courier that hangs or is gone costs
nothing but its services."""

from __future__ import annotations

import posix as os
from _socket import MSG_DONTWAIT, socket
from marshal import dumps

from okoomer.events import model
from okoomer.kernel import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from okoomer.guard.ladder import Ladder
    from okoomer.guard.managed import Managed
    from okoomer.guard.wake import Wake
    from okoomer.policy.model import Policy
    from okoomer.record import Record

    class Requests(Protocol):
        """What a guard is asked for, by whom; see request.Requests."""

        def __call__(self, verb: str, rest: str, user: int, believed: bool) -> tuple[str, str]: ...


#: No packet is longer (a path, a name and some words), and no more than so many are taken at once.
PACKET, AT_ONCE = 6144, 64
#: The longest reference that is taken for one.
REFERENCE = 20
#: The verbs of requests.
ASKED = (b"answer", b"pause", b"resume", b"state")


def answer(packet: bytes, requests: Requests | None, user: int, believed: bool) -> bytes:
    """The reply to a request `VERB REF REST`; none (b"") to what has no reference to answer to.

    Args:
        user: Whose line it is.
        believed: Whether whoever is on the line may say for whom it speaks, whoever that is.
    """
    try:
        verb, reference, *rest = packet.decode("ascii").split(" ", 2)
    except ValueError:
        return b""
    if not 0 < len(reference) <= REFERENCE or not reference.isalnum():
        return b""
    status, text = requests(verb, rest[0] if rest else "", user, believed) if requests else ("bad", "")
    return f"reply {reference} {status} {text}".rstrip().encode("ascii", "backslashreplace")


def configuration(policy: Policy, place: tuple[Any, ...]) -> bytes:
    """What a courier is told of a policy."""
    return dumps((policy.plain_hooks, policy.notify, place))


class Link:
    """See the module.

    Args:
        answers: A SEQPACKET socket on which the courier says `done REQUEST STATUS`, what guard.managed knows, and
            requests.
    """

    def __init__(self, answers: int) -> None:
        self._socket = socket(fileno=answers)
        os.set_inheritable(answers, False)
        #: Readable when there is an answer, and for ever once the courier is gone: then nobody should look any more.
        self.fd = answers
        #: False once `answers` has found the other end closed.
        self.alive = True
        #: Takes what systemd is told of its units.
        self.managed: Managed | None = None
        #: Takes requests: the courier is our own child, and is believed. It sees to it that they are not too many.
        self.requests: Requests | None = None

    def answers(self) -> list[tuple[int, int]]:
        """The commands that have ended: request and status (see events.model.Ran). Requests are answered; what is
        neither is passed over."""
        found: list[tuple[int, int]] = []
        for _ in range(AT_ONCE):
            try:
                packet = self._socket.recv(PACKET, MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                packet = b""
            if not packet:
                self.alive = False
                break
            word, _, rest = packet.partition(b" ")
            if word == b"done":
                try:
                    request, status = map(int, rest.split())
                except ValueError:
                    continue
                found.append((request, status))
            elif word in ASKED:
                self._send(answer(packet, self.requests, os.geteuid(), True))
            elif self.managed:
                # What fills all the room has lost its end.
                self.managed.take(packet if len(packet) < PACKET else b"")
        return found

    def listen(self, ladder: Ladder, wake: Wake, emit: Callable[[Record], None]) -> None:
        """Takes the courier's answers to a guard's ladder, and says it when that was the last."""
        for request, status in self.answers():
            ladder.ran(request, status, clock.monotonic())
        if not self.alive:
            wake.off(self.fd)
            ladder.runs = False
            emit(model.Trouble("the courier has ended: no command is run and nothing is announced any more"))

    def configure(self, policy: Policy, place: tuple[Any, ...] = ()) -> None:
        """The courier is to do what this policy wants, from the next event on at the latest.

        Args:
            place: What it is told of systemd-oomd's place (see launch.Options).
        """
        self._send(configuration(policy, place))

    def close(self) -> None:
        """Lets the courier end."""
        self._socket.close()

    def _send(self, packet: bytes) -> None:
        try:
            if packet:
                self._socket.send(packet, MSG_DONTWAIT)
        except OSError:
            pass  # it is gone, which is told elsewhere, or does not read, and then misses it
