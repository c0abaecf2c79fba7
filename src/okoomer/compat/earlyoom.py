"""earlyoom's command line: its options, their limits and its exit codes, as typed settings.

What earlyoom misreads in silence is an error here: numbers that are none, NaN, infinity and hexadecimal ones. All else
is as it has it, down to the order in which things are found wrong.
"""

from __future__ import annotations

import os
from math import inf

from okoomer.compat.earlyoom_policy import Levels, Settings, selector, translate
from okoomer.compat.ere import NotAnExpression
from okoomer.compat.getopt import BadUsage, Option, given

__all__ = ["OPTIONS", "Refused", "Settings", "parse", "translate", "usage"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    #: Takes a line for standard error and its style, one of those below.
    Say = Callable[[str, str], None]

#: How a line is meant; it decides the colour on a terminal.
PLAIN, WARN, FATAL = "", "warn", "fatal"
#: Exit codes.
REGEX, USAGE, REPORT, MEMORY, SWAP = 6, 13, 14, 15, 16
#: The most that can be asked for of memory, in percent: what always holds would end everything that runs.
MOST = 99
#: Bytes of an argument with limits; a longer one is a mistake.
LONGEST = 255

#: All options, in the order of the help; parser, help and documentation come from this table.
OPTIONS = (
    Option("m", "", "PERCENT[,KILL_PERCENT]", "act when available memory is at or below PERCENT of what programs can "
           "have; SIGKILL at or below KILL_PERCENT (default: 10, and half of PERCENT)"),
    Option("s", "", "PERCENT[,KILL_PERCENT]", "and when free swap is at or below PERCENT of all swap; 100 leaves swap "
           "out of account (default: 10, and half of PERCENT)"),
    Option("M", "", "SIZE[,KILL_SIZE]", "the same for memory as sizes in KiB; with -m, both have to hold"),
    Option("S", "", "SIZE[,KILL_SIZE]", "the same for swap as sizes in KiB; with -s, both have to hold"),
    Option("n", "", "", "announce kills on the system bus, for systembus-notify"),
    Option("N", "", "/PATH/TO/SCRIPT", "run a program after each kill"),
    Option("P", "", "/PATH/TO/SCRIPT", "run a program before each kill, and wait for it up to 0.2 seconds"),
    Option("g", "", "", "end the whole process group of the victim"),
    Option("d", "debug", "", "tell of every step on standard output"),
    Option("v", "", "", "show the version, and end"),
    Option("r", "", "INTERVAL", "seconds between reports of memory (default: 1); 0 for none"),
    Option("p", "", "", "stand first in line and go last; okoomer always does"),
    Option("", "ignore-root-user", "", "never take a process of root's"),
    Option("", "sort-by-rss", "", "take the largest in memory rather than the kernel's own choice"),
    Option("", "prefer", "REGEX", "rather take processes whose names match: 300 points more, or 3 GiB"),
    Option("", "avoid", "REGEX", "rather leave processes whose names match: 300 points less, or 3 GiB"),
    Option("", "ignore", "REGEX", "never take processes whose names match"),
    Option("", "dryrun", "", "say what would be done; touch nobody"),
    Option("", "syslog", "", "write to the system log instead of the standard streams"),
    Option("", "kernel-oom", "", "let the kernel's own OOM killer choose (/proc/sysrq-trigger)"),
    Option("h", "help", "", "show this text, and end"),
    Option("k", "", "", "taken and without effect, as in earlyoom since 1.2"),
    Option("i", "", "", "taken and without effect, as in earlyoom since 1.7"),
)  # fmt: skip


class Refused(Exception):
    """A command line with which nothing can be done: why, in the lines that earlyoom says, and its exit code."""

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__(*lines)
        self.code = code
        self.lines = lines

    def __str__(self) -> str:
        return self.lines[0]


def parse(
    arguments: Sequence[str],
    memory_total: int = 0,
    swap_total: int | None = None,
    say: Say = lambda _style, _line: None,
) -> Settings:
    """What a command line asks for.

    Args:
        arguments: Without the program's name.
        memory_total: Bytes of memory of the machine for which it is meant; 0 if that is not known.
        swap_total: Bytes of its swap; None if that is not known.
        say: Is told what there is to say on the way.

    Raises:
        Refused: It is wrong.
    """
    read = _Reading(memory_total, swap_total, say)
    try:
        for option, argument in given(arguments, OPTIONS, in_order="POSIXLY_CORRECT" in os.environ):
            read.option(option, argument)
            if read.found.get("asked"):
                break
    except BadUsage as error:
        raise Refused(USAGE, f"earlyoom: {error}", "Try 'earlyoom --help' for more information.") from None
    return read.settings()


class _Reading:
    """Settings as they come to be, option by option."""

    def __init__(self, memory_total: int, swap_total: int | None, say: Say) -> None:
        self.found: dict[str, object] = {}
        self._expressions: dict[str, str] = {}
        self._memory, self._swap = memory_total, swap_total
        self._say = say

    def option(self, name: str, argument: str) -> None:
        """Takes the next option."""
        if name == "":
            raise Refused(USAGE, f"fatal: extra argument not understood: '{argument}'")
        if name in _FLAGS:
            field, value, line = _FLAGS[name]
            self.found[field] = value
            if line:
                self._say(PLAIN, line)
        elif name in "mM":
            # The machine's own limit for sizes; a machine that is not known has none.
            limit = MOST if name == "m" else self._memory * MOST // 100 // 1024 or inf
            self.found["memory" if name == "m" else "memory_size"] = self._levels(name, argument, limit, MEMORY)
        elif name == "s":
            self.found["swap"] = self._levels(name, argument, 100, SWAP)
        elif name == "S":
            limit = self._swap * 100 // 99 // 1024 if self._swap else inf
            self.found["swap_size"] = self._levels(name, argument, limit, SWAP)
            if self._swap == 0:
                self._say(WARN, "warning: -S: there is no swap now; the size counts if some is added later")
        elif name == "r":
            self.found["report"] = _interval(argument)
        elif name in "NP":
            self._program(name, argument)
        elif name in ("prefer", "avoid", "ignore"):
            self._expressions[name] = argument
        else:
            since = {"k": "1.2", "i": "1.7"}[name]
            self._say(WARN, f"Option -{name} is ignored since earlyoom v{since}")

    def settings(self) -> Settings:
        """All of them, with defaults for what was not given."""
        if not self.found.get("asked"):
            # Only now, as there: another option's mistake comes first, and the last one of each wins.
            for name, expression in self._expressions.items():
                try:
                    self.found[name] = selector(expression)
                except NotAnExpression as error:
                    raise Refused(REGEX, f"fatal: could not compile regexp '{expression}': {error}") from None
                self._say(PLAIN, f"{_SAID[name]} '{expression}'")
        return Settings(**self.found)  # type: ignore[arg-type]

    def _levels(self, name: str, argument: str, limit: float, code: int) -> Levels:
        def wrong(problem: str) -> Refused:
            return Refused(code, f"fatal: -{name}: {problem}")

        def level(text: str) -> float:
            try:
                value = number(text)
            except ValueError as error:
                raise wrong(str(error)) from None
            if value > limit:
                raise wrong(f"value {value:f} exceeds limit {limit:.0f}")
            if value < 0:
                raise wrong(f"value {value:f} below zero")
            return value

        length = len(argument.encode("utf-8", "surrogateescape"))
        if length > LONGEST:
            raise wrong(f"argument too long ({length} bytes)")
        first, comma, second = argument.partition(",")
        term = level(first)
        kill = level(second) if comma else term / 2
        if not term and not kill:
            raise wrong("both SIGTERM and SIGKILL values are zero")
        if term < kill:
            self._say(
                WARN,
                f"warning: SIGTERM value {term:.2f} is below SIGKILL value {kill:.2f}, "
                f"setting SIGTERM = SIGKILL = {kill:.2f}",
            )
        return Levels(max(term, kill), kill)

    def _program(self, name: str, path: str) -> None:
        field = "after" if name == "N" else "before"
        self.found[field] = path
        if not path.startswith("/"):
            self._say(WARN, f"warning: -{name}: '{path}' is not an absolute path: nothing is run")
            self.found[field] = ""
        elif not os.access(path, os.X_OK):
            self._say(WARN, f"warning: -{name}: '{path}' cannot be executed now; it is tried all the same")


#: Options without an argument: which setting they change, to what, and what is said.
_FLAGS: dict[str, tuple[str, object, str]] = {
    "n": ("notify", True, "Notifying through D-Bus"),
    "g": ("group", True, ""),
    "d": ("debug", True, ""),
    "p": ("priority", True, ""),
    "v": ("asked", "version", ""),
    "h": ("asked", "help", ""),
    "ignore-root-user": ("spare_root", True, "Processes of the user root are never taken"),
    "sort-by-rss": ("by_rss", True, "The process with the largest VmRSS is taken first"),
    "dryrun": ("dry_run", True, "dryrun mode enabled, will not kill anything"),
    "syslog": ("syslog", True, ""),
    "kernel-oom": ("kernel_oom", True, ""),
}
_SAID = {
    "prefer": "Preferring to kill process names that match regex",
    "avoid": "Will avoid killing process names that match regex",
    "ignore": "Will ignore process names that match regex",
}


def number(text: str) -> float:
    """A decimal number; nothing at all is 0, and white space may stand before it.

    Raises:
        ValueError: It is none, or something follows it, or it is too large or too small for a machine.
    """
    start = len(text) - len(text.lstrip(" \t\n\v\f\r"))
    end = start + (text[start : start + 1] in ("+", "-"))
    whole = _digits(text, end)
    end += whole
    if text[end : end + 1] == "." and (whole or _digits(text, end + 1)):
        decimals = _digits(text, end + 1)
        end += 1 + decimals
        whole += decimals
    if not whole:
        end = start = 0
    elif text[end : end + 1] in ("e", "E"):
        sign = text[end + 1 : end + 2] in ("+", "-")
        digits = _digits(text, end + 1 + sign)
        end += 1 + sign + digits if digits else 0
    if end < len(text):
        raise ValueError(f"trailing garbage '{text[end:]}'")
    value = float(text[start:end] or 0)
    is_zero = not any(digit in text[start:end].lower().partition("e")[0] for digit in "123456789")
    if abs(value) == inf or (value == 0 and not is_zero):
        raise ValueError("conversion error: Numerical result out of range")
    return value


def _digits(text: str, start: int) -> int:
    """How many digits there are from a place on."""
    end = start
    while text[end : end + 1] in tuple("0123456789"):
        end += 1
    return end - start


def _interval(argument: str) -> float:
    # `-r=60` is what many write; earlyoom takes that for 0.
    text = argument.removeprefix("=")
    try:
        seconds = number(text)
    except ValueError as error:
        raise Refused(REPORT, f"fatal: -r: invalid interval '{argument}': {error}") from None
    if seconds < 0 or not text.strip():
        raise Refused(REPORT, f"fatal: -r: invalid interval '{argument}'")
    return seconds


def usage() -> list[str]:
    """The help, line by line."""
    lines = ["Usage: earlyoom [OPTION]...", ""]
    for option in OPTIONS:
        if option.short in ("k", "i"):
            continue
        names = [f"-{option.short}"] * bool(option.short) + [f"--{option.long}"] * bool(option.long)
        head = f"  {', '.join(names)} {option.takes}".rstrip()
        width, column, text = 80, 28, ""
        for word in option.text.split():
            if len(text) + len(word) + 1 > width - column:
                lines.append(f"{head:<{column - 1}} {text}")
                head, text = "", word
            else:
                text = f"{text} {word}".strip()
        lines.append(f"{head:<{column - 1}} {text}")
    return [*lines, "", "okoomer in the place of earlyoom; docs/from-earlyoom.md says what it does otherwise."]
