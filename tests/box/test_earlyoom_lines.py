"""Our lines beside those of Debian's earlyoom, in one box and read by one set of expressions.

Debian 12 has version 1.7; what later versions say more, and so we, is optional in the expressions.
"""

from __future__ import annotations

import os
import pty
import re
from collections.abc import Iterable, Iterator

import pytest

from okoomer.events import model
from okoomer.events.earlyoom import Limits, Voice
from okoomer.guard.tell import Tell
from okoomer.record import Record
from okoomer.units import KIB, MIB
from tests.box.box import PYTHON, Box
from tests.box.process import Proc
from tests.unit.streams import shown
from tests.unit.test_voice_earlyoom import CHOSEN

NUMBER = r"( *\d+(?:\.\d+)?)"
#: What each line says, and the numbers and names in it that both must agree on.
FORMS = {
    "sizes": rf"mem total: {NUMBER} MiB, (?:user mem total: [ \d]+ MiB, )?swap total: {NUMBER} MiB",
    "term": rf"sending SIGTERM when mem (?:avail )?<= {NUMBER}% and swap (?:free )?<= {NUMBER}%,",
    "kill": rf"        SIGKILL when mem (?:avail )?<= {NUMBER}% and swap (?:free )?<= {NUMBER}%",
    "state": rf"mem avail: {NUMBER} of {NUMBER} MiB \({NUMBER}%\), swap free: {NUMBER} of {NUMBER} MiB \({NUMBER}%\)",
    "low": rf"low memory! at or below (SIGTERM|SIGKILL) limits: mem {NUMBER}%, swap {NUMBER}%",
    "sending": rf'sending (SIGTERM|SIGKILL) to process {NUMBER} uid {NUMBER} "(.*?)": '
    r"(?:badness|oom_score) \d+, (?:oom_score_adj -?\d+, )?VmRSS \d+ MiB(?:, cmdline \".*\")?",
    "escalating": r"escalating to (SIGKILL) after \d+\.\d+ seconds",
    "exited": r"process (?:\d+ )?exited after \d+\.\d+ seconds",
    "dryrun": "(dryrun), not actually sending any signal",
    "nobody": r"Could not find a process to kill\. Sleeping 1 second\.",
}


def read(lines: Iterable[tuple[str, str]]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Lines by their stream: which line, with which numbers. Between the streams no order can be seen from outside."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {"stdout": [], "stderr": []}
    for stream, text in lines:
        forms = ((form, re.fullmatch(expression, text)) for form, expression in FORMS.items())
        found[stream].append(next(((form, hit.groups()) for form, hit in forms if hit), (text, ())))
    return found


def ours(*happened: Record) -> Iterator[tuple[str, str]]:
    voice = Voice(Limits(24576 * MIB, 24576 * MIB, 0, 10.0, 5.0, 10.0, 5.0))
    names = {1: "stdout", 2: "stderr"}
    for event in happened:
        for fd, _style, text in voice(event):
            yield names[fd], text


def theirs(daemon: Proc) -> Iterator[tuple[str, str]]:
    """What the real one has said by now, without what stands before the limits."""
    for stream in ("stdout", "stderr"):
        lines = [line.text for line in daemon.lines if line.stream == stream]
        begin = "mem total" if stream == "stderr" else ""
        first = next(number for number, text in enumerate(lines) if text.startswith(begin))
        yield from ((stream, text) for text in lines[first:])


def started(dry_run: bool = False) -> model.Started:
    return model.Started("", 1, "", "", (), 24576 * MIB, 0, False, True, dry_run, ())


def part(box: Box, share: int) -> int:
    """So many percent of all memory, as a file in KiB has it."""
    return box.total * share // 100 // KIB * KIB


def short(box: Box, share: int) -> tuple[tuple[str, float | None], ...]:
    return (("mem.available.user", float(part(box, share))), ("swap.free", 0.0))


def chosen(box: Box, hog: Proc, rule: str, share: int, *steps: str, dry_run: bool = False) -> model.Chosen:
    known: dict[str, object] = dict(zip(CHOSEN._fields, CHOSEN, strict=True))
    known |= {"rule": rule, "values": short(box, share), "pids": (hog.pid,), "steps": steps}
    known |= {"user": 0, "root": "hog", "dry_run": dry_run}
    return model.Chosen(**known)  # type: ignore[arg-type]


def report(box: Box, share: int) -> model.Report:
    return model.Report(box.total, part(box, share), box.total - part(box, share), 0, 0)


def test_a_kill_and_an_escalation_read_the_same(box: Box, earlyoom_argv: list[str]) -> None:
    hog = box.spawn(rss_bytes=200 * MIB, name="hog", ignore_term=True, gives_back=box.total // 2)
    daemon = box.daemon([*earlyoom_argv, "-r", "3600"])
    daemon.wait_line("mem avail", 60)
    box.memory(available=box.total * 8 // 100)
    hog.wait_signal(60)
    box.memory(available=box.total * 4 // 100)
    hog.wait(60)
    daemon.wait_line("exited", 60)
    told = ours(
        started(),
        report(box, 80),
        model.RuleChanged("term", "fired", short(box, 8)),
        report(box, 8),
        chosen(box, hog, "term", 8, "term", "kill"),
        model.Signalled("term", "SIGTERM", "hog", (hog.pid,), ()),
        model.RuleChanged("kill", "fired", short(box, 4)),
        model.Signalled("kill", "SIGKILL", "hog", (hog.pid,), ()),
        model.Died("kill", "hog", (hog.pid,), 0.1, 0),
    )
    assert read(told) == read(theirs(daemon))


def test_a_dry_run_reads_the_same(box: Box, earlyoom_argv: list[str]) -> None:
    hog = box.spawn(rss_bytes=200 * MIB, name="hog")
    daemon = box.daemon([*earlyoom_argv, "--dryrun", "-r", "3600"])
    daemon.wait_line("mem avail", 60)
    box.memory(available=box.total * 4 // 100)
    daemon.wait_line("dryrun, not", 60)
    told = read(
        ours(
            started(dry_run=True),
            report(box, 80),
            model.RuleChanged("kill", "fired", short(box, 4)),
            report(box, 4),
            chosen(box, hog, "kill", 4, "kill", dry_run=True),
        )
    )
    # It goes on and on; we rest.
    assert told == {stream: lines[: len(told[stream])] for stream, lines in read(theirs(daemon)).items()}
    assert hog.alive


def test_colours_on_a_terminal_are_the_same(
    box: Box, earlyoom_argv: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    box.spawn(rss_bytes=200 * MIB, name="hog")
    box.memory(available=box.total * 8 // 100)
    on_terminal = f"import pty; pty.spawn({[*earlyoom_argv, '--dryrun']!r})"
    daemon = box.daemon([*PYTHON, "-c", on_terminal])
    daemon.wait_line("dryrun, not", 60)
    box.until(lambda: sum("low memory" in line.text for line in daemon.lines) > 1, 60)
    said = [line.text.rstrip("\r") for line in daemon.lines]
    first = next(number for number, text in enumerate(said) if "mem avail:" in text)
    ours = lines_on_terminal(box)
    assert [colours(text) for text in ours] == [colours(text) for text in said[first : first + len(ours)]]


def colours(text: str) -> list[str]:
    return re.findall(r"\033\[\d+m|(?<=m)[a-z]+|^[a-z]+", text)[:3]


def lines_on_terminal(box: Box) -> list[str]:
    """What Tell writes of an act to a terminal that stands for standard error."""
    hog = Proc(box, 3)
    reader, writer = pty.openpty()
    os.set_blocking(reader, False)
    kept = os.dup(2)
    os.dup2(writer, 2)
    try:
        limits = Limits(24576 * MIB, 24576 * MIB, 0, 10.0, 5.0, 10.0, 5.0)
        tell = Tell(None, as_json=False, voice=Voice(limits))
        tell(chosen(box, hog, "term", 8, "term", "kill", dry_run=True))
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    text = shown(reader, writer)
    os.close(reader)
    os.close(writer)
    return text.replace("\r\n", "\n").split("\n")[:4]
