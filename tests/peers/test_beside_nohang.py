"""okoomer with nohang's configuration beside Debian's nohang: the same decisions, but for what is listed here.

Levels of memory and swap, rules of badness and commands in place of SIGTERM. Pressure is not here: nohang takes it into
account ten seconds after its start at the earliest.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from okoomer.compat.nohang import load, translate
from okoomer.policy.error import PolicyError
from tests.box import peers
from tests.box.box import Box
from tests.box.process import Line
from tests.box.procfiles import KIB, MIB, Memory
from tests.peers.explain import Mended, Outcome, Tally
from tests.peers.ours import decided
from tests.peers.worlds import Pool, Seen, in_vain, least_of, memory, seed

WORLDS = int(os.environ.get("OKOOMER_WORLDS_NOHANG", "200"))
IN_A_BOX = 25
#: It looks once, at its start, and does one thing.
ONCE = {
    "min_sleep": "30", "max_sleep": "30", "post_zombie_delay": "30", "victim_cache_time": "0",
    "max_soft_exit_time": "1000", "print_victim_status": "False", "debug_sleep": "True",
}  # fmt: skip

#: What is different on purpose.
MENDED = {
    "M of swap is KiB": "it is MiB, as nohang's documentation has it",
    "a tie goes by the pid": "of equals, who has more resident goes first",
    "all of a raised oom_score_adj is taken off": "two thirds, as the kernel adds it since 5.9",
    "NaN is taken for a number": "it is refused",
    "hard above soft is taken": "it is refused",
    "an oom_score of 0 is passed over": "points can make somebody of it",
    "minimum size": "who frees less than 1 % of memory, 4 to 64 MiB, is left alone",
    "in vain": "nobody is ended for memory that belongs to no process",
}
#: Patterns by what they look at.
PATTERNS = {
    "NAME": ("^web", "^java$", r"\d$", "[A-Z]", r"[) ]", ".", "^(sshd|postgres)$", "(?i)WEB"),
    "CMDLINE": ("hog.py", '"uid": 1000', '"threads": 4', "sleep infinity", "nobody-has-this"),
    "ENVIRON": ("ROLE=renderer", "ROLE=(database|build)", "PATH="),
    "UID": ("^0$", "^1", "33", "^65534$"),
    "REALPATH": ("python", "/sleep$", "^/usr/bin/"),
    "CWD": ("^/", "nowhere"),
    "CGROUP_V1": ("^/$", "system.slice"),
    "CGROUP_V2": ("^/$", "session"),
}
POINTS = (1, 2, 3, 5, 50, 200, 300, 700, -1, -2, -5, -50, -200, -650, -700, -2000)


@dataclass(frozen=True)
class Asked:
    """A configuration as it is meant (levels of memory and swap; rules by kind, points and pattern; patterns of those
    for whom there is a command), and as it is written."""

    soft: tuple[Level, Level]
    hard: tuple[Level, Level]
    rules: tuple[tuple[str, int, str], ...] = ()
    commands: tuple[str, ...] = ()
    ignores: bool = False
    least: int = 1
    lines: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Level:
    """`number` of `unit`, % or M."""

    number: float
    unit: str

    def bytes(self, whole: int, mega: int = MIB) -> float:
        return self.number / 100 * whole if self.unit == "%" else self.number * mega

    @property
    def text(self) -> str:
        return f"{self.number:g} {self.unit}"


def asked(rng: random.Random, total: int, swap_total: int) -> Asked:
    """A random configuration for a machine of that size."""

    def levels(most: float, whole: int) -> tuple[Level, Level]:
        unit = rng.choice("%%M")
        whole = whole or 1024 * MIB
        first, second = sorted(round(rng.uniform(0, most), rng.choice((0, 1, 2))) for _ in range(2))
        if unit == "M":
            first, second = (float(int(level / 100 * whole / MIB)) for level in (first, second))
        if rng.random() < 0.02:
            first, second = second, first
        return Level(first, unit), Level(second, unit)

    (hard_mem, soft_mem), (hard_swap, soft_swap) = levels(rng.choice((20, 49)), total), levels(90, swap_total)
    if rng.random() < 0.02:
        soft_swap = Level(float("nan"), "%")
    rules = []
    for _ in range(rng.choice((0, 1, 2, 4))):
        kind = rng.choice(("NAME", "NAME", *PATTERNS))
        rules.append((kind, rng.choice(POINTS), rng.choice(PATTERNS[kind])))
    commands = tuple(rng.choice(PATTERNS["NAME"]) for _ in range(rng.choice((0, 0, 1, 2))))
    ignores, least = rng.random() < 0.4, rng.choice((1, 1, 1, 300, 667, 900))
    settings = {
        **ONCE,
        "soft_threshold_min_mem": soft_mem.text,
        "hard_threshold_min_mem": hard_mem.text,
        "soft_threshold_min_swap": soft_swap.text,
        "hard_threshold_min_swap": hard_swap.text,
        "ignore_positive_oom_score_adj": str(ignores),
        "min_badness": str(least),
    }
    lines = [f"@BADNESS_ADJ_RE_{kind} {points} /// {pattern}" for kind, points, pattern in rules]
    # Of directives that share what stands before the first "=" nohang takes one, and twice the same is an error.
    lines = list({line.partition("=")[0]: line for line in lines}.values())
    rules = [rule for rule in rules if f"@BADNESS_ADJ_RE_{rule[0]} {rule[1]} /// {rule[2]}" in lines]
    commands = tuple(dict.fromkeys(commands))
    lines += [f"@SOFT_ACTION_RE_NAME {pattern} /// /bin/true $PID" for pattern in commands]
    return Asked(
        (soft_mem, soft_swap), (hard_mem, hard_swap), tuple(dict.fromkeys(rules)), commands, ignores, least,
        tuple(lines), settings,
    )  # fmt: skip


# --- nohang 0.2.0, described ------------------------------------------------------------------------------------------


def texts(proc: Path) -> dict[str, str]:
    """What the rules look at."""
    groups = [line.split(":", 2) for line in (proc / "cgroup").read_text().splitlines()]

    def joined(name: str) -> str:
        try:
            return (proc / name).read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""  # of a zombie

    def link(name: str) -> str:
        try:
            return str((proc / name).readlink())
        except OSError:
            return ""

    return {
        "NAME": (proc / "comm").read_text().removesuffix("\n"),
        "CMDLINE": joined("cmdline"),
        "ENVIRON": joined("environ"),
        "UID": (proc / "status").read_text().split("Uid:")[1].split()[1],
        "REALPATH": link("exe"),
        "CWD": link("cwd"),
        "CGROUP_V1": next((path for _, kind, path in groups if kind.startswith("name=")), ""),
        "CGROUP_V2": next((path for number, _, path in groups if number == "0"), ""),
    }


def described(
    config: Asked, machine: Memory, everybody: Sequence[Seen], said: dict[int, dict[str, str]], mended: Mended
) -> Outcome:
    """What nohang makes of a world, with some things mended."""
    assert mended <= set(MENDED)
    levels = (*config.soft, *config.hard)
    if "NaN is taken for a number" in mended and any(level.number != level.number for level in levels):
        return Outcome("refuses")
    if "hard above soft is taken" in mended and any(
        hard.unit == soft.unit and hard.number > soft.number
        for hard, soft in zip(config.hard, config.soft, strict=True)
    ):
        return Outcome("refuses")
    mega = MIB if "M of swap is KiB" in mended else KIB
    reached = [
        (sent, mem.bytes(machine.total))
        for sent, (mem, swap) in (("SIGKILL", config.hard), ("SIGTERM", config.soft))
        if machine.available <= mem.bytes(machine.total) and machine.swap_free <= swap.bytes(machine.swap_total, mega)
    ]
    if not reached:
        return Outcome("rests")
    sent, level = reached[0]

    def badness(one: Seen) -> int:
        found = one.score
        if config.ignores and one.adjustment > 0:
            thirds = "all of a raised oom_score_adj is taken off" in mended
            found -= one.adjustment * 2 // 3 if thirds else one.adjustment
        for kind, points, pattern in config.rules:
            if (points < 0 or one.adjustment >= 0) and re.search(pattern, said[one.pid][kind]):
                found += points
        return max(0, found)

    def rank(one: Seen) -> tuple[int, int]:
        return badness(one), one.rss if "a tie goes by the pid" in mended else 0

    candidates = [
        one
        for one in everybody
        if (one.score > 0 or "an oom_score of 0 is passed over" in mended)
        and one.adjustment > -1000
        and not ("minimum size" in mended and one.freed < least_of(machine))
    ]
    victim = max(candidates, key=rank, default=None)
    if victim is None or badness(victim) < config.least:
        return Outcome("acts")
    if "in vain" in mended and in_vain(machine, level, victim.freed):
        return Outcome("acts")
    if sent == "SIGTERM" and any(re.search(pattern, victim.name) for pattern in config.commands):
        sent = "a command"
    return Outcome("acts", sent, victim.pid)


# --- both, run --------------------------------------------------------------------------------------------------------


def outcome(lines: Sequence[Line]) -> Outcome | None:
    """What nohang has decided, by its log; None as long as it has not."""
    pid, acts = 0, False
    for line in lines:
        acts |= "STARTING implement_corrective_action" in line.text
        if not pid and (named := re.match(r"  PID: (\d+), name: ", line.text)):
            pid = int(named[1])
        if sent := re.fullmatch(r"  Sending (SIG\w+) to the victim", line.text):
            return Outcome("acts", sent[1], pid)
        if line.text.startswith("  Executing the command: "):
            return Outcome("acts", "a command", pid)
        if "nothing to do" in line.text or (acts and line.text.startswith("Sleep ")):
            return Outcome("acts")
        if line.text.startswith("Sleep "):
            return Outcome("rests")
    return None


def run(box: Box, file: Path, pool: Pool) -> Outcome:
    """Runs nohang until it has decided, and sees that the signal arrives of which its log speaks."""
    known = {one.pid for one in pool.seen()}
    before = {pid: len(proc.signals) for pid, proc in pool.procs.items()}
    daemon = box.daemon(peers.nohang(file), env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"})
    box.until(lambda: not daemon.alive or outcome(daemon.lines) is not None, 60, f"nohang to decide on {file}")
    box.memory(available=box.total, anon=None, shmem=0)  # it shall do nothing more
    found = outcome(daemon.lines)
    if found is None:
        return Outcome("refuses")
    victim = pool.procs.get(found.pid or 0)
    if found.signal.startswith("SIG"):
        daemon.wait_line("OK; total response time", 30)
    daemon.stop()
    if found.signal == "SIGKILL":
        pool.wait(lambda seen: all(one.pid != found.pid or one.state == "Z" for one in seen))
    elif found.signal == "SIGTERM" and victim:
        box.until(lambda: not victim.alive or len(victim.signals) > before[victim.pid], 30, f"SIGTERM to {victim}")
        if victim.death:
            assert victim.death.signal == signal.SIGTERM
    # Nothing is left of it and its commands, and whom it ended is buried if init is to do that.
    pool.wait(lambda seen: all(one.pid in known and not (one.ends or awaits_burial(one)) for one in seen))
    return found


def awaits_burial(one: Seen) -> bool:
    """Whether init will bury it at once."""
    return one.state == "Z" and one.parent == 1


def ours_on(box: Box, file: Path, machine: Memory) -> Outcome:
    try:
        settings = load(file, machine.total)
    except PolicyError:
        return Outcome("refuses")
    return decided(box, translate(settings).policy)


@pytest.mark.timeout(1800)
def test_as_nohang_decides_but_for_what_is_listed(nohang: Path, tmp_path: Path) -> None:
    number = seed()
    rng = random.Random(number)
    tally, left = Tally(), WORLDS
    while left > 0:
        with Box() as box:
            pool = Pool(box, rng, asked=True, pretended=rng.random() < 0.5)
            for _ in range(min(left, IN_A_BOX)):
                left -= 1
                one_world(rng, box, pool, tmp_path / "nohang.conf", tally)
                while len(pool.seen()) < 9:
                    pool.hog()
    told = f"\nseed {number}\nbeside nohang 0.2.0: {tally.told()}"
    print(told)
    assert tally.outcomes.total() == 2 * WORLDS
    assert not tally.unexplained, told


def one_world(rng: random.Random, box: Box, pool: Pool, file: Path, tally: Tally) -> None:
    """One more world in a box, decided by both; okoomer first, since nohang acts."""
    pool.adjust()
    machine = memory(rng, box, (0.1, 0.05), (0.1, 0.05))
    config = asked(rng, machine.total, machine.swap_total)
    mem, swap = (
        tuple(level.bytes(whole) / whole for level in levels if whole)
        for levels, whole in (
            ((config.soft[0], config.hard[0]), machine.total),
            ((config.soft[1], config.hard[1]), machine.swap_total),
        )
    )
    machine = memory(rng, box, mem, swap, machine)
    peers.nohang_config(file, config.settings.items())
    with file.open("a", encoding="utf-8") as end:
        end.write("".join(f"\n{line}" for line in config.lines) + "\n")
    everybody = pool.seen()
    said = {one.pid: texts(box.proc / str(one.pid)) for one in everybody}
    ours = ours_on(box, file, machine)
    peer = run(box, file, pool)
    world = f"{config}; {machine}; {everybody}"
    tally.add(world, peer, ours, partial(described, config, machine, everybody, said), list(MENDED))
