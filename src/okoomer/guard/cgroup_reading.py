"""Reading cgroups: of each what was asked for, and nothing twice at one instant.

What cannot have changed is not read at all. Where nothing stalled above, nothing stalled below either, so as long as
the machine is well one pressure file tells of all; and what only changes when somebody sets it is read once a second.
"""

from __future__ import annotations

from errno import ENODEV, ENOENT

from okoomer.facts import Cgroup
from okoomer.guard.cgroup_tree import AGE, fresh
from okoomer.kernel import cgroup_text, meminfo, pressure
from okoomer.kernel.cgroup import is_whole
from okoomer.kernel.files import ABSENT, read
from okoomer.policy.tree import protections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from okoomer.facts import Memory, Pressure, Swap
    from okoomer.guard.cgroup_origin import Live, Recording
    from okoomer.guard.cgroup_tree import Node, Tree
    from okoomer.kernel.machine import Machine

    Origin = Live | Recording

#: Where nothing seems to have stalled a pressure file is read again after so many seconds nevertheless, at the
#: earliest: a short stall of one among many busy processors is rounded away above it.
REASSURED = 2.0
#: Seconds after which it is looked again whether a device turns.
DEVICE_AGE = 60.0
PRESSURES = {resource: f"{resource}.pressure" for resource in ("memory", "io", "cpu")}
#: So many troubles are told of at most.
TROUBLES = 16
#: The place of each field in a record, and what stands there if it was not asked for.
PLACES = {field: place for place, field in enumerate(Cgroup._fields)}
MEMORY, LEFT = PLACES["memory"], PLACES["left"]
BLANK = tuple(Cgroup("/"))
assert Cgroup._fields[:4] == ("path", "inode", "owner", "leaf")


class Reading:
    """Reads the cgroups of a tree.

    Args:
        origin: What is known of a cgroup without its files.
    """

    def __init__(self, machine: Machine, tree: Tree, origin: Origin) -> None:
        self._machine = machine
        self._tree = tree
        self._whole = is_whole(tree.mount)
        self._origin = origin
        self._troubles: dict[str, str] = {}
        self._turning: dict[str, tuple[float, bool]] = {}
        self._kept: dict[int, tuple[float, dict[str, int]]] = {}
        self._totals: tuple[float, tuple[Memory, Swap] | None] = (float("-inf"), None)
        self._readers: dict[str, Callable[[Node, float], Any]] = {
            "populated": self._is_populated,
            "frozen": self._is_frozen,
            "whole": lambda node, time: bool(self._value(node, "memory.oom.group", cgroup_text.flag, time, AGE)),
            "memory": self._memory,
            "swap": self._swap,
            "minimum": lambda node, time: self._value(node, "memory.min", cgroup_text.protected, time, AGE) or 0,
            "low": lambda node, time: self._value(node, "memory.low", cgroup_text.protected, time, AGE) or 0,
            "high": lambda node, time: self._value(node, "memory.high", cgroup_text.limit, time, AGE),
            "maximum": lambda node, time: self._value(node, "memory.max", cgroup_text.limit, time, AGE),
            "left": self._left,
            "protection": self._protection,
            "io_cost": self._io_cost,
            "dying": lambda node, time: self._value(node, "cgroup.stat", cgroup_text.dying, time),
            "processes": lambda node, time: self._value(node, "pids.current", cgroup_text.number, time),
            "events": lambda node, time: self._value(node, "memory.events", cgroup_text.counts, time) or (),
            "age": lambda node, time: max(0.0, time - origin.first(node)),
            "memory_pressure": lambda node, time: self._stalls(node, "memory", time),
            "io_pressure": lambda node, time: self._stalls(node, "io", time),
            "cpu_pressure": lambda node, time: self._stalls(node, "cpu", time),
            "tags": self._tags,
            **{field: self._account(field) for field in cgroup_text.Accounts._fields},
        }
        self._plans: dict[frozenset[str], tuple[tuple[int, Callable[[Node, float], Any]], ...]] = {}

    def record(self, node: Node, fields: frozenset[str], time: float) -> Cgroup | None:
        """A cgroup with these fields, or None if it is gone."""
        if time - node.looked >= node.patience and not self._tree.look(node, time):
            return None
        plan = self._plans.get(fields)
        if plan is None:
            chosen = [(PLACES[field], self._readers[field]) for field in sorted(fields) if field in self._readers]
            plan = self._plans[fields] = tuple(chosen)
        values = [reader(node, time) for _, reader in plan]
        if node.gone:
            return None
        last = node.records.get(fields)
        if last and last[0] == values and last[1] == node.leaf and last[2] == node.owner:
            return last[3]  # type: ignore[no-any-return]
        row = list(BLANK)
        row[:4] = node.path, self._origin.inode(node), self._origin.owner(node), node.leaf
        for (place, _), value in zip(plan, values, strict=True):
            row[place] = value
        if row[LEFT] is not None:
            row[MEMORY] = self._memory(node, time)  # how little is left shows beside what is used
        made = Cgroup(*row)
        if len(node.records) > 4:
            node.records.clear()
        node.records[fields] = (values, node.leaf, node.owner, made)
        return made

    def troubles(self) -> Iterable[str]:
        """What cannot be read or understood at present, as far as it can all be told."""
        return [*self._tree.troubles.values(), *self._troubles.values()][:TROUBLES]

    # --- files ------------------------------------------------------------------------------------------------------

    def _value(self, node: Node, name: str, parse: Callable[[bytes], Any], time: float, age: float = 0.0) -> Any:
        """What a file says, None where there is none; the last good reading where it makes no sense.

        Args:
            age: Seconds for which, and up to twice as long, an earlier reading is good enough.
        """
        known = node.values.get(name)
        if known:
            then, value, _ = known
            if then == time:
                return value
            if value is None:
                age = AGE  # what is absent does not come within the second
            if age and 0 <= time - then < age + node.spread:
                return value
        try:
            text = node.files.read(name)
            value = known[1] if known and known[2] == text else parse(text)
        except OSError as error:
            return self._failed(node, name, error, time)
        except (ValueError, IndexError):
            text, value = b"", known[1] if known else None
            self._trouble(node, name, "its text makes no sense")
        else:
            if self._troubles:
                self._troubles.pop(f"{node.files.path}/{name}", None)
        node.values[name] = (time, value, text)
        return value

    def _failed(self, node: Node, name: str, error: OSError, time: float) -> Any:
        if error.errno in (ENODEV, ENOENT):
            # Absent for good, as on this kernel, or with its cgroup?
            known = node.values.get(name)
            if error.errno == ENODEV or known is None or known[1] is not None:
                node.looked = float("-inf")
                if not self._tree.look(node, time):
                    return None
        value = None
        if error.errno not in ABSENT:
            known = node.values.get(name)
            value = known[1] if known else None
            self._trouble(node, name, str(error.strerror))
        node.values[name] = (time, value, b"")
        return value

    def _trouble(self, node: Node, name: str, what: str) -> None:
        path = f"{node.files.path}/{name}"
        if path in self._troubles or len(self._troubles) < TROUBLES:
            self._troubles[path] = f"{path}: {what}"

    # --- fields -----------------------------------------------------------------------------------------------------

    def _account(self, field: str) -> Callable[[Node, float], int | None]:
        place = cgroup_text.Accounts._fields.index(field)

        def reader(node: Node, time: float) -> int | None:
            found = self._value(node, "memory.stat", cgroup_text.accounts, time)
            return found[place] if found else None

        return reader

    def _memory(self, node: Node, time: float) -> int | None:
        found: int | None = self._value(node, "memory.current", cgroup_text.number, time)
        if found is None and node.above is None and self._whole:
            total = self._machine_now(time)
            return total[0].total - total[0].free if total else None
        return found

    def _swap(self, node: Node, time: float) -> int | None:
        found: int | None = self._value(node, "memory.swap.current", cgroup_text.number, time)
        if found is None and node.above is None and self._whole:
            total = self._machine_now(time)
            return total[1].total - total[1].free if total else None
        return found

    def _machine_now(self, time: float) -> tuple[Memory, Swap] | None:
        # The true root keeps no account of its own.
        if self._totals[0] != time:
            try:
                self._totals = time, meminfo.parse(read(f"{self._machine.proc}/meminfo", 8192))
            except (OSError, ValueError, IndexError):
                self._totals = time, self._totals[1]
        return self._totals[1]

    def _tags(self, node: Node, time: float) -> tuple[str, ...]:
        known = node.values.get("tags")
        if known and 0 <= time - known[0] < AGE + node.spread:
            return known[1]  # type: ignore[no-any-return]
        found = self._origin.tags(node)
        node.values["tags"] = (time, found, b"")
        return found

    def _is_populated(self, node: Node, time: float) -> bool | None:
        if node.above is None and self._whole:
            return True
        for event, count in self._value(node, "cgroup.events", cgroup_text.counts, time) or ():
            if event == "populated":
                return bool(count)
        return self._origin.populated(node)

    def _is_frozen(self, node: Node, time: float) -> bool:
        known = node.values.get("frozen")
        if known and 0 <= time - known[0] < AGE + node.spread:
            return bool(known[1])
        found = None
        for event, count in self._value(node, "cgroup.events", cgroup_text.counts, time) or ():
            if event == "frozen":
                found = bool(count)
        if found is None:
            found = bool(self._value(node, "cgroup.freeze", cgroup_text.flag, time))
        node.values["frozen"] = (time, found, b"")
        return found

    def _left(self, node: Node, time: float) -> int | None:
        if node.above is None:
            return None
        known = node.values.get("left")
        if known and known[0] == time:
            return known[1]  # type: ignore[no-any-return]
        left, limit = self._left(node.above, time), self._limit(node, time)
        used = self._memory(node, time) if limit is not None else None
        if limit is not None and used is not None:
            own = max(0, limit - used)
            left = own if left is None else min(left, own)
        node.values["left"] = (time, left, b"")
        return left

    def _limit(self, node: Node, time: float) -> int | None:
        known = node.values.get("limit")
        if known and 0 <= time - known[0] < AGE + node.spread:
            return known[1]  # type: ignore[no-any-return]
        high = self._value(node, "memory.high", cgroup_text.limit, time)
        maximum = self._value(node, "memory.max", cgroup_text.limit, time)
        found = min((limit for limit in (high, maximum) if limit is not None), default=None)
        node.values["limit"] = (time, found, b"")
        return found

    def _protection(self, node: Node, time: float) -> int | None:
        memory = self._memory(node, time)
        if memory is None or node.above is None:
            return memory
        one: Node | None = node
        while one and one.above:
            if not self._readers["minimum"](one, time) and not self._readers["low"](one, time):
                return 0  # what one above it does not keep, it cannot hand on
            one = one.above
        return self._shares(node.above, time).get(node.path, 0)

    def _shares(self, above: Node, time: float) -> dict[str, int]:
        # Once an instant for all siblings together: what each keeps depends on what the others claim.
        known = self._kept.get(id(above))
        if known is None or known[0] != time:
            if len(self._kept) > 256:
                self._kept.clear()
            fields, family = frozenset(("memory", "minimum", "low")), []
            one: Node | None = above
            while one:
                family += [self.record(child, fields, time) for child in self._tree.children(one, time)]
                one = one.above
            known = self._kept[id(above)] = (time, protections([cgroup for cgroup in family if cgroup]))
        return known[1]

    def _io_cost(self, node: Node, time: float) -> float | None:
        flows = self._value(node, "io.stat", cgroup_text.flows, time)
        if flows is None:
            return None
        return sum(cgroup_text.cost(counted, self._turns(device, time)) for device, counted in flows)

    def _turns(self, device: str, time: float) -> bool:
        known = self._turning.get(device)
        if known is None or not fresh(known[0], time, DEVICE_AGE):
            turning = False
            if device.replace(":", "").isdigit():
                try:
                    turning = read(f"{self._machine.sys}/dev/block/{device}/queue/rotational", 16).strip() == b"1"
                except OSError:
                    pass
            if len(self._turning) > 256:
                self._turning.clear()
            known = self._turning[device] = (time, turning)
        return known[1]

    def _stalls(self, node: Node, resource: str, time: float) -> Pressure | None:
        """A cgroup's pressure. Each is read after those above it, so that what has not moved there cannot have moved
        here between the two readings that are compared."""
        known = node.stalls.get(resource)
        if known and known[0] == time:
            return known[1]  # type: ignore[no-any-return]
        above = self._stalls(node.above, resource, time) if node.above else None
        moved = above.some.total if above else None
        if known and known[1] and known[2] == moved and moved is not None:
            # The averages fall when nothing stalls: as long as there are any they are looked at each second.
            age = REASSURED if known[1].some.avg300 == 0 else AGE
            if 0 <= time - known[3] < age + node.spread:
                node.stalls[resource] = (time, *known[1:])
                return known[1]  # type: ignore[no-any-return]
        found: Pressure | None = self._value(node, PRESSURES[resource], pressure.parse, time)
        if found is None and node.above is None and self._whole:
            try:
                found = pressure.parse(read(f"{self._machine.proc}/pressure/{resource}", 512))
            except (OSError, ValueError, IndexError):
                found = None
        node.stalls[resource] = (time, found, moved, time)
        return found
