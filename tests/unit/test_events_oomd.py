"""oomd's line in the kernel's log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.events import model
from okoomer.events.oomd import Kills
from okoomer.guard.kmsg import Kmsg, account
from okoomer.guard.tell import Tell
from okoomer.record import replace
from tests.unit.cgroups import make, proc_of

if TYPE_CHECKING:
    from pathlib import Path

    from okoomer.record import Record

PATH = "/system.slice/hog.service"
CHOSEN = model.Chosen(
    rule="stalled",
    when="cgroup.psi.memory.full.avg10 > 60% for 30s",
    reason="stall",
    values=(),
    kind="cgroup",
    name=PATH,
    pids=(4, 5),
    command="",
    freed=1 << 30,
    need=1 << 30,
    why="",
    steps=("kill",),
    ranking=(),
    processes=9,
    scan_cpu_seconds=0.0,
    seconds=0.0,
    dry_run=False,
    rss=4096,
    cgroup=PATH,
    rank="pgscan",
)
KILLED = model.Signalled("stalled", "SIGKILL", PATH, (4, 5), (), PATH)
LINE = (
    "oomd kill: 61.25 40.00 10.50 system.slice/hog.service 1073741824 ruleset:[stalled] "
    "detectorgroup:[cgroup.psi.memory.full.avg10 > 60% for 30s] killer:kill_by_pg_scan v2"
)


def lines(*events: Record) -> list[str]:
    kills = Kills(lambda cgroup: (1 << 30, (0.6125, 0.4, 0.105)) if cgroup == PATH else (0, (0.0, 0.0, 0.0)))
    return [line for event in events if (line := kills(event))]


def test_a_kill_has_one_line_with_what_the_cgroup_was_before_it() -> None:
    assert lines(CHOSEN, KILLED, KILLED) == [LINE]


@pytest.mark.parametrize(
    "events",
    [
        (CHOSEN,),
        (CHOSEN, replace(KILLED, signal="SIGTERM")),
        (KILLED,),
        (CHOSEN, model.Recovered("stalled", True)),
        (replace(CHOSEN, kind="process"), replace(KILLED, pids=(), lost=(4,), cgroup="")),
    ],
)
def test_what_is_no_kill_has_none(events: tuple[Record, ...]) -> None:
    assert lines(*events) == []


def test_a_cgroup_that_the_kernel_ends_at_its_limit_has_one_even_if_it_is_killed_then() -> None:
    assert lines(CHOSEN, replace(KILLED, signal=model.BY_LIMIT), KILLED) == [LINE]


def test_a_dry_run_says_so() -> None:
    [line] = lines(replace(CHOSEN, dry_run=True))
    assert line == LINE.replace("killer:", "killer:(dry)")


def test_of_a_part_it_tells_the_memory_of_that_part() -> None:
    [line] = lines(replace(CHOSEN, kind="family", name="hog", rank="freed"), replace(KILLED, cgroup=""))
    assert " system.slice/hog.service 4096 ruleset:" in line and "killer:kill_by_freed v2" in line


@pytest.mark.parametrize(
    ("rank", "killer"),
    [
        ("size_or_growth", "kill_by_memory_size_or_growth"),
        ("swap", "kill_by_swap_usage"),
        ("io_pressure", "kill_by_pressure"),
        ("io_cost", "kill_by_io_cost"),
        ("badness", "kill_by_badness"),
        ("", "kill_by_rule"),
    ],
)
def test_the_killer_is_oomds_action_that_chooses_like_that(rank: str, killer: str) -> None:
    assert lines(replace(CHOSEN, rank=rank), KILLED)[0].endswith(f"killer:{killer} v2")


@pytest.mark.parametrize("name", ["/a\nb", "/" + "x" * 4000, "/" + "日" * 1300, "/\x1b[31m" * 300, "/\udcff"])
def test_whatever_a_cgroup_is_called_it_is_one_line_that_the_kernels_log_takes(name: str) -> None:
    chosen = replace(CHOSEN, cgroup=name, name=name, rule=name, when=name)
    [line] = lines(chosen, KILLED)
    assert line.isprintable() and len(line.encode()) < 1024
    assert line.startswith("oomd kill: 0.00 0.00 0.00 ") and line.endswith(" v2")


# --- the kernel's log -----------------------------------------------------------------------------------------------

SUFFERS = "some avg10=70.00 avg60=0.00 avg300=0.00 total=9\nfull avg10=61.25 avg60=40.00 avg300=10.50 total=5\n"


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"memory__current": "1073741824\n", "memory__pressure": SUFFERS}, (1 << 30, (0.6125, 0.4, 0.105))),
        ({"memory__current": "7\n"}, (7, (0.0, 0.0, 0.0))),
        ({"memory__current": "x\n", "memory__pressure": "y\n"}, (0, (0.0, 0.0, 0.0))),
        ({}, (0, (0.0, 0.0, 0.0))),
    ],
)
def test_what_a_cgroup_has_and_suffers(
    tmp_path: Path, files: dict[str, str], told: tuple[int, tuple[float, float, float]]
) -> None:
    make(tmp_path, PATH, **files)
    assert account(str(tmp_path), PATH) == told
    assert account(str(tmp_path), "/gone") == account(None, PATH) == account(str(tmp_path), "") == (0, (0.0, 0.0, 0.0))


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make(tmp_path / "cgroups", PATH, memory__current="1073741824\n", memory__pressure=SUFFERS)
    (tmp_path / "proc").mkdir()
    proc_of(tmp_path / "proc", tmp_path / "cgroups")
    log = tmp_path / "kmsg"
    log.touch()
    monkeypatch.setattr(Kmsg.__init__, "__defaults__", (str(log),))
    return log


def test_a_guard_that_is_told_to_writes_it_there(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tell = Tell(None, as_json=True)
    tell.into_kmsg(True, str(log.with_name("proc")))
    tell(CHOSEN)
    tell(KILLED)
    assert log.read_text() == LINE + "\n"
    tell.into_kmsg(False, str(log.with_name("proc")))
    tell(CHOSEN)
    tell(KILLED)
    assert log.read_text() == LINE + "\n"
    capfd.readouterr()


def test_a_log_that_takes_nothing_stops_nobody(log: Path) -> None:
    log.unlink()
    log.symlink_to("/dev/full")
    kmsg = Kmsg(str(log.with_name("proc")))
    kmsg(CHOSEN)
    kmsg(KILLED)
    kmsg.close()


def test_where_the_log_is_not_to_be_had_that_is_an_error(log: Path) -> None:
    log.unlink()
    with pytest.raises(FileNotFoundError):
        Tell(None, as_json=True).into_kmsg(True, str(log.with_name("proc")))
