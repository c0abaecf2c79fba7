"""Metrics: what is counted, what is asked of the guard, and what is told while it is silent."""

from __future__ import annotations

import json
import math
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from select import poll

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from okoomer.courier import tally as module
from okoomer.courier.metrics import FRESH, PATIENCE, Metrics
from okoomer.courier.tally import ANSWERS, BUCKETS, NONE, OTHER, REASONS, UNITS, Tally, label_of
from okoomer.events import model
from okoomer.events.text import line
from okoomer.record import Record, replace
from tests.unit.couriers import VICTIM

KILLED = model.Signalled("low", "SIGKILL", "hog", (42, 43), ())
DIED = model.Died("low", "hog", (42, 43), 0.004, 1 << 30)
STATE = {
    "available": 1 << 33, "effective": 1 << 31, "left": 12.5, "level": 50, "psi_some": 3.5, "psi_full": 1.25,
    "cpu": 0.75, "rss": 12 << 20, "cycles": 1234, "canary": 0.25, "paused": [[7, 99, "make", 1000, 3.0]],
    "questions": [],
}  # fmt: skip
#: A machine whose kernel tells no pressure, with a forecast out of sight.
BARE = STATE | {"left": None, "psi_some": None, "psi_full": None, "canary": None}

Numbers = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def numbers(text: bytes) -> Numbers:
    """What Prometheus' own parser reads in a text, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


class Stage:
    """A tally that hears events as the courier reads them."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.sequence = 1

    def hear(self, *events: Record) -> None:
        for event in events:
            self.tally.hear(json.loads(line(event, 1.0, self.sequence)))
            self.sequence += 1

    def value(self, name: str, **labels: str) -> float | None:
        return numbers(self.tally.text()).get((name, tuple(sorted(labels.items()))))

    def labels(self, name: str, label: str) -> set[str]:
        return {dict(labels)[label] for found, labels in numbers(self.tally.text()) if found == name}


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_kill_is_counted_by_kind_reason_and_unit(stage: Stage) -> None:
    stage.hear(VICTIM, replace(KILLED, signal="SIGTERM"), KILLED, DIED)
    where = {"reason": "low-memory", "unit": "web.service"}
    assert stage.value("okoomer_actions_total", action="term", **where) == 1
    assert stage.value("okoomer_actions_total", action="kill", **where) == 1
    assert stage.value("okoomer_freed_bytes_total", unit="web.service") == 1 << 30
    assert stage.value("okoomer_kill_latency_seconds_count") == 1
    assert stage.value("okoomer_kill_latency_seconds_sum") == 0.004
    assert stage.value("okoomer_kill_latency_seconds_bucket", le="0.005") == 1
    assert stage.value("okoomer_kill_latency_seconds_bucket", le="0.0025") == 0


def test_a_kill_by_a_rule_that_has_taken_the_act_over_has_its_reason(stage: Stage) -> None:
    over = model.TakenOver("urgent", "low", "stall", (), "hog", (42,), 1 << 30, cgroup="/system.slice/web.service")
    stage.hear(VICTIM, replace(KILLED, signal="SIGTERM"), over, replace(KILLED, rule="urgent"))
    assert stage.value("okoomer_actions_total", action="term", reason="low-memory", unit="web.service") == 1
    assert stage.value("okoomer_actions_total", action="kill", reason="stall", unit="web.service") == 1


def test_the_buckets_reach_from_a_millisecond_to_ten_seconds(stage: Stage) -> None:
    edges = stage.labels("okoomer_kill_latency_seconds_bucket", "le")
    assert {float(edge) for edge in edges} == {*BUCKETS, math.inf}
    assert (min(BUCKETS), max(BUCKETS)) == (0.001, 10.0)


def test_a_whole_cgroup_that_the_kernel_ends_is_an_oom(stage: Stage) -> None:
    whole = replace(VICTIM, kind="cgroup", name="/a/b.service", cgroup="/a/b.service")
    stage.hear(whole, replace(KILLED, signal=model.BY_LIMIT, name="/a/b.service", cgroup="/a/b.service"))
    assert stage.value("okoomer_actions_total", action="oom", reason="low-memory", unit="b.service") == 1


def test_a_signal_that_reached_nobody_is_no_act(stage: Stage) -> None:
    stage.hear(VICTIM, replace(KILLED, pids=(), lost=(42,)))
    assert stage.labels("okoomer_actions_total", "action") == set()


@pytest.mark.parametrize(
    ("event", "action", "reason"),
    [
        (model.Warned("low", "it gets short"), "warn", "low-memory"),
        (model.Warned("low", "it gets short", "hog", 42, 7, "/system.slice/web.service"), "warn", "low-memory"),
        (model.Shrunk("low", "/system.slice/web.service", 9, 5, 0.1), "shrink", "low-memory"),
        (model.Paused("rule low", "hog", (42,), 7, "/system.slice/web.service", False), "pause", "low-memory"),
        (model.Paused("user 7", "hog", (42,), 7, "/system.slice/web.service", False), "pause", "user"),
        (model.Resumed("hog", (42,), 7, "/system.slice/web.service", 3.0, "it was answered"), "resume", "low-memory"),
        (model.Limited("hog", (42,), 7, "/system.slice/web.service", 9, "memory.high"), "limit", "low-memory"),
        (
            model.Slowed("low", "hog", (42,), 7, "/system.slice/web.service", 9, 0.0, 3.0),
            "slow", "low-memory",
        ),
        (model.Eased("low", "hog", (42,), 7, "/system.slice/web.service", 3.0, "over"), "ease", "low-memory"),
        (
            model.Run(1, "low", ("/bin/x",), 1.0, 42, "hog", 7, "/system.slice/web.service", "hog -x"),
            "run", "low-memory",
        ),
    ],
)  # fmt: skip
def test_each_other_act_is_counted_as_well(stage: Stage, event: Record, action: str, reason: str) -> None:
    stage.hear(VICTIM, event)
    assert stage.value("okoomer_actions_total", action=action, reason=reason, unit="web.service") == 1


def test_a_warning_about_nobody_has_no_unit(stage: Stage) -> None:
    stage.hear(model.Warned("early", "it gets short"))
    assert stage.value("okoomer_actions_total", action="warn", reason=NONE, unit=NONE) == 1


def test_questions_are_counted_by_how_they_ended_and_all_ways_are_there_from_the_start(stage: Stage) -> None:
    assert stage.labels("okoomer_questions_total", "answer") == set(ANSWERS)
    stage.hear(
        model.Closed(1, model.ANSWERED, model.END, 1000), model.Closed(2, model.LATE), model.Closed(3, "strangely")
    )
    assert [stage.value("okoomer_questions_total", answer=answer) for answer in ("end", "late", OTHER, "resume")] == [
        1, 1, 1, 0
    ]  # fmt: skip


def test_what_went_wrong_is_counted_from_nought(stage: Stage) -> None:
    names = ("okoomer_stuck_total", "okoomer_refused_total", "okoomer_kernel_kills_total", "okoomer_guard_hangs_total")
    assert [stage.value(name) for name in names] == [0, 0, 0, 0]
    stage.hear(
        model.Stuck("low", "hog", (42,), 9.0, "it sits in the kernel"), model.Refused("low", "nobody", ()),
        model.KernelKilled(3), model.Late(2.0, 0, ""),
    )  # fmt: skip
    assert [stage.value(name) for name in names] == [1, 1, 3, 1]


def test_what_was_overwritten_is_counted_but_not_what_a_new_guard_numbers_anew(stage: Stage) -> None:
    stage.hear(DIED)
    stage.sequence += 5
    stage.hear(DIED)
    assert stage.value("okoomer_courier_missed_events_total") == 5
    stage.tally.lost()
    stage.sequence = 700
    stage.hear(DIED)
    stage.sequence = 1
    stage.hear(DIED, DIED)
    assert stage.value("okoomer_courier_missed_events_total") == 5


def test_the_guards_state_is_told_in_base_units(stage: Stage) -> None:
    stage.tally.told("ok", json.dumps(STATE))
    found = {name: value for (name, labels), value in numbers(stage.tally.text()).items() if not labels}
    assert found | {
        "okoomer_guard_up": 1, "okoomer_memory_available_bytes": 1 << 33, "okoomer_swap_effective_bytes": 1 << 31,
        "okoomer_forecast_seconds": 12.5, "okoomer_level": 50, "okoomer_guard_cpu_seconds_total": 0.75,
        "okoomer_guard_resident_bytes": 12 << 20, "okoomer_guard_cycles_total": 1234, "okoomer_paused_processes": 1,
        "okoomer_open_questions": 0, "okoomer_canary_late_seconds": 0.25,
    } == found  # fmt: skip
    assert stage.value("okoomer_memory_stalled_seconds_total", kind="some") == 3.5
    assert stage.value("okoomer_memory_stalled_seconds_total", kind="full") == 1.25


def test_what_is_not_known_is_left_out_and_what_is_not_in_sight_is_infinite(stage: Stage) -> None:
    assert stage.value("okoomer_memory_available_bytes") is None and stage.value("okoomer_forecast_seconds") is None
    stage.tally.told("ok", json.dumps(BARE))
    assert stage.value("okoomer_forecast_seconds") == math.inf
    assert stage.value("okoomer_memory_stalled_seconds_total", kind="some") is None
    assert stage.value("okoomer_canary_late_seconds") is None
    assert stage.value("okoomer_memory_available_bytes") == 1 << 33


def test_a_level_that_was_heard_needs_no_question(stage: Stage) -> None:
    stage.hear(model.Level(255, 1, None, ("low",)))
    assert stage.value("okoomer_level") == 255


@pytest.mark.parametrize(
    ("status", "text", "up"), [("silent", "", 0), ("busy", "", 1), ("ok", "{garbage", 1), ("ok", "[]", 1)]
)
def test_while_nothing_better_comes_the_last_known_is_told(stage: Stage, status: str, text: str, up: int) -> None:
    stage.tally.told("ok", json.dumps(STATE))
    stage.tally.told(status, text)
    assert (stage.value("okoomer_guard_up"), stage.value("okoomer_memory_available_bytes")) == (up, 1 << 33)


@pytest.mark.parametrize(
    ("cgroup", "label"),
    [
        ("", NONE),
        ("/", NONE),
        ("/system.slice/web.service", "web.service"),
        ("/system.slice/postgresql@15-main.service", "postgresql@15-main.service"),
        ("/system.slice/web.service/worker/3", "web.service"),
        ("/user.slice/user-1000.slice/session-37.scope", "session.scope"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4711.scope", "firefox"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Maps@81b2.service", "org.gnome.Maps"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/snap.code.code-" + "0" * 36 + ".scope", "code.code"),
        ("/user.slice/user@7.service/app/vte-spawn-0c7f1a2b-1c2d-4e3f-8a9b-0123456789ab.scope", "vte-spawn.scope"),
        ("/system.slice/run-r0c7f1a2b.scope", "run.scope"),
        ("/system.slice/run-u12.service", "run.service"),
        ("/system.slice/cafe.scope", "cafe.scope"),
        ("/system.slice/docker-" + "ab12" * 16 + ".scope", "ab12ab12ab12"),
        ("/lxc.payload.mail/system.slice", "mail"),
        ("/machine.slice/machine-web.scope", "web"),
        ("/jobs/build", "build"),
        ("/system.slice/\x1b[31m\n.service", "\\x1b[31m\\n.service"),
    ],
)  # fmt: skip
def test_a_unit_has_the_name_that_lasts(cgroup: str, label: str) -> None:
    assert label_of(cgroup) == label


def test_no_more_labels_are_made_than_can_be_kept(stage: Stage) -> None:
    for n in range(UNITS + 50):
        victim = replace(VICTIM, pids=(n + 1,), cgroup=f"/system.slice/unit{n}.service", reason=f"reason{n}")
        stage.hear(victim, replace(KILLED, pids=(n + 1,)))
    units, reasons = (stage.labels("okoomer_actions_total", label) for label in ("unit", "reason"))
    assert (len(units), len(reasons)) == (UNITS + 1, REASONS + 1) and OTHER in units & reasons
    assert stage.value("okoomer_actions_total", action="kill", reason=OTHER, unit=OTHER) == 50


@given(st.text(min_size=1))
def test_whatever_a_cgroup_is_called_its_label_can_be_read_back(name: str) -> None:
    tally = Tally()
    event = json.loads(line(replace(DIED, cgroup=f"/{name}"), 1.0, 1))
    tally.hear(event)
    [unit] = [dict(labels)["unit"] for found, labels in numbers(tally.text()) if found == "okoomer_freed_bytes_total"]
    assert unit == label_of(f"/{name}") and unit.isprintable() and 0 < len(unit) <= module.LONGEST


class Guarded:
    """Metrics at a socket, and in the guard's place the test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[tuple[str, Callable[[str, str], None]]] = []
        self.metrics = Metrics(f"unix:{path}", lambda request, answered: self.asked.append((request, answered)))
        self.now = 10.0
        self.lines: list[socket.socket] = []

    def turn(self, later: float = 0.0) -> None:
        self.now += later
        for _ in range(1000):
            poller = poll()
            for fd, events in self.metrics.wants():
                poller.register(fd, events)
            ready = dict(poller.poll(0))
            if not ready and self.metrics.wait(self.now) > 0:
                return
            self.metrics.turn(ready, self.now)
        raise AssertionError("it never rests")

    def scrape(self) -> socket.socket:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.connect(str(self.path))
        line.settimeout(0.0)
        line.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        self.lines.append(line)
        self.turn()
        return line

    def found(self, line: socket.socket) -> Numbers | None:
        try:
            got = line.recv(1 << 20)
        except BlockingIOError:
            return None
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK") and b"text/plain; version=0.0.4" in head
        return numbers(body)

    def close(self) -> None:
        for scraper in self.lines:
            scraper.close()
        self.metrics.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    guarded = Guarded(tmp_path / "metrics")
    yield guarded
    guarded.close()


UP, AVAILABLE = ("okoomer_guard_up", ()), ("okoomer_memory_available_bytes", ())


def test_a_scrape_waits_for_the_guard_and_others_wait_with_it(guarded: Guarded) -> None:
    lines = [guarded.scrape(), guarded.scrape()]
    assert [request for request, _ in guarded.asked] == ["state {ref}"]
    assert [guarded.found(line) for line in lines] == [None, None]
    guarded.asked[0][1]("ok", json.dumps(STATE))
    guarded.turn()
    for scraper in lines:
        found = guarded.found(scraper)
        assert found and (found[UP], found[AVAILABLE]) == (1, 1 << 33)


def test_an_answer_that_is_new_enough_serves_the_next(guarded: Guarded) -> None:
    guarded.scrape()
    guarded.asked[0][1]("ok", json.dumps(STATE))
    guarded.turn()
    assert guarded.found(guarded.scrape()) is not None and len(guarded.asked) == 1
    guarded.turn(2 * FRESH)
    assert guarded.found(guarded.scrape()) is None and len(guarded.asked) == 2


def test_a_silent_guard_keeps_nobody_longer_than_a_second(guarded: Guarded) -> None:
    line = guarded.scrape()
    assert guarded.metrics.wait(guarded.now) == PATIENCE
    guarded.turn(PATIENCE)
    found = guarded.found(line)
    assert found and found[UP] == 0 and AVAILABLE not in found
    # The question is still open: it is not asked again, and its answer serves the next.
    later = guarded.scrape()
    assert len(guarded.asked) == 1 and guarded.found(later) is None
    guarded.asked[0][1]("ok", json.dumps(STATE))
    guarded.turn()
    found = guarded.found(later)
    assert found and found[UP] == 1


def test_when_the_guard_is_gone_the_last_known_is_told(guarded: Guarded) -> None:
    guarded.scrape()
    guarded.asked[0][1]("ok", json.dumps(STATE))
    guarded.turn()
    guarded.metrics.lost(guarded.now)
    line = guarded.scrape()
    guarded.asked[1][1]("silent", "")
    guarded.turn()
    found = guarded.found(line)
    assert found and (found[UP], found[AVAILABLE]) == (0, 1 << 33)


def test_nobody_asks_nothing_is_asked(guarded: Guarded) -> None:
    guarded.turn(3600.0)
    assert not guarded.asked and guarded.metrics.wait(guarded.now) == math.inf


def test_a_place_that_is_taken_is_said_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("okoomer.say.say", said.append)
    (tmp_path / "taken").mkdir()
    metrics = Metrics(f"unix:{tmp_path}/taken", lambda *_: None)
    assert said == [f"metrics cannot be had at unix:{tmp_path}/taken: Address already in use"]
    metrics.hear(json.loads(line(DIED, 1.0, 1)), 1.0, 1.0)
    metrics.turn({}, 1.0)
    assert (metrics.wants(), metrics.wait(1.0)) == ([], math.inf)
    metrics.close()


def test_an_address_that_others_can_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="can be reached from other machines"):
        Metrics("0.0.0.0:9779", lambda *_: None)


def test_without_the_library_there_are_none_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("okoomer.say.say", said.append)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    metrics = Metrics(f"unix:{tmp_path}/metrics", lambda *_: None)
    assert len(said) == 1 and said[0].startswith("there are no metrics: ")
    assert metrics.wants() == [] and not (tmp_path / "metrics").exists()


def test_the_library_is_not_loaded_where_nobody_wants_metrics() -> None:
    program = "import sys, okoomer.courier.metrics; print('prometheus_client' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "False\n"
