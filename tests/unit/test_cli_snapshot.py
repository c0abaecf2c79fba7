"""`okoomer snapshot`: this machine as a directory, on which a decision can be made again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from okoomer.cli import snapshot
from okoomer.cli.status import Standing
from okoomer.guard.cgroups import Cgroups
from okoomer.kernel import cgroup
from okoomer.kernel.machine import recorded as recorded_machine
from okoomer.record import replace
from tests.unit.console import okoomer
from tests.unit.live_cgroups import build


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machine") / "new" / "now"
    assert okoomer("snapshot", folder).code == 0
    return folder


def test_the_facts_of_this_machine_are_recorded(recorded: Path) -> None:
    assert abs(float((recorded / "clock").read_text()) - float(Path("/proc/uptime").read_text().split()[0])) < 120
    assert (recorded / "proc/meminfo").read_text().startswith("MemTotal:")
    me = recorded / "proc" / str(os.getpid())
    assert {path.name for path in me.iterdir()} == set(snapshot.PROCESS_FILES)
    assert (me / "cmdline").read_bytes() == Path("/proc/self/cmdline").read_bytes()
    assert isinstance(json.loads((recorded / "xattrs.json").read_text()), dict)
    pressure = Path("/proc/pressure/memory")
    assert (recorded / "proc/pressure/memory").exists() == pressure.exists()


@pytest.mark.parametrize("preset", ["desktop", "server"])
def test_a_decision_can_be_made_on_the_recording(recorded: Path, tmp_path: Path, preset: str) -> None:
    ended = okoomer("why", "--machine", recorded, "--policy", preset, "--json")
    assert ended.code == 0
    (decided,) = json.loads(ended.out)
    assert decided["clock"] == float((recorded / "clock").read_text())
    assert {rule["state"] for rule in decided["rules"]} <= {"quiet", "holding", "fired"}
    policy = tmp_path / "p.toml"
    policy.write_text('[[rule]]\nname = "all"\nwhen = "mem.available > 1B"\nleast = "1MiB"\navoid = []\n')
    act = json.loads(okoomer("why", "--machine", recorded, "--policy", policy, "--json").out)[0]["act"]
    assert act["rule"] == "all" and act["ranking"]
    assert all((recorded / "proc" / str(pid)).is_dir() for one in act["ranking"] for pid in one["pids"])


def test_how_late_the_canary_is_is_recorded_where_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot.place, "runtime_dir", lambda _given: str(tmp_path))
    monkeypatch.setattr(snapshot.place, "running", lambda _directory: 7)
    for late, there in ((0.0125, True), (None, False)):
        monkeypatch.setattr(snapshot, "standing", lambda *_, late=late: Standing(late))
        folder = tmp_path / f"with{there}"
        assert okoomer("snapshot", folder).code == 0
        assert (folder / "canary").exists() == there
    assert float((tmp_path / "withTrue/canary").read_text()) == 0.0125


def test_the_answer_says_where_and_how_many(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answer = json.loads(okoomer("snapshot", tmp_path / "empty", "--json").out)
    assert answer["directory"] == str(tmp_path / "empty")
    files = [path for path in (tmp_path / "empty").rglob("*") if path.is_file()]
    assert answer["files"] == len(files) > 10


def test_nothing_is_written_where_something_is(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    for target in (tmp_path, tmp_path / "precious"):
        ended = okoomer("snapshot", target)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
        assert "not an empty directory" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_place_where_nothing_can_be_written_is_named() -> None:
    ended = okoomer("snapshot", "/proc/okoomer-snapshot")
    assert (ended.code, ended.err.count("\n")) == (3, 1)
    assert "/proc/okoomer-snapshot" in ended.err


def test_marks_and_files_of_cgroups_are_recorded_by_their_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = tmp_path / "cgroup"
    for path in ("a.slice/.hidden", "a.slice/b c.scope"):
        (mount / path).mkdir(parents=True)
        (mount / path / "memory.current").write_text("5\n")
        (mount / path / "irrelevant").write_text("5\n")
    (mount / "cgroup.controllers").write_text("memory\n")
    monkeypatch.setattr("okoomer.kernel.cgroup.mount", lambda: str(mount))
    monkeypatch.setattr("okoomer.kernel.cgroup.marks", lambda folder: {"user.name": Path(folder).name})
    monkeypatch.setattr("okoomer.kernel.process.pids", lambda _proc: iter(()))
    (tmp_path / "machine").mkdir()
    snapshot.record(tmp_path / "machine")
    found = json.loads((tmp_path / "machine/xattrs.json").read_text())
    assert set(found) == {"/", "/a.slice", "/a.slice/.hidden", "/a.slice/b c.scope"}
    root = tmp_path / "machine/sys/fs/cgroup"
    assert {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()} == {
        "cgroup.controllers",
        "a.slice/.hidden/memory.current",
        "a.slice/b c.scope/memory.current",
    }


def test_attributes_of_a_file_are_read_by_their_kinds(tmp_path: Path) -> None:
    try:
        os.setxattr(tmp_path, "user.oomd_avoid", b"1")
    except OSError:
        pytest.skip("this file system keeps no attributes")
    assert cgroup.marks(str(tmp_path)) == {"user.oomd_avoid": "1"}
    assert cgroup.marks(str(tmp_path / "absent")) == {}


def test_owners_and_kinds_of_devices_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = tmp_path / "cgroup"
    for path, device in (("a", "8:0"), ("b\xff", "259:7777")):
        (mount / path).mkdir(parents=True)
        (mount / path / "io.stat").write_text(f"{device} rios=1\n")
    (mount / "c").mkdir()
    (mount / "c" / "io.stat").write_text("../../../etc: rios=1\n")
    monkeypatch.setattr("okoomer.kernel.cgroup.mount", lambda: str(mount))
    owners = {"a": 1000, "c": 7}
    monkeypatch.setattr(snapshot, "owner_of", lambda folder: owners.get(Path(folder).name, 0))
    copied: list[str] = []
    monkeypatch.setattr(snapshot, "copy", lambda source, _target: copied.append(str(source)) or 1)
    (tmp_path / "machine").mkdir()
    assert snapshot.record_cgroups(tmp_path / "machine") == 3 + 2 + 2
    assert json.loads((tmp_path / "machine/owners.json").read_text()) == {"/a": 1000, "/c": 7}
    assert copied[-2:] == [f"/sys/dev/block/{device}/queue/rotational" for device in ("259:7777", "8:0")]


def test_a_recording_of_cgroups_is_read_as_the_machine_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"memory_current": 5, "memory_max": 9, "cgroup_procs": "7\n8", "io_stat": "8:0 rios=1000"}
    made = build(tmp_path / "live", {"/a.slice/b": files, "/c": {"memory_low": 3}})
    monkeypatch.setattr("okoomer.kernel.cgroup.mount", lambda proc="": str(made.mount))
    monkeypatch.setattr(snapshot, "owner_of", lambda folder: 1000 if folder.endswith("/b") else 0)
    (tmp_path / "machine").mkdir()
    snapshot.record_cgroups(tmp_path / "machine")
    fields = frozenset(("memory", "maximum", "low", "io_cost"))
    live, kept = (
        {one.path: one for one in Cgroups(machine).area(None, "/", True, fields, 1.0) if one.path != "/"}
        for machine in (made.machine, recorded_machine(str(tmp_path / "machine")))
    )
    assert set(live) == {"/a.slice", "/a.slice/b", "/c"}
    assert {"/a.slice", "/a.slice/b"} <= set(kept)
    assert kept["/a.slice/b"] == replace(live["/a.slice/b"], inode=kept["/a.slice/b"].inode, owner=1000)
    assert Cgroups(recorded_machine(str(tmp_path / "machine"))).members("/a.slice") == [7, 8]


def test_what_vanishes_meanwhile_is_absent(tmp_path: Path) -> None:
    assert snapshot.copy(tmp_path / "gone", tmp_path / "copy") == 0
    assert not (tmp_path / "copy").exists()
