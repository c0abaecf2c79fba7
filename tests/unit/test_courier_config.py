"""courier.toml, and how a courier is started by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from okoomer.cli.errors import BadInput
from okoomer.cli.services import EXPECTED, parsed, services
from okoomer.courier import Services

OKOOMER = str(Path(sys.executable).with_name("okoomer"))


def test_what_is_not_written_is_as_by_default() -> None:
    assert parsed(b"", "c") == Services() == parsed(b"# nothing\n", "c")


def test_each_key_is_what_it_says() -> None:
    text = b"""
        low_memory_monitor = false
        okoomer1 = false
        system_notifications = "always"
        pressure_watch = false
        metrics = "127.0.0.1:9779"
        wall = true
        mail = "root"
    """
    assert parsed(text, "c") == Services(False, False, "always", False, "127.0.0.1:9779", True, "root")
    assert set(EXPECTED) == set(Services._fields)


@pytest.mark.parametrize("address", ["[::1]:1", "unix:/run/okoomer-courier/metrics", "127.0.0.1:65535", ""])
def test_metrics_stay_on_this_machine(address: str) -> None:
    assert parsed(f'metrics = "{address}"'.encode(), "c").metrics == address


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("wall = 1", "c:1:1: wall = 1; expected true or false"),
        ("\n\n  wall = 'yes'", "c:3:3: wall = 'yes'; expected true or false"),
        ("okoomer1 = 'x'\n", "c:1:1: okoomer1 = 'x'; expected true or false"),
        (
            "system_notifications = 'often'",
            "c:1:1: system_notifications = 'often'; expected 'never', 'auto' or 'always'",
        ),
        ("system_notifications = true", "c:1:1: system_notifications = True; expected 'never', 'auto' or 'always'"),
        ("wall = true\nwal = true", "c:2:1: unknown key 'wal'; expected one of low_memory_monitor, okoomer1,"),
        ("[wall]\nx = 1", "c:1:2: wall = {'x': 1}; expected true or false"),
        ("[services]\nwall = true", "c:1:2: unknown key 'services'; expected one of"),
        ('"wall" = 3', "c:1:2: wall = 3; expected true or false"),
        ("metrics = 9779", "c:1:1: metrics = 9779; expected '127.0.0.1:PORT', '[::1]:PORT', 'unix:PATH', or ''"),
        ("metrics = '0.0.0.0:9779'", "c:1:1: metrics: '0.0.0.0:9779' can be reached from other machines; expected"),
        ("metrics = 'localhost'", "c:1:1: metrics: 'localhost' has no port between 1 and 65535; expected"),
        ("metrics = 'unix:here'", "c:1:1: metrics: 'unix:here': the path has to be absolute"),
        ("mail = '-froot'", "c:1:1: mail = '-froot'; expected the name of a local user or an address"),
        ("mail = 'a b'", "c:1:1: mail = 'a b'; expected"),
        ("mail = 'a@b; rm'", "c:1:1: mail = 'a@b; rm'; expected"),
        ('mail = "a\\n"', "c:1:1: mail = 'a\\n'; expected"),
        ("wall = tru", "c:1:8: invalid value; expected TOML"),
        ("wall = true\nwall = true", "c: cannot overwrite a value; expected TOML"),
        ("wall", "c: expected '=' after a key in a key/value pair"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(BadInput) as wrong:
        parsed(text.encode(), "c")
    assert str(wrong.value.message).startswith(complaint)
    assert "\n" not in wrong.value.message


def test_what_is_no_text_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="c:2: not UTF-8"):
        parsed(b"\n\xff", "c")
    (tmp_path / "long").write_bytes(b"#" * 100_000)
    with pytest.raises(BadInput, match="longer than"):
        services(tmp_path / "long")
    with pytest.raises(BadInput, match="Is a directory"):
        services(tmp_path)


def test_the_usual_file_need_not_be_there_and_a_named_one_must(tmp_path: Path) -> None:
    assert services(tmp_path / "none") == Services()
    with pytest.raises(BadInput, match="No such file"):
        services(tmp_path / "none", needed=True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--config", "BAD"), "BAD:1:1: unknown key 'x'; expected one of"),
        (("--config", "/none/such"), "/none/such: No such file or directory"),
        (("--socket", "/" + "x" * 200), "longer than 107 bytes"),
        (("--runtime-dir", "/proc/none"), "/proc/none: No such file or directory; choose another place"),
        (("--nonsense",), "No such option"),
        (("more",), "unexpected extra argument"),
    ],
)
def test_who_starts_it_the_wrong_way_is_told_so(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    bad = tmp_path / "BAD"
    bad.write_text("x = 1\n")
    given = [str(bad) if each == "BAD" else each for each in arguments]
    done = subprocess.run([OKOOMER, "courier", *given], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and complaint in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["nobody-of-that-name", ""])
def test_a_courier_user_whom_nobody_knows_is_no_user(tmp_path: Path, name: str) -> None:
    command = [OKOOMER, "run", "--dry-run", "--runtime-dir", str(tmp_path), "--courier-user", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and f"--courier-user {name}: there is no such user" in done.stderr
