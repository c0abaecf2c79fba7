"""The steps `pause` and `ask` in the language: what is refused, what is said of them, and that they are read back."""

from __future__ import annotations

import pytest

from okoomer.cli.decide import steps as written
from okoomer.policy.language import PolicyError, parse
from okoomer.policy.model import Amount, Step
from okoomer.policy.words import describe
from okoomer.policy.write import text_of

RULE = '[[rule]]\nname = "a"\nwhen = "mem.available < 5%"\n'
LADDER = RULE + 'steps = ["pause 10s", "ask 20s", "term 5s", "kill"]\n'


@pytest.mark.parametrize(
    ("steps", "column", "marked", "said"),
    [
        ("'slow', 'kill'", 11, "slow", "a step without a duration: 'slow'; expected for how long, such as slow 30s"),
        ("'slow 30'", 16, "30", "a number without a unit"),
        ("'slow 30s 50%'", 20, "50%", "too much for a step: '50%'; expected slow and a duration, or slow 30s cpu 50%"),
        ("'slow 30s cpu'", 11, "slow 30s cpu", "a step without a share of a processor"),
        ("'slow 30s cpu 0%'", 24, "0%", "no processor at all: '0%'; expected more than 0%"),
        ("'slow 30s cpu 200%'", 24, "200%", "more than all there is: '200%'; expected at most 100%"),
        ("'slow 30s cpu 5MiB'", 25, "MiB", "unknown unit"),
        ("'slow 30s cpu 5% 6s'", 27, "6s", "expected slow and a duration and cpu and a share of one processor"),
        ("'slow 30s', 'oom'", 11, "slow 30s", "slow before oom, where the kernel chooses somebody else"),
        ("'kill', 'slow 5s'", 19, "slow 5s", "a step after kill"),
        ("'slwo 5s'", 11, "slwo", "did you mean slow?"),
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
        ("'pause 2s 0 times', 'kill'", 20, "0", "not a number of times: '0'; expected a whole number from 1 to 999"),
        ("'pause 2s four times', 'kill'", 20, "four", "not a number of times"),
        ("'pause 2s 4 time', 'kill'", 22, "time", "expected pause and a duration, with how often"),
        ("'pause 4 times', 'kill'", 11, "pause 4 times", "a step without a duration"),
        ("'pause times', 'kill'", 17, "times", "not a quantity"),
        ("'ask 2s 4 times', 'kill'", 20, "times", "expected ask and a duration"),
        ("'pause 2s 4 times', 'pause 1s 2 times', 'kill'", 31, "pause 1s 2 times", "a second pause of so many times"),
        ("'pause 30s', 'pause 2s 4 times'", 11, "pause 30s", "a pause that nothing follows"),
        ("'pause 2s 4 times', 'ask 20s'", 31, "ask 20s", "a question whose answer ends nobody"),
        ("'pause 2s 4 times', 'oom'", 11, "pause 2s 4 times", "pause before oom"),
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
        ("family", "'pause 1500ms 4 times', 'pause 1s', 'ask 20s', 'kill'"),
        ("cgroup", "'pause   2s 1 times', 'kill'"),
        ("family", "'warn', 'pause 2s 4 times'"),  # what follows is left to other rules
        ("family", "'pause 2s 4 times', 'pause 30s'"),
        ("family", "'pause 2s 4 times', 'warn', 'pause 30s', 'pause 1min'"),
        ("process", "'ask 20s', 'kill'"),
        ("group", "'ask 1min', 'term 5s', 'oom'"),
        ("auto", "'ask 20s', 'oom'"),
        ("cgroup", "'pause 500ms', 'oom'"),
        ("auto", "'slow 30s'"),
        ("family", "'warn', 'slow 1min cpu 50%'"),
        ("cgroup", "'slow 500ms cpu 12.5%', 'pause 1s', 'ask 20s', 'oom'"),
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


def test_a_pause_can_be_no_more_than_that_for_some_times() -> None:
    policy = parse(f'{RULE}steps = ["pause 1500ms 4 times", "pause 1s", "kill"]', "p.toml")
    [rule] = policy.rules
    assert rule.steps == (Step("pause", 1.5, times=4), Step("pause", 1.0), Step("kill"))
    assert rule.tentative and not rule.only_warns and not parse(LADDER, "p.toml").rules[0].tentative
    assert written(rule) == ["pause 1.5s 4 times", "pause 1s", "kill"]
    assert (
        "  It has the chosen stand still for 1.5 s and lets it run again, 4 times no more than 3.5 s apart, and "
        "if it hurts on, then has the chosen stand still for 1 s, then kills the chosen (SIGKILL)."
    ) in describe(policy)
    alone = describe(parse(f'{RULE}steps = ["pause 2s 1 times"]', "p.toml"))
    assert "  It has the chosen stand still for 2 s and lets it run again, once." in alone


def test_a_person_reads_what_they_do() -> None:
    assert (
        "  It has the chosen stand still for 10 s, then asks whose it is what is to become of it and waits up to 20 s, "
        "then asks the chosen to end (SIGTERM) and waits up to 5 s, then kills the chosen (SIGKILL)."
    ) in describe(parse(LADDER, "p.toml"))


def test_a_person_reads_how_somebody_is_slowed() -> None:
    policy = parse(RULE + "steps = ['slow 30s', 'slow 1min cpu 50%']", "p.toml")
    [rule] = policy.rules
    assert rule.steps == (Step("slow", 30.0), Step("slow", 60.0, amount=Amount(0.5, True)))
    assert written(rule) == ["slow 30s", "slow 60s cpu 50%"]
    assert (
        "  It slows the chosen down at what it holds for 30 s, then slows the chosen down at what it holds, "
        "with 50 % of one processor for 1 min."
    ) in describe(policy)
