"""What waits to be sent to a bus, on a real socket that takes little at a time."""

from __future__ import annotations

import os
import socket
from array import array
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okoomer.bus.outgoing import Outgoing
from tests.unit.descriptors import descriptors, left_open

Pair = tuple[socket.socket, socket.socket]


@contextmanager
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def files(count: int) -> list[int]:
    return [os.memfd_create(str(number)) for number in range(count)]


def received(theirs: socket.socket) -> tuple[bytes, list[int]]:
    """What has come: bytes, and the inodes of descriptors."""
    data, inodes = b"", list[int]()
    while True:
        try:
            part, rights, _, _ = theirs.recvmsg(1 << 16, socket.CMSG_SPACE(64 * 4))
        except BlockingIOError:
            return data, inodes
        data += part
        for _, _, raw in rights:
            fds = array("i")
            fds.frombytes(raw)
            for fd in fds:
                inodes.append(os.fstat(fd).st_ino)
                os.close(fd)


@given(st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 3)), max_size=8))
def test_all_comes_in_order_and_each_descriptor_no_sooner_than_its_message(messages: list[tuple[int, int]]) -> None:
    out, sent, fds, begins = Outgoing(), b"", list[int](), list[int]()
    with pair() as (ours, theirs):
        for number, (length, count) in enumerate(messages):
            mine = files(count)
            begins += [len(sent)] * count
            fds += [os.fstat(fd).st_ino for fd in mine]
            data = bytes([number]) * length
            out.add(data, mine)
            sent += data
            for fd in mine:
                os.close(fd)
        assert len(out) == len(sent)
        got, came = b"", list[int]()
        while out:
            out.flush(ours)
            data, inodes = received(theirs)
            got, came = got + data, came + inodes
            assert all(begin < len(got) for begin in begins[: len(came)])
        assert got == sent and came == fds


def test_what_is_given_up_leaves_nothing_open() -> None:
    before = descriptors()
    out, mine = Outgoing(), files(2)
    out.add(b"hello")
    out.add(b"two", mine)
    for fd in mine:
        os.close(fd)
    out.clear()
    assert not out and not left_open(before)


def test_an_end_that_has_gone_is_told() -> None:
    out = Outgoing()
    out.add(b"hello")
    with pair() as (ours, theirs):
        theirs.close()
        with pytest.raises(OSError):
            out.flush(ours)
