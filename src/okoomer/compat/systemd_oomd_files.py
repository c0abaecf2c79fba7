"""systemd's configuration files: which of them count, and what stands in them, with its place.

A file of the same name in a directory further up masks one further down. Drop-ins are read after the main file,
ordered by their names wherever they lie, and the last that sets a key wins. An empty file, or a link to /dev/null,
masks and says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from okoomer.policy.error import PolicyError
from okoomer.policy.source import Text
from okoomer.record import Record

#: Where systemd's files lie, those first that mask the others.
FOLDERS = ("etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd")
COMMENTS = ("#", ";")


class Assignment(Record):
    """A line `KEY=VALUE`, and the section in which it stands."""

    section: Text
    key: Text
    value: Text


def main_file(root: Path, name: str) -> Path | None:
    """The file of a name that counts, or None."""
    paths = [root / folder / name for folder in FOLDERS]
    first = next((path for path in paths if path.is_symlink() or path.exists()), None)
    return None if first is None or _masks(first) else first


def drop_ins(root: Path, folder: str, suffix: str) -> list[Path]:
    """The files of a folder such as `oomd.conf.d`, in the order of their names, without those that are masked."""
    found: dict[str, Path] = {}
    for above in FOLDERS:
        directory = root / above / folder
        try:
            names = [path for path in directory.iterdir() if path.name.endswith(suffix) and path.name[0] != "."]
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _unreadable(directory, error) from None
        for path in names:
            found.setdefault(path.name, path)
    return [found[name] for name in sorted(found) if not _masks(found[name])]


def _masks(path: Path) -> bool:
    # A link into the image of another machine leads to this machine's own /dev/null, or to nowhere.
    try:
        return str(path.readlink()) == "/dev/null" or not path.stat().st_size
    except OSError:
        return path.is_file() and not path.stat().st_size


def assignments(path: Path) -> list[Assignment]:
    """What stands in a file.

    Raises:
        PolicyError: It cannot be read, or has a line that is none of systemd's.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        text = data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        text, place = data.decode(errors="replace"), len(data[: error.start].decode())
        raise Text(str(path), text, text[place], (place, place + 1)).error("not UTF-8", "a text file") from None
    return list(_assignments(Text(str(path), text, text, range(len(text) + 1))))


def _assignments(text: Text) -> Iterator[Assignment]:
    section: Text | None = None
    for line in _lines(text):
        if line.value.startswith("["):
            if not line.value.endswith("]"):
                raise line.error("a section that is not closed", "a ] at its end")
            section = line.part(1, len(line.value) - 1)
            continue
        key, equals, _ = line.value.partition("=")
        if not equals or not key.strip():
            raise line.error("not a setting", "KEY=VALUE, a [Section], or a comment that begins with # or ;")
        if section is None:
            raise line.error("a setting before any section", "a line such as [OOM] above it")
        yield Assignment(section, stripped(line.part(0, len(key))), stripped(line.part(len(key) + 1)))


def _lines(text: Text) -> Iterator[Text]:
    """The lines that say something. A backslash at its end joins a line with the next, and a comment between them is
    none of it."""
    value, places = "", list[int]()
    start = 0
    for line in text.value.split("\n"):
        begin, start = start, start + len(line) + 1
        if line.strip().startswith(COMMENTS):
            continue
        more = line.endswith("\\")
        # What joins two lines is a blank.
        value += line[:-1] + " " if more else line
        places += text.places[begin : begin + len(line)]
        if more:
            continue
        whole = stripped(Text(text.file, text.source, value, [*places, text.places[begin + len(line)]]))
        value, places = "", []
        if whole.value:
            yield whole
    if value.strip():
        yield stripped(Text(text.file, text.source, value, [*places, text.places[-1]]))


def stripped(text: Text) -> Text:
    """A text without the space around it."""
    start = len(text.value) - len(text.value.lstrip())
    return text.part(start, max(start, len(text.value.rstrip())))


def _unreadable(path: Path, error: OSError) -> PolicyError:
    return PolicyError(str(path), error.strerror or str(error), str(path), "what systemd could read")
