"""The watcher: whatever ends the guard, those whom it has paused run again within a second, and all else that it has
changed for a while is as before.

It is a shell (1 MiB, nearly all of it shared with other programs) that sleeps in a read from a pipe whose other end
only the guard has. When the kernel closes that, the shell becomes an interpreter that undoes what the guard's note
tells; if there is no note any more, the guard has ended in order, and so does the watcher.

It has a session of its own and is deaf to what is sent to whole groups and services. SIGKILL for all of a service ends
it with the guard: for that case the service undoes the note when it has stopped, and so does the next guard.
"""

from __future__ import annotations

import os
import sys

from okoomer.guard import beside
from okoomer.guard.note import owner

#: $0 is a name, $1 the note, $2 the interpreter, $3 its program, $4 where the package is, $5 the guard.
_SCRIPT = """\
trap '' HUP INT QUIT ABRT PIPE ALRM TERM USR1 USR2
cd /
echo -1000 >/proc/self/oom_score_adj
read -r _
[ -s "$1" ] || exit 0
exec "$2" -I -S -c "$3" "$4" "$1" "$5"
"""
_PROGRAM = """\
import sys
sys.path.insert(0, sys.argv[1])
from okoomer.guard.undo import recover
recover(sys.argv[2], guard=sys.argv[3])
"""


def start(note: str) -> int:
    """Starts a watcher of this process and of what it becomes by exec. Returns the descriptor that the guard has to
    hold open as long as it lives, and that nobody else may have: what is started after this must not inherit it.

    Args:
        note: The path of the guard's note (see guard.note), which need not be there yet.

    Raises:
        OSError: It cannot be started.
    """
    theirs, ours = os.pipe2(os.O_CLOEXEC)
    try:
        words = [os.path.abspath(note), sys.executable, _PROGRAM, beside.PACKAGE, owner()]
        beside.start("okoomer-watcher", _SCRIPT, words, theirs)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    os.set_inheritable(ours, True)
    return ours
