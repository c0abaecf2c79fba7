"""What `okoomer doctor` finds out about the courier, its names on the bus, and a session's agent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from okoomer.cli import doctor_courier as doctor
from okoomer.cli import place
from okoomer.courier import Services
from tests.unit.buses import DAEMON, Daemon
from tests.unit.sessions import Okoomer, Peer, Server, Session

pytestmark = pytest.mark.skipif(DAEMON is None, reason="there is no dbus-daemon (Debian: dbus-daemon)")

OURS = Path("/proc/self/comm").read_text().strip()


class LowMemory(Peer):
    """Somebody who owns low-memory-monitor's name."""

    name, path = "org.freedesktop.LowMemoryMonitor", "/org/freedesktop/LowMemoryMonitor"


class Agent(Peer):
    """Somebody who owns the agent's name."""

    name, path = "org.okoomer.Desktop", "/"


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A bus on which everybody may own names: the system's and the session's."""
    daemon = Session(tmp_path)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", daemon.address)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", daemon.address)
    monkeypatch.setenv("DISPLAY", ":99")
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which the courier's unit is installed; its courier.toml, which is not there."""
    (tmp_path / doctor.UNIT).touch()
    monkeypatch.setattr(doctor, "UNITS", (str(tmp_path / "none"), str(tmp_path)))
    monkeypatch.setattr(place, "COURIER", tmp_path / "courier.toml")
    monkeypatch.setattr(doctor, "names", lambda _offered, _runs: iter(()))
    monkeypatch.setattr(doctor.pwd, "getpwnam", lambda _name: SimpleNamespace(pw_uid=os.geteuid()))
    return tmp_path / "courier.toml"


def test_where_the_unit_is_not_installed_nothing_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "UNITS", (str(tmp_path),))
    assert list(doctor.courier()) == []


def test_a_courier_that_runs_is_as_it_should_be(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "COURIER", OURS)
    assert list(doctor.courier()) == []


def test_a_unit_that_does_not_run_is_wrong(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "COURIER", "nobody's name")
    [found] = doctor.courier()
    assert found.wrong and found.what == "okoomer-courier.service is installed and does not run"
    assert "systemctl enable --now okoomer-courier.service" in found.mend


def test_a_courier_of_another_user_is_not_the_units(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "COURIER", OURS)
    monkeypatch.setattr(doctor.pwd, "getpwnam", lambda _name: SimpleNamespace(pw_uid=os.geteuid() + 1))
    [found] = doctor.courier()
    assert found.what == "okoomer-courier.service is installed and does not run"


def test_a_missing_user_is_wrong(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.pwd, "getpwnam", {}.__getitem__)
    [found] = doctor.courier()
    assert found.wrong and found.what == "there is no user okoomer, as whom okoomer-courier.service runs"
    assert found.mend.startswith("systemd-sysusers okoomer.conf")


def test_a_courier_toml_that_is_wrong_is_found_with_its_line(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "COURIER", OURS)
    installed.write_text("wall = 3\n")
    [found] = doctor.courier()
    assert found.wrong and f"{installed}:1:1: wall = 3" in found.cost


@pytest.mark.parametrize(
    ("owner", "mend"),
    [(OURS, f"end it (pid {os.getpid()})"), ("low-memory-moni", "systemctl disable --now low-memory-monitor.service")],
)
def test_another_owner_of_the_name_is_named(
    bus: Session, monkeypatch: pytest.MonkeyPatch, owner: str, mend: str
) -> None:
    peer = LowMemory(bus.address)
    monkeypatch.setattr(doctor, "_name", lambda _pid: owner)
    found = list(doctor.names(Services(), runs=False))
    peer.close()
    [one] = found
    assert one.wrong and one.what == f"{owner} (pid {os.getpid()}) owns org.freedesktop.LowMemoryMonitor"
    assert one.mend.startswith(mend) and "low_memory_monitor = false" in one.mend


def test_who_does_not_offer_the_name_may_leave_it_to_others(bus: Session) -> None:
    peer = LowMemory(bus.address)
    found = list(doctor.names(Services(low_memory_monitor=False), runs=False))
    peer.close()
    assert found == []


def test_a_courier_without_its_names_is_wrong(bus: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    [found] = doctor.names(Services(), runs=True)
    expected = "the courier runs and does not own org.freedesktop.LowMemoryMonitor and org.okoomer.Okoomer1"
    assert found.wrong and found.what == expected and "systemctl reload dbus" in found.mend
    assert list(doctor.names(Services(), runs=False)) == [], "without a courier that is no wonder"
    monkeypatch.setattr(doctor, "COURIER", OURS)
    peers = LowMemory(bus.address), Okoomer(bus.address)
    found_now = list(doctor.names(Services(), runs=True))
    for peer in peers:
        peer.close()
    assert found_now == []


@pytest.mark.parametrize("address", ["nonsense", "unix:path=/nowhere"])
def test_without_a_system_bus_there_is_advice(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
    [found] = doctor.names(Services(), runs=True)
    assert not found.wrong and found.what.startswith("there is no system bus (") and found.mend


def test_a_bus_that_hangs_is_found(bus: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> None:
        raise TimeoutError("no answer")

    monkeypatch.setattr(doctor.Owners, "_ask", hang)
    assert [found.what for found in doctor.names(Services(), runs=True)] == [
        "the system bus does not answer (no answer)"
    ]
    assert [found.what for found in doctor.agent()] == ["the session's bus does not answer (no answer)"]


def test_a_session_has_an_agent_and_a_server(bus: Session) -> None:
    assert [found.what for found in doctor.agent()] == [
        "no agent of okoomer's runs in this session",
        "nothing shows notifications in this session",
    ]
    peers = Agent(bus.address), Server(bus.address)
    found = list(doctor.agent())
    for peer in peers:
        peer.close()
    assert found == []


def test_without_a_screen_there_is_no_session_to_look_at(bus: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert list(doctor.agent()) == []


def test_of_a_session_that_cannot_be_reached_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    [found] = doctor.agent()
    assert not found.wrong and found.what.startswith("this session cannot be looked at (")
