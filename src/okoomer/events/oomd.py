"""The line that oomd writes into the kernel's log for each kill; tools that watch for it find okoomer's kills, too."""

from __future__ import annotations

from okoomer.events.model import BY_LIMIT, Chosen, Signalled
from okoomer.events.text import harmless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from okoomer.record import Record

    #: A cgroup's memory in bytes, and the shares of the last 10, 60 and 300 s in which all its tasks waited for memory.
    Account = tuple[int, tuple[float, float, float]]

#: The actions of oomd that choose as a rank does; of others the rank itself is told.
KILLERS = {
    "size_or_growth": "kill_by_memory_size_or_growth",
    "swap": "kill_by_swap_usage",
    "swap_unprotected": "kill_by_swap_usage",
    "pressure": "kill_by_pressure",
    "io_pressure": "kill_by_pressure",
    "pgscan": "kill_by_pg_scan",
    "io_cost": "kill_by_io_cost",
}
#: In bytes: the kernel's log takes no line of more than 1024.
LONGEST_PATH, LONGEST_NAME = 500, 150


class Kills:
    """Makes the lines.

    Args:
        account: Reads what a cgroup has and suffers; asked before it is ended.
    """

    def __init__(self, account: Callable[[str], Account]) -> None:
        self._account = account
        self._line = ""

    def __call__(self, event: Record) -> str:
        """The line that an event is worth, or ''. In a dry run that is the choice."""
        if isinstance(event, Chosen):
            line = self._of(event)
            self._line = "" if event.dry_run else line
            return line if event.dry_run else ""
        if isinstance(event, Signalled) and event.signal in ("SIGKILL", BY_LIMIT) and (event.pids or event.cgroup):
            line, self._line = self._line, ""
            return line
        return ""

    def _of(self, chosen: Chosen) -> str:
        memory, stalls = self._account(chosen.cgroup)
        if chosen.kind != "cgroup":
            memory = chosen.rss  # a part of it is ended
        averages = " ".join(f"{share * 100:.2f}" for share in stalls)
        path = _short(chosen.cgroup.strip("/"), LONGEST_PATH)
        killer = ("(dry)" if chosen.dry_run else "") + KILLERS.get(chosen.rank, f"kill_by_{chosen.rank or 'rule'}")
        rule, when = (_short(text, LONGEST_NAME) for text in (chosen.rule, chosen.when))
        return (
            f"oomd kill: {averages} {path} {memory} ruleset:[{rule}] detectorgroup:[{when}] "
            f"killer:{harmless(killer)} v2"
        )


def _short(text: str, longest: int) -> str:
    return harmless(text).encode()[:longest].decode("utf-8", "ignore")
