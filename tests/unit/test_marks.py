"""Marks on a cgroup that was ended whole."""

from __future__ import annotations

import os
import posix
from typing import TYPE_CHECKING

import pytest

from okoomer.guard import marks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: As a file system may answer that has no such attributes, or not for us.
ERRORS = [PermissionError(1, "Operation not permitted"), OSError(95, "Operation not supported")]


class Attributes(dict[str, bytes]):
    """What hangs on one directory."""

    def get_one(self, directory: int, name: str) -> bytes:
        try:
            return self[name]
        except KeyError:
            raise OSError(61, "No data available") from None

    def set_one(self, directory: int, name: str, value: bytes) -> None:
        self[name] = value


@pytest.fixture
def attributes(monkeypatch: pytest.MonkeyPatch) -> Attributes:
    found = Attributes()
    monkeypatch.setattr(posix, "getxattr", found.get_one)
    monkeypatch.setattr(posix, "setxattr", found.set_one)
    return found


def test_a_first_kill_is_counted_from_nothing(attributes: Attributes) -> None:
    marks.foretell(3)
    assert attributes == {"user.oomd_ooms": b"1", "trusted.oomd_ooms": b"1"}
    marks.count(3, 12)
    assert attributes["user.oomd_kill"] == attributes["trusted.oomd_kill"] == b"12"


def test_each_counter_goes_on_from_where_it_is(attributes: Attributes) -> None:
    attributes |= {"user.oomd_ooms": b"2", "trusted.oomd_ooms": b"9", "user.oomd_kill": b"40"}
    marks.foretell(3)
    marks.count(3, 2)
    assert (attributes["user.oomd_ooms"], attributes["trusted.oomd_ooms"]) == (b"3", b"10")
    assert (attributes["user.oomd_kill"], attributes["trusted.oomd_kill"]) == (b"42", b"2")


@pytest.mark.parametrize("garbage", [b"", b"many", b"\xff"])
def test_what_is_no_number_is_none(attributes: Attributes, garbage: bytes) -> None:
    attributes["user.oomd_ooms"] = garbage
    marks.foretell(3)
    assert attributes["user.oomd_ooms"] == b"1"


def test_each_kill_has_a_name_of_its_own_in_both_namespaces(attributes: Attributes) -> None:
    names = set()
    for _ in range(3):
        marks.count(3, 1)
        name = attributes["user.oomd_kill_uuid"]
        assert name == attributes["trusted.oomd_kill_uuid"] and len(bytes.fromhex(name.decode())) == 16
        names.add(name)
    assert len(names) == 3


@pytest.mark.parametrize("error", ERRORS, ids=str)
def test_that_they_cannot_be_set_is_no_trouble(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    tried: list[str] = []

    def refuse(_directory: int, name: str, *_: bytes) -> None:
        tried.append(name)
        raise error

    monkeypatch.setattr(posix, "getxattr", refuse)
    monkeypatch.setattr(posix, "setxattr", refuse)
    marks.foretell(3)
    marks.count(3, 1)
    assert {name.split(".")[0] for name in tried} == {"user", "trusted"}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_a_directory_that_is_open_can_be_marked(directory: int) -> None:
    try:
        os.setxattr(directory, "user.probe", b"1")
    except OSError:
        pytest.skip("no such attributes on this file system")
    marks.foretell(directory)
    assert os.getxattr(directory, "user.oomd_ooms") == b"1"
