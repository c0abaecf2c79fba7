"""The small files of a cgroup, as texts of several kernels and as nonsense."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from okoomer.kernel import cgroup_text as texts

PAGE = os.sysconf("SC_PAGE_SIZE")
NEW = b"""anon 1000
file 2000
kernel 30
shmem 400
workingset_refault_anon 3
workingset_refault_file 4
pgscan 70
pgsteal 50
pgscan_kswapd 60
pgscan_direct 10
pgsteal_kswapd 45
pgsteal_direct 5
"""
#: Linux 4.19: no sums, and refaults of files only.
OLD = b"anon 1000\nfile 2000\nshmem 400\nworkingset_refault 4\npgscan_kswapd 60\npgscan_direct 10\npgsteal_kswapd 50\n"
PARSERS: dict[str, Callable[[bytes], Any]] = {
    "number": texts.number,
    "limit": texts.limit,
    "protected": texts.protected,
    "flag": texts.flag,
    "accounts": texts.accounts,
    "counts": texts.counts,
    "dying": texts.dying,
    "flows": texts.flows,
}


@pytest.mark.parametrize(
    ("text", "refault"), [(NEW, 7), (OLD, 4), (NEW.replace(b"pgscan 70\n", b""), 7), (NEW + b"zswap 5\n", 7)]
)
def test_the_accounts_of_memory_are_bytes(text: bytes, refault: int) -> None:
    assert texts.accounts(text) == texts.Accounts(1000, 2000, 400, 70 * PAGE, 50 * PAGE, refault * PAGE)


def test_what_a_kernel_does_not_count_is_absent() -> None:
    assert texts.accounts(b"anon 5\nfile 6\n") == texts.Accounts(5, 6, None, None, None, None)


def test_a_longer_key_is_not_taken_for_a_shorter_one() -> None:
    assert texts.accounts(b"anon_thp 7\nfile 6\nfile_mapped 9\nswapcached_anon 1\n").anon is None


@pytest.mark.parametrize(("text", "value"), [(b"max\n", None), (b"4096\n", 4096), (b"0\n", 0)])
def test_a_limit_may_be_none(text: bytes, value: int | None) -> None:
    assert texts.limit(text) == value


@pytest.mark.parametrize(("text", "value"), [(b"max\n", 2**63 - 1), (b"4096\n", 4096)])
def test_a_protection_may_be_all(text: bytes, value: int) -> None:
    assert texts.protected(text) == value


def test_events_are_counted_by_name() -> None:
    assert texts.counts(b"low 0\nhigh 12\nmax 3\noom 1\noom_kill 2\n") == (
        ("low", 0), ("high", 12), ("max", 3), ("oom", 1), ("oom_kill", 2),
    )  # fmt: skip


def test_the_dying_are_counted() -> None:
    assert texts.dying(b"nr_descendants 5\nnr_dying_descendants 3\n") == 3
    assert texts.dying(b"nr_descendants 5\n") is None


def test_flows_are_counted_by_device() -> None:
    text = b"8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=5 dios=3 cost.usage=7\n259:1 rbytes=1 wbytes=0\n7:0\n"
    assert texts.flows(text) == (
        ("8:0", (1, 10, 2, 20, 3, 5)),
        ("259:1", (0, 1, 0, 0, 0, 0)),
        ("7:0", (0, 0, 0, 0, 0, 0)),
    )


@pytest.mark.parametrize(
    ("counted", "turning", "cost"),
    [
        ((1000, 0, 0, 0, 0, 0), True, 1.31),
        ((1000, 0, 0, 0, 0, 0), False, 12.1),
        ((0, 0, 1000, 0, 0, 0), True, 258.0),
        ((0, 10**9, 0, 10**9, 0, 0), True, 113 + 504),
        ((0, 10**9, 0, 10**9, 0, 0), False, 625 + 261),
        ((0, 0, 1000, 0, 1000, 10**9), False, 1.07 + 23.7 + 0.91),
        ((0, 0, 0, 0, 1000, 10**9), True, 0.0),
    ],
)
def test_reads_and_writes_cost_what_they_cost_oomd(counted: tuple[int, ...], turning: bool, cost: float) -> None:
    assert texts.cost(counted, turning) == pytest.approx(cost)


@pytest.mark.parametrize("name", PARSERS)
@given(text=st.binary(max_size=200) | st.text("0123456789 =:\nanofile.max-_", max_size=80).map(str.encode))
def test_nonsense_is_refused_in_one_of_two_ways(name: str, text: bytes) -> None:
    try:
        PARSERS[name](text)
    except (ValueError, IndexError):
        pass


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize(
    "text", [b"99999999999999999999999999999\n", b"", b"\xff\xfe\n", b"anon 1\nfile \n", b"9" * 5000]
)
def test_nonsense_that_looks_like_sense(name: str, text: bytes) -> None:
    try:
        found = PARSERS[name](text)
    except (ValueError, IndexError):
        return
    assert found in ((), None)


@pytest.mark.parametrize("cut", range(0, len(NEW), 7))
def test_a_truncated_text_gives_what_it_holds_or_nothing(cut: int) -> None:
    try:
        found = texts.accounts(NEW[:cut])
    except (ValueError, IndexError):
        return
    assert found.anon is not None and found.anon <= 1000
