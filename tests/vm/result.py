"""What happened in a guest: who said what, who killed whom, who lives."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Self

SI_KERNEL = 128  # a signal's code when no process sent it
DELIVERED = 0  # otherwise the target ignores the signal or has it already

TRACE = re.compile(r" *(?P<comm>.*?)-(?P<pid>\d+) +\[\d+\] \S+ +(?P<at>\d+\.\d+): \w+: (?P<rest>.*)")
SIGNAL = re.compile(
    r"sig=(?P<signal>\d+) errno=\S+ code=(?P<code>\S+) "
    r"comm=(?P<comm>.*) pid=(?P<pid>\d+) grp=\d+ res=(?P<res>\d+)"
)
VICTIM = re.compile(r"pid=(?P<pid>\d+)")  # all of mark_victim in older kernels, its start in newer ones
UNIT = re.compile(r"[^/]+\.(?:service|scope)")


class Ending(Enum):
    """Why a run was over."""

    DONE = "the job was done"
    LIMIT = "the time was up"
    FAILED = "the job could not be started, or its script failed"
    MACHINE_GONE = "the guest's kernel or QEMU ended"


@dataclass(frozen=True)
class Line:
    """A line that a program said; ``at`` is in seconds of the host since the job's start.

    The agent says itself when another voice is gone, and how the job's script ended.
    """

    at: float
    voice: str
    text: str

    def __str__(self) -> str:
        return f"{self.voice}: {self.text}"


@dataclass(frozen=True)
class Memory:
    """A sample, in MiB; ``at`` is in seconds of the guest since the job's start.

    ``some_s`` and ``full_s`` are the seconds in which some or all tasks have waited for memory since the boot.
    """

    at: float
    free: float
    available: float
    swap_free: float
    some_s: float
    full_s: float

    def __str__(self) -> str:
        return f"{self.available:.0f} MiB available, {self.swap_free:.0f} MiB of swap free"


@dataclass(frozen=True)
class Process:
    """A process as the trace knows it, and its systemd unit, if it lived long enough to be asked."""

    pid: int
    comm: str
    unit: str = ""


@dataclass(frozen=True)
class Kill:
    """A signal 9 or 15 that arrived; ``at`` is in seconds of the guest since the job's start.

    The sender of a kernel OOM kill is the process that wanted memory, often the victim itself.
    """

    at: float
    signal: int
    sender: Process
    target: Process
    by_kernel_oom: bool

    def __str__(self) -> str:
        by = "the kernel's OOM killer" if self.by_kernel_oom else f"{self.sender.unit} ({self.sender.comm})"
        return f"signal {self.signal} to {self.target.comm} ({self.target.pid}) by {by}"


@dataclass(frozen=True)
class Result:
    """All that is known of a run; ``str`` of it is a report."""

    ending: Ending
    lines: tuple[Line, ...]
    kills: tuple[Kill, ...]
    memory: tuple[Memory, ...]
    alive: frozenset[str]  # the voices that spoke and were not hung up
    console: str
    start: float = 0  # of the job, in seconds of the guest's monotonic clock

    @classmethod
    def of(cls, ending: Ending, heard: list[tuple[float, str]], console: str) -> Self:
        """Make sense of what the agent said, each line with the host's time in seconds."""
        tagged = [(at, *_pair(line)) for at, line in heard]
        # The same instant by the host's clock and by the guest's.
        begun, start = next(((at, float(rest)) for at, tag, rest in tagged if tag == "start"), (0.0, 0.0))
        return cls(
            ending,
            tuple(_lines(tagged, begun)),
            _kills(tagged, start),
            tuple(_memory(rest, start) for _, tag, rest in tagged if tag == "mem"),
            frozenset(_pair(rest)[0] for _, tag, rest in tagged if tag == "say")
            - {rest for _, tag, rest in tagged if tag == "gone"},
            console,
            start,
        )

    @property
    def timed_out(self) -> bool:
        return self.ending is Ending.LIMIT

    def said(self, voice: str) -> list[str]:
        """The lines of one voice."""
        return [line.text for line in self.lines if line.voice == voice]

    def __str__(self) -> str:
        said: list[Line | Kill | Memory] = [*self.lines, *self.kills, *self.memory[::10]]
        said.sort(key=lambda item: item.at)
        summary = f"{self.ending.value}; alive: {', '.join(sorted(self.alive)) or 'nobody'}"
        return "\n".join([summary, *(f"{item.at:7.2f} s  {item}" for item in said), self.console])


def _lines(tagged: list[tuple[float, str, str]], begun: float) -> Iterator[Line]:
    for at, tag, rest in tagged:
        if tag == "say":
            yield Line(at - begun, *_pair(rest))
        elif tag in ("gone", "end", "failed"):
            yield Line(at - begun, "agent", f"{tag} {rest}")


def _pair(text: str) -> tuple[str, str]:
    first, _, rest = text.partition(" ")
    return first, rest


def _memory(rest: str, start: float) -> Memory:
    at, free, available, swap_free, some, full = map(float, rest.split())
    return Memory(at - start, free / 1024, available / 1024, swap_free / 1024, some / 1e6, full / 1e6)


def _kills(tagged: list[tuple[float, str, str]], start: float) -> tuple[Kill, ...]:
    units: dict[int, str] = {}
    signals: list[tuple[re.Match[str], re.Match[str]]] = []
    marked: set[int] = set()
    for _, tag, rest in tagged:
        if tag == "unit":
            pid, group = _pair(rest)
            units[int(pid)] = (UNIT.findall(group) or [""])[-1]
        elif tag == "trace" and (trace := TRACE.match(rest)):
            if signal := SIGNAL.match(trace["rest"]):
                signals.append((trace, signal))
            elif victim := VICTIM.match(trace["rest"]):
                marked.add(int(victim["pid"]))
    return tuple(
        Kill(
            float(trace["at"]) - start,
            int(signal["signal"]),
            Process(int(trace["pid"]), trace["comm"], units.get(int(trace["pid"]), "")),
            Process(int(signal["pid"]), signal["comm"]),
            # The kernel signals the victim first and marks it then.
            int(signal["code"]) == SI_KERNEL and int(signal["pid"]) in marked,
        )
        for trace, signal in signals
        if int(signal["res"]) == DELIVERED
    )
