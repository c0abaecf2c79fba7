"""The sign: everybody who waits has it, once each, and nobody can write."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from okoomer.events.sign import Sign, heed


@pytest.fixture
def sign() -> Iterator[Sign]:
    sign = Sign()
    yield sign
    sign.close()


def shown(fd: int) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


def test_each_who_waits_has_each_sign_once(sign: Sign) -> None:
    readers = [select.epoll.fromfd(sign.reader()) for _ in range(3)]
    assert not any(shown(reader.fileno()) for reader in readers)
    for _ in range(2):
        sign()
        sign()
        assert all(shown(reader.fileno()) for reader in readers)
        assert [heed(reader) for reader in readers] == [True] * 3
        assert not any(heed(reader) or shown(reader.fileno()) for reader in readers)
    for reader in readers:
        reader.close()


def test_who_does_not_look_misses_nothing_but_the_count(sign: Sign) -> None:
    early, late = (select.epoll.fromfd(sign.reader()) for _ in range(2))
    for _ in range(1000):
        sign()
    assert heed(late) and not heed(late) and shown(early.fileno())
    early.close()
    late.close()


def test_a_counter_that_is_full_neither_waits_nor_complains(sign: Sign) -> None:
    os.eventfd_write(sign.fd, 2**64 - 2)
    sign()
    sign()


def test_who_has_a_reader_cannot_write(sign: Sign) -> None:
    reader = sign.reader()
    with pytest.raises(OSError):
        os.eventfd_write(reader, 1)
    os.close(reader)


def test_after_the_end_nothing_is_shown_any_more() -> None:
    sign = Sign()
    reader = select.epoll.fromfd(sign.reader())
    sign()
    sign.close()
    assert not heed(reader) and not shown(reader.fileno())
    reader.close()
