"""`okoomer earlyoom`: earlyoom's command line, and what answers where okoomer is called by that name.

It has to be there as fast as earlyoom: nothing is imported here that can be done without.
"""

from __future__ import annotations

import os
import sys

import okoomer
from okoomer.cli.start import for_reload, start
from okoomer.compat.earlyoom import FATAL, PLAIN, WARN, Refused, Settings, parse, translate, usage
from okoomer.compat.earlyoom_policy import levels
from okoomer.events.earlyoom import Limits
from okoomer.guard import launch
from okoomer.kernel import files, meminfo
from okoomer.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.facts import Memory, Swap

#: The version of earlyoom whose command line and words these are.
VERSION = "1.9.0"
#: Exit codes of earlyoom's for /proc/meminfo: it cannot be opened, cannot be read, or lacks a field.
NOT_OPENED, NOT_READ, NOT_WHOLE = 102, 103, 104

MEMINFO, SYSRQ = "/proc/meminfo", "/proc/sysrq-trigger"
#: What switches each style on, on a terminal.
COLOURS = {WARN: "\x1b[33m", FATAL: "\x1b[31m"}


def main(argv: list[str]) -> int:
    """Does what a command line asks for.

    Args:
        argv: Its arguments, without the program's name.

    Returns:
        The exit code; a guard that was started does not return.
    """
    if not for_reload():
        say(PLAIN, f"earlyoom v{VERSION} (okoomer {okoomer.__version__})")
    try:
        memory, swap = sizes()
        settings = parse(argv, memory.total, swap.total, say)
    except Refused as error:
        for line in error.lines:
            say(FATAL if line.startswith("fatal:") else PLAIN, line)
        return error.code
    if settings.asked == "help":
        for line in usage():
            say(PLAIN, line)
    if settings.asked:
        return 0
    if settings.kernel_oom and not os.access(SYSRQ, os.W_OK):
        say(WARN, f"warning: --kernel-oom: {SYSRQ} cannot be written; processes are ended as without it")
        settings = replace(settings, kernel_oom=False)
    compile_once()
    try:
        start(options(settings, memory, swap))
    except OSError as error:
        say(FATAL, f"fatal: {error.filename or 'the guard'}: {error.strerror}")
        return 3


def options(settings: Settings, memory: Memory, swap: Swap) -> launch.Options:
    """What the guard needs to know."""
    user = memory.available + memory.anon
    limits = Limits(memory.total, user, swap.total, *levels(settings, user, swap.total), debug=settings.debug)
    return launch.Options(
        translate(settings, memory.total, swap.total).policy,
        "earlyoom: its command line",
        runtime_dir(),
        dry_run=settings.dry_run,
        voice="earlyoom",
        limits=tuple(limits),
        syslog=settings.syslog,
        front=tuple(sys.orig_argv[1:]),
    )


def sizes() -> tuple[Memory, Swap]:
    """This machine's memory and swap.

    Raises:
        Refused: They cannot be told.
    """
    try:
        fd = os.open(MEMINFO, files.FLAGS)
    except OSError as error:
        raise Refused(NOT_OPENED, f"fatal: could not open {MEMINFO}: {error.strerror}") from None
    try:
        return meminfo.parse(os.read(fd, 8192))
    except OSError as error:
        raise Refused(NOT_READ, f"fatal: could not read {MEMINFO}: {error.strerror}") from None
    except (ValueError, IndexError) as error:
        raise Refused(NOT_WHOLE, f"fatal: {MEMINFO}: {error}") from None
    finally:
        os.close(fd)


def runtime_dir() -> str:
    """The directory of the guard, as for `okoomer run`; imported only where somebody else than root asks."""
    if os.geteuid() == 0:
        return "/run/okoomer"
    from okoomer.cli import place

    return place.runtime_dir(None)


def compile_once() -> None:
    """Compiles what has not been compiled; where it has been, not even the compiler is loaded."""
    if not launch.is_compiled():
        from okoomer.cli.compiled import compile_all

        compile_all()


def say(style: str, text: str) -> None:
    """Writes a line to standard error, in colour on a terminal."""
    line = text.encode("utf-8", "backslashreplace")
    colour = COLOURS.get(style, "").encode()
    if colour and os.isatty(2) and "NO_COLOR" not in os.environ:
        os.write(2, colour + line + b"\n\x1b[0m")
    else:
        os.write(2, line + b"\n")
