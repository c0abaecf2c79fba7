"""nohang's settings as a policy: three levels, each by what it looks at, most urgent first."""

from __future__ import annotations

import shutil
from pathlib import Path

from okoomer.compat import Translation
from okoomer.compat.nohang_directives import FLAGS
from okoomer.compat.nohang_keys import DEFAULTS, KEYS, Settings, Thresholds
from okoomer.policy.condition import condition
from okoomer.policy.model import Amount, Hook, Instead, Policy, Rule, Step
from okoomer.policy.source import Text
from okoomer.record import replace
from okoomer.units import MIB

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PRESSURE = DEFAULTS.psi_path

#: What is knowingly different, whatever the settings.
ALWAYS = (
    ("", "who would give back less than 1 % of memory (4 MiB at least, 64 MiB at most) is not ended: that is in vain"),
    ("", "after an act the next choice waits until memory is back; a process that exits meanwhile delays nothing"),
)


def translate(settings: Settings) -> Translation:
    """The policy that does what the settings say, and what is different."""
    rules = [_kill(settings, "hard", settings.hard, False), _kill(settings, "soft", settings.soft, True)]
    if settings.psi_checking_enabled:
        rules.insert(1, _stalled(settings, rules[0], settings.hard))
        rules.append(_stalled(settings, rules[-1], settings.soft))
    notify, hooks = [], []
    if settings.low_memory_warnings_enabled:
        when = _warning(settings)
        steps = (Step("warn"),)
        rules.append(_rule(settings, "warning", when, steps, settings.min_post_warning_delay))
        if settings.warning_exe:
            hooks.append(Hook("warned", _found(settings.warning_exe), settings.exe_timeout))
        else:
            notify.append("warned")
    if settings.post_action_gui_notifications:
        notify.append("signalled")
    if settings.post_kill_exe:
        hooks.append(Hook("signalled", _found(settings.post_kill_exe), settings.exe_timeout))
    policy = Policy(
        name=Path(settings.file).stem or "nohang",
        rules=tuple(rules),
        points=settings.adjustments,
        instead=tuple(Instead(one.selector, _found(one.command)) for one in settings.soft_actions),
        hooks=tuple(hooks),
        notify=tuple(notify),
        report=_report(settings),
        pressure=settings.psi_path if settings.psi_path != _PRESSURE and settings.psi_checking_enabled else "",
        tell=tuple(
            what
            for what, wanted in (("cmdline", settings.print_victim_cmdline), ("kernel_kills", settings.check_kmsg))
            if wanted
        ),
    )
    return Translation(policy, tuple(_notes(settings)))


def _kill(settings: Settings, name: str, level: Thresholds, asks: bool) -> Rule:
    kill = Step("kill")
    steps = (Step("term", settings.max_soft_exit_time), kill) if asks else (kill,)
    return _rule(settings, name, _joined(_low(level), _scarce(settings, level)), steps, settings.post_zombie_delay)


def _stalled(settings: Settings, like: Rule, level: Thresholds) -> Rule:
    """The same level, on pressure in the place of swap."""
    when = _joined(_low(level), _stall(settings, level))
    if settings.psi_excess_duration:
        when = f"({when}) for {_plain(settings.psi_excess_duration)}s"
    when = f"{when} and swap.total > 0B"
    return _rule(settings, f"{like.name}-psi", when, like.steps, settings.psi_post_action_delay)


def _warning(settings: Settings) -> str:
    level = settings.warning
    evidence = _scarce(settings, level)
    if evidence and settings.psi_checking_enabled:
        evidence = f"{evidence} or ({_stall(settings, level)} and swap.total > 0B)"
    return _joined(_low(level), evidence)


def _rule(settings: Settings, name: str, when: str, steps: tuple[Step, ...], rest: float) -> Rule:
    text = Text(settings.file, when, when, range(len(when) + 1))
    rule = Rule(name, condition(text), when, unit="process", rank="badness", steps=steps, rest=rest)
    if rule.only_warns:
        return rule
    raised = not settings.ignore_positive_oom_score_adj
    return replace(rule, least_score=float(settings.min_badness), raised=raised)


def _joined(low: str, evidence: str) -> str:
    """Both must hold; an empty text is what holds always."""
    if not low or not evidence:
        return low or evidence or "mem.total > 0B"
    return f"{low} and ({evidence})" if " or " in evidence else f"{low} and {evidence}"


def _low(level: Thresholds) -> str:
    return "" if _is_all(level.mem) else f"mem.available <= {_size(level.mem)}"


def _scarce(settings: Settings, level: Thresholds) -> str:
    """That swap is short or zram full."""
    zram_holds = settings.zram_checking_enabled and not level.zram.value
    if _is_all(level.swap) or zram_holds:
        return ""
    swap = f"swap.free <= {_size(level.swap)}"
    return f"{swap} or zram.used >= {_size(level.zram)}" if settings.zram_checking_enabled else swap


def _stall(settings: Settings, level: Thresholds) -> str:
    line, _, average = settings.psi_metrics.partition("_")
    return f"psi.memory.{line}.{average} >= {_plain(level.psi)}%"


def _is_all(level: Amount) -> bool:
    return level.share and level.value >= 1


def _size(level: Amount) -> str:
    return f"{_plain(level.value * 100)}%" if level.share else f"{_plain(level.value / MIB)}MiB"


def _plain(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


def _report(settings: Settings) -> float:
    if not settings.print_mem_check_results:
        return 0.0
    return settings.min_mem_report_interval or settings.max_sleep


def _found(command: tuple[str, ...]) -> tuple[str, ...]:
    """A command with the path of its program, where that is known."""
    return (shutil.which(command[0], path=_PATH) or command[0], *command[1:])


def _notes(settings: Settings) -> list[tuple[str, str]]:
    """What a person who knows nohang has to know."""
    notes = list(ALWAYS)
    for level in ("hard", "soft", "warning"):
        amount: Amount = getattr(settings, level).swap
        if not amount.share and amount.value and (level != "warning" or settings.low_memory_warnings_enabled):
            size = _plain(amount.value / MIB)
            notes.append(
                (
                    f"{level}_threshold_min_swap",
                    f"{size} M is {size} MiB; nohang compares {size} KiB, so this acts earlier",
                )
            )
    if settings.low_memory_warnings_enabled and _below(settings.warning.mem, settings.soft.mem):
        notes.append(
            ("warning_threshold_min_mem", "is below soft_threshold_min_mem: the action comes before the warning")
        )
    if settings.psi_checking_enabled:
        notes.append(("psi_excess_duration", "time in which memory was not short is not counted"))
        notes.append(("psi_post_action_delay", "counts from the last act, not from the start"))
    if settings.ignore_positive_oom_score_adj:
        notes.append(("ignore_positive_oom_score_adj", "two thirds are taken off, as the kernel adds them since 5.9"))
    if settings.post_kill_exe:
        notes.append(("post_kill_exe", "is run after each signal, SIGTERM as well as SIGKILL"))
    if settings.soft_actions:
        notes.append(
            ("exe_timeout", "a command in place of SIGTERM has max_soft_exit_time before the victim is killed")
        )
    for command in (settings.warning_exe, settings.post_kill_exe, *(one.command for one in settings.soft_actions)):
        if command and not Path(_found(command)[0]).is_file():
            notes.append(("", f"there is no program {command[0]} here"))
    notes += [(f"@{flag}", why) for flag, why in FLAGS.items() if f"@{flag}" in settings.given]
    for key in KEYS.values():
        if key.name not in settings.given:
            notes.append((key.name, "is not in the file: the default holds"))
        elif key.idle:
            notes.append((key.name, f"changes nothing here: {key.here}"))
    return notes


def _below(one: Amount, other: Amount) -> bool:
    return one.share == other.share and one.value < other.value
