"""okoomer with earlyoom's options beside Debian's earlyoom: the same decisions, but for what is listed here."""

from __future__ import annotations

import os
import random
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from okoomer.compat.earlyoom import Refused, parse, translate
from tests.box.box import Box
from tests.box.process import Line, Proc
from tests.box.procfiles import GIB, KIB, Memory
from tests.peers.explain import Mended, Outcome, Tally
from tests.peers.ours import decided
from tests.peers.worlds import Pool, Seen, anon_of, in_vain, least_of, look, memory, seed

WORLDS = int(os.environ.get("OKOOMER_WORLDS_EARLYOOM", "500"))
#: So many worlds in one box, and every how manieth also runs the command as installed.
IN_A_BOX, RUN = 25, 25
OKOOMER = str(Path(sys.executable).with_name("okoomer"))
SENDING = re.compile(r"sending (SIG\w+) to process (\d+) ")
FOUND_NOBODY = "Could not find a process to kill"

#: What is different on purpose. B1 to B10 are the defects of earlyoom's that docs/from-earlyoom.md goes into.
MENDED = {
    "B1: -S without swap is fatal": "with sizes of swap and no swap, swap is short",
    "B2: -M of all memory or more is taken": "more than 99 % is refused",
    "B3: NaN is taken for a number": "it is refused",
    "B8: itself on top, it finds nobody": "it leaves itself out",
    "B9: ties by another count of RSS": "by that of /proc/PID/status; here both are exact or neither is",
    "B10: SwapFree below zero is fatal": "it is none, whatever sign it is printed with",
    "1.7: shares of MemTotal": "of what programs can have, as earlyoom has it since 1.8",
    "minimum size": "who frees less than 1 % of memory, 4 to 64 MiB, is left alone",
    "in vain": "nobody is ended for memory that belongs to no process",
    "lowered": "who has lowered its oom_score_adj gets no points against it",
    "below zero": "points take no score below 0, so that such a process can be found",
}
#: Extended regular expressions, and what they mean in Python's words.
PATTERNS = {
    "^web": r"^web",
    "java": r"java",
    "^java$": r"^java\Z",
    "^(sshd|postgres)$": r"^(sshd|postgres)\Z",
    "[[:digit:]]$": r"[0-9]\Z",
    "[[:upper:]]": r"[A-Z]",
    r"[\) ]": r"[\\) ]",
    r"\.": r"\.",
    "-esr|plus": r"-esr|plus",
    r"^\(": r"^\(",
    "^-?bash": r"^-?bash",
    "s{2}|p{1}": r"s{2}|p{1}",
    r"\<b": r"(?<![0-9A-Za-z_])b",
    "o": r"o",
    ".": r".",
    "nobody-has-this": r"nobody-has-this",
}
MEMORY, SWAP = (0.1, 0.05), (0.1, 0.05)


@dataclass(frozen=True)
class Asked:
    """Options, as they are written and as they are meant; a level is (SIGTERM, SIGKILL) in percent or KiB."""

    argv: tuple[str, ...]
    mem: tuple[float, float] | None = None
    swap: tuple[float, float] | None = None
    mem_size: tuple[float, float] | None = None
    swap_size: tuple[float, float] | None = None
    prefer: str = ""
    avoid: str = ""


def asked(rng: random.Random, total: int, swap_total: int) -> Asked:
    """Random options for a machine of that size."""
    argv: list[str] = []
    found: dict[str, object] = {}

    def levels(option: str, name: str, most: float, digits: int, low: float = 0.5) -> None:
        term = round(rng.uniform(low, most), digits)
        kill = round(rng.uniform(0, most), digits) if rng.random() < 0.5 else None
        argv.extend((f"-{option}", f"{term:.{digits}f}" + (f",{kill:.{digits}f}" if kill is not None else "")))
        kill = term / 2 if kill is None else kill
        found[name] = (max(term, kill), kill)

    if rng.random() < 0.4:
        levels("m", "mem", rng.choice((20, 60)), rng.choice((0, 1, 3)))
    if rng.random() < 0.25:
        low, most = (0.98, 1.02) if rng.random() < 0.15 else (0.0, 0.3)
        levels("M", "mem_size", total / KIB * most, 0, total / KIB * low + 1)
    if rng.random() < 0.3:
        levels("s", "swap", rng.choice((20, 100)), rng.choice((0, 1)))
    if rng.random() < (0.2 if swap_total else 0.04):
        levels("S", "swap_size", (swap_total or GIB) // KIB // 2, 0)
    for option in ("prefer", "avoid"):
        if rng.random() < 0.5:
            found[option] = rng.choice((*PATTERNS, ".", ".", "."))
            argv.extend((f"--{option}", str(found[option])))
    if rng.random() < 0.1:
        argv.append("-g")
    if rng.random() < 0.02:
        argv.extend(("-m", "nan"))
        found["mem"] = (float("nan"), float("nan"))
    return Asked(tuple(argv), **found)  # type: ignore[arg-type]


# --- earlyoom 1.7, described ------------------------------------------------------------------------------------------


def described(
    options: Asked, machine: Memory, overflow: bool, everybody: Sequence[Seen], me: int, mended: Mended
) -> Outcome:
    """What earlyoom makes of a world, with some things mended; `me` is its own pid among everybody."""

    def is_mended(name: str) -> bool:
        assert sum(known.startswith(name) for known in MENDED) == 1, name
        return any(one.startswith(name) for one in mended)

    total, swap_total = machine.total, machine.swap_total
    if options.swap_size and not swap_total and not is_mended("B1:"):
        return Outcome("refuses")
    if options.mem and options.mem[0] != options.mem[0] and is_mended("B3:"):
        return Outcome("refuses")
    if options.mem_size and max(options.mem_size) * KIB > total * (0.99 if is_mended("B2:") else 100 / 99):
        return Outcome("refuses")
    if overflow and not is_mended("B10:"):
        return Outcome("refuses")
    whole = machine.available + anon_of(machine) if is_mended("1.7:") else total
    signal, level = "", 0.0
    for rung, name in ((1, "SIGKILL"), (0, "SIGTERM")):
        shares = [options.mem or (None if options.mem_size else (10.0, 5.0)), options.mem_size]
        if shares[0] and shares[0][0] != shares[0][0] and shares[1]:
            shares[0] = None  # of NaN and a number it takes the number
        low = [machine.available * 100 / whole <= shares[0][rung]] if shares[0] else []
        low += [machine.available <= shares[1][rung] * KIB] if shares[1] else []
        percent = options.swap or (None if options.swap_size else (10.0, 5.0))
        free = 0 if overflow else machine.swap_free
        low += [(free * 100 / swap_total if swap_total else 0.0) <= percent[rung]] if percent else []
        low += [free <= options.swap_size[rung] * KIB] if options.swap_size else []
        if all(low):
            signal = name
            levels = [shares[0][rung] / 100 * total] if shares[0] else []
            level = min(levels + ([shares[1][rung] * KIB] if shares[1] else []))
            break
    if not signal:
        return Outcome("rests")

    def score(one: Seen) -> int:
        found = one.score
        if options.prefer and re.search(PATTERNS[options.prefer], one.name):
            found += 0 if one.adjustment < 0 and is_mended("lowered") else 300
        if options.avoid and re.search(PATTERNS[options.avoid], one.name):
            found -= 300
        return max(0, found) if is_mended("below zero") else found

    def rank(one: Seen) -> tuple[int, int]:
        return score(one), one.rss if is_mended("B9:") else one.statm

    candidates = [
        one
        for one in everybody
        if one.adjustment > -1000
        and score(one) >= -1
        and not (is_mended("B8:") and one.pid == me)
        and not (is_mended("minimum size") and one.freed < least_of(machine))
    ]
    victim = max(candidates, key=rank, default=None)
    if victim and is_mended("in vain") and in_vain(machine, level, victim.freed):
        victim = None
    if victim is None or victim.pid == me:
        return Outcome("acts")
    return Outcome("acts", signal, victim.pid)


# --- both, run --------------------------------------------------------------------------------------------------------


def outcome(lines: Sequence[Line]) -> Outcome | None:
    """What earlyoom, or who takes its place, has decided; None as long as it has not."""
    low = False
    for line in lines:
        if sent := SENDING.search(line.text):
            return Outcome("acts", sent[1], int(sent[2]))
        if line.stream == "stdout" and line.text.startswith("mem avail:"):
            return Outcome("rests")
        low |= line.text.startswith("low memory!")
        if low and FOUND_NOBODY in line.text:
            return Outcome("acts")
    return None


def run(box: Box, argv: Sequence[str], patience: float = 30) -> tuple[Outcome, Seen | None]:
    """Runs a daemon until it has decided: what, and itself as the others saw it."""
    daemon: Proc = box.daemon(argv)
    box.until(lambda: not daemon.alive or outcome(daemon.lines) is not None, patience, f"{argv} to decide")
    try:
        itself = look(daemon.proc)
    except (FileNotFoundError, ProcessLookupError, KeyError, ValueError):
        itself = None
    found = outcome(daemon.lines)
    if found is None:
        assert daemon.death and daemon.death.code, (argv, daemon.lines)
        return Outcome("refuses"), None
    daemon.stop()
    return found, itself


def ours_on(box: Box, argv: Sequence[str], machine: Memory) -> Outcome:
    try:
        settings = parse(argv, machine.total, machine.swap_total)
    except Refused:
        return Outcome("refuses")
    return decided(box, translate(settings, machine.total, machine.swap_total).policy)


@pytest.mark.timeout(1800)
def test_as_earlyoom_decides_but_for_what_is_listed(earlyoom: Path) -> None:
    number = seed()
    rng = random.Random(number)
    tally, installed = Tally(), Tally()
    left = WORLDS
    while left > 0:
        with Box() as box:
            pool = Pool(box, rng, pretended=rng.random() < 0.5)
            for _ in range(min(left, IN_A_BOX)):
                left -= 1
                one_world(rng, box, pool, earlyoom, tally, installed if left % RUN == 0 else None)
    told = f"\nseed {number}\nbeside earlyoom 1.7: {tally.told()}\nthe command as installed: {installed.told()}"
    print(told)
    assert tally.outcomes.total() == 2 * WORLDS
    assert not tally.unexplained and not installed.unexplained, told


def one_world(rng: random.Random, box: Box, pool: Pool, root: Path, tally: Tally, installed: Tally | None) -> None:
    """One more world in a box, decided by both."""
    pool.adjust()
    machine = memory(rng, box, MEMORY, SWAP)
    options = asked(rng, machine.total, machine.swap_total)
    if rng.random() < 0.5:
        machine = memory(rng, box, levels_of(options, machine, "mem"), levels_of(options, machine, "swap"), machine)
    overflow = bool(machine.swap_total) and rng.random() < 0.02
    if overflow:
        text = (box.proc / "meminfo").read_text()
        box.write("meminfo", re.sub(r"SwapFree: .*", "SwapFree:       18446744073709551612 kB", text).encode())
    everybody = pool.seen()
    argv = ("--dryrun", *options.argv)
    ours = ours_on(box, argv, machine)
    peer, itself = run(box, [str(root / "usr/bin/earlyoom"), *argv])
    assert pool.seen() == everybody, "a process changed meanwhile"
    seen = sorted((*everybody, *((itself,) if itself else ())), key=lambda one: one.pid)
    decide = partial(described, options, machine, overflow, seen, itself.pid if itself else 0)
    world = f"earlyoom {' '.join(argv)}; {machine}; {seen}"
    tally.add(world, peer, ours, decide, list(MENDED))
    if installed:
        real, _ = run(box, [OKOOMER, "earlyoom", *argv])
        installed.add(world, peer, real, decide, list(MENDED))


def levels_of(options: Asked, machine: Memory, kind: str) -> tuple[float, ...]:
    """Shares of memory or swap at which the options do something."""
    percent, size = getattr(options, kind), getattr(options, f"{kind}_size")
    total = machine.total if kind == "mem" else machine.swap_total
    found = [value / 100 for value in percent or (10.0, 5.0)]
    return (*found, *(value * KIB / total for value in size or () if total))
