"""Which cgroup a rule ends, in hierarchies drawn by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from okoomer.policy.cgroups import choose_cgroup, fields_of, needs_past
from okoomer.policy.glob import literal
from okoomer.policy.model import Amount, Policy, Ratios
from okoomer.policy.past import Past
from okoomer.policy.scale import LAST, ORDINARY, PREFERRED
from okoomer.policy.scope import scope_of
from okoomer.record import replace
from tests.unit.hierarchies import RULE, cgroup, machine, stalled, tag
from tests.unit.strategies import GIB, MIB, selector

if TYPE_CHECKING:
    from okoomer.facts import Cgroup
    from okoomer.policy.choose import Choice
    from okoomer.policy.model import Rule

OOMD = {
    "prefer": (tag("trusted.oomd_prefer"), tag("user.oomd_prefer")),
    "avoid": (tag("trusted.oomd_avoid"), tag("user.oomd_avoid")),
    "spare": (tag("user.oomd_omit"),),
}


def rule(**more: object) -> Rule:
    return replace(RULE, **more)


def chosen(
    rule: Rule,
    *area: Cgroup,
    before: tuple[Cgroup, ...] | None = None,
    target: Cgroup | None = None,
    aside: frozenset[int] = frozenset(),
    mine: frozenset[str] = frozenset(),
    held: dict[str, str] | None = None,
) -> Choice:
    """The choice, after looks at what was `before`, by default the same, and a second later at what is now."""
    past = Past()
    past.note(0.0, area if before is None else before)
    past.note(1.0, area)
    return choose_cgroup(rule, Policy("test", (rule,)), machine(), area, past, target, aside, mine, held)


def victim(choice: Choice) -> str | None:
    return choice.victim and choice.victim.cgroup


def order(choice: Choice) -> list[str]:
    return [one.cgroup for one in choice.ranking]


# --- ranks ------------------------------------------------------------------------------------------------------


def test_a_cgroup_is_a_candidate_without_pids_that_is_known_by_its_path_and_inode() -> None:
    choice = chosen(rule(rank="rss"), cgroup("/a", 300, inode=7), cgroup("/b", 900, inode=8))
    found = choice.victim
    assert found and (found.kind, found.name, found.pids, found.cgroup) == ("cgroup", "/b", (), "/b")
    assert (found.inode, found.freed, found.rss, found.score) == (8, 900 * MIB, 900 * MIB, 900 * MIB)
    assert found == choice.ranking[0] and order(choice) == ["/b", "/a"]
    assert found.why == "uses 900 MiB, most of 2; 900 MiB would come back"


def test_freed_is_anonymous_memory_and_swap_less_what_is_protected() -> None:
    area = (
        cgroup("/cache", 3000, anon=100 * MIB),
        cgroup("/swapped", 200, swap=500 * MIB),
        cgroup("/protected", 900, protection=800 * MIB),
    )
    assert order(chosen(rule(rank="freed"), *area)) == ["/swapped", "/cache", "/protected"]
    assert chosen(rule(rank="freed"), area[2]).ranking[0].why.startswith("800 MiB of it protected; 900 MiB would")


def test_whoever_grew_and_filled_memory_goes_before_who_is_greater() -> None:
    still, grower = cgroup("/database", 4000), cgroup("/leak", 1500)
    choice = chosen(rule(rank="freed"), still, grower, before=(still, cgroup("/leak", 500)))
    assert victim(choice) == "/leak"
    assert choice.victim and choice.victim.culprit and "the culprit" in choice.victim.why
    assert victim(chosen(rule(rank="freed"), still, grower)) == "/database"


def test_a_small_one_that_is_read_back_from_swap_is_not_to_blame() -> None:
    hog, quiet = cgroup("/guilty", 500), cgroup("/quiet", 41)
    choice = chosen(rule(rank="freed"), hog, quiet, before=(hog, cgroup("/quiet", 30)))
    assert victim(choice) == "/guilty" and not any(one.culprit for one in choice.ranking)


def test_growth_is_known_after_a_second_look() -> None:
    area = cgroup("/a", 900), cgroup("/b", 300)
    assert victim(chosen(rule(rank="growth"), *area, before=(cgroup("/a", 890), cgroup("/b", 200)))) == "/b"
    assert chosen(rule(rank="growth"), *area, before=()).refusal == (
        "there is no cgroup that can be taken: 2 seen for the first time"
    )


def test_pgscan_is_what_is_new_and_ties_go_by_size() -> None:
    before = cgroup("/old", 100, scan=900 * MIB), cgroup("/now", 50, scan=0), cgroup("/quiet", 700, scan=5)
    area = cgroup("/old", 100, scan=901 * MIB), cgroup("/now", 50, scan=12 * MIB), cgroup("/quiet", 700, scan=5)
    choice = chosen(rule(rank="pgscan"), *area, before=before)
    assert order(choice) == ["/now", "/old"]
    assert choice.ranking[0].why == "pgscan +12 MiB, most of 3; 50 MiB would come back"
    same = cgroup("/a", 10, scan=9 * MIB), cgroup("/b", 20, scan=9 * MIB)
    assert order(chosen(rule(rank="pgscan"), *same, before=tuple(replace(one, scan=0) for one in same))) == ["/b", "/a"]


def test_pgscan_of_one_that_is_seen_for_the_first_time_makes_it_no_candidate() -> None:
    area = cgroup("/new", 900, scan=GIB), cgroup("/known", 50, scan=MIB)
    choice = chosen(rule(rank="pgscan"), *area, before=(cgroup("/known", 50, scan=0),))
    assert order(choice) == ["/known"]


def test_swap_takes_those_that_have_more_than_the_least() -> None:
    area = cgroup("/a", 900, swap=200 * MIB), cgroup("/b", 90, swap=300 * MIB), cgroup("/c", 900)
    assert order(chosen(rule(rank="swap"), *area)) == ["/b", "/a"]
    assert order(chosen(rule(rank="swap", least_swap=Amount(0.05, share=True)), *area)) == ["/b"]  # 5% are 204.8 MiB
    assert order(chosen(rule(rank="swap", least_swap=Amount(200.0 * MIB)), *area)) == ["/b"]
    assert order(chosen(rule(rank="rss", least_swap=Amount(MIB)), *area)) == ["/a", "/b"]
    assert "1 with too little in swap" in chosen(rule(rank="swap", least_swap=Amount(GIB)), area[0]).refusal


def test_unprotected_swap_is_less_the_share_that_protection_has_in_swap() -> None:
    # 4 GiB of swap, 8 GiB of memory: 400 MiB that are protected protect 200 MiB in swap.
    area = cgroup("/a", 900, swap=500 * MIB, protection=400 * MIB), cgroup("/b", 90, swap=350 * MIB)
    choice = chosen(rule(rank="swap_unprotected"), *area)
    assert [(one.cgroup, one.score / MIB) for one in choice.ranking] == [("/b", 350), ("/a", 300)]
    none = cgroup("/c", 90, swap=10 * MIB, protection=GIB)
    assert chosen(rule(rank="swap_unprotected"), none).ranking[0].score == 0


@pytest.mark.parametrize(("avg10", "avg60", "score"), [(43, 20, 31), (99.99, 99.99, 99), (0.99, 0.99, 0), (58, 0, 29)])
def test_pressure_is_the_whole_percents_of_both_averages(avg10: float, avg60: float, score: int) -> None:
    for rank, field in (("pressure", "memory_pressure"), ("io_pressure", "io_pressure")):
        choice = chosen(rule(rank=rank), cgroup("/a", 10, **{field: stalled(avg10, avg60)}))
        assert choice.ranking[0].score == score


def test_pressure_of_the_one_that_waits_most_counts_whatever_its_size() -> None:
    area = (
        cgroup("/a", 10, memory_pressure=stalled(80, 60)),
        cgroup("/b", 900, memory_pressure=stalled(90, 20)),
        cgroup("/c", 90),
    )
    assert order(chosen(rule(rank="pressure"), *area)) == ["/a", "/b"]


def test_io_cost_is_what_is_new() -> None:
    area = cgroup("/a", 10, io_cost=100.0), cgroup("/b", 10, io_cost=7.0)
    choice = chosen(rule(rank="io_cost"), *area, before=(cgroup("/a", 10, io_cost=99.5), cgroup("/b", 10, io_cost=5.0)))
    assert [(one.cgroup, one.score) for one in choice.ranking] == [("/b", 2.0), ("/a", 0.5)]


# --- size or growth ---------------------------------------------------------------------------------------------


def by_size(*area: Cgroup, before: tuple[Cgroup, ...] | None = None, **ratios: float) -> list[str]:
    return order(chosen(rule(rank="size_or_growth", ratios=Ratios(**ratios)), *area, before=before))


def test_who_has_half_of_all_goes_first_whoever_grows() -> None:
    area = cgroup("/half", 1000), cgroup("/grower", 900), cgroup("/small", 100)
    before = cgroup("/half", 1000), cgroup("/grower", 100), cgroup("/small", 100)
    assert by_size(*area, before=before) == ["/half", "/grower", "/small"]


def test_else_who_grows_among_the_largest_goes_first() -> None:
    sizes = {"/a": 500, "/b": 400, "/c": 300, "/d": 200, "/e": 100}
    area = tuple(map(cgroup, sizes, sizes.values()))
    before = tuple(cgroup(path, size // (4 if path in "/b/e" else 1)) for path, size in sizes.items())
    # Of five the largest fifth is one: /a alone could go for growing, and does not grow.
    assert by_size(*area, before=before) == ["/a", "/b", "/c", "/d", "/e"]
    assert by_size(*area, before=before, percentile=0.6) == ["/b", "/a", "/c", "/d", "/e"]
    assert by_size(*area, before=before, percentile=0.0) == ["/b", "/e", "/a", "/c", "/d"]
    assert by_size(*area, before=before, percentile=0.0, growth=9.0) == ["/a", "/b", "/c", "/d", "/e"]


@pytest.mark.parametrize("percentile", [0.7, 0.8, 0.9])
def test_the_largest_are_as_many_as_the_percentile_says(percentile: float) -> None:
    area = tuple(cgroup(f"/{number}", 100 + number) for number in range(10))
    before = tuple(cgroup(one.path, 10) for one in area)
    count = round(10 * (1 - percentile))
    found = by_size(*area, before=before, percentile=percentile, dominant=0.9)
    # Who is smaller grew as much, and is not looked at for that.
    assert set(found[:count]) == {f"/{9 - place}" for place in range(count)}
    assert found[count:] == [f"/{number}" for number in range(9 - count, -1, -1)]


def test_size_counts_without_what_is_protected_and_the_share_of_all_with_it() -> None:
    area = cgroup("/a", 500, protection=450 * MIB), cgroup("/b", 300), cgroup("/c", 100)
    assert by_size(*area) == ["/a", "/b", "/c"]  # more than half of all
    assert by_size(*area, dominant=0.6) == ["/b", "/c", "/a"]


# --- where a search goes ----------------------------------------------------------------------------------------

TREE = (
    cgroup("/system.slice", 900, leaf=False),
    cgroup("/system.slice/db.service", 500),
    cgroup("/system.slice/web.service", 400),
    cgroup("/user.slice", 1000, leaf=False),
    cgroup("/user.slice/many", 1000, leaf=False),
    *(cgroup(f"/user.slice/many/{number}", 100) for number in range(10)),
)
SIZED = rule(rank="rss")


def test_without_a_scope_all_leaves_of_the_hierarchy_are_compared() -> None:
    assert order(chosen(SIZED, *TREE))[:3] == [
        "/system.slice/db.service",
        "/system.slice/web.service",
        "/user.slice/many/0",
    ]


def test_the_best_descent_compares_siblings_only_and_comes_back_for_the_others() -> None:
    choice = chosen(replace(SIZED, descend="best"), *TREE[:8])
    assert order(choice) == [f"/user.slice/many/{n}" for n in range(3)] + [
        "/system.slice/db.service",
        "/system.slice/web.service",
    ]
    inodes = frozenset(one.inode for one in TREE if one.path.startswith("/user.slice/many/"))
    assert victim(chosen(replace(SIZED, descend="best"), *TREE, aside=inodes)) == "/system.slice/db.service"


def test_without_descent_the_named_ones_themselves_are_compared() -> None:
    among = replace(SIZED, descend="no", among=scope_of("*.slice"))
    assert order(chosen(among, *TREE)) == ["/user.slice", "/system.slice"]


def test_with_a_scope_the_search_begins_at_the_cgroup_that_the_rule_is_about() -> None:
    scoped = replace(SIZED, scope=scope_of("*.slice"))
    assert order(chosen(scoped, *TREE, target=TREE[0])) == ["/system.slice/db.service", "/system.slice/web.service"]
    assert victim(chosen(replace(scoped, descend="no"), *TREE, target=TREE[0])) == "/system.slice"
    assert victim(chosen(scoped, TREE[1], target=TREE[1])) == "/system.slice/db.service"
    assert "no cgroup to choose from" in chosen(replace(SIZED, descend="no"), *TREE).refusal


def test_what_is_sought_among_may_be_relative_to_that_cgroup() -> None:
    among = replace(SIZED, scope=literal("/user.slice"), among=scope_of("./many/[12]", relative=True), descend="no")
    assert order(chosen(among, *TREE, target=TREE[3])) == ["/user.slice/many/1", "/user.slice/many/2"]


# --- first, last, never -----------------------------------------------------------------------------------------


def test_tags_decide_before_the_rank_does() -> None:
    area = (
        cgroup("/avoided", 900, tags=("user.oomd_avoid",)),
        cgroup("/plain", 500),
        cgroup("/preferred", 100, tags=("trusted.oomd_prefer",)),
        cgroup("/omitted", 900, tags=("user.oomd_omit",)),
    )
    choice = chosen(rule(rank="rss", **OOMD), *area)
    assert [(one.cgroup, one.tier) for one in choice.ranking] == [
        ("/preferred", PREFERRED),
        ("/plain", ORDINARY),
        ("/avoided", LAST),
    ]
    assert "preferred by tag:trusted" in choice.ranking[0].why and "comes last: tag:user" in choice.ranking[2].why
    assert "spared by tag:user" in chosen(rule(rank="rss", **OOMD), area[3]).refusal


@pytest.mark.parametrize(
    ("tags", "owner", "scoped", "tier"),
    [
        (("user.oomd_avoid",), 0, None, LAST),
        (("user.oomd_avoid",), 1000, None, ORDINARY),
        (("user.oomd_avoid",), 1000, 1000, LAST),
        (("user.oomd_avoid",), 1000, 1001, ORDINARY),
        (("user.oomd_avoid",), 0, 1001, LAST),
        (("trusted.oomd_avoid",), 1000, None, LAST),
        (("user.oomd_prefer",), 1000, None, PREFERRED),
        (("user.oomd_omit",), 1000, None, ORDINARY),
        (("user.oomd_omit",), 1000, 1000, None),
        (("user.oomd_omit",), 0, None, None),
    ],
)
def test_a_tag_that_anybody_can_write_protects_only_where_its_writer_is_trusted(
    tags: tuple[str, ...], owner: int, scoped: int | None, tier: int | None
) -> None:
    tagged = cgroup("/user/app", 500, tags=tags, owner=owner)
    target = None if scoped is None else cgroup("/user", 500, owner=scoped, leaf=False)
    area = (target, tagged) if target else (tagged,)
    choice = chosen(rule(rank="rss", **OOMD), *area, target=target)
    assert (choice.victim.tier if choice.victim else None) == tier


def test_a_cgroup_can_be_named_by_its_path_unit_and_owner_but_not_by_who_is_in_it() -> None:
    area = cgroup("/system.slice/db.service", 900), cgroup("/b", 500, owner=1000), cgroup("/c", 300)
    for written in ("unit:db[.]service", "cgroup:/system.slice/.*", "user:0"):
        assert victim(chosen(rule(rank="rss", spare=(selector(written),)), *area)) in ("/b", "/c")
    assert victim(chosen(rule(rank="rss", spare=(selector("name:.*"),)), *area)) == "/system.slice/db.service"


def test_neither_the_root_nor_a_manager_nor_who_holds_okoomer_or_what_must_stay_is_taken() -> None:
    area = (
        cgroup("/", 9000, leaf=False),
        cgroup("/init.scope", 900),
        cgroup("/u/init.scope", 800),
        cgroup("/okoomer.service", 700),
        cgroup("/k.service", 600),
        cgroup("/a", 500),
    )
    everywhere = rule(rank="rss", descend="no", among=scope_of("/,*,*/*"))
    choice = chosen(everywhere, *area, mine=frozenset({"/okoomer.service/x"}), held={"/k.service": "sshd"})
    assert order(choice) == ["/a"]
    choice = chosen(everywhere, *area[3:5], mine=frozenset({"/okoomer.service/x"}), held={"/k.service": "sshd"})
    assert "1 holding okoomer itself" in choice.refusal and "1 holding what must stay (sshd)" in choice.refusal


def test_who_holds_one_that_is_spared_is_not_taken_as_a_whole() -> None:
    area = cgroup("/a", 900, whole=True), cgroup("/a/b", 100, tags=("user.oomd_omit",)), cgroup("/c", 200)
    assert order(chosen(rule(rank="rss", **OOMD), *area)) == ["/c"]


def test_one_without_processes_or_memory_of_its_own_is_passed_over() -> None:
    area = (
        cgroup("/empty", 900, populated=False),
        cgroup("/reaped", 900, anon=0),
        cgroup("/swapped", 300, anon=0, swap=MIB),
        cgroup("/frozen", 200, frozen=True),
    )
    choice = chosen(rule(rank="rss", least=Amount(1.0)), *area)
    assert order(choice) == ["/swapped", "/frozen"]
    assert "1 without a process" in chosen(SIZED, area[0]).refusal
    assert "1 without memory of its own" in chosen(SIZED, area[1]).refusal


def test_who_would_free_too_little_is_in_vain_by_ranks_of_size_or_where_it_is_said() -> None:
    crumb = cgroup("/crumb", 20, memory_pressure=stalled(90, 90))
    assert "would free less than 64 MiB" in chosen(SIZED, crumb).refusal
    assert victim(chosen(rule(rank="pressure"), crumb)) == "/crumb"
    assert victim(chosen(rule(rank="pressure", least=Amount(30.0 * MIB)), crumb)) is None


def test_an_empty_area_has_nobody() -> None:
    assert chosen(SIZED).refusal == "there is no cgroup to choose from"


# --- what has to be read ----------------------------------------------------------------------------------------


def test_a_rule_says_which_fields_it_chooses_by() -> None:
    plain = fields_of(rule(rank="rss"))
    assert plain == {"leaf", "populated", "whole", "memory", "swap", "anon"}
    assert fields_of(rule(rank="pgscan")) - plain == {"scan"}
    assert fields_of(rule(rank="size_or_growth")) - plain == {"protection"}
    assert fields_of(rule(rank="rss", **OOMD)) - plain == {"tags", "owner"}
    policy = Policy("test", (), avoid=(selector("user:0"),))
    assert fields_of(rule(rank="pressure"), policy) - plain == {"memory_pressure", "owner"}


def test_ranks_by_rates_need_a_past() -> None:
    ranks = ("freed", "rss", "growth", "swap", "size_or_growth", "swap_unprotected", "pressure", "pgscan", "io_cost")
    assert [rank for rank in ranks if needs_past(rule(rank=rank))] == [
        "freed", "growth", "size_or_growth", "pgscan", "io_cost",
    ]  # fmt: skip
    assert not needs_past(rule(unit="family", rank="growth"))
