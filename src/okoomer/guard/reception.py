"""What a guard has for those who speak with it: its door, who may have somebody stand still, and what they are told.
Loaded only where there is a door, or a policy that pauses or asks."""

from __future__ import annotations

import posix as os

from okoomer.guard.door import Door
from okoomer.guard.hold import Holds
from okoomer.guard.request import Requests, sparing
from okoomer.guard.state import state
from okoomer.kernel import process as kernel
from okoomer.kernel.paths import exists

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.events.ring import Ring
    from okoomer.events.sign import Sign
    from okoomer.guard.launch import Options
    from okoomer.guard.loop import Guard
    from okoomer.guard.room import Room
    from okoomer.guard.slow import Slows
    from okoomer.guard.tell import Tell

#: In the runtime directory, the door and the note of what has to be undone, under the name that it had when that was
#: only who stands still.
NOTE, SOCKET = "paused", "guard.sock"
#: Seconds for which a reading of the machine says how much room there is in swap.
RECENT = 0.5


def receive(guard: Guard, options: Options, proc: str, tell: Tell, ring: Ring | None, sign: Sign | None) -> list[str]:
    """Makes all of it, and undoes what a dead guard has left; what is in the way, in words."""
    note = f"{options.runtime_dir}/{NOTE}"
    try:
        if exists(note):
            from okoomer.guard.undo import recover

            recover(note, proc)
        holds = Holds(proc, note, tell)
        holds.onlookers.watch(guard.wake.on)
    except OSError as error:
        # What is not noted could stand still for ever.
        return [f"nobody is paused or let in: {note}: {error.strerror or error}"]
    guard.ladder.holds = holds

    def making_room() -> Room:
        from okoomer.guard import room  # only rules that pause or ask have need of it

        return room.Room(proc, lambda: guard.latest(RECENT))

    def slowing() -> Slows:
        from okoomer.guard.slow import Slows  # most policies slow nobody down

        return Slows(proc, holds.note, lambda: holds.never, tell, lambda: not guard.policy.pressure)

    guard.ladder.asking.making_room, guard.ladder.asking.slowing = making_room, slowing
    guard.ladder.asking.adopt(options.policy)
    # The courier and the watcher are children of ours.
    ours = frozenset((1, os.getpid(), *kernel.children(proc, os.getpid())))
    holds.never = set(ours)
    holds.spares = sparing(proc, lambda: guard.policy)
    if not options.dry_run:
        guard.outlook.arm(holds.note, tell)
    requests = Requests(proc, holds, guard.ladder, lambda: guard.policy, lambda: state(guard), dry_run=options.dry_run)
    if guard.link:
        guard.link.requests = requests
    if not options.open or ring is None or sign is None:
        return []

    def entered(pid: int) -> None:
        holds.never = {*ours, pid}

    path = f"{options.runtime_dir}/{SOCKET}"
    try:
        door = Door(
            path,
            f"{options.runtime_dir}/ring",
            sign,
            lambda: ring.sequence,
            guard.wake,
            options.courier_uid,
            options.courier_gid,
            requests,
            entered,
        )
    except OSError as error:
        return [f"nobody can speak with the guard: {path}: {error.strerror or error}"]
    door.configure(options.policy, options.place)
    guard.door = door
    return []
