"""The keys of nohang's configuration: one table from which parser, check, translation and documentation come."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from fractions import Fraction
from math import isfinite
from typing import Any

from okoomer.policy.model import Amount, Instead, Points
from okoomer.policy.source import Text
from okoomer.record import Record
from okoomer.units import MIB

#: More than anybody means, and less than what stops being a number.
MOST = 1e9
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
#: What may stand for something in a command.
VARIABLES = ("PID", "NAME", "SERVICE", "UID", "CMDLINE")

Reader = Callable[[Text], Any]


class Kind(Record):
    """A kind of value: what is expected, for people, and how it is read."""

    expected: str
    read: Reader


class Key(Record):
    """A key: its section of the settings, its kind, and what it becomes here.

    An `idle` key is read and checked, but there is nothing here that it could change; `here` says why.
    """

    name: str
    section: str
    kind: Kind
    here: str
    idle: bool = False


def number(text: Text, low: float, high: float, expected: str) -> float:
    """A finite number within limits.

    Raises:
        PolicyError: It is none, or out of range.
    """
    if not _NUMBER.fullmatch(text.value):
        raise text.error("not a number", expected)
    value = float(text.value)
    if not isfinite(value) or not low <= value <= high:
        raise text.error("out of range", expected)
    return value


def words(text: Text) -> tuple[str, ...]:
    """A command, split as a shell splits words; no word is none.

    Raises:
        PolicyError: A quotation does not end, or a variable is unknown.
    """
    try:
        found = tuple(shlex.split(text.value))
    except ValueError as error:
        raise text.error(f"not a command, {str(error).lower()}", "words as a shell has them") from None
    for name in re.finditer(r"\$([A-Za-z_]\w*)", text.value):
        if name[1] not in VARIABLES:
            known = ", ".join(f"${variable}" for variable in VARIABLES)
            raise text.part(*name.span()).error("unknown variable", f"one of {known}")
    return found


def _numbers(low: float, high: float = MOST, unit: str = "") -> Kind:
    limits = f"at least {low:g}" if high == MOST else f"from {low:g} to {high:g}"
    expected = f"a number{f' of {unit}' if unit else ''}, {limits}"
    return Kind(expected, lambda text: number(text, low, high, expected))


def _wholes(low: int) -> Kind:
    expected = f"a whole number, at least {low}"

    def read(text: Text) -> int:
        if not re.fullmatch(r"\+?[0-9]{1,9}", text.value):
            raise text.error("not a whole number", expected)
        value = int(text.value)
        if value < low:
            raise text.error("out of range", expected)
        return value

    return Kind(expected, read)


def _one_of(*names: str) -> Kind:
    expected = f"one of {', '.join(names)}"

    def read(text: Text) -> str:
        if text.value not in names:
            raise text.error("not one of the words", expected)
        return text.value

    return Kind(expected, read)


def _levels(low: float, high: float, whole: str) -> Kind:
    """Limits in percent; how many bytes they are depends on the machine (see `nohang.check_machine`)."""
    expected = f"a percentage of {whole} from {low:g} % to {high:g} %, or a size such as 500 M"

    def read(text: Text) -> Amount:
        unit = text.value[-1:]
        if unit not in ("%", "M"):
            raise text.error("a level without a unit", expected)
        amount = text.part(0, len(text.value[:-1].rstrip()))
        number(amount, 0 if unit == "M" else low, MOST if unit == "M" else high, expected)
        value = Fraction(amount.value)
        return Amount(float(value / 100), True) if unit == "%" else Amount(float(value * MIB))

    return Kind(expected, read)


def _text(text: Text) -> str:
    if not text.value or not text.value.isprintable():
        raise text.error("not a path", "a path on one line")
    return text.value


def _flag(text: Text) -> bool:
    if text.value not in ("True", "False"):
        raise text.error("neither True nor False", "True or False")
    return text.value == "True"


FLAG = Kind("True or False", _flag)
PATH = Kind("a path", _text)
COMMAND = Kind("a command, or nothing", words)
SECONDS = _numbers(0, unit="seconds")
TENTH = _numbers(0.1, unit="seconds")
SLEEP = _numbers(0.01, unit="seconds")
RATE = _numbers(100, unit="MiB/s")
STALL = _numbers(1, 100, "percent")
HALF, ALL, ZRAM = _levels(0, 50, "memory"), _levels(0, 100, "memory"), _levels(10, 90, "memory")
SWAP = _levels(0, 100, "swap")
METRIC = _one_of(*(f"{line}_avg{seconds}" for line in ("some", "full") for seconds in (10, 60, 300)))
COLUMN = _one_of("None", "cgroup_v1", "cgroup_v2", "realpath", "cwd", "cmdline", "environ")


class Thresholds(Record):
    """What one level waits for: available memory and free swap at most, zram and stall (percent) at least."""

    mem: Amount
    swap: Amount
    zram: Amount
    psi: float


class Settings(Record):
    """A configuration with nohang's own defaults. Seconds, MiB/s and percent as written; levels are bytes or shares.

    `adjustments` and `soft_actions` are what the directives say; `given` names the keys and directives that the file
    has.
    """

    zram_checking_enabled: bool = False
    psi_checking_enabled: bool = False
    psi_path: str = "/proc/pressure/memory"
    psi_metrics: str = "full_avg10"
    psi_excess_duration: float = 30.0
    psi_post_action_delay: float = 15.0
    fill_rate_mem: float = 6000.0
    fill_rate_swap: float = 2000.0
    fill_rate_zram: float = 4000.0
    max_sleep: float = 3.0
    min_sleep: float = 0.1
    post_action_gui_notifications: bool = False
    hide_corrective_action_type: bool = False
    low_memory_warnings_enabled: bool = False
    warning_exe: tuple[str, ...] = ()
    warning_threshold_min_mem: Amount = Amount(0.20, True)
    warning_threshold_min_swap: Amount = Amount(0.25, True)
    warning_threshold_max_zram: Amount = Amount(0.45, True)
    warning_threshold_max_psi: float = 10.0
    min_post_warning_delay: float = 60.0
    env_cache_time: float = 300.0
    soft_threshold_min_mem: Amount = Amount(0.05, True)
    soft_threshold_min_swap: Amount = Amount(0.10, True)
    soft_threshold_max_zram: Amount = Amount(0.55, True)
    soft_threshold_max_psi: float = 40.0
    hard_threshold_min_mem: Amount = Amount(0.02, True)
    hard_threshold_min_swap: Amount = Amount(0.04, True)
    hard_threshold_max_zram: Amount = Amount(0.60, True)
    hard_threshold_max_psi: float = 90.0
    ignore_positive_oom_score_adj: bool = False
    max_soft_exit_time: float = 10.0
    post_kill_exe: tuple[str, ...] = ()
    min_badness: int = 1
    post_soft_action_delay: float = 3.0
    post_zombie_delay: float = 0.1
    victim_cache_time: float = 10.0
    exe_timeout: float = 20.0
    print_config_at_startup: bool = False
    print_mem_check_results: bool = False
    min_mem_report_interval: float = 60.0
    print_proc_table: bool = False
    extra_table_info: str = "None"
    print_victim_status: bool = True
    print_victim_cmdline: bool = False
    max_victim_ancestry_depth: int = 3
    print_statistics: bool = True
    debug_psi: bool = False
    debug_gui_notifications: bool = False
    debug_sleep: bool = False
    debug_threading: bool = False
    separate_log: bool = False
    check_kmsg: bool = False
    debug_kmsg: bool = False
    adjustments: tuple[Points, ...] = ()
    soft_actions: tuple[Instead, ...] = ()
    file: str = "nohang.conf"
    given: frozenset[str] = frozenset()

    @property
    def warning(self) -> Thresholds:
        """When a person is warned."""
        return Thresholds(
            self.warning_threshold_min_mem,
            self.warning_threshold_min_swap,
            self.warning_threshold_max_zram,
            self.warning_threshold_max_psi,
        )

    @property
    def soft(self) -> Thresholds:
        """When a victim is asked."""
        return Thresholds(
            self.soft_threshold_min_mem,
            self.soft_threshold_min_swap,
            self.soft_threshold_max_zram,
            self.soft_threshold_max_psi,
        )

    @property
    def hard(self) -> Thresholds:
        """When a victim is killed at once."""
        return Thresholds(
            self.hard_threshold_min_mem,
            self.hard_threshold_min_swap,
            self.hard_threshold_max_zram,
            self.hard_threshold_max_psi,
        )


DEFAULTS = Settings()

_IDLE_RATE = "how fast memory can fill is measured on this machine at each start"
_IDLE_SLEEP = "the guard sleeps for as long as no rule can fire, and pressure wakes it"
_DEBUG = "`okoomer status` and `okoomer why --now` tell what is seen and decided"

CHECKING, RATES = "What is looked at", "How often"
WARNINGS, SOFT, HARD = "Warnings and notifications", "Soft threshold", "Hard threshold"
VICTIM, ACTION, OUTPUT, DEBUG = "Choice of the victim", "Action", "What is told", "Debugging"
#: The headings of the settings, in the order in which they are shown.
SECTIONS = (CHECKING, RATES, WARNINGS, SOFT, HARD, VICTIM, ACTION, OUTPUT, DEBUG)


def _thresholds(level: str, section: str, mem: Kind, zram: Kind, rule: str) -> list[Key]:
    return [
        Key(f"{level}_threshold_min_mem", section, mem, f"{rule}: `mem.available <= ...`"),
        Key(f"{level}_threshold_min_swap", section, SWAP, f"{rule}: `swap.free <= ...`; M is MiB"),
        Key(f"{level}_threshold_max_zram", section, zram, f"{rule}: `zram.used >= ...`, if zram is looked at"),
        Key(f"{level}_threshold_max_psi", section, STALL, f"{rule}: `psi.memory.* >= ...`, if pressure is looked at"),
    ]


KEYS: dict[str, Key] = {
    key.name: key
    for key in [
        Key("zram_checking_enabled", CHECKING, FLAG, "whether conditions name `zram.used`"),
        Key("psi_checking_enabled", CHECKING, FLAG, "whether there are the rules `hard-psi` and `soft-psi`"),
        Key("psi_path", CHECKING, PATH, '`pressure = "..."`'),
        Key("psi_metrics", CHECKING, METRIC, "which metric: `psi.memory.full.avg10` and its kin"),
        Key("psi_excess_duration", CHECKING, SECONDS, "`for ...` in the rules `hard-psi` and `soft-psi`"),
        Key("psi_post_action_delay", CHECKING, _numbers(10, unit="seconds"), "`rest` of these two rules"),
        Key("fill_rate_mem", RATES, RATE, _IDLE_RATE, idle=True),
        Key("fill_rate_swap", RATES, RATE, _IDLE_RATE, idle=True),
        Key("fill_rate_zram", RATES, RATE, _IDLE_RATE, idle=True),
        Key("max_sleep", RATES, SLEEP, _IDLE_SLEEP, idle=True),
        Key("min_sleep", RATES, SLEEP, _IDLE_SLEEP, idle=True),
        Key("post_action_gui_notifications", WARNINGS, FLAG, '`notify = ["signalled"]`'),
        Key("hide_corrective_action_type", WARNINGS, FLAG, "an announcement says what was done", idle=True),
        Key("low_memory_warnings_enabled", WARNINGS, FLAG, "whether there is the rule `warning`"),
        Key("warning_exe", WARNINGS, COMMAND, 'a hook on `warned`; without it `notify = ["warned"]`'),
        *_thresholds("warning", WARNINGS, ALL, ALL, "rule `warning`"),
        Key("min_post_warning_delay", WARNINGS, _numbers(1, unit="seconds"), "`rest` of the rule `warning`"),
        Key("env_cache_time", WARNINGS, SECONDS, "sessions are not searched for: the bus carries it", idle=True),
        *_thresholds("soft", SOFT, HALF, ZRAM, "rules `soft`, `soft-psi`"),
        *_thresholds("hard", HARD, HALF, ZRAM, "rules `hard`, `hard-psi`"),
        Key("ignore_positive_oom_score_adj", VICTIM, FLAG, '`raised = "ignored"`'),
        Key("min_badness", VICTIM, _wholes(1), "`least_score`"),
        Key("max_soft_exit_time", ACTION, TENTH, "the step `term ...` of the rules `soft` and `soft-psi`"),
        Key("post_kill_exe", ACTION, COMMAND, "a hook on `signalled`: after SIGTERM, too"),
        Key("post_soft_action_delay", ACTION, TENTH, "nohang does not use it either", idle=True),
        Key("post_zombie_delay", ACTION, SECONDS, "`rest` of the rules `hard` and `soft`"),
        Key("victim_cache_time", ACTION, SECONDS, "a victim is followed by its pidfd until it is gone", idle=True),
        Key("exe_timeout", ACTION, TENTH, "the limit of the hooks"),
        Key("print_config_at_startup", OUTPUT, FLAG, "the same"),
        Key("print_mem_check_results", OUTPUT, FLAG, "whether there is a `report`"),
        Key("min_mem_report_interval", OUTPUT, SECONDS, '`report = "..."`'),
        Key("print_proc_table", OUTPUT, FLAG, "the ten best are told with each act", idle=True),
        Key("extra_table_info", OUTPUT, COLUMN, "a column more in `--tasks`"),
        Key("print_victim_status", OUTPUT, FLAG, "what is known of a victim is told with each act", idle=True),
        Key("print_victim_cmdline", OUTPUT, FLAG, '`tell = ["cmdline"]`'),
        Key("max_victim_ancestry_depth", OUTPUT, _wholes(1), "ancestors are weighed, not told", idle=True),
        Key("print_statistics", OUTPUT, FLAG, "each act is an event, to be counted in the journal", idle=True),
        Key("separate_log", OUTPUT, FLAG, "the journal and the guard's own record keep it", idle=True),
        Key("debug_psi", DEBUG, FLAG, _DEBUG, idle=True),
        Key("debug_gui_notifications", DEBUG, FLAG, _DEBUG, idle=True),
        Key("debug_sleep", DEBUG, FLAG, _DEBUG, idle=True),
        Key("debug_threading", DEBUG, FLAG, _DEBUG, idle=True),
    ]
}
