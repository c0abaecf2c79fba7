"""What the policy language says of shares: by = user or app, and share."""

from __future__ import annotations

import pytest

from okoomer.policy.language import parse
from okoomer.policy.model import Amount
from okoomer.policy.words import describe
from okoomer.policy.write import text_of
from okoomer.record import replace
from tests.unit.test_language_errors import HEAD, WHEN, error_of

MIB = 1024**2


@pytest.mark.parametrize(
    ("keys", "by", "share"),
    [
        ("", "", None),
        ("by = 'user'\n", "user", None),
        ("by = 'app'\nshare = '12.5%'\n", "app", Amount(0.125, share=True)),
        ("share = '300MiB'\nby = 'user'\nsteps = ['pause 10s', 'kill']\n", "user", Amount(300 * MIB)),
    ],
)
def test_it_is_read_and_written_and_read_again(keys: str, by: str, share: Amount | None) -> None:
    policy = parse(WHEN + keys, "p.toml")
    assert (policy.rules[0].by, policy.rules[0].share) == (by, share)
    again = parse(text_of(policy), "p.toml")
    assert [replace(rule, line=0) for rule in again.rules] == [replace(rule, line=0) for rule in policy.rules]


@pytest.mark.parametrize(
    ("keys", "column", "marked", "said"),
    [
        ("by = 'usr'", 7, "usr", "unknown holder: 'usr'; expected one of user, app (did you mean user?)"),
        ("by = 'group'", 7, "group", "unknown holder: 'group'; expected one of user, app"),
        ("share = '40%'", 1, "share", "a share of nobody: 'share'; expected by = user or app beside it"),
        ("by = 'user'\nshare = '40'", 10, "40", "a number without a unit"),
        ("by = 'app'\nunit = 'cgroup'", 7, "app", "unit cgroup goes by what a cgroup holds, and not by whose it is"),
        ("by = 'user'\nsteps = ['warn']", 7, "user", "a rule that takes nobody"),
        ("by = 'user'\nsteps = ['oom']", 7, "user", "a rule that takes nobody"),
        ("by = 'user'\nlevel = 'low'", 1, "by", "a rule that takes nobody"),
    ],
)
def test_what_does_not_go_together_is_said_at_its_place(keys: str, column: int, marked: str, said: str) -> None:
    error = error_of(WHEN + keys)
    assert (error.column, error.text) == (column, marked)
    assert said in str(error).split("\n")[0]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("by = 'user'", "It takes only of the user that holds most, or of the next where that cannot be."),
        (
            "by = 'user'\nshare = '40%'",
            "It takes only of users that hold more than 40 % of memory, of the one furthest over first.",
        ),
        (
            "by = 'app'\nshare = '2GiB'",
            "It takes only of applications, services and containers that hold more than 2 GiB, "
            "of the one furthest over first.",
        ),
    ],
)
def test_it_is_told_in_plain_words(keys: str, said: str) -> None:
    lines = describe(parse(WHEN + keys, "p.toml"))
    assert f"  {said}" in lines
    assert not any("takes only" in line for line in describe(parse(f"{HEAD}when = 'mem.free < 5%'", "p.toml")))
