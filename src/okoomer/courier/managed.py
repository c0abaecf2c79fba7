"""What systemd's managers say about their units' settings for when memory runs out (systemd.resource-control(5)), and
what of it is news to the guard."""

from __future__ import annotations

import os

from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    #: The setting, and the cgroup of the unit that has it.
    Key: TypeAlias = tuple[str, str]

SWAP, PRESSURE, RULES = "ManagedOOMSwap", "ManagedOOMMemoryPressure", "OOMRules"
#: Settings of the machine's manager, of one user's and of all users' together.
MOST, EACH, USERS = 3072, 256, 1024
#: Rulesets of one unit.
RULESETS = 64
#: Bytes of a path and of a ruleset's name.
LONGEST, LONGEST_NAME = 4000, 255
#: What limits and times are counted in, and where they end (systemd's UINT32_MAX is all, its USEC_INFINITY none).
WHOLE, PERMYRIAD = (1 << 32) - 1, 10_000
SECOND, DAY, NEVER = 1_000_000, 86_400_000_000, (1 << 64) - 1
#: The machine's own manager, before all users.
SYSTEM = -1


class Setting(Record):
    """That the cgroup at `path` is to be watched for `what`: a property, or `OOMRules:` and a ruleset's name. `limit`
    is a share 0..1, `seconds` how long; None where the default holds."""

    what: str
    path: str
    limit: float | None = None
    seconds: float | None = None

    @property
    def packet(self) -> bytes:
        """As the guard is told."""
        limit = "-" if self.limit is None else f"{self.limit:g}"
        seconds = "-" if self.seconds is None else f"{self.seconds:.12g}"
        return f"managed {self.what} {limit} {seconds} {self.path}".encode()


class Change(Record):
    """All settings of one property that a cgroup has from now on; none if it is not to be watched any more."""

    name: str
    path: str
    settings: tuple[Setting, ...] = ()


class Nonsense(ValueError):
    """What was said is not what a manager would say."""


def changes_of(parameters: Any) -> list[Change]:
    """What a manager says.

    Raises:
        Nonsense: It is none of that.
    """
    cgroups = parameters.get("cgroups") if isinstance(parameters, dict) else None
    if not isinstance(cgroups, list):
        raise Nonsense("no list of cgroups")
    return [change for item in cgroups if (change := _change(item))]


def _change(item: Any) -> Change | None:
    """One element; None if it is about something that is not known here."""
    if not isinstance(item, dict):
        raise Nonsense("a cgroup that is no object")
    mode, name = item.get("mode"), item.get("property")
    if not isinstance(mode, str) or not isinstance(name, str):
        raise Nonsense("a cgroup without its mode or property")
    path = path_of(item.get("path"))
    if name not in (SWAP, PRESSURE, RULES) or mode not in ("kill", "auto"):
        return None
    if mode == "auto":
        return Change(name, path)
    if name == RULES:
        names = item.get("rules")
        if not isinstance(names, list) or len(names) > RULESETS:
            raise Nonsense("no list of rulesets")
        return Change(name, path, tuple(Setting(f"{RULES}:{one}", path) for one in dict.fromkeys(map(_ruleset, names))))
    if name == SWAP:
        return Change(name, path, (Setting(name, path),))
    return Change(name, path, (Setting(name, path, _limit(item.get("limit")), _seconds(item.get("duration"))),))


def path_of(given: Any) -> str:
    """A cgroup's path, as in /proc/PID/cgroup.

    Raises:
        Nonsense: It is none.
    """
    if not isinstance(given, str):
        raise Nonsense("a cgroup without a path")
    path = "/" + given.strip("/") if given.startswith("/") or not given else given
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        size = LONGEST + 1
    if not path.startswith("/") or size > LONGEST or "\0" in path:
        raise Nonsense("a path that is none")
    if any(name in ("", ".", "..") for name in path[1:].split("/")) and path != "/":
        raise Nonsense("a path that goes elsewhere")
    return path


def _ruleset(name: Any) -> str:
    if not isinstance(name, str) or not name.isprintable() or not name or " " in name:
        raise Nonsense("a ruleset without a name")
    if len(name.encode()) > LONGEST_NAME:
        raise Nonsense("a ruleset without a name")
    return name


def _limit(given: Any) -> float | None:
    """A share of all that 32 bits can count; to parts of ten thousand, as systemd rounds it. 0 is the default."""
    if given is None:
        return None
    if type(given) is not int or not 0 <= given <= WHOLE:
        raise Nonsense("a limit that is none")
    return (given * PERMYRIAD + WHOLE // 2) // WHOLE / PERMYRIAD if given else None


def _seconds(given: Any) -> float | None:
    if given is None:
        return None
    if type(given) is not int or given < 0:
        raise Nonsense("a duration that is none")
    # Who means for ever, or less than systemd lets through, has not set it.
    return min(given, DAY) / SECOND if SECOND <= given < NEVER else None


class Board:
    """All that is set, by whom; and what the guard does not know of it yet.

    Args:
        hierarchy: Where the cgroups are mounted.
    """

    def __init__(self, hierarchy: str) -> None:
        self.hierarchy = hierarchy
        self._by: dict[int, dict[Key, tuple[Setting, ...]]] = {}
        self._news: dict[Key, bytes] = {}

    def take(self, who: int, changes: list[Change], whole: bool = False) -> int:
        """Takes what a manager says; how many settings were too many.

        Args:
            who: SYSTEM, or a user's number.
            whole: It is all there is: what is not among it is no more.
        """
        mine = self._by.get(who, {})
        after = {} if whole else dict(mine)
        for change in changes:
            key = (change.name, change.path)
            after.pop(key, None)
            if change.settings:
                after[key] = change.settings
        lost = 0
        room = self._room(who)
        for key in reversed(list(after)):
            if self._count(after) <= room:
                break
            lost += len(after.pop(key))
        self._replace(who, after)
        return lost

    def tidy(self) -> None:
        """Forgets what users have said about cgroups that are gone; the machine's manager says so itself."""
        for who, mine in list(self._by.items()):
            if who != SYSTEM:
                there = {key: settings for key, settings in mine.items() if self._exists(key[1])}
                if len(there) < len(mine):
                    self._replace(who, there)

    def settings(self) -> list[Setting]:
        """All that holds, by path."""
        found = [setting for key in self._keys() for setting in self._effective(key)]
        return sorted(found, key=lambda setting: (setting.path, setting.what))

    def news(self) -> tuple[Key, bytes] | None:
        """The next packet that the guard has not been sent."""
        return next(iter(self._news.items()), None)

    def sent(self, key: Key) -> None:
        """It has been sent."""
        self._news.pop(key, None)

    def owner(self, path: str) -> int | None:
        """The user whom a cgroup belongs to; None if there is none."""
        try:
            return os.stat(self.hierarchy + path).st_uid
        except (OSError, ValueError):
            return None

    def _exists(self, path: str) -> bool:
        return self.owner(path) is not None

    def _room(self, who: int) -> int:
        if who == SYSTEM:
            return MOST
        others = sum(self._count(mine) for other, mine in self._by.items() if other not in (who, SYSTEM))
        return max(0, min(EACH, USERS - others))

    def _count(self, mine: dict[Key, tuple[Setting, ...]]) -> int:
        return sum(map(len, mine.values()))

    def _keys(self) -> set[Key]:
        return {key for mine in self._by.values() for key in mine}

    def _effective(self, key: Key) -> tuple[Setting, ...]:
        """What holds: nobody takes away what the machine's manager has set."""
        return next((self._by[who][key] for who in sorted(self._by) if key in self._by[who]), ())

    def _replace(self, who: int, after: dict[Key, tuple[Setting, ...]]) -> None:
        before = self._by.get(who, {})
        keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        held = {key: self._effective(key) for key in keys}
        if after:
            self._by[who] = after
        else:
            self._by.pop(who, None)
        for key in keys:
            holds = self._effective(key)
            for setting in set(held[key]) - set(holds):
                self._news[setting.what, setting.path] = f"unmanaged {setting.what} {setting.path}".encode()
            for setting in holds:
                if setting not in held[key]:
                    self._news[setting.what, setting.path] = setting.packet
