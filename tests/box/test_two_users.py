"""Two people in a box: the one who holds more than his share is taken, though the other has the largest process."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from tests.box.box import Box
from tests.box.guards import OKOOMER, events, state
from tests.box.procfiles import GIB, MIB

ALICE, BOB = 1001, 1002
POLICY = """
[[rule]]
name  = "share"
when  = "mem.available <= 10%"
unit  = "process"
by    = "user"
share = "250MiB"
steps = ["pause 1s", "kill"]
rest  = "1min"
"""


def test_who_is_over_his_share_stands_still_and_ends_and_the_other_runs_on(box: Box, tmp_path: Path) -> None:
    single = box.spawn(rss_bytes=200 * MIB, uid=BOB, name="single")
    many = [box.spawn(rss_bytes=80 * MIB, uid=ALICE, name="many", gives_back=12 * GIB) for _ in range(4)]
    service = box.spawn(rss_bytes=260 * MIB, name="service")
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    guard = box.daemon([OKOOMER, "run", "--json", "--runtime-dir", "/run/okoomer", "--policy", str(file)])
    guard.wait_line('"event": "started"', 60)
    box.memory(available=box.total * 8 // 100)
    guard.wait_line('"event": "paused"', 60)
    [chosen] = events(guard, "chosen")
    (taken,) = (one for one in many if one.pid in chosen["pids"])
    assert (chosen["pids"], chosen["user"], chosen["reason"]) == ([taken.pid], ALICE, "over-share")
    assert chosen["why"].startswith("user 1001 holds 3")
    assert [state(one) == "T" for one in (single, service)] == [False, False]
    assert taken.wait(60).signal == signal.SIGKILL
    guard.wait_line('"event": "died"', 60)
    assert single.alive and service.alive and sum(one.alive for one in many) == 3


def test_top_tells_who_stands_still_by_which_rule_and_what_happened(box: Box, tmp_path: Path) -> None:
    many = [box.spawn(rss_bytes=150 * MIB, uid=ALICE, name="many") for _ in range(2)]
    file = tmp_path / "policy.toml"
    file.write_text(POLICY.replace("pause 1s", "pause 5min"))
    guard = box.daemon([OKOOMER, "run", "--json", "--runtime-dir", "/run/okoomer", "--policy", str(file)])
    guard.wait_line('"event": "started"', 60)
    box.memory(available=box.total * 8 // 100)
    guard.wait_line('"event": "paused"', 60)
    [paused] = events(guard, "paused")
    top = box.daemon([OKOOMER, "top", "--json", "--count", "1", "--runtime-dir", "/run/okoomer"])
    view = json.loads(top.wait_line('"standing"', 60).text)
    assert (view["guard"], view["unknown"]) == (guard.pid, "")
    assert view["available"] == box.total * 8 // 100 // 1024 * 1024
    [standing] = view["standing"]
    assert (standing["state"], standing["pid"], standing["why"]) == ("paused", paused["pids"][0], "rule share")
    assert standing["pid"] in [one.pid for one in many] and standing["seconds"] >= 0
    assert [one["event"] for one in view["events"]][-2:] == ["chosen", "paused"]
    assert top.wait(60).code == 0


def test_as_long_as_both_are_within_nobody_is_taken_and_nothing_is_refused(box: Box, tmp_path: Path) -> None:
    hogs = [box.spawn(rss_bytes=200 * MIB, uid=uid) for uid in (ALICE, BOB)]
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    guard = box.daemon([OKOOMER, "run", "--json", "--runtime-dir", "/run/okoomer", "--policy", str(file)])
    guard.wait_line('"event": "started"', 60)
    box.memory(available=box.total * 8 // 100)
    guard.wait_line('"state": "fired"', 60)
    third = box.spawn(rss_bytes=100 * MIB, uid=BOB, gives_back=12 * GIB)
    guard.wait_line('"event": "paused"', 60)
    assert not events(guard, "refused")
    [chosen] = events(guard, "chosen")
    assert chosen["user"] == BOB and chosen["pids"][0] in (hogs[1].pid, third.pid)
    assert hogs[0].alive and state(hogs[0]) != "T"
