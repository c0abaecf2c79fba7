"""What a scenario is: a cast, a script in the guest, and who may die of it."""

import re
from dataclasses import dataclass, field

from lab.run import Role, Swap


@dataclass(frozen=True)
class Part:
    """A role for all processes whose name matches; ``mib`` is what dies with one of them."""

    comm: str
    role: Role
    mib: float = 0


@dataclass(frozen=True)
class Scenario:
    """Scripts are lines of POSIX shell after stage.sh, which explains ``start``, ``await`` and ``over``."""

    name: str
    title: str
    story: str
    """What happens, and what a good answer is."""
    swaps: tuple[Swap, ...]
    cast: tuple[Part, ...]
    act: str
    """The incident; when it returns, the scenario is over."""
    before: str = ""
    """What is there already, before the daemon starts."""
    voices: tuple[str, ...] = ("hog",)
    limit_s: float = 45
    """How long the incident may last. Who has not answered by then has hung."""
    benign: bool = False
    """Nothing is wrong: each kill is one too many."""
    enough: int | None = None
    """So many deaths of culprits and workers solve it; each further one is unneeded."""
    daemon_late: bool = False
    """The act starts the daemon itself, by ``start_daemon``."""
    daemons: tuple[str, ...] = ()
    """Who plays, if not all: it is no part of the scoreboard then."""
    swap_mib: dict[Swap, int] = field(default_factory=dict)
    """Where the usual size does not make the scene."""

    def role(self, comm: str) -> tuple[Role, float]:
        """The role of a process and what dies with it; whoever is not in the cast is innocent."""
        for part in self.cast:
            if re.fullmatch(part.comm, comm):
                return part.role, part.mib
        return Role.INNOCENT, 0
