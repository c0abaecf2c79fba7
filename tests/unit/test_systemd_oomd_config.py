"""systemd-oomd's files: which of them count, what is in them, and where what is wrong stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from okoomer.compat.systemd_oomd import load
from okoomer.compat.systemd_oomd_keys import Ruleset, Settings
from okoomer.compat.systemd_oomd_units import MOST, notes_of
from okoomer.policy.error import PolicyError


def put(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def oom(value: str, key: str = "SwapUsedLimit") -> str:
    return f"[OOM]\n{key}={value}\n"


def test_without_any_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load(tmp_path) == Settings()
    assert (Settings().swap, Settings().pressure, Settings().seconds, Settings().prekill) == (9000, 6000, 30.0, 0.0)


@pytest.mark.parametrize(
    ("value", "share"),
    [
        ("90%", 9000), ("0%", 0), ("100%", 10000), ("95.5%", 9550), ("0.01%", 1), ("950‰", 9500), ("95.5‰", 955),
        ("9512‱", 9512), ("  7%  ", 700), ("007%", 700),
    ],
)  # fmt: skip
def test_shares(tmp_path: Path, value: str, share: int) -> None:
    put(tmp_path, "etc/systemd/oomd.conf", oom(value))
    assert load(tmp_path).swap == share


@pytest.mark.parametrize(
    "value", ["", "90", "101%", "10001‱", "-1%", "+1%", "9 %", "90%%", "0.001%", "0.1‱", "1e1%", "nan%", "½%", "1,5%"]
)
def test_what_is_no_share_is_an_error_at_its_place(tmp_path: Path, value: str) -> None:
    path = put(tmp_path, "etc/systemd/oomd.conf", f"# first\n[OOM]\n  SwapUsedLimit = {value}\n")
    with pytest.raises(PolicyError) as caught:
        load(tmp_path)
    assert (caught.value.file, caught.value.line) == (str(path), 3)
    assert caught.value.column == (19 if value else 18)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("20s", 20), ("20", 20), ("1min 30s", 90), ("1min30s", 90), ("1500ms", 1.5), ("2 m", 120), ("1.5h", 5400),
        ("0", 30), ("0s", 30), ("", 30), ("1s", 1), ("2000000us", 2), ("1d", 86400), ("1hour 1minute 1sec", 3661),
        ("5 s 3", 8),
    ],
)  # fmt: skip
def test_durations(tmp_path: Path, value: str, seconds: float) -> None:
    put(tmp_path, "etc/systemd/oomd.conf", oom(value, "DefaultMemoryPressureDurationSec"))
    assert load(tmp_path).seconds == seconds


@pytest.mark.parametrize("value", ["999ms", "0.5", "infinity", "2 moons", "s", "-1s", "1s!", "2d", "1y", "1..2"])
def test_what_is_no_duration_is_an_error(tmp_path: Path, value: str) -> None:
    put(tmp_path, "etc/systemd/oomd.conf", oom(value, "DefaultMemoryPressureDurationSec"))
    with pytest.raises(PolicyError, match=r"oomd\.conf:2:\d+: "):
        load(tmp_path)


def test_the_wait_for_hooks_may_be_short_or_none(tmp_path: Path) -> None:
    for value, seconds in (("200ms", 0.2), ("0", 0.0), ("", 0.0)):
        put(tmp_path, "etc/systemd/oomd.conf", oom(value, "PrekillHookTimeoutSec"))
        assert load(tmp_path).prekill == seconds


def test_the_main_file_further_up_masks_those_further_down(tmp_path: Path) -> None:
    for number, folder in enumerate(("usr/lib", "usr/local/lib", "run", "etc"), 1):
        put(tmp_path, f"{folder}/systemd/oomd.conf", oom(f"{number}%"))
        settings = load(tmp_path)
        assert settings.swap == number * 100
        assert settings.files == (str(tmp_path / folder / "systemd/oomd.conf"),)


def test_drop_ins_come_after_the_main_file_in_the_order_of_their_names(tmp_path: Path) -> None:
    put(tmp_path, "etc/systemd/oomd.conf", oom("1%"))
    put(tmp_path, "etc/systemd/oomd.conf.d/20-b.conf", oom("2%"))
    put(tmp_path, "usr/lib/systemd/oomd.conf.d/30-c.conf", oom("3%"))
    put(tmp_path, "run/systemd/oomd.conf.d/10-a.conf", oom("4%"))
    assert load(tmp_path).swap == 300
    put(tmp_path, "etc/systemd/oomd.conf.d/30-c.conf", oom("5%", "DefaultMemoryPressureLimit"))
    assert (load(tmp_path).swap, load(tmp_path).pressure) == (200, 500)


def test_what_is_hidden_or_has_another_suffix_is_no_drop_in(tmp_path: Path) -> None:
    for name in (".a.conf", "a.conf~", "a.conf.dpkg-old", "README"):
        put(tmp_path, f"etc/systemd/oomd.conf.d/{name}", oom("1%"))
    assert load(tmp_path) == Settings()


@pytest.mark.parametrize("how", ["link", "empty"])
def test_a_drop_in_is_masked_by_a_link_to_nowhere_or_an_empty_file(tmp_path: Path, how: str) -> None:
    put(tmp_path, "usr/lib/systemd/oomd.conf.d/a.conf", oom("1%"))
    put(tmp_path, "usr/lib/systemd/oomd.conf", oom("2%"))
    for name in ("oomd.conf.d/a.conf", "oomd.conf"):
        path = put(tmp_path, f"etc/systemd/{name}", "")
        if how == "link":
            path.unlink()
            path.symlink_to("/dev/null")
    assert load(tmp_path) == Settings()


def test_the_last_time_that_a_key_is_set_counts(tmp_path: Path) -> None:
    put(tmp_path, "etc/systemd/oomd.conf", "[OOM]\nSwapUsedLimit=1%\nSwapUsedLimit=2%\n[OOM]\nSwapUsedLimit=3%")
    assert load(tmp_path).swap == 300


def test_lines_go_on_behind_a_backslash_and_comments_between_are_none_of_it(tmp_path: Path) -> None:
    text = "; one\r\n[OOM]\r\n\r\nDefaultMemoryPressureDurationSec=1min \\\r\n  # two\r\n; three\r\n  5s\r\n"
    path = put(tmp_path, "etc/systemd/oomd.conf", "")
    path.write_bytes(text.encode())
    assert load(tmp_path).seconds == 65
    put(tmp_path, "etc/systemd/oomd.conf", "[OOM]\nDefaultMemoryPressureDurationSec=1min \\\n# x\n  5 fortnights\n")
    with pytest.raises(PolicyError, match=r"oomd\.conf:4:5: unknown unit of time: 'fortnights'"):
        load(tmp_path)
    put(tmp_path, "etc/systemd/oomd.conf", "[OOM]\nSwapUsedLimit=5% \\")
    assert load(tmp_path).swap == 500


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("SwapUsedLimit=1%\n", "1:1: a setting before any section"),
        ("[OOM]\n  SwapUsedLimit 1%\n", "2:3: not a setting"),
        ("[OOM]\n=1%\n", "2:1: not a setting"),
        ("\n[OOM\n", "2:1: a section that is not closed"),
    ],
)
def test_what_is_no_line_of_systemds_is_an_error(tmp_path: Path, text: str, place: str) -> None:
    path = put(tmp_path, "etc/systemd/oomd.conf.d/a.conf", text)
    with pytest.raises(PolicyError) as caught:
        load(tmp_path)
    assert str(caught.value).startswith(f"{path}:{place}")


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "etc/systemd/oomd.conf").mkdir(parents=True)
    with pytest.raises(PolicyError, match=r"oomd\.conf: Is a directory"):
        load(tmp_path)
    (tmp_path / "etc/systemd/oomd.conf").rmdir()
    (tmp_path / "etc/systemd/oomd.conf").write_bytes(b"[OOM]\n# \xff\n")
    with pytest.raises(PolicyError, match=r"oomd\.conf:2:3: not UTF-8"):
        load(tmp_path)


def test_unknown_keys_and_sections_are_named_and_passed_over(tmp_path: Path) -> None:
    text = "[OOM]\nSwapUsedLimits=1%\nX-Mine=2\n[Foo]\na=b\nc=d\n[X-Foo]\na=b\n"
    path = put(tmp_path, "etc/systemd/oomd.conf", text)
    settings = load(tmp_path)
    assert settings.swap == 9000
    assert [note for _, note in settings.notes] == [
        f"{path}:2:1: SwapUsedLimits is no key of [OOM] and passed over, as by systemd (did you mean SwapUsedLimit?)",
        f"{path}:4:2: section [Foo] is unknown and passed over, as by systemd",
    ]


def test_rulesets_are_called_by_their_files(tmp_path: Path) -> None:
    full = "[Rule]\nMemoryPressureAbove=50%\nSwapUsageMax=80%\nAction=kill-by-swap\nLastingSec=5\n"
    put(tmp_path, "etc/systemd/oomd/rules.d/stall.oomrule", full)
    put(tmp_path, "usr/lib/systemd/oomd/rules.d/all.oomrule", "[Rule]\nAction=kill_all\n")
    put(tmp_path, "usr/lib/systemd/oomd/rules.d/stall.oomrule", "[Rule]\nAction=kill-all\n")
    put(tmp_path, "usr/lib/systemd/oomd/rules.d/not.conf", "nonsense")
    assert load(tmp_path).rulesets == (Ruleset("all", "kill-all"), Ruleset("stall", "kill-by-swap", 5000, 8000, 5.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[Rule]\nMemoryPressureAbove=50%\n", "1:1: a ruleset without an action"),
        ("[Rule]\nAction=kill\n", "2:8: unknown action: 'kill'; expected one of kill-all"),
        ("[Rule]\nAction=\n", "2:8: unknown action"),
        ("[Rule]\nAction=kill-all\nSwapUsageMax=1\n", "3:14: not a share"),
        ("[Rule]\nAction=kill-all\nLastingSec=x\n", "3:12: not a span of time"),
    ],
)
def test_what_is_wrong_with_a_ruleset_has_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = put(tmp_path, "run/systemd/oomd/rules.d/a.oomrule", text)
    with pytest.raises(PolicyError) as caught:
        load(tmp_path)
    assert str(caught.value).startswith(f"{path}:{message}")


def test_what_units_set_is_named(tmp_path: Path) -> None:
    slice_ = put(
        tmp_path,
        "etc/systemd/system/work.slice",
        "[Unit]\nDescription=x\n[Slice]\nManagedOOMSwap=kill\nMemoryHigh=3M\nOOMRules=a b\n",
    )
    drop_in = put(
        tmp_path, "usr/lib/systemd/user/app.slice.d/10-oomd.conf", "[Slice]\nManagedOOMMemoryPressureLimit=50%\n"
    )
    put(tmp_path, "etc/systemd/system/bad.service", "ManagedOOMSwap=kill\n")
    put(tmp_path, "etc/systemd/system/any.target", "[Unit]\nManagedOOMSwap=kill\n")
    assert [note for _, note in notes_of(tmp_path)] == [
        f"{slice_}: work.slice has ManagedOOMSwap=kill",
        f"{slice_}: work.slice has OOMRules=a b",
        f"{drop_in}: app.slice has ManagedOOMMemoryPressureLimit=50%",
    ]


def test_tags_of_a_recorded_machine_are_named(tmp_path: Path) -> None:
    tags = '{"/b": {"user.oomd_omit": "1"}, "/a": {"user.oomd_avoid": "1", "user.x": "1"}, "/c": 1}'
    put(tmp_path, "xattrs.json", tags)
    assert [note for _, note in notes_of(tmp_path)] == [
        "cgroup /a has user.oomd_avoid: it comes last",
        "cgroup /b has user.oomd_omit: it is never taken",
    ]
    for text in ("[]", "{"):
        put(tmp_path, "xattrs.json", text)
        with pytest.raises(PolicyError, match=r"xattrs\.json: not the tags of cgroups"):
            notes_of(tmp_path)


def test_there_are_never_too_many_notes(tmp_path: Path) -> None:
    for number in range(MOST + 5):
        put(tmp_path, f"etc/systemd/system/a{number}.service", "[Service]\nManagedOOMSwap=kill\n")
    notes = notes_of(tmp_path)
    assert len(notes) == MOST + 1
    assert notes[-1] == ("", "and 5 more settings of units and tags of cgroups")
