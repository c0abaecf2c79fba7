"""What a guest is to do: a script, the files that it needs, and when it is over."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

BLOCK = 4096
GUEST = Path(__file__).parent / "guest"
PRELUDE = GUEST / "prelude.sh"


@dataclass(frozen=True)
class File:
    """A file or a directory for the guest, from the host or as text (which is made executable)."""

    path: str
    content: Path | str


@dataclass(frozen=True)
class Job:
    """A shell script, run as root after ``guest/prelude.sh``; it starts programs, each under its voice.

    The run is over ``settle_s`` seconds after the last program with the voice ``until`` has died. A guest that
    ``reboots`` starts anew, with the disk as it was, when it is told to; the script is then run again from its start.
    """

    script: str
    voices: tuple[str, ...]
    until: str
    files: tuple[File, ...] = ()
    settle_s: float = 3
    reboots: bool = False


def write(job: Job, prepare: str, disk: IO[bytes]) -> None:
    """Put the job onto its disk, as guest/job.c reads it; the lines ``prepare`` come before the job's own."""
    disk.seek(BLOCK)
    with tarfile.open(fileobj=disk, mode="w") as tar:
        for file in (*job.files, File("/job/prelude.sh", PRELUDE), File("/job/run", _script(job, prepare))):
            _add(tar, file)
        for voice in ("run", *job.voices):
            fifo = tarfile.TarInfo(f"job/voices/{voice}")
            fifo.type = tarfile.FIFOTYPE
            tar.addfile(fifo)
    size = disk.tell() - BLOCK
    disk.seek(0)
    disk.write(f"OKOOMER-JOB {size}\n".encode())
    disk.flush()


def _script(job: Job, prepare: str) -> str:
    return f"set -eu\n. /job/prelude.sh\n{prepare}\n{job.script}\n"


def _add(tar: tarfile.TarFile, file: File) -> None:
    name = file.path.lstrip("/")
    if isinstance(file.content, Path):
        tar.add(file.content, name, filter=_as_root)
        return
    data = file.content.encode()
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o755
    tar.addfile(member, io.BytesIO(data))


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
