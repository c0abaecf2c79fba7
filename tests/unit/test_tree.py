"""How cgroups stand to each other: protection as it is shared out, and where a search ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.policy.tree import above, branches, descent, ends, is_inside, protections, starts
from okoomer.record import replace
from tests.unit.hierarchies import cgroup, hierarchy
from tests.unit.strategies import MIB, cases

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from okoomer.facts import Cgroup


def kept(*cgroups: Cgroup) -> dict[str, int]:
    return {path: value // MIB for path, value in protections(cgroups).items()}


def low(path: str, memory: int, low: int, **more: object) -> Cgroup:
    return cgroup(path, memory, low=low * MIB, **more)


# --- paths ------------------------------------------------------------------------------------------------------


def test_the_root_lies_in_itself_and_everything_in_it() -> None:
    assert [above(path) for path in ("/a/b", "/a", "/")] == ["/a", "/", "/"]
    assert is_inside("/a", "/") and is_inside("/", "/") and is_inside("/a", "/a") and is_inside("/a/b", "/a")
    assert not is_inside("/ab", "/a") and not is_inside("/", "/a")


# --- protection -------------------------------------------------------------------------------------------------


def test_below_the_root_a_cgroup_keeps_what_it_claims_of_what_it_uses() -> None:
    assert kept(low("/a", 100, 60), low("/b", 100, 300), cgroup("/c", 100)) == {"/a": 60, "/b": 100, "/c": 0}


def test_the_greater_of_minimum_and_low_is_claimed() -> None:
    assert kept(low("/a", 100, 20, minimum=70 * MIB)) == {"/a": 70}


def test_siblings_that_claim_more_than_their_parent_has_share_it_in_proportion() -> None:
    tree = low("/a", 500, 100), low("/a/b", 300, 300), low("/a/c", 200, 100)
    assert kept(*tree) == {"/a": 100, "/a/b": 75, "/a/c": 25}


def test_siblings_that_claim_less_than_their_parent_has_keep_no_more_than_they_claim() -> None:
    assert kept(low("/a", 500, 400), low("/a/b", 300, 100), cgroup("/a/c", 200)) == {"/a": 400, "/a/b": 100, "/a/c": 0}


def test_who_lies_in_one_that_claims_nothing_keeps_nothing() -> None:
    assert kept(cgroup("/a", 500), low("/a/b", 300, 100), low("/a/b/c", 300, 100)) == {"/a": 0, "/a/b": 0, "/a/b/c": 0}


def test_the_root_keeps_all_that_is_used_and_of_an_unknown_parent_only_the_claim_is_known() -> None:
    assert kept(cgroup("/", 900), low("/a/b", 300, 100)) == {"/": 900, "/a/b": 100}


@cases(2_000)
def test_nobody_keeps_more_than_it_uses_or_siblings_more_than_their_parent(random: Random) -> None:
    tree = hierarchy(random, random.randint(1, 20))
    found = protections(random.sample(tree, len(tree)))
    assert list(found) and found == protections(tree)
    for one in tree:
        assert 0 <= found[one.path] <= min(one.memory or 0, max(one.minimum, one.low))
    for path, below in branches(tree).items():
        if path != "/":
            assert sum(found[one.path] for one in below) <= found[path]


# --- searches ---------------------------------------------------------------------------------------------------

TREE = [
    cgroup("/a", 600, leaf=False),
    cgroup("/a/b", 400, leaf=False),
    cgroup("/a/b/c", 300),
    cgroup("/a/b/d", 100),
    cgroup("/a/e", 200),
    cgroup("/f", 500, leaf=False),
    cgroup("/f/g", 500),
]


def greatest(siblings: Sequence[Cgroup]) -> list[Cgroup]:
    return sorted(siblings, key=lambda one: -(one.memory or 0))


def paths(cgroups: Sequence[Cgroup]) -> list[str]:
    return [one.path for one in cgroups]


@pytest.mark.parametrize(
    ("named", "so"),
    [({"/a/b", "/f"}, ["/a/b", "/f"]), ({"/"}, ["/a", "/f"]), ({"/", "/f"}, ["/f", "/a"]), ({"/x"}, [])],
)
def test_a_search_begins_where_it_is_told_and_the_root_stands_for_its_children(named: set[str], so: list[str]) -> None:
    assert paths(starts(TREE, named.__contains__)) == so


def test_descent_goes_to_the_best_of_the_best_then_to_its_siblings_then_to_those_above() -> None:
    found = list(descent([TREE[0], TREE[5]], branches(TREE), greatest))
    assert paths(found) == ["/a/b/c", "/a/b/d", "/a/e", "/f/g"]


def test_descent_does_not_look_into_those_that_are_left_out() -> None:
    found = list(descent([TREE[0], TREE[5]], branches(TREE), lambda siblings: [s for s in siblings if s.path != "/a"]))
    assert paths(found) == ["/f/g"]


def test_the_ends_are_all_that_have_no_children_wherever_they_lie() -> None:
    assert sorted(paths(ends([TREE[0], TREE[5]], branches(TREE)))) == ["/a/b/c", "/a/b/d", "/a/e", "/f/g"]
    assert paths(ends([TREE[4]], branches(TREE))) == ["/a/e"]


def test_one_that_ends_as_a_whole_is_an_end_and_nothing_in_it_is() -> None:
    tree = [replace(one, whole=one.path == "/a/b") for one in TREE]
    below = branches(tree)
    assert sorted(paths(ends(tree, below))) == ["/a/b", "/a/e", "/f/g"]
    assert paths(list(descent([tree[0]], below, greatest))) == ["/a/b", "/a/e"]


def test_a_cgroup_whose_children_could_not_be_read_is_no_end() -> None:
    assert ends([cgroup("/a", 1, leaf=False)], {}) == []


def test_a_chain_of_2000_cgroups_is_no_trouble() -> None:
    chain = [cgroup("/x" * count, 1, leaf=count == 2000) for count in range(1, 2001)]
    below = branches(chain)
    assert len(ends(chain[:1], below)) == len(list(descent(chain[:1], below, greatest))) == 1
    assert len(protections(chain)) == 2000
