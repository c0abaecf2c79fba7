"""The typed events: one for each thing that happens. Sizes are bytes, times seconds."""

from __future__ import annotations

from okoomer.record import Record

#: sd-daemon(3) and syslog(3).
EMERGENCY, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG = range(8)


class Started(Record):
    """The guard is ready. `lacks` are sentences on what it cannot do here, none on a complete machine."""

    version: str
    pid: int
    policy: str
    source: str
    rules: tuple[str, ...]
    memory: int
    swap: int
    triggers: bool
    locked: bool
    dry_run: bool
    lacks: tuple[str, ...]


class Stopped(Record):
    """The guard ends because it was told to."""

    signal: str


class RuleChanged(Record):
    """A rule went quiet, holds or fired; `target` is the cgroup of which `values` are told, where it has a scope."""

    rule: str
    state: str
    values: tuple[tuple[str, float | None], ...]
    target: str = ""


#: Seconds until nothing is left beyond which nobody can see what comes.
IN_SIGHT = 24 * 3600.0


class Warned(Record):
    """A rule's step `warn`. Who it is about, where that is known: the next to go, or who grows most (`pid` 0 and
    `user` -1 where nobody is); `left` are the seconds until nothing is left at the present rate, None if that is not
    in sight; `act` whether it is a step of an act."""

    rule: str
    text: str
    name: str = ""
    pid: int = 0
    user: int = -1
    cgroup: str = ""
    available: int = 0
    left: float | None = None
    act: bool = False


#: How short memory is, as org.freedesktop.LowMemoryMonitor has it; NORMAL is never sent there.
NORMAL, LOW, MEDIUM, SEVERE = 0, 50, 100, 255


class Level(Record):
    """How short memory is, on the scale of org.freedesktop.LowMemoryMonitor: when that changes, and every 15 s while
    it is not NORMAL. `rules` are those that say so; `left` is as in Warned."""

    level: int
    available: int
    left: float | None
    rules: tuple[str, ...]


#: What can be answered to a question: the unit goes on as if nothing had been asked, it is paused, it is ended, it
#: keeps a ceiling of so many bytes.
RESUME, PAUSE, END, LIMIT = "resume", "pause", "end", "limit"


class Question(Record):
    """A rule's step `ask`: what is to become of a unit? Whoever does not answer within `seconds` leaves it to the
    policy, which then does `then` (the next step that does something to the unit, or RESUME). `question` is its number,
    `user` whose processes they are (-1 if of several), `paused` whether they stand still meanwhile, `limit` the ceiling
    in bytes that LIMIT has if none is named. Where somebody has the unit stand still while the question goes on, it is
    told once more under the same number, with the choices that are left; the time goes on from when it was first told.
    """

    question: int
    rule: str
    name: str
    pids: tuple[int, ...]
    user: int
    cgroup: str
    seconds: float
    choices: tuple[str, ...]
    then: str
    freed: int
    available: int
    paused: bool
    limit: int
    why: str


#: How a question came to its end: it was answered; nobody did in time; memory came back; a more urgent rule could not
#: wait; the unit has ended; the guard ends.
ANSWERED, LATE, OVER, URGENT, GONE, STOPPED = "answered", "late", "over", "urgent", "gone", "stopped"


class Closed(Record):
    """A question is over: how, and if it was answered, with what and by whom."""

    question: int
    how: str
    answer: str = ""
    user: int = -1


#: How `by` of Paused and Resumed begins: what follows is the name of a rule, that of one that has jobs wait for their
#: turn, or the number of a user who wished it.
BY_RULE, BY_TURNS, BY_USER = "rule ", "turns ", "user "


class Paused(Record):
    """Processes stand still from now on: `by` says by whose wish. `frozen` is whether it is their cgroup that stands
    still. `lost` are as in Signalled."""

    by: str
    name: str
    pids: tuple[int, ...]
    user: int
    cgroup: str
    frozen: bool
    lost: tuple[int, ...] = ()


class Resumed(Record):
    """Paused processes run again, after so many seconds; `why` in words, `by` as it was in Paused."""

    name: str
    pids: tuple[int, ...]
    user: int
    cgroup: str
    seconds: float
    why: str
    by: str = ""


class Limited(Record):
    """A unit has a ceiling of so many bytes from now on: `means` is the file or the limit that holds it."""

    name: str
    pids: tuple[int, ...]
    user: int
    cgroup: str
    bytes: int
    means: str


class Slowed(Record):
    """A rule's step `slow`: a cgroup, which is a unit or all of one, gets no more than `bytes` without being held up
    (memory.high) from now on, and no more than `cpu` of one processor (cpu.max; 0 is as much as before); `seconds` is
    for how long at least."""

    rule: str
    name: str
    pids: tuple[int, ...]
    user: int
    cgroup: str
    bytes: int
    cpu: float
    seconds: float


class Eased(Record):
    """Who was slowed has its own limits again, after so many seconds; `why` in words."""

    rule: str
    name: str
    pids: tuple[int, ...]
    user: int
    cgroup: str
    seconds: float
    why: str


class Ranked(Record):
    """One line of a ranking."""

    kind: str
    name: str
    pids: tuple[int, ...]
    score: float
    freed: int
    why: str


class Chosen(Record):
    """A rule acts on a unit. `scan_cpu_seconds` is what scan and choice cost, `seconds` what they took.

    `root` is the name of the process that was chosen, the first of `pids`; `user`, `group`, `rss`, `oom_score`,
    `adjustment`, `cgroup` and `command` are its own. Of a whole cgroup (kind "cgroup") `name` and `cgroup` are its
    path. `target` is the cgroup for whose sake a rule with a scope acts.
    """

    rule: str
    when: str
    reason: str
    values: tuple[tuple[str, float | None], ...]
    kind: str
    name: str
    pids: tuple[int, ...]
    command: str
    freed: int
    need: int
    why: str
    steps: tuple[str, ...]
    ranking: tuple[Ranked, ...]
    processes: int
    scan_cpu_seconds: float
    seconds: float
    dry_run: bool
    root: str = ""
    user: int = 0
    group: int = 0
    rss: int = 0
    oom_score: int = 0
    adjustment: int = 0
    cgroup: str = ""
    target: str = ""
    rank: str = ""


class TakenOver(Record):
    """A more urgent rule goes on with the unit that the rule `before` has chosen: from now on the act is its own, by
    its own readings (none if they are of another cgroup than `target`, for whose sake it is), for its own reason."""

    rule: str
    before: str
    reason: str
    values: tuple[tuple[str, float | None], ...]
    name: str
    pids: tuple[int, ...]
    freed: int
    user: int = -1
    cgroup: str = ""
    target: str = ""


class Refused(Record):
    """A rule fired but there is nobody whose end would help; said once an episode."""

    rule: str
    why: str
    ranking: tuple[Ranked, ...]
    target: str = ""


class Recovered(Record):
    """The rule no longer holds before its last step: the victim stays, `asked` if it has had a SIGTERM."""

    rule: str
    asked: bool


class Signalled(Record):
    """A signal went to the processes of a unit; `lost` are pids that had gone or were refused. `cgroup` is the path
    where the unit is a whole cgroup, `reason` the word for why the rule acts, as in Chosen or TakenOver."""

    rule: str
    signal: str
    name: str
    pids: tuple[int, ...]
    lost: tuple[int, ...]
    cgroup: str = ""
    reason: str = ""


#: What a signal is called that the kernel's own killer sends: to whom it chooses (Documentation/admin-guide/sysrq.rst),
#: or to a cgroup that is left no memory.
BY_KERNEL, BY_LIMIT = "SysRq f", "memory.max"


class Died(Record):
    """All processes of a unit are gone, so long after the last signal; `came_back` is what became available. `cgroup`
    is as in Signalled."""

    rule: str
    name: str
    pids: tuple[int, ...]
    seconds: float
    came_back: int
    cgroup: str = ""


class Stuck(Record):
    """Processes that would not die are set aside and the next is taken. `cgroup` is as in Signalled."""

    rule: str
    name: str
    pids: tuple[int, ...]
    seconds: float
    why: str
    cgroup: str = ""


class Shrunk(Record):
    """A rule's step `shrink`: of `asked` bytes a cgroup gave back `got`, in so many seconds; `why` it gave nothing."""

    rule: str
    cgroup: str
    asked: int
    got: int
    seconds: float
    why: str = ""


class Primed(Record):
    """A process is the first for the kernel's own killer from now on, with this oom_score_adj; 0 if it is as before
    again. Whoever was first until now is as before, too."""

    name: str
    pid: int
    user: int
    cgroup: str
    adjustment: int


class Trouble(Record):
    """Something cannot be read or done; said once until it changes. `over` when it is right again."""

    text: str
    over: bool = False


class Changed(Record):
    """The machine changed: swap came or went, it was suspended."""

    text: str


class KernelKilled(Record):
    """The kernel's own killer has ended so many processes since the last look, somewhere on this machine."""

    count: int


class Report(Record):
    """The state of memory, told every so often."""

    total: int
    available: int
    anon: int
    swap_total: int
    swap_free: int


class Run(Record):
    """A command is to be run for a victim by the courier; the ladder waits for it up to `seconds`."""

    request: int
    rule: str
    command: tuple[str, ...]
    seconds: float
    pid: int
    name: str
    user: int
    cgroup: str
    cmdline: str


class Ran(Record):
    """A command that was asked for has ended after so many seconds: `status` is its exit code, or minus a signal, or
    NOT_STARTED."""

    request: int
    status: int
    seconds: float


#: No program ends with this.
NOT_STARTED = -1000


class Late(Record):
    """The loop hung for so many seconds; `pid` is whom the watchdog killed, or 0."""

    seconds: float
    pid: int
    name: str


EVENTS: dict[str, type[Record]] = {
    kind.__name__: kind
    for kind in (
        Started, Stopped, RuleChanged, Warned, Level, Question, Closed, Paused, Resumed, Limited, Slowed, Eased,
        Chosen, TakenOver, Refused, Recovered, Signalled, Died, Stuck, Shrunk, Primed, Trouble, Changed, KernelKilled,
        Report, Run, Ran, Late,
    )
}  # fmt: skip
