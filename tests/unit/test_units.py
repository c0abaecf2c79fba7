"""What `make install` puts onto a machine: systemd takes it, the files fit each other, and the commands are there."""

from __future__ import annotations

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest

from okoomer.cli.commands import okoomer
from okoomer.cli.place import runtime_dir
from okoomer.guard.launch import Options

ROOT = Path(__file__).parents[2]
SYSTEM, USER = ROOT / "systemd", ROOT / "systemd/user"
BUS = ROOT / "dbus"
OURS = ("okoomer.service", "okoomer-courier.service")
ROLES = ("earlyoom.service", "nohang.service", "nohang-desktop.service")
#: Each role's own, copied by hand: see their docs.
BY_HAND = {*ROLES, "systemd-oomd.service.d/okoomer.conf", "org.freedesktop.oom1.okoomer.conf"}


def settings(file: Path) -> dict[str, dict[str, list[str]]]:
    """The sections of a unit: of each setting, its values in order."""
    found: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in file.read_text().splitlines():
        if header := re.fullmatch(r"\[(.+)\]", line):
            section = found.setdefault(header[1], {})
        elif line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            section.setdefault(name, []).append(value)
    return found


GUARD, COURIER = (settings(SYSTEM / name) for name in OURS)
DESKTOP = settings(USER / "okoomer-desktop.service")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is on a machine after `make install-files`."""
    target = tmp_path_factory.mktemp("machine")
    subprocess.run(["make", "--silent", "-C", ROOT, "install-files", f"DESTDIR={target}"], check=True)
    return target


def test_all_is_installed_but_what_takes_the_place_of_others(machine: Path) -> None:
    shipped = {str(file.relative_to(top)) for top in (SYSTEM, BUS) for file in top.rglob("*") if file.is_file()}
    installed = {file.name for file in machine.rglob("*") if file.is_file()}
    assert installed == {Path(name).name for name in shipped - BY_HAND}
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in machine.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def root(machine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with systemd's own units and the programs that ours call."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here (Debian: systemd)")
    target = tmp_path_factory.mktemp("root")
    shutil.copytree(machine, target, dirs_exist_ok=True)
    shutil.copytree("/usr/lib/systemd/system", target / "usr/lib/systemd/system", symlinks=True)
    for program in ("usr/bin/okoomer", "bin/kill"):
        stub = target / program
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text("#!/bin/sh\n")
        stub.chmod(0o755)
    for unit in ROLES:
        shutil.copy(SYSTEM / unit, target / "etc/systemd/system")
    return target


@pytest.mark.parametrize("unit", [*OURS, *ROLES])
def test_systemd_finds_no_fault_in_a_unit(unit: str, root: Path) -> None:
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={root}", unit]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", [OURS[0], *ROLES, "systemd-oomd.service.d/okoomer.conf"])
def test_what_a_guard_is_preferred_by_counts_among_the_slices(unit: str) -> None:
    service = settings(SYSTEM / unit)["Service"]
    assert service["Slice"] == ["-.slice"]
    assert int(service["CPUWeight"][0]) == int(service["IOWeight"][0]) == 1000


@pytest.mark.parametrize("unit", [GUARD, COURIER, DESKTOP], ids=["guard", "courier", "desktop"])
def test_the_commands_of_the_units_are_those_that_okoomer_has(unit: dict[str, dict[str, list[str]]]) -> None:
    lines = [line.lstrip("-") for name in ("ExecStart", "ExecStopPost") for line in unit["Service"].get(name, ())]
    assert lines
    for line in lines:
        program, name, *arguments = line.split()
        assert program == "/usr/bin/okoomer"
        assert isinstance(okoomer, click.Group)
        command = okoomer.get_command(click.Context(okoomer), name)
        assert command is not None, line
        command.make_context(name, arguments)


def test_the_courier_has_its_user_everywhere() -> None:
    (user,) = COURIER["Service"]["User"]
    accounts = [
        line.split()[1] for line in (SYSTEM / "sysusers.d/okoomer.conf").read_text().splitlines() if line[0] == "u"
    ]
    assert accounts == [user]
    for file in BUS.glob("*.conf"):
        if file.name in BY_HAND:
            continue
        # Who may have a name, or send what is put on screens.
        trusted = {policy.get("user") for policy in ElementTree.parse(file).iter("policy") if policy.get("user")}
        assert trusted == {user, "root"}, file


def test_a_call_to_a_name_that_nobody_owns_starts_the_courier() -> None:
    files = list(BUS.glob("*.service"))
    assert {file.stem for file in files} == {"org.freedesktop.LowMemoryMonitor", "org.okoomer.Okoomer1"}
    for file in files:
        service = ConfigParser()
        service.optionxform = str  # type: ignore[assignment, method-assign]
        service.read(file)
        assert service["D-BUS Service"]["Name"] == file.stem
        assert [service["D-BUS Service"]["SystemdService"]] == COURIER["Install"]["Alias"]


def test_the_name_has_an_owner_before_anybody_logs_in_and_nothing_waits_for_the_guard() -> None:
    before = COURIER["Unit"]["Before"][0].split()
    assert before == ["systemd-user-sessions.service", "display-manager.service"]
    for unit in (GUARD, COURIER):
        assert not {"Requires", "Wants", "BindsTo", "Requisite", "PartOf"} & unit["Unit"].keys()
        assert unit["Unit"]["StartLimitIntervalSec"] == ["0"] and unit["Service"]["Restart"] == ["always"]
    assert COURIER["Unit"]["Conflicts"] == ["low-memory-monitor.service"]


def test_the_directories_are_where_the_programs_look_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert [f"/run/{name}" for name in GUARD["Service"]["RuntimeDirectory"]] == [runtime_dir(None)]
    # The courier and who asks directly pass through; the list of what is in it is for the guard alone.
    assert GUARD["Service"]["RuntimeDirectoryMode"] == ["0751"]
    assert COURIER["Service"]["RuntimeDirectoryMode"] == ["0755"]
    assert {"courier_uid", "courier_gid"} <= set(Options._fields)


def test_the_courier_has_no_power_and_the_guard_no_more_than_it_says() -> None:
    assert COURIER["Service"]["CapabilityBoundingSet"] == [""]
    assert "AmbientCapabilities" not in COURIER["Service"]
    text = (SYSTEM / OURS[0]).read_text()
    for capability in " ".join(GUARD["Service"]["CapabilityBoundingSet"]).split():
        # Each is explained.
        assert f"{capability.removeprefix('CAP_')}" in re.sub(r"^[^#\n].*$", "", text, flags=re.M), capability


def test_no_two_guards_run_at_once() -> None:
    for role in ROLES:
        assert "okoomer.service" in settings(SYSTEM / role)["Unit"]["Conflicts"][0].split()


def test_what_resumes_the_paused_outlives_the_guard() -> None:
    service = GUARD["Service"]
    # With `mixed` or `process` the watcher would be killed at once, or stay for good.
    assert service["KillMode"] == ["control-group"]
    assert service["ExecStopPost"] == ["-/usr/bin/okoomer resume --left"]
    assert service["RuntimeDirectoryPreserve"] == ["yes"]


def test_the_agent_comes_with_a_desktop_and_only_once() -> None:
    assert DESKTOP["Unit"]["PartOf"] == ["graphical-session.target"]
    assert DESKTOP["Install"]["WantedBy"] == ["graphical-session.target"]
    entry = settings(SYSTEM / "okoomer-desktop.desktop")["Desktop Entry"]
    assert entry["X-systemd-skip"] == ["true"]
    assert entry["Exec"][0].split() == DESKTOP["Service"]["ExecStart"][0].split()
