"""The guard's end of the line to the courier: it wakes the courier and hears which commands have ended. Nothing here
waits or allocates in the kernel, and a courier that hangs or is gone costs nothing but its services."""

from __future__ import annotations

import os
from _socket import MSG_DONTWAIT, socket
from marshal import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.policy.model import Policy

#: No answer is longer, and no more than so many are taken at once.
PACKET, AT_ONCE = 64, 64


class Link:
    """See the module.

    Args:
        wake: An eventfd that the courier waits on.
        answers: A SEQPACKET socket on which the courier says `done REQUEST STATUS`.
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
            word, *numbers = packet.split()
            try:
                request, status = map(int, numbers)
            except ValueError:
                continue
            if word == b"done":
                found.append((request, status))
        return found

    def configure(self, policy: Policy) -> None:
        """The courier is to do what this policy wants, from the next event on at the latest."""
        hooks = tuple((hook.on, hook.command, hook.seconds) for hook in policy.hooks)
        try:
            self._socket.send(dumps((hooks, policy.notify)), MSG_DONTWAIT)
        except OSError:
            pass  # it is gone, which is told elsewhere

    def close(self) -> None:
        """Lets the courier end."""
        self._socket.close()
