"""Starting a canary, from the front, before it becomes the guard (see guard.canary).

It is a child, so that the guard knows it as its own, but in a session of its own, and where the guard's cgroup is
protected, in another cgroup: with MemoryMin=, CPUWeight= and IOWeight= for the service it would feel nothing of what
others feel. That is the root, the one cgroup in which nothing is protected, weighed or limited, and that is always
there; a process is charged for what it takes once it has moved, so it moves before its program is loaded.
"""

from __future__ import annotations

import os
import sys
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, fcntl

from okoomer.guard import beside
from okoomer.guard.canary import PAGE
from okoomer.guard.canary_process import FILE_PAGES
from okoomer.guard.launch import is_compiled
from okoomer.kernel import cgroup, process
from okoomer.kernel.files import read
from okoomer.kernel.syscalls import disable_huge_pages

#: $0 is a name, $1 the list of the cgroup to move to or "", the rest the program. It is deaf to what is sent to whole
#: groups and services: it ends when the guard does.
_SCRIPT = """\
trap '' HUP INT QUIT TERM USR1 USR2
cd /
{ echo 0 >/proc/self/oom_score_adj; [ -z "$1" ] || echo 0 >"$1"; } 2>/dev/null
shift
exec "$@"
"""
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]); from okoomer.guard.canary_process import main;"
    " main(*map(int, sys.argv[2:]))"
)


def start() -> tuple[int, int]:
    """Starts a canary. Returns the writing end of its pipe and the page, neither to be inherited by anybody but the
    guard (see guard.canary.Canary): whoever else had the first would keep the canary alive.

    Raises:
        OSError: It cannot be started.
    """
    opened: list[int] = []
    try:
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        opened += [theirs, ours]
        page = os.memfd_create("okoomer-canary", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        opened.append(page)
        os.ftruncate(page, PAGE)
        fcntl(page, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
        code = _code()
        opened += [code] if code >= 0 else []
        for fd in (page, code) if code >= 0 else (page,):
            os.set_inheritable(fd, True)
        _spawn(theirs, page, code)
        # It comes to its memory once, and the pipe has got the page that the kernel keeps for it from then on.
        os.write(ours, b"!")
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    for fd in (theirs, code) if code >= 0 else (theirs,):
        os.close(fd)
    os.set_inheritable(page, False)
    return ours, page


def _spawn(questions: int, page: int, code: int) -> None:
    lean = ["-OO"] if is_compiled() else []
    program = [sys.executable, "-I", "-S", *lean, "-c", _BOOTSTRAP, beside.PACKAGE, str(page), str(code)]
    # Half a page directory for the sake of a few pages would not be small.
    disable_huge_pages()
    beside.start("okoomer-canary", _SCRIPT, [_elsewhere(), *program], questions)


def _code() -> int:
    """A file on disk that nobody reads, or -1: the largest source of the standard library, since what is loaded is
    what was compiled of it. Code that others use, too, would stay in memory for their sake."""
    try:
        with os.scandir(os.path.dirname(os.__file__)) as entries:
            sizes = [(entry.stat().st_size, entry.path) for entry in entries if entry.name.endswith(".py")]
    except OSError:
        sizes = []
    size, path = max(sizes, default=(0, ""))
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC) if size >= FILE_PAGES * PAGE // 2 else -1
    except OSError:
        return -1


def _elsewhere() -> str:
    """The list of processes of the cgroup that an ordinary process has to move to, or "" if the present one will do."""
    mount = cgroup.mount()
    if mount is None:
        return ""
    try:
        path = process.cgroup("/proc", "self")
        protected = any(int(read(f"{mount}{path}/memory.{kind}")) for kind in ("min", "low"))
    except (OSError, ValueError):
        return ""
    return f"{mount}/cgroup.procs" if protected else ""
