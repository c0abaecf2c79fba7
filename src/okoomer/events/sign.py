"""The sign that there are new events in the ring: one eventfd, however many wait for it."""

from __future__ import annotations

import posix as os
from select import EPOLLET, EPOLLIN, epoll


class Sign:
    """The writer's end.

    Args:
        fd: An eventfd that exists already, or -1 for a new one.
    """

    def __init__(self, fd: int = -1) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK) if fd < 0 else fd
        os.set_inheritable(self.fd, False)

    def __call__(self) -> None:
        """There are new events in the ring."""
        try:
            os.eventfd_write(self.fd, 1)
        except OSError:
            pass  # nobody reads the counter: after 2^64 events it is full, and stays readable for ever

    def reader(self) -> int:
        """A new descriptor that polls readable after each sign, until `heed`.

        The eventfd itself is given to nobody: whoever has it can fill its counter, after which the writer's own write
        has no effect, or waits. What is given away is an epoll descriptor in which it stands. With EPOLLET each write
        puts it on that one's list of what is ready, whatever the counter is at, and looking takes it off; so everybody
        who waits has signs of their own (the first at once, where there were events before), and none can write: from
        an epoll descriptor there is no way back to the eventfd. If the writer ends, it goes from the list for good,
        with signs that were not heeded, and the descriptor never polls readable again.
        """
        poller = epoll()
        poller.register(self.fd, EPOLLIN | EPOLLET)
        fd = os.dup(poller.fileno())
        poller.close()
        return fd

    def revoke(self, reader: int) -> None:
        """Whoever has this reader is shown nothing from now on, and costs nothing: each that is kept would be looked
        at with each sign."""
        poller = epoll.fromfd(os.dup(reader))
        try:
            poller.unregister(self.fd)
        except OSError:
            pass  # it was taken back before
        finally:
            poller.close()

    def close(self) -> None:
        """Nobody is told anything any more."""
        os.close(self.fd)


def heed(reader: epoll) -> bool:
    """Takes the signs since the last time; whether there were any. Never waits."""
    return bool(reader.poll(0, 1))
