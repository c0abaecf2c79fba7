"""`okoomer doctor` on the canary of a guard that runs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from okoomer.cli import doctor_canary
from okoomer.guard.launch import keep
from okoomer.policy.choose import CANARY
from okoomer.policy.language import parse
from tests.unit.standing import name, within

if TYPE_CHECKING:
    from pathlib import Path

RULE = '[[rule]]\nname = "a"\nwhen = "mem.available < 1%{}"\n'
CALLED = f"open('/proc/self/comm', 'w').write('{CANARY}'); input()"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That of a guard which is this process and goes by a canary."""
    monkeypatch.setattr(doctor_canary.place, "running", lambda _directory: os.getpid())
    keep(parse(RULE.format(" and canary.late > 100ms"), "p"), str(tmp_path))
    return tmp_path


def found(runtime: Path) -> list[str]:
    return [finding.what for finding in doctor_canary.canary(str(runtime))]


def test_a_canary_that_is_missing_is_named_and_one_that_is_there_is_not(runtime: Path) -> None:
    assert found(runtime) == ["the guard has no canary"]
    with subprocess.Popen([sys.executable, "-c", CALLED], stdin=subprocess.PIPE) as child:
        try:
            assert within(lambda: name(child.pid) == CANARY)
            assert found(runtime) == []
        finally:
            child.kill()


def test_who_needs_none_lacks_none(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(parse(RULE.format(""), "p"), str(runtime))
    assert found(runtime) == []
    (runtime / "policy").unlink()
    assert found(runtime) == []


def test_where_no_guard_runs_none_is_missing(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_canary.place, "running", lambda _directory: None)
    assert found(runtime) == []
