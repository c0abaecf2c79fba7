"""The picture of one run, and the command that draws it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from lab import picture
from lab.__main__ import PUBLISHED, lab
from lab.run import Pause, Role, Run, encoded, read

#: The library that draws keeps pipes for its threads.
KEEPS = True
RUNS = [run for run in read(PUBLISHED) if run.scenario == "S2-churn" and not run.point and run.seen.kills]


def strips(run: Run) -> list[Any]:
    """What is drawn of a run, from the top down."""
    drawn: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vl_convert.vegalite_to_svg", lambda whole, config: drawn.append(whole))
        picture.svg(run)
    return list(drawn[0]["vconcat"])


def test_it_tells_what_was_run_and_what_its_strips_are() -> None:
    run = RUNS[0]
    drawn = picture.svg(run)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert drawn.startswith("<svg") and "A leak that touches all it has" in " ".join(texts)
    assert {"MiB", "all wait", "screen late, s", "seconds"} <= set(texts)


def test_whoever_is_ended_is_a_line_in_each_strip() -> None:
    run = RUNS[0]
    ended = len([kill for kill in run.seen.kills if kill.by != "other"])
    assert picture.svg(run).count("stroke-dasharray") == 3 * ended
    assert "stroke-dasharray" not in picture.svg(replace(run, seen=replace(run.seen, kills=[])))


def test_who_stands_still_is_counted_until_he_runs_again_or_is_ended() -> None:
    run = RUNS[0]
    [kill, *_] = [kill for kill in run.seen.kills if kill.by != "other"]
    moment = Pause(1.0, "job", Role.WORKER, 2.0)
    last = Pause(kill.at - 1, kill.comm, Role.CULPRIT, None)
    stood = replace(run, seen=replace(run.seen, pauses=[moment, moment, last]))
    [strip] = [strip for strip in strips(stood) if strip["layer"][0]["encoding"]["y"]["title"] == "stand still"]
    rows = {row["at"]: row["is"] for row in strip["layer"][0]["data"]["values"]}
    assert rows == {0.0: 0, 1.0: 2, 3.0: 0, kill.at - 1: 1, kill.at: 0, run.seen.end: 0}
    assert len(strips(run)) == 3


def test_it_draws_the_last_run_of_a_recording(tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"".join(map(encoded, RUNS[:2])))
    got = CliRunner().invoke(lab, ["draw", str(tmp_path / "runs"), str(tmp_path / "a.svg"), "--end", "20"])
    assert got.exit_code == 0, got.output
    assert (tmp_path / "a.svg").read_text() == picture.svg(RUNS[1], 20)


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "has no run that was seen"), ('{"scenario": 3}\n', "has something else than runs"), ("hello\n", "than runs")],
)
def test_what_is_no_recording_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "runs").write_text(text)
    got = CliRunner().invoke(lab, ["draw", str(tmp_path / "runs"), str(tmp_path / "a.svg")])
    assert got.exit_code == 2 and says in got.output.replace("\n", " ") and not (tmp_path / "a.svg").exists()
