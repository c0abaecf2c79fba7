"""The guard's end of the line to the courier: it wakes the courier and hears which commands have ended. Nothing here
waits or allocates in the kernel, and a courier that hangs or is gone costs nothing but its services."""

from __future__ import annotations

import os
from _socket import MSG_DONTWAIT, socket
from marshal import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from okoomer.guard.managed import Managed
    from okoomer.policy.model import Policy

#: No packet is longer (a path, a name and some words), and no more than so many are taken at once.
PACKET, AT_ONCE = 6144, 64


class Link:
    """See the module.

    Args:
        wake: An eventfd that the courier waits on.
        answers: A SEQPACKET socket on which the courier says `done REQUEST STATUS`, and what guard.managed knows.
    """

    def __init__(self, wake: int, answers: int) -> None:
        self._wake = wake
        self._socket = socket(fileno=answers)
        os.set_inheritable(wake, False)
        os.set_inheritable(answers, False)
        #: Readable when there is an answer, and for ever once the courier is gone: then nobody should look any more.
        self.fd = answers
        #: False once `answers` has found the other end closed.
        self.alive = True
        #: Takes what systemd is told of its units.
        self.managed: Managed | None = None

    def told(self) -> None:
        """There are new events in the ring."""
        try:
            os.eventfd_write(self._wake, 1)
        except OSError:
            pass  # it has not been read for 2^64 events, and needs no further sign

    def answers(self) -> list[tuple[int, int]]:
        """The commands that have ended: request and status (see events.model.Ran). What is no answer is passed over."""
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
            elif self.managed:
                # What fills all the room has lost its end.
                self.managed.take(packet if len(packet) < PACKET else b"")
        return found

    def configure(self, policy: Policy, place: tuple[Any, ...] = ()) -> None:
        """The courier is to do what this policy wants, from the next event on at the latest.

        Args:
            place: What it is told of systemd-oomd's place (see launch.Options).
        """
        try:
            self._socket.send(dumps((policy.plain_hooks, policy.notify, place)), MSG_DONTWAIT)
        except OSError:
            pass  # it is gone, which is told elsewhere

    def close(self) -> None:
        """Lets the courier end."""
        self._socket.close()
