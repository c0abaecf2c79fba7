"""earlyoom's settings as a policy."""

from __future__ import annotations

from okoomer.compat import Translation
from okoomer.compat.ere import python
from okoomer.policy.model import And, Comparison, Hook, Points, Policy, Rule, Selector, Step
from okoomer.policy.select import compile_pattern
from okoomer.record import Record
from okoomer.units import GIB, KIB, MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from okoomer.policy.model import Condition


class Levels(Record):
    """At or below which value SIGTERM is sent, and at or below which SIGKILL: percentages, or KiB."""

    term: float
    kill: float


DEFAULT = Levels(10.0, 5.0)


class Settings(Record):
    """What a command line asks for.

    Levels that are None were not given: then DEFAULT holds, in percent, unless there is a size. `before` and `after`
    are programs; `report` is in seconds; `asked` is "help" or "version" where only that is wanted.
    """

    memory: Levels | None = None
    memory_size: Levels | None = None
    swap: Levels | None = None
    swap_size: Levels | None = None
    notify: bool = False
    before: str = ""
    after: str = ""
    group: bool = False
    report: float = 1.0
    priority: bool = False
    debug: bool = False
    prefer: Selector | None = None
    avoid: Selector | None = None
    ignore: Selector | None = None
    spare_root: bool = False
    by_rss: bool = False
    dry_run: bool = False
    syslog: bool = False
    kernel_oom: bool = False
    asked: str = ""


#: What --prefer and --avoid are worth in points, and with --sort-by-rss in bytes.
POINTS, BYTES = 300.0, 3.0 * GIB
#: Seconds for which a program is waited for before a kill, and a process after SIGTERM.
BEFORE, PATIENCE = 0.2, 10.0


def selector(expression: str) -> Selector:
    """A selector of processes in whose names an extended regular expression is found.

    Raises:
        NotAnExpression: It is none.
    """
    pattern = python(expression)
    return Selector("name", pattern, compile_pattern(pattern), part=True)


def translate(settings: Settings, _memory_total: int, swap_total: int) -> Translation:
    """The policy that does what the settings ask for, on a machine with so many bytes of memory and swap."""
    policy = Policy(
        "earlyoom",
        (_rule(settings, "kill"), _rule(settings, "term")),
        spare=_spared(settings),
        points=_points(settings),
        hooks=(Hook("signalled", (settings.after,)),) if settings.after else (),
        notify=("signalled", "refused", "stuck") if settings.notify else (),
        report=settings.report,
        tell=("cmdline",),
    )
    return Translation(policy, tuple(_notes(settings, swap_total)))


def levels(settings: Settings, memory: int, swap: int) -> tuple[float, float, float, float]:
    """At which percentages signals are sent, with sizes as shares of so many bytes: SIGTERM and SIGKILL for memory, and
    for swap. The lower of a percentage and a size counts."""

    def share(name: str, kind: str, total: int) -> float:
        percent, size = _asked(settings, kind)
        found = [getattr(percent, name)] if percent else []
        if size:
            # Where there is none, free swap is at or below anything.
            found.append(min(100.0, getattr(size, name) * KIB * 100 / total) if total else 100.0)
        return float(min(found))

    return (
        share("term", "memory", memory),
        share("kill", "memory", memory),
        share("term", "swap", swap),
        share("kill", "swap", swap),
    )


def _asked(settings: Settings, kind: str) -> tuple[Levels | None, Levels | None]:
    percent: Levels | None = getattr(settings, kind)
    size: Levels | None = getattr(settings, f"{kind}_size")
    return percent or (None if size else DEFAULT), size


def _rule(settings: Settings, name: str) -> Rule:
    parts: list[tuple[Comparison, str]] = []
    for kind, metric in (("memory", "mem.available.user"), ("swap", "swap.free")):
        percent, size = _asked(settings, kind)
        # 100 % always holds: that is how swap is left out of account.
        if percent and getattr(percent, name) < 100:
            parts.append(_share(metric, getattr(percent, name)))
        if size:
            parts.append(_size(metric, getattr(size, name)))
    comparisons = tuple(comparison for comparison, _ in parts)
    when: Condition = comparisons[0] if len(comparisons) == 1 else And(comparisons)
    return Rule(
        name,
        when,
        " and ".join(text for _, text in parts),
        unit="group" if settings.group else "process",
        rank="rss" if settings.by_rss else "badness",
        steps=_steps(settings, name),
    )


def _share(metric: str, percent: float) -> tuple[Comparison, str]:
    # The language has nine decimals, and what it reads is to be the very same number.
    billionths = round(percent * 10**9)
    text = f"{billionths // 10**9}.{billionths % 10**9:09d}".rstrip("0").rstrip(".")
    return Comparison(metric, "<=", billionths / 10**11, share=True), f"{metric} <= {text}%"


def _size(metric: str, kibibytes: float) -> tuple[Comparison, str]:
    count = int(kibibytes * KIB)
    unit, name = next(((unit, name) for unit, name in ((MIB, "MiB"), (KIB, "KiB")) if not count % unit), (1, "B"))
    return Comparison(metric, "<=", float(count)), f"{metric} <= {count // unit}{name}"


def _steps(settings: Settings, name: str) -> tuple[Step, ...]:
    before = (Step("run", BEFORE, (settings.before,)),) if settings.before else ()
    if settings.kernel_oom:
        return (*before, Step("oom"))
    if name == "kill":
        return (*before, Step("kill"))
    return (*before, Step("term", PATIENCE), Step("kill"))


def _spared(settings: Settings) -> tuple[Selector, ...]:
    root = (Selector("user", "0", compile_pattern("0")),) if settings.spare_root else ()
    return (*((settings.ignore,) if settings.ignore else ()), *root)


def _points(settings: Settings) -> tuple[Points, ...]:
    worth = BYTES if settings.by_rss else POINTS
    named = ((worth, settings.prefer), (-worth, settings.avoid))
    return tuple(Points(value, selector) for value, selector in named if selector)


def _notes(settings: Settings, swap_total: int) -> list[tuple[str, str]]:
    """Where this policy knowingly does something else than earlyoom, most important first."""
    notes = []
    if settings.kernel_oom:
        notes.append(("kill", "the kernel's own killer chooses, by its own measure: names and least do not count"))
    else:
        notes += [
            (
                "term",
                f"who has not ended {PATIENCE:g} s after SIGTERM gets SIGKILL if memory is still short, and who does "
                "not die of that is set aside and the next is taken; earlyoom sends SIGTERM again and again",
            ),
            (
                "",
                "a process whose end gives back less than 1 % of memory (4 MiB at the least, 64 at the most) is not "
                "ended: that would be in vain; `least` in a rule changes it",
            ),
            ("", "this program and its parents are never taken"),
            ("", "after a kill nothing else is chosen until half a second has passed or the memory is back"),
        ]
    if settings.memory_size:
        notes += [
            (
                rule,
                "the size is compared as a size; earlyoom makes a percentage of all memory of it at its start, and "
                "compares that with a share of what programs can have, so that less has to be left",
            )
            for rule in ("kill", "term")
        ]
    if settings.swap_size and not swap_total:
        notes.append(("", "there is no swap here, so the size of -S always holds; earlyoom does not start with it"))
    if settings.prefer:
        notes.append(("points", "who has lowered its oom_score_adj gets no points for --prefer"))
    if settings.avoid and settings.by_rss:
        notes.append(("points", "--avoid counts with --sort-by-rss, too; in earlyoom it does not"))
    if settings.group:
        notes.append(("", "of a process group its protected members stay, and our own group is never ended"))
    if settings.after:
        notes.append(("hook", "runs for each signal, so again for a SIGKILL after a SIGTERM; after 20 s it is ended"))
    if settings.before:
        text = f"the program is waited for up to {BEFORE:g} s; after 10 s it is ended"
        notes += [(rule, text) for rule in ("kill", "term")]
    if settings.notify:
        notes.append(("notify", "messages that come fast are joined, as systembus-notify drops all but one in 0.1 s"))
    return notes
