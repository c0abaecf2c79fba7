"""What is shipped for Prometheus and Grafana: it is well formed, asks for what there is, and alerts when it should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from okoomer.courier.gate import place_of
from okoomer.courier.tally import Tally

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
STATE = {
    "available": 1, "effective": 1, "left": 1.0, "level": 0, "psi_some": 1.0, "psi_full": 1.0, "cpu": 1.0, "rss": 1,
    "cycles": 1, "canary": 0.1, "paused": [], "questions": [],
}  # fmt: skip
SIGNAL = {"event": "signalled", "rule": "low", "signal": "SIGKILL", "pids": [1], "sequence": 1}
DIED = {"event": "died", "rule": "low", "pids": [1], "seconds": 0.1, "came_back": 1, "sequence": 2}


def exposed() -> str:
    """All numbers of a courier that has seen something, as they are served."""
    tally = Tally()
    tally.told("ok", json.dumps(STATE))
    for event in (SIGNAL, DIED):
        tally.hear(event)
    return tally.text().decode()


def names() -> dict[str, set[str]]:
    """The series that there are, and the labels of each."""
    found: dict[str, set[str]] = {"up": {"job", "instance"}}
    for family in text_string_to_metric_families(exposed()):
        for sample in family.samples:
            found.setdefault(sample.name, {"instance", "job"}).update(sample.labels)
    return found


def asked(expression: str) -> None:
    """Fails unless all that an expression asks for is there."""
    there = names()
    metrics = re.findall(r"\b(?:okoomer_\w+|up)\b", expression)
    assert metrics, expression
    labels = set(re.findall(r"(\w+)\s*=~?\s*\"", expression))
    for group in re.findall(r"by \(([^)]*)\)", expression):
        labels.update(label.strip() for label in group.split(","))
    for metric in metrics:
        assert metric in there, f"{metric} is asked for, and nothing serves it"
        assert labels <= there[metric], f"{metric} has no label {labels - there[metric]}"


def dashboard() -> dict[str, Any]:
    board: dict[str, Any] = json.loads((DEPLOY / "okoomer.dashboard.json").read_text())
    return board


def queries() -> list[tuple[str, str]]:
    """Each panel's title and one of its queries."""
    return [(panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel["targets"]]


def plain(query: str) -> str:
    """A query of a dashboard as Prometheus gets it."""
    query = query.replace("$__rate_interval", "1m").replace("$__range", "6h").replace("$instance", ".*")
    assert "$" not in query
    return query


def rules() -> list[str]:
    """The expressions of all alerts, one in a line."""
    text = (DEPLOY / "okoomer.rules.yml").read_text()
    return re.findall(r"expr: (?:>-\n\s+)?(.*)", text)


def run(*words: str | Path, stdin: str | None = None) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120, input=stdin)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_finds_the_alerts_in_order(promtool: Path) -> None:
    assert f"{len(rules())} rules found" in run(promtool, "check", "rules", DEPLOY / "okoomer.rules.yml")


def test_the_alerts_fire_when_they_should_and_not_else(promtool: Path) -> None:
    assert "SUCCESS" in run(promtool, "test", "rules", DEPLOY / "okoomer.test.yml")


def test_each_alert_has_a_test_of_its_own() -> None:
    alerts = re.findall(r"alert: (\w+)", (DEPLOY / "okoomer.rules.yml").read_text())
    tests = (DEPLOY / "okoomer.test.yml").read_text()
    assert len(alerts) > 10 and not [alert for alert in alerts if alert not in tests]


def test_promtool_has_nothing_against_the_metrics_names(promtool: Path) -> None:
    assert run(promtool, "check", "metrics", stdin=exposed()).strip() == ""


def test_the_scrape_configuration_is_one(tmp_path: Path, promtool: Path) -> None:
    for name in ("scrape.yml", "okoomer.rules.yml"):
        shutil.copy(DEPLOY / name, tmp_path)
    assert "SUCCESS" in run(promtool, "check", "config", tmp_path / "scrape.yml")


def test_the_scrape_configuration_asks_where_the_documents_say_metrics_are() -> None:
    [where] = set(re.findall(r"127\.0\.0\.1:\d+", (DEPLOY / "scrape.yml").read_text()))
    assert place_of(where) and f'metrics = "{where}"' in DOCS.read_text()


@pytest.mark.parametrize("expression", rules())
def test_each_alert_asks_for_what_there_is(expression: str) -> None:
    asked(expression)


@pytest.mark.parametrize(("title", "query"), queries())
def test_each_panel_asks_for_what_there_is(title: str, query: str) -> None:
    asked(plain(query))


def test_each_panels_query_can_be_read_by_prometheus(tmp_path: Path, promtool: Path) -> None:
    lines = ["groups:", "- name: dashboard", "  rules:"]
    for number, (_, query) in enumerate(queries()):
        lines += [f"  - record: dashboard:query{number}", f"    expr: {json.dumps(plain(query))}"]
    (tmp_path / "dashboard.yml").write_text("\n".join(lines) + "\n")
    assert f"{len(queries())} rules found" in run(promtool, "check", "rules", tmp_path / "dashboard.yml")


def test_the_dashboard_shows_every_number_that_there_is() -> None:
    shown = " ".join(query for _, query in queries())
    families = {name for name in names() if name != "up" and not name.endswith(("_sum", "_count", "_bucket"))}
    assert len(families) > 15 and not [name for name in families if name not in shown]


def test_the_dashboard_can_be_imported() -> None:
    board = dashboard()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) and board["schemaVersion"] >= 36 and board["uid"] == "okoomer"
    variables = {variable["name"] for variable in board["templating"]["list"]}
    assert set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(board["panels"]))) == variables
    places = [(p["x"] + dx, p["y"] + dy) for p in (panel["gridPos"] for panel in board["panels"])
              for dx in range(p["w"]) for dy in range(p["h"])]  # fmt: skip
    assert len(set(places)) == len(places) and max(x for x, _ in places) < 24, "panels lie on one another"
    for panel in board["panels"]:
        assert panel["description"].endswith(".") and panel["datasource"] == {
            "type": "prometheus", "uid": "${datasource}"
        }  # fmt: skip


def test_each_number_is_in_the_documents() -> None:
    text = DOCS.read_text()
    families = {family.name for family in text_string_to_metric_families(exposed())}
    assert len(families) > 15 and not [name for name in families if name not in text]
    served = {name for name in names() if name != "up"}
    written = set(re.findall(r"`(okoomer_\w+)", text))
    assert not [name for name in written if name not in served and f"{name}_bucket" not in served]
