"""Reading the kernel's files again and again: whatever lies there, the last good reading stands."""

from __future__ import annotations

import errno
import os
import posix
from pathlib import Path

import pytest

from okoomer.kernel import files
from okoomer.kernel.files import Source, number_after, read, whole


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "number"


@pytest.fixture
def source(path: Path) -> Source[int]:
    return Source(str(path), whole)


def rewrite(path: Path, text: bytes) -> None:
    """As the kernel does: another text in the same file."""
    with path.open("r+b") as file:
        file.truncate()
        file.write(text)


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [(b"0", 0), (b" 17\n", 17), (b"-1000", -1000), (b"%d" % (2**63 - 1), 2**63 - 1), (b"%d" % (2**64 - 1), -1)],
)
def test_whole_numbers_of_64_bits(text: bytes, number: int) -> None:
    assert whole(text) == number


@pytest.mark.parametrize("text", [b"", b"x", b"1.5", b"%d" % 2**64, b"-%d" % (2**63 + 1), b"9" * 5000, b"1\0"])
def test_what_is_no_number_of_64_bits_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        whole(text)


def test_the_number_after_a_key() -> None:
    text = b"MemFree: 5 kB\nSwapFree:   7 kB\nLast: 9"
    assert number_after(text, b"\nSwapFree:") == 7
    assert number_after(text, b"\nFree:") is None
    assert number_after(text, b"\nLast:") == 9


# --- one reading ----------------------------------------------------------------------------------------------------


def test_a_file_is_read_up_to_the_size_that_is_wanted(path: Path) -> None:
    path.write_bytes(b"abcdef")
    assert read(str(path), 4) == b"abcd"
    with pytest.raises(FileNotFoundError):
        read(str(path) + "x")


@pytest.mark.timeout(60)
def test_a_fifo_holds_nobody(path: Path) -> None:
    os.mkfifo(path)
    assert read(str(path)) == b""
    source = Source(str(path), whole)
    assert source.read() is None
    assert source.trouble == f"{path}: Illegal seek"


# --- sources --------------------------------------------------------------------------------------------------------


def test_an_absent_file_is_none_and_no_trouble(source: Source[int]) -> None:
    assert source.read() is None
    assert source.trouble == ""


def test_a_file_that_appears_is_read_from_then_on(source: Source[int], path: Path) -> None:
    assert source.read() is None
    path.write_bytes(b"5")
    assert source.read() == 5
    rewrite(path, b"6")
    assert source.read() == 6


@pytest.mark.parametrize("text", [b"", b"gar\0bage", b"\xff"])
def test_the_last_good_reading_stands_until_the_file_makes_sense_again(
    source: Source[int], path: Path, text: bytes
) -> None:
    path.write_bytes(b"5")
    assert (source.read(), source.trouble) == (5, "")
    rewrite(path, text)
    for _ in range(3):
        assert source.read() == 5
        assert source.trouble == f"{path}: its text makes no sense"
    rewrite(path, b"7")
    assert (source.read(), source.trouble) == (7, "")


def test_a_file_that_never_made_sense_is_none_with_trouble(source: Source[int], path: Path) -> None:
    path.write_bytes(b"junk")
    assert source.read() is None
    assert source.trouble


def test_a_directory_in_its_place_is_trouble(source: Source[int], path: Path) -> None:
    path.mkdir()
    assert source.read() is None
    assert source.trouble == f"{path}: Is a directory"
    path.rmdir()
    path.write_bytes(b"5")
    assert (source.read(), source.trouble) == (5, "")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE])
def test_a_file_that_may_not_be_read_is_trouble_and_the_last_good_reading_stands(
    source: Source[int], path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"5")
    assert source.read() == 5

    def refuse(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(posix, "pread", refuse)
        assert source.read() == 5
        patch.setattr(posix, "open", refuse)
        assert source.read() == 5
        assert source.trouble == f"{path}: {os.strerror(number)}"
    assert (source.read(), source.trouble) == (5, "")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EOPNOTSUPP])
def test_an_interface_that_vanishes_is_none_and_may_come_back(
    source: Source[int], path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"5")
    assert source.read() == 5

    def gone(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(posix, "pread", gone)
        assert source.read() is None
        assert source.trouble == ""
    assert source.read() == 5


def test_the_descriptor_is_kept_and_given_back(
    source: Source[int], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(b"5")
    opened: list[int] = []
    real = os.open

    def counted(path: str, flags: int) -> int:
        opened.append(real(path, flags))
        return opened[-1]

    monkeypatch.setattr(posix, "open", counted)
    assert [source.read() for _ in range(5)] == [5] * 5
    assert len(opened) == 1
    source.close()
    source.close()
    with pytest.raises(OSError):
        os.fstat(opened[0])


def test_who_lets_go_of_it_gives_the_descriptor_back(path: Path) -> None:
    path.write_bytes(b"5")
    source = Source(str(path), int)
    assert source.read() == 5
    fd = source._fd
    assert Path(f"/proc/self/fd/{fd}").readlink() == path
    del source
    with pytest.raises(OSError):
        os.fstat(fd)


def test_a_file_that_comes_in_pieces_is_read_whole_and_within_its_size(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(bytes(range(250)))
    real = os.pread
    monkeypatch.setattr(posix, "pread", lambda fd, size, at: real(fd, min(size, 7), at))
    assert Source(str(path), len, pieces=True).read() == 250
    assert Source(str(path), len, 100, pieces=True).read() == 100
    assert Source(str(path), len).read() == 7


def test_files_are_opened_so_that_no_child_inherits_them() -> None:
    assert files.FLAGS & os.O_CLOEXEC
