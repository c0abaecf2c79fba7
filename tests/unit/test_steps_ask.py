"""The steps `pause` and `ask` in the language: what is refused, what is said of them, and that they are read back."""

from __future__ import annotations

import pytest

from okoomer.cli.decide import steps as written
from okoomer.policy.language import PolicyError, parse
from okoomer.policy.model import Step
from okoomer.policy.words import describe
from okoomer.policy.write import text_of

RULE = '[[rule]]\nname = "a"\nwhen = "mem.available < 5%"\n'
LADDER = RULE + 'steps = ["pause 10s", "ask 20s", "term 5s", "kill"]\n'


@pytest.mark.parametrize(
    ("steps", "column", "marked", "said"),
    [
        ("'pause', 'kill'", 11, "pause", "a step without a duration: 'pause'; expected how long to stand still"),
        ("'ask', 'kill'", 11, "ask", "a step without a duration: 'ask'; expected how long to wait for an answer"),
        ("'ask 20', 'kill'", 15, "20", "a number without a unit"),
        ("'ask 0s', 'kill'", 15, "0s", "more than 0s"),
        ("'pause 5s 6s', 'kill'", 20, "6s", "expected pause and a duration"),
        ("'ask 20s /bin/true', 'kill'", 19, "/bin/true", "expected ask and a duration"),
        ("'ask 20s'", 11, "ask 20s", "a question whose answer ends nobody: 'ask 20s'; expected one of term, oom, kill"),
        ("'pause 5s'", 11, "pause 5s", "a pause that nothing follows: 'pause 5s'; expected one of term, oom, kill"),
        ("'ask 20s', 'warn'", 11, "ask 20s", "a question whose answer ends nobody"),
        ("'term 5s', 'ask 5s'", 22, "ask 5s", "a question whose answer ends nobody"),
        ("'kill', 'ask 5s'", 19, "ask 5s", "a step after kill"),
        ("'akc 5s', 'kill'", 11, "akc", "unknown step"),
        ("'paus 5s', 'kill'", 11, "paus", "did you mean pause?"),
        ("'warn', 'ask 20s', 'oom'", 19, "ask 20s", "ask before oom, where the kernel chooses somebody else"),
        ("'pause 20s', 'oom'", 11, "pause 20s", "expected kill as its end, or unit auto or cgroup"),
    ],
)
def test_what_is_no_question_or_pause_is_refused_at_its_place(steps: str, column: int, marked: str, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse(RULE + f"steps = [{steps}]", "p.toml")
    error = caught.value
    assert (error.line, error.column, error.text) == (4, column, marked)
    assert said in str(error).split("\n")[0]


@pytest.mark.parametrize(
    ("unit", "steps"),
    [
        ("family", "'pause 10s', 'ask 20s', 'term 5s', 'kill'"),
        ("process", "'ask 20s', 'kill'"),
        ("group", "'ask 1min', 'term 5s', 'oom'"),
        ("auto", "'ask 20s', 'oom'"),
        ("cgroup", "'pause 500ms', 'oom'"),
        ("family", "'warn', 'run 1s: /bin/true', 'ask 1h', 'prekill 5s', 'kill'"),
    ],
)
def test_what_goes_together_is_read_and_written_as_it_is(unit: str, steps: str) -> None:
    policy = parse(f"{RULE}unit = '{unit}'\nsteps = [{steps}]", "p.toml")
    again = parse(text_of(policy), "p.toml")
    assert again.rules[0].steps == policy.rules[0].steps
    assert again.rules[0].chooses and not again.rules[0].only_warns


def test_their_times_are_seconds() -> None:
    [rule] = parse(LADDER, "p.toml").rules
    assert rule.steps == (Step("pause", 10.0), Step("ask", 20.0), Step("term", 5.0), Step("kill"))
    assert written(rule) == ["pause 10s", "ask 20s", "term 5s", "kill"]


def test_a_person_reads_what_they_do() -> None:
    assert (
        "  It has the chosen stand still for 10 s, then asks whose it is what is to become of it and waits up to 20 s, "
        "then asks the chosen to end (SIGTERM) and waits up to 5 s, then kills the chosen (SIGKILL)."
    ) in describe(parse(LADDER, "p.toml"))
