"""Debian's Prometheus reads a courier that runs, with the alerts that are shipped."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from okoomer.courier.services import Services
from okoomer.events import model
from tests.unit.couriers import KILLED, VICTIM, Guarded

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
STATE: dict[str, object] = {
    "available": 3 << 30, "effective": 1 << 30, "left": None, "level": 100, "psi_some": 3.5, "psi_full": 1.25,
    "cpu": 0.75, "rss": 12 << 20, "cycles": 1234, "paused": [], "questions": [],
}  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


class Prometheus:
    """A Prometheus of the test's own, which reads one place each second."""

    def __init__(self, program: Path, directory: Path, target: str) -> None:
        scrape = (DEPLOY / "scrape.yml").read_text()
        for shipped, ours in (("127.0.0.1:9779", target), ("15s", "1s"), ("5s", "1s")):
            assert shipped in scrape
            scrape = scrape.replace(shipped, ours)
        (directory / "prometheus.yml").write_text("global: {evaluation_interval: 1s}\n" + scrape)
        shutil.copy(DEPLOY / "okoomer.rules.yml", directory)
        self._url = f"http://127.0.0.1:{(port := free_port())}"
        command = [
            str(program), f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
        ]  # fmt: skip
        self._process = subprocess.Popen(command)

    def get(self, path: str) -> Any:
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{path}", timeout=10) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None  # it is not up yet, or busy

    def value(self, query: str) -> float | None:
        found = self.get(f"query?query={quote(query)}")
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)


@pytest.fixture
def place() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def prometheus(tmp_path: Path, programs: Path, place: str) -> Iterator[Prometheus]:
    (tmp_path / "prometheus").mkdir()
    prometheus = Prometheus(programs / "prometheus", tmp_path / "prometheus", place)
    yield prometheus
    prometheus.close()


def test_prometheus_reads_what_was_done_and_how_the_guard_is(
    tmp_path: Path, place: str, prometheus: Prometheus
) -> None:
    services = Services(
        low_memory_monitor=False, okoomer1=False, system_notifications="never", pressure_watch=False, metrics=place
    )
    with Guarded(tmp_path, services=services) as guarded:
        asked: list[str] = []

        def state(verb: str, rest: str, user: int, believed: bool) -> tuple[str, str]:
            asked.append(verb)
            return "ok", json.dumps(STATE)

        def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
            deadline = time.monotonic() + seconds
            while not condition():
                assert time.monotonic() < deadline
                guarded.link.answers()
                time.sleep(0.02)

        guarded.link.requests = state
        until(lambda: prometheus.value("okoomer_guard_up") == 1)
        guarded.tell(VICTIM, KILLED, model.Died("low", "hog", (42, 43), 0.004, 1 << 30))
        kill = 'okoomer_actions_total{action="kill", reason="low-memory", unit="web.service", instance="this-machine"}'
        until(lambda: prometheus.value(kill) == 1)
        assert prometheus.value("okoomer_memory_available_bytes") == 3 << 30
        assert prometheus.value('okoomer_memory_stalled_seconds_total{kind="full"}') == 1.25
        assert prometheus.value("okoomer_forecast_seconds") == float("inf")
        assert prometheus.value("sum(okoomer_freed_bytes_total)") == 1 << 30
        assert prometheus.value('okoomer_kill_latency_seconds_bucket{le="0.005"}') == 1
        assert set(asked) == {"state"}

        def is_well() -> bool:
            [target] = prometheus.get("targets")["activeTargets"]
            return (target["health"], target["lastError"]) == ("up", "")

        until(is_well)
        until(lambda: prometheus.value('ALERTS{alertname="OkoomerMemoryShort", alertstate="pending"}') == 1)

        def are_judged() -> bool:
            [group] = prometheus.get("rules")["groups"]
            return {rule["health"] for rule in group["rules"]} == {"ok"}

        until(are_judged)
        # The guard says nothing more: what was known last is told, and that it is silent.
        until_silent = time.monotonic() + 60
        while prometheus.value("okoomer_guard_up") != 0:
            assert time.monotonic() < until_silent
            time.sleep(0.1)
        assert prometheus.value("okoomer_memory_available_bytes") == 3 << 30
    until_gone = time.monotonic() + 60
    while prometheus.value('up{job="okoomer"}') != 0:
        assert time.monotonic() < until_gone
        time.sleep(0.1)
