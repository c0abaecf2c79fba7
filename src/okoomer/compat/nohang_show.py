"""nohang's settings for people: every one, under headings, sizes in MiB and percent side by side."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from okoomer.compat.nohang_directives import ADJUSTMENTS, FLAGS, SOFT_ACTIONS
from okoomer.compat.nohang_keys import KEYS, SECTIONS, VICTIM, Settings
from okoomer.policy.model import Amount, Instead, Points
from okoomer.units import MIB

_UNITS = {
    "psi_excess_duration": "s",
    "psi_post_action_delay": "s",
    "fill_rate_mem": "MiB/s",
    "fill_rate_swap": "MiB/s",
    "fill_rate_zram": "MiB/s",
    "max_sleep": "s",
    "min_sleep": "s",
    "min_post_warning_delay": "s",
    "env_cache_time": "s",
    "warning_threshold_max_psi": "%",
    "soft_threshold_max_psi": "%",
    "hard_threshold_max_psi": "%",
    "max_soft_exit_time": "s",
    "post_soft_action_delay": "s",
    "post_zombie_delay": "s",
    "victim_cache_time": "s",
    "exe_timeout": "s",
    "min_mem_report_interval": "s",
}
_WIDTH = max(map(len, KEYS))


def shown(settings: Settings, memory_total: int, swap_total: int) -> Iterator[str]:
    """All settings, a line each, under headings.

    Args:
        memory_total: Bytes of memory of the machine.
        swap_total: Bytes of its swap at present.
    """
    for section in SECTIONS:
        yield section
        for key in KEYS.values():
            if key.section == section:
                value = getattr(settings, key.name)
                whole = swap_total if key.name.endswith("_swap") else memory_total
                text = level(value, whole) if isinstance(value, Amount) else _written(key.name, value)
                yield f"  {key.name:{_WIDTH}}  {text}".rstrip()
        if section == VICTIM:
            yield from _directives(ADJUSTMENTS, (_adjustment(one) for one in settings.adjustments))
            yield from _directives(SOFT_ACTIONS, (_soft_action(one) for one in settings.soft_actions))
            for flag in FLAGS:
                yield f"  {'@' + flag:{_WIDTH}}  {getattr(settings, flag)}"
        yield ""


def level(amount: Amount, whole: int) -> str:
    """A level in MiB and percent; without a whole to compare it with, as it was written."""
    share = amount.value if amount.share else amount.value / whole if whole else None
    size = amount.value * (whole if amount.share else 1) / MIB if whole or not amount.share else None
    texts = [f"{size:.0f} MiB" if size is not None else "", f"{share * 100:.4g} %" if share is not None else ""]
    return ", ".join(filter(None, texts))


def _written(name: str, value: object) -> str:
    if isinstance(value, tuple):
        return shlex.join(value) or "(none)"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{text} {_UNITS[name]}" if name in _UNITS else text


def _directives(known: dict[str, tuple[str, str]], said: Iterable[tuple[str, str]]) -> Iterator[str]:
    lines = list(said)
    for name, (kind, what) in known.items():
        own = [line for of, line in lines if of == kind]
        yield f"  @{name}, by {what}: {'' if own else '(none)'}".rstrip()
        yield from (f"    {line}" for line in own)


def _adjustment(one: Points) -> tuple[str, str]:
    return one.selector.kind, f"{one.value:+8.0f}  {one.selector.pattern}"


def _soft_action(one: Instead) -> tuple[str, str]:
    return one.selector.kind, f"{one.selector.pattern}  =>  {shlex.join(one.command)}"
