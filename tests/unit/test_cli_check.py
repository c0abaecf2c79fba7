"""`okoomer check`: what a policy says, whether it can act here, and whether it would at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from okoomer.cli.errors import BadInput
from okoomer.cli.run import refuse_at_once
from okoomer.facts import Memory, Pressure, Snapshot, Stall, Swap
from okoomer.policy.examine import firing, inert
from okoomer.policy.language import PRESETS, parse
from okoomer.policy.metrics_cgroup import METRICS
from tests.unit.console import okoomer
from tests.unit.machines import GIB

#: Never true on a machine on which a test can run.
CALM = '[[rule]]\nname = "calm"\nwhen = "mem.available < 1B"\n'
#: Never there in a machine of our own: what a zram device stores.
INERT = '[[rule]]\nname = "odd"\nwhen = "zram.ratio < 0.001 and zram.used > 0B"\n'
AT_ONCE = '[[rule]]\nname = "hasty"\nwhen = "mem.available > 1B for 1h"\n'

STALL = Stall(0.5, 0.5, 0.5, 10.0)
WELL = Snapshot(10.0, Memory(8 * GIB, GIB, 6 * GIB), Swap(GIB, GIB), memory_pressure=Pressure(STALL, STALL))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "p.toml"
    path.write_text(CALM)
    return path


def rules(*texts: str) -> str:
    return "".join(f'[[rule]]\nname = "r{n}"\nwhen = "{when}"\n' for n, when in enumerate(texts))


# --- the command ----------------------------------------------------------------------------------------------------


def test_a_good_policy_is_told_in_words_with_what_it_would_do_now(path: Path) -> None:
    ended = okoomer("check", path)
    assert (ended.code, ended.err) == (0, "")
    assert f"{path} (named on the command line) is a valid policy." in ended.out
    assert "On this machine, now:\n  rule calm is quiet: mem.available " in ended.out
    assert "PROBLEM" not in ended.out


def test_a_good_policy_as_json(path: Path) -> None:
    ended = okoomer("check", path, "--json")
    answer = json.loads(ended.out)
    assert ended.code == 0
    assert set(answer) == {"policy", "words", "cannot_act_here", "would_act_at_once", "now"}
    assert (answer["policy"], answer["cannot_act_here"], answer["would_act_at_once"]) == (str(path), {}, [])
    assert answer["words"] and all(isinstance(text, str) for text in answer["words"])
    assert answer["now"]["act"] is None
    assert [(rule["name"], rule["state"]) for rule in answer["now"]["rules"]] == [("calm", "quiet")]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('[[rule]]\nname = "r"\nwhen = "mem.avail < 5%"\n', 3, 9),
        ('[[rule]]\nname = "r"\nwhen = "mem.free < 5"\n', 3, 20),
        ('[[rule]]\nname = "r"\nwhat = "mem.free < 5%"\n', 3, 1),
        ('[[rule]]\nname = "r"\n', 1, 1),
        ('[[rule]]\nname = "r\n', 2, 1),
    ],
)
def test_a_bad_policy_is_bad_input_at_its_place(path: Path, text: str, line: int, column: int) -> None:
    path.write_text(text)
    ended = okoomer("check", path)
    assert (ended.code, ended.out) == (2, "")
    first, shown, mark = ended.err.splitlines()
    assert first.startswith(f"okoomer: {path}:{line}:{column}: ")
    assert shown == text.splitlines()[line - 1]
    assert mark.index("^") == column - 1


def test_an_absent_policy_is_bad_input_that_names_the_presets(tmp_path: Path) -> None:
    ended = okoomer("check", tmp_path / "absent.toml")
    assert ended.code == 2
    assert ended.err.count("\n") == 1 and "desktop, server" in ended.err


def test_a_rule_that_would_act_at_once_is_a_problem(path: Path) -> None:
    path.write_text(AT_ONCE)
    ended = okoomer("check", path)
    assert ended.code == 1
    assert "PROBLEM: rule hasty would act on this machine as it stands" in ended.out
    answer = json.loads(okoomer("check", path, "--json").out)
    assert answer["would_act_at_once"] == ["hasty"]
    assert answer["now"]["rules"][0]["state"] == "holding"


@pytest.mark.skipif(Path("/proc/swaps").read_text().count("\n") > 1, reason="zram may be in use here")
@pytest.mark.parametrize(("when", "code"), [("canary.late > 1s", 0), ("canary.late < 1s", 1)])
def test_a_guard_that_starts_has_a_canary_that_is_in_time(path: Path, when: str, code: int) -> None:
    path.write_text(AT_ONCE.replace("mem.available > 1B", when))
    ended = okoomer("check", path)
    assert ended.code == code and "canary.late 0 ms" in ended.out


def test_a_rule_that_cannot_act_here_is_a_problem(path: Path) -> None:
    path.write_text(INERT)
    ended = okoomer("check", path)
    assert ended.code == 1
    assert "PROBLEM: rule odd cannot act here: this machine has no zram.ratio" in ended.out
    assert "odd" in json.loads(okoomer("check", path, "--json").out)["cannot_act_here"]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_here(preset: str) -> None:
    ended = okoomer("check", preset, "--json")
    assert ended.code in (0, 1)
    assert json.loads(ended.out)["would_act_at_once"] == []


def test_every_metric_is_listed_with_what_it_means() -> None:
    ended = okoomer("check", "--metrics")
    assert ended.code == 0
    assert [text.split()[0] for text in ended.out.splitlines()] == list(METRICS)
    assert all(len(text.split()) > 2 for text in ended.out.splitlines())
    assert set(json.loads(okoomer("check", "--metrics", "--json").out)) == set(METRICS)


# --- the examination ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "acts"),
    [
        ("mem.available < 10%", False),
        ("mem.available < 80%", True),
        ("mem.available < 80% for 1h", True),
        ("(mem.available < 80% for 1h and swap.free > 5%) or mem.free < 1B", True),
        ("psi.memory.full > 20% over 2s", False),  # nothing is known of the past yet
        ("psi.memory.full.avg10 > 20%", True),
        ("psi.io.full.avg10 > 20%", False),
    ],
)
def test_what_would_act_on_a_machine_as_it_stands(when: str, acts: bool) -> None:
    assert firing(parse(rules(when), "p.toml"), WELL) == (["r0"] if acts else [])


def test_a_rule_that_only_warns_acts_on_nobody() -> None:
    text = rules("mem.available < 80%") + 'steps = ["warn"]\n'
    assert firing(parse(text, "p.toml"), WELL) == []


@pytest.mark.parametrize(
    ("when", "missing"),
    [
        ("mem.available < 10%", None),
        ("psi.io.full > 5% over 1s", ["psi.io.full"]),
        ("psi.io.full > 5% over 1s or mem.available < 10%", None),
        ("psi.io.full > 5% over 1s and mem.available < 10%", ["psi.io.full"]),
        ("not zram.used > 5%", ["zram.used"]),
        ("(psi.io.full > 5% over 1s or vm.swapin > 1MiB/s) for 2s", ["psi.io.full", "vm.swapin"]),
    ],
)
def test_what_can_never_act_on_a_machine(when: str, missing: list[str] | None) -> None:
    assert inert(parse(rules(when), "p.toml"), WELL) == ({"r0": missing} if missing else {})


# --- the refusal to run ---------------------------------------------------------------------------------------------


def test_a_policy_that_would_act_at_once_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"rule hasty, rash would act .* --force") as refused:
        refuse_at_once(str(path), ["hasty", "rash"], tmp_path / "run/accepted")
    assert refused.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_a_policy_that_was_started_before_is_let_through_until_it_is_changed(path: Path, tmp_path: Path) -> None:
    accepted = tmp_path / "run/accepted"
    refuse_at_once(str(path), [], accepted)
    refuse_at_once(str(path), ["hasty"], accepted)
    path.write_text(CALM + "# changed\n")
    with pytest.raises(BadInput):
        refuse_at_once(str(path), ["hasty"], accepted)
