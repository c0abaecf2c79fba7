"""A directory per build, named by the hash of what went into it: the same inputs are never built twice."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def root() -> Path:
    """Where builds are kept, so that a fresh clone finds them again."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("OKOOMER_CACHE") or user / "okoomer") / "vm"


def built(part: str, inputs: Iterable[str | bytes | Path], build: Callable[[Path], None]) -> Path:
    """The directory that ``build`` fills for these inputs, built now if there is none.

    A path among the inputs stands for its contents (of all files below it). A build that fails or is
    interrupted leaves nothing; of two processes that want the same build, one builds and the other waits.
    """
    done = root() / f"{part}-{_digest(inputs)}"
    if not done.is_dir():
        done.parent.mkdir(parents=True, exist_ok=True)
        with _lock(done.with_suffix(".lock")):
            if not done.is_dir():
                _build(done, build)
    return done


def _build(done: Path, build: Callable[[Path], None]) -> None:
    half = done.with_suffix(".half")
    shutil.rmtree(half, ignore_errors=True)  # of a build that was killed; the lock says that nobody is at it
    half.mkdir()
    try:
        build(half)
        half.rename(done)
    except BaseException:
        shutil.rmtree(half)
        raise


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(inputs: Iterable[str | bytes | Path]) -> str:
    total = hashlib.sha256()
    for item in inputs:
        for name, data in _contents(item):
            total.update(f"{name} {len(data)}\n".encode() + data)
    return total.hexdigest()[:16]


def _contents(item: str | bytes | Path) -> Iterator[tuple[str, bytes]]:
    match item:
        case str():
            yield "", item.encode()
        case bytes():
            yield "", item
        case Path() if item.is_dir():
            for path in sorted(item.rglob("*")):
                if path.is_file() and path.suffix != ".pyc":  # those carry times
                    yield str(path.relative_to(item)), path.read_bytes()
        case Path():
            yield item.name, item.read_bytes()
