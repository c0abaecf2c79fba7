"""Starting a program as if nobody stood behind it, and learning how it ended."""

from __future__ import annotations

import os
from errno import ECHILD, EIO, ENOENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from signal import SIG_BLOCK, SIG_DFL, SIG_SETMASK, pthread_sigmask, signal, valid_signals
    from typing import NoReturn
else:
    from _signal import SIG_BLOCK, SIG_DFL, SIG_SETMASK, pthread_sigmask, signal, valid_signals

#: Of what the courier holds nothing is passed on beyond standard error and the way back for an error.
_ERROR = 3
_MOST = 1 << 20
#: What the way back says of a user whom nobody knows, in place of an error's number.
_NOBODY = b"nobody"


class Child:
    """A program that was started, in a process group of its own."""

    def __init__(self, pid: int, errors: int) -> None:
        self.pid = pid
        self._errors = errors
        self._ended = False

    def status(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None as long as it runs. It stays a zombie, so that its
        group's number is not given to anybody else, until `bury`.

        Raises:
            OSError: It could not be executed.
        """
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except OSError as error:
            raise OSError(error.errno or ECHILD, "its end cannot be seen") from None
        if ended is None:
            return None
        self._ended = True
        text = os.read(self._errors, 16)
        if text == _NOBODY:
            raise OSError(ENOENT, "there is no such user")
        if text:
            number = int(text) if text.isdigit() else EIO
            raise OSError(number, os.strerror(number))
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def signal(self, number: int) -> None:
        """Sends a signal to its group, which may outlive it."""
        try:
            os.killpg(self.pid, number)
        except OSError:
            pass  # nobody is left in it, or it has become somebody else's

    def bury(self) -> None:
        """Forgets it."""
        os.close(self._errors)
        try:
            os.waitpid(self.pid, os.WNOHANG)
        except OSError:
            pass


def start(arguments: Sequence[bytes], environment: Mapping[bytes, bytes], stdin: bytes, user: str = "") -> Child:
    """Starts a program with some text as its standard input; it gets no other descriptor than that, standard output
    and standard error, no signal that is ignored or held back, the root directory, a usual priority, and no privilege
    when memory runs out.

    Args:
        user: Whose program it is to be, by name: with his groups and his HOME. "": that of whoever starts it.

    Raises:
        OSError: There is no room for another process.
    """
    opened: list[int] = []
    try:
        text = os.memfd_create("okoomer-event")
        opened.append(text)
        os.write(text, stdin)
        os.lseek(text, 0, os.SEEK_SET)
        errors, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        opened += [theirs, errors]
        # No signal may reach the child while it would still be handled by the courier's code.
        mask = pthread_sigmask(SIG_BLOCK, valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                _become(arguments, environment, text, theirs, user)
        finally:
            pthread_sigmask(SIG_SETMASK, mask)
    except BaseException:
        for fd in opened:
            os.close(fd)
        raise
    os.close(text)
    os.close(theirs)
    try:
        # Both do it, so that whoever comes first needs not wait for the other.
        os.setpgid(pid, pid)
    except OSError:
        pass  # it has been executed, and had done it
    return Child(pid, errors)


def _become(
    arguments: Sequence[bytes], environment: Mapping[bytes, bytes], stdin: int, errors: int, user: str
) -> NoReturn:
    try:
        os.setpgid(0, 0)
        errors, stdin = _out_of_the_way(errors), _out_of_the_way(stdin)
        os.dup2(stdin, 0)
        os.dup2(errors, _ERROR, inheritable=False)
        errors = _ERROR
        os.closerange(_ERROR + 1, _MOST)
        for number in valid_signals():
            try:
                signal(number, SIG_DFL)
            except (OSError, ValueError):
                continue  # the two that nobody can change
        usual()
        os.chdir("/")
        if user:
            # Not before the fork: whoever knows the users may be on another machine, and slow.
            environment = {**environment, **_as_user(user)}
        pthread_sigmask(SIG_SETMASK, ())
        os.execve(arguments[0], list(arguments), environment)
    except LookupError:
        os.write(errors, _NOBODY)
    except OSError as error:
        os.write(errors, b"%d" % (error.errno or EIO))
    except BaseException:
        os.write(errors, b"%d" % EIO)
    finally:
        os._exit(127)


def _as_user(name: str) -> dict[bytes, bytes]:
    """Makes this process a user's, for good; the variables that tell it so.

    Raises:
        LookupError: There is no such user.
        OSError: It may not become that user.
    """
    from pwd import getpwnam

    user = getpwnam(name)
    uid, gid = user.pw_uid, user.pw_gid
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3:
        os.initgroups(name, gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    given = {"HOME": user.pw_dir, "USER": name, "LOGNAME": name, "SHELL": user.pw_shell or "/bin/sh"}
    # What leads to his session, if he has one; never to that of whoever runs the courier.
    given |= {"XDG_RUNTIME_DIR": f"/run/user/{uid}", "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{uid}/bus"}
    return {key.encode(): os.fsencode(value) for key, value in given.items()}


def _out_of_the_way(fd: int) -> int:
    """A descriptor above those that are going to be replaced."""
    while fd <= _ERROR:
        fd = os.dup(fd)
    return fd


def usual() -> None:
    """A usual priority, and no privilege when memory runs out; what is not permitted stays as it is."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    except OSError:
        pass
    protect(b"0")


def protect(adjustment: bytes) -> None:
    """Sets the oom_score_adj of this process, if that is permitted."""
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, adjustment)
        finally:
            os.close(fd)
    except OSError:
        pass
