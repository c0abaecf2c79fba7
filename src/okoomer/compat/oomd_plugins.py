"""oomd's plugins and their arguments: one table from which parser, errors, translation and documentation come."""

from __future__ import annotations

from okoomer.compat import oomd_values as values
from okoomer.compat.oomd_values import Kind
from okoomer.record import Record

#: What a plugin can be used as.
DETECTOR, ACTION = "detector", "action"


class Argument(Record):
    """An argument: its kind, its default as it would be written ("" if it has none), and what it becomes here.

    An `idle` one is read and checked, but there is nothing here that it could change; `here` says why.
    """

    name: str
    kind: Kind
    default: str
    here: str
    required: bool = False
    idle: bool = False


class Plugin(Record):
    """A plugin: what it can be used as, its arguments, and what it becomes here."""

    name: str
    uses: tuple[str, ...]
    arguments: tuple[Argument, ...]
    here: str


def _idle(name: str, kind: Kind, default: str, here: str) -> Argument:
    return Argument(name, kind, default, here, idle=True)


#: Arguments of all detectors that look at cgroups.
WHERE = (
    Argument("cgroup", values.CGROUPS, "", '`any in "..." (...)`; the root is the machine'),
    Argument("ruleset_cgroup", values.CGROUPS, "", "the scope's own cgroup; below it only if the ruleset has one"),
)
_DEBUG = _idle("debug", values.TRUTH, "false", "`okoomer status` and `okoomer why` tell more")
_MEMINFO = _idle("meminfo_location", values.TEXT, "", "it is for oomd's own tests")
_AGE = Argument("duration", values.SECONDS, "", "`for ...`, with 0 nothing", required=True)


def _resource(here: str) -> Argument:
    return Argument("resource", values.RESOURCE, "", here, required=True)


_PRESSURE = (
    *WHERE,
    _resource("`cgroup.psi.memory.full` or `cgroup.psi.io.full`"),
    Argument("threshold", values.PERCENT, "", "`> ...%`", required=True),
    _AGE,
)
#: Arguments of all actions that kill.
KILL = (
    Argument("cgroup", values.CGROUPS, "", '`among = "..."`'),
    Argument("ruleset_cgroup", values.CGROUPS, "", '`among = "./..."`; without it the scope\'s own cgroup'),
    Argument("recursive", values.TRUTH, "false", "`descend`: `best` if true, `no` if false"),
    Argument("post_action_delay", values.SECONDS, "", "`rest`; without it the ruleset's"),
    Argument("dry", values.TRUTH, "false", '`steps = ["warn"]`'),
    Argument("always_continue", values.TRUTH, "false", "no `rest`, and what follows is tried as well"),
    _idle("reap_memory", values.TRUTH, "true", "memory of what was killed is always reaped"),
    _idle("kernelkill", values.TRUTH, "false", "a whole cgroup always ends by cgroup.kill, where the kernel has it"),
    _DEBUG,
    _idle("log_kmemalloc_prekill", values.TRUTH, "false", "a profile is not copied into the kernel's log"),
)
_DRY = Argument("dry", values.TRUTH, "false", '`steps = ["warn"]`')

_TABLE = (
    Plugin("pressure_above", (DETECTOR,), _PRESSURE, "`cgroup.psi.*.full.avg10 > ... for ...`"),
    Plugin(
        "pressure_rising_beyond",
        (DETECTOR,),
        (*_PRESSURE, Argument("fast_fall_ratio", values.RATIO, "0.85", "`cgroup.psi.*.full > ... over 5s`, this share "
                              "of the threshold")),
        "the same of `avg60`, and `avg10` above the threshold",
    ),
    Plugin(
        "memory_above",
        (DETECTOR,),
        (
            *WHERE,
            Argument("threshold", values.SIZE, "", "`cgroup.memory > ...`; of the root `mem.free < ...`"),
            Argument("threshold_anon", values.SIZE, "", "`cgroup.anon > ...`; of the root `mem.anon > ...`"),
            _AGE,
            _DEBUG,
            _MEMINFO,
        ),
        "`cgroup.memory > ... for ...`",
    ),
    Plugin(
        "memory_reclaim",
        (DETECTOR,),
        (*WHERE, Argument("duration", values.SECONDS, "", "`over ...`, 1 s at least", required=True)),
        "`cgroup.scan > 0B/s over ...`; of the root `vm.scan`",
    ),
    Plugin(
        "swap_free",
        (DETECTOR,),
        (
            Argument("threshold_pct", values.PERCENT, "", "`swap.free < ...%`", required=True),
            Argument("swapout_bps_threshold", values.RATE, "0", "`vm.swapout >= ... over 5s`, with 0 nothing"),
        ),
        "`swap.free < ...% and swap.total > 0B`",
    ),
    Plugin(
        "exists",
        (DETECTOR,),
        (*WHERE, Argument("negate", values.TRUTH, "false", "`not ...`"), _DEBUG),
        "`any in \"...\" (cgroup.age >= 0s)`, which is true of each that is there; of the ruleset's own: nothing",
    ),
    Plugin(
        "nr_dying_descendants",
        (DETECTOR,),
        (
            *WHERE,
            Argument("count", values.COUNT, "", "`cgroup.dying <= ...`", required=True),
            Argument("lte", values.TRUTH, "true", "`<=` if true, `>` if false"),
            _DEBUG,
        ),
        "`cgroup.dying <= ...`",
    ),
    Plugin(
        "dump_cgroup_overview",
        (DETECTOR,),
        (*WHERE, _idle("always", values.TRUTH, "false", "there is no such line in the log")),
        "nothing: `okoomer pressure` and `okoomer why` tell it",
    ),
    Plugin("continue", (DETECTOR, ACTION), (), "nothing"),
    Plugin("stop", (DETECTOR, ACTION), (), "the group never fires; as an action, what follows is left out"),
    Plugin(
        "kill_by_memory_size_or_growth",
        (ACTION,),
        (
            *KILL,
            Argument("size_threshold", values.PERCENT, "50", "`dominant`"),
            Argument("growing_size_percentile", values.PERCENTILE, "80", "`percentile`"),
            Argument("min_growth_ratio", values.GROWTH, "1.25", "`growth_ratio`"),
        ),
        "`rank = \"size_or_growth\"`",
    ),
    Plugin(
        "kill_by_swap_usage",
        (ACTION,),
        (
            *KILL,
            Argument("threshold", values.SIZE, "", "`least_swap`; without it 1 byte"),
            Argument("biased_swap_kill", values.TRUTH, "false", "`rank = \"swap_unprotected\"` if true"),
            _MEMINFO,
        ),
        "`rank = \"swap\"`",
    ),
    Plugin(
        "kill_by_pressure",
        (ACTION,),
        (*KILL, _resource("`rank`: `pressure` or `io_pressure`")),
        "`rank = \"pressure\"`",
    ),
    Plugin("kill_by_io_cost", (ACTION,), KILL, "`rank = \"io_cost\"`"),
    Plugin("kill_by_pg_scan", (ACTION,), KILL, "`rank = \"pgscan\"`"),
    Plugin(
        "systemd_restart",
        (ACTION,),
        (
            Argument("service", values.SERVICE, "", "`systemctl restart ...`, and `among`", required=True),
            Argument("post_action_delay", values.SECONDS, "15", "`rest`"),
            _DRY,
            _idle("machine_type", values.TEXT, "", "it is said in oomd's log only"),
        ),
        "the step `run`",
    ),
    Plugin("kernel_panic", (ACTION,), (), "`steps = [\"warn\"]`: it is in no build of oomd"),
    Plugin(
        "senpai",
        (ACTION,),
        (
            Argument("cgroup", values.CGROUPS, "", "`scope = \"...\"`", required=True),
            Argument("limit_min_bytes", values.SIZE, "100M", "`cgroup.memory > ...`"),
            _idle("limit_max_bytes", values.SIZE, "10G", "no limit is set"),
            Argument("interval", values.TICKS, "6", "`rest`, and a window; an interval is 1 s, as in oomd's own unit"),
            Argument("pressure_ms", values.MILLISECONDS, "10", "`cgroup.psi.memory.some < ...%`, this time of the "
                     "interval"),
            Argument("pressure_pct", values.SHARE, "0.1", "`cgroup.psi.memory.some.avg10` and `.avg60` `< ...%`, with "
                     "immediate_backoff"),
            Argument("io_pressure_pct", values.SHARE, "0.1", "the same of `cgroup.psi.io.some`"),
            Argument("max_probe", values.RATIO, "0.01", "`shrink ...%`"),
            _idle("max_backoff", values.FACTOR, "1.0", "no limit is set, so none is raised"),
            _idle("coeff_probe", values.FACTOR, "10", "as much is taken each time"),
            _idle("coeff_backoff", values.FACTOR, "20", "no limit is set, so none is raised"),
            Argument("immediate_backoff", values.TRUTH, "false", "which pressure is looked at"),
            _idle("memory_high_timeout_ms", values.MILLISECONDS, "0", "memory.high is never written"),
            Argument("swap_threshold", values.RATIO, "0.8", "`swap.free > ...%`, with swap_validation"),
            Argument("swapout_bps_threshold", values.RATE, "1048576", "`vm.swapout < ... over 5s`, with "
                     "swap_validation"),
            Argument("swap_validation", values.TRUTH, "false", "whether swap is looked at"),
            _idle("modulate_swappiness", values.TRUTH, "false", "swappiness is never written"),
            _idle("log_interval", values.COUNT, "60", "each act is told"),
        ),
        "a rule of its own with `scope` and the step `shrink`",
    ),
)  # fmt: skip
PLUGINS = {plugin.name: plugin for plugin in _TABLE}

#: Keys of a ruleset, their kinds, defaults, and what they become here.
KEYS = (
    Argument("name", values.TEXT, "", "`name`, with the action behind it if there are several", required=True),
    Argument("post_action_delay", values.SECONDS, "15", "`rest`"),
    Argument("prekill_hook_timeout", values.SECONDS, "5", "the step `prekill ...`, where there are hooks"),
    Argument("cgroup", values.CGROUPS, "", "`scope = \"...\"`"),
    Argument("xattr_filter", values.ATTRIBUTE, "", "`scope = \"... with NAME\"`"),
    _idle("silence-logs", values.TEXT, "", "each thing that happens is told in one line"),
)  # fmt: skip
#: Keys of what a drop-in may do to a ruleset.
ALLOWED = ("disable-on-drop-in", "detectors", "actions")
