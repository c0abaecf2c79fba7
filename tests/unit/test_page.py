"""The scoreboard's page: whole, by itself, and safe to open."""

from __future__ import annotations

import base64
import csv
import io
import lzma
import re
from html.parser import HTMLParser

import msgspec
import pytest
from markupsafe import Markup

from lab import charts, page
from lab.board import OURS, PARTS, board
from lab.curves import KINDS, courses, front, fronts, styles
from lab.daemons import DAEMONS
from lab.front import sweep
from lab.run import By, Ending, Role, Run, Seen
from lab.scenarios import SCENARIOS
from tests.unit.runs import CULPRIT, everything, points_of, rivals_of, run, seen
from tests.unit.runs import scenes as scenes

MIB = 1 << 20
#: Descriptors that stay open: whoever draws the charts keeps its threads.
KEEPS = True
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """Its tags with their attributes, its text, and what was never closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing hundreds of pictures takes longer than all other tests together."""
    monkeypatch.setattr("lab.charts.svg", lambda spec, says: Markup("<svg></svg>"))
    monkeypatch.setattr("lab.curves.svg", lambda spec, says: Markup("<svg></svg>"))


def few() -> list[Run]:
    return [*rivals_of("X1", okoomer=0.6), *rivals_of("X3"), *points_of(OURS, ("a", 2.0, 0), ("b", 0.6, 2))]


# --- the page ---------------------------------------------------------------------------------------------------


def test_it_is_whole_and_loads_nothing() -> None:
    text = page.html(few())
    shown = Page(text)
    assert not shown.open
    assert not {tag for tag, _ in shown.tags} & {"script", "img", "iframe", "object", "embed"}
    assert "<svg" in text and "@import" not in text and "url(" not in text
    for tag, attributes in shown.tags:
        for name in ("src", "href", "srcset", "action", "xlink:href", "data"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:")), f"<{tag} {name}={value[:60]}>"


def test_links_within_it_lead_somewhere() -> None:
    shown = Page(page.html(few()))
    ids = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
    links = {href[1:] for _, attributes in shown.tags if (href := attributes.get("href") or "").startswith("#")}
    assert len(ids) == len(set(ids))
    assert links <= set(ids)


@pytest.mark.usefixtures("undrawn")
def test_every_scenario_and_daemon_of_a_full_run_appears() -> None:
    shown = Page(page.html(everything(lacking=0))).text
    for daemon in DAEMONS.values():
        assert daemon.title in shown and " ".join(daemon.settings.split()) in shown
    for scenario in (one for one in SCENARIOS.values() if not one.daemons):
        assert f"{scenario.name} · {scenario.title}" in shown
        assert " ".join(scenario.story.split()) in shown


@pytest.mark.usefixtures("undrawn")
def test_it_says_who_won_with_its_seconds() -> None:
    shown = Page(page.html(rivals_of("X1", okoomer=0.6))).text
    assert "okoomer, desktop loses least: 0.60 s." in shown
    assert "The best of another project, kernel alone, loses 9 s." in shown


@pytest.mark.usefixtures("undrawn")
def test_it_says_so_when_another_won() -> None:
    shown = Page(page.html(rivals_of("X1", okoomer=8.0, earlyoom=2.0))).text
    assert "earlyoom loses least: 2 s. The best of another project, okoomer, desktop, loses 8 s" in shown
    assert "In 1 of 1 scenarios another is better" in shown
    assert "+6 s longest blackout" in shown


def test_a_page_of_nothing_and_of_a_single_run() -> None:
    assert "There are no results yet" in Page(page.html([])).text
    shown = Page(page.html([run("X1", "oomd", seen(2.0, (CULPRIT,)))]))
    assert not shown.open
    assert "oomd loses least: 2 s." in shown.text


def test_a_run_that_failed_is_shown_as_such() -> None:
    runs = [*rivals_of("X1")[:-1], run("X1", OURS, Seen(ending=Ending.FAILED, notes=["the swap file <did> not fit"]))]
    shown = Page(page.html(runs)).text
    assert "could not be set up" in shown
    assert "repeat 1: the swap file <did> not fit" in shown
    assert "no result" in shown, "it is no first place either"


@pytest.mark.usefixtures("undrawn")
def test_a_hostile_name_is_text() -> None:
    name = "</script><script>alert(1)</script>'\"&amp;"
    died = ((name, Role.CULPRIT, By.DAEMON),)
    of = seen(1.0, died)
    of = msgspec.structs.replace(of, versions={"kernel": "<b>6.1</b>", "daemon": "<i>1</i>"})
    text = page.html([run("X1", OURS, of)])
    shown = Page(text)
    assert "<script" not in text and "<b>6.1" not in text and "<i>1" not in text
    assert f"daemon: {name} (culprit)" in shown.text


def test_the_data_in_it_is_all_of_the_data() -> None:
    runs = few()
    links = {a["download"]: a["href"] or "" for tag, a in Page(page.html(runs)).tags if tag == "a" and "download" in a}
    raw = lzma.decompress(base64.b64decode(links["runs.jsonl.xz"].partition("base64,")[2]))
    assert [msgspec.json.decode(line, type=Run) for line in raw.splitlines()] == runs
    figures = csv.DictReader(io.StringIO(base64.b64decode(links["figures.csv"].partition("base64,")[2]).decode()))
    lost = {(row["scenario"], row["daemon"]): row["lost_s"] for row in figures}
    assert lost["X1", OURS] == "0.6" and len(lost) == sum(not one.point for one in runs)


def test_colours_of_the_matrix_are_steps_of_the_logarithm() -> None:
    assert [page.heat(seconds) for seconds in (0, 0.99, 1, 9.9, 10, 31, 345, 9999)] == [0, 0, 1, 2, 3, 4, 6, 6]


def test_every_colour_of_a_picture_is_one_of_the_style_sheet() -> None:
    style = (page.TEMPLATES / "style.css").read_text()
    light, dark = (set(re.findall(r"(--[\w-]+):", part)) for part in style.split("@media (prefers-color-scheme: dark)"))
    used = set(re.findall(r"var\((--[\w-]+)\)", page.html([*few(), *points_of("oomd", ("c", 1.0, 0))])))
    assert used <= light
    assert used - dark <= {"--serif", "--sans"}
    for names in (PARTS, (f"kill-{kind}" for kind in KINDS)):
        assert {f"--{name}" for name in names} <= light & dark


# --- the pictures -----------------------------------------------------------------------------------------------


def numbers(picture: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture)


def test_a_bar_has_its_number_beside_it() -> None:
    of = board([*rivals_of("X1", okoomer=1.26)[1:], run("X1", "none", Seen(ending=Ending.FAILED))])
    words = numbers(charts.bars(of, of.lines[0], 346, ""))
    assert {"1.3", "9", "failed", "okoomer, desktop", "kernel alone"} <= set(words)


def test_who_has_no_result_has_no_bar() -> None:
    of = board([*rivals_of("X1"), run("X3", "oomd", seen())])
    assert "not run" in numbers(charts.bars(of, of.lines[0], 346, ""))


def test_every_result_has_its_course_with_the_kills() -> None:
    runs = [*rivals_of("X1")[:-1], run("X1", OURS, seen(1.0, (("db", Role.INNOCENT, By.DAEMON),)))]
    of = board(runs)
    pictures = courses(of, of.lines[0])
    assert pictures.keys() == of.lines[0].cells.keys()
    assert "--kill-innocent" in pictures[OURS] and "--kill-innocent" not in pictures["none"]


def test_a_run_without_samples_has_no_course() -> None:
    of = board([run("X1", OURS, Seen(ending=Ending.GONE))])
    assert not courses(of, of.lines[0])


def test_the_sweep_is_drawn_with_a_style_for_each_daemon() -> None:
    runs = [*points_of(OURS, ("a", 2.0, 0), ("b", 0.6, 2)), *points_of("okoomer-server", ("c", 1.0, 1))]
    of = sweep(runs)
    looks = styles(of)
    assert len({(look.colour, look.shape, look.dashed) for look in looks}) == 2
    assert "stroke-dasharray" in front(of, 346, "")
    assert {"a", "b"} <= set(numbers(fronts(board(runs), of)[OURS]))


def test_labels_that_would_touch_are_one() -> None:
    of = sweep(points_of(OURS, ("a", 2.0, 0), ("b", 1.9, 0)))
    assert "a … b" in numbers(fronts(board([]), of)[OURS])


def test_a_picture_says_what_it_shows_and_no_number_is_rounded_in_it() -> None:
    of = board(rivals_of("X1", okoomer=0.66))
    picture = charts.totals(of, 1100, 'who "won" & why')
    assert 'role="img" aria-label="who &#34;won&#34; &amp; why"' in picture
    assert "0.66 s" in numbers(picture)
    assert "font-family" not in picture, "the page's own"


@pytest.mark.usefixtures("undrawn")
def test_a_full_page_is_small_without_its_pictures() -> None:
    assert len(page.html(everything())) < 1 * MIB


def test_a_course_is_small() -> None:
    """Three hundred of them have to fit."""
    of = board(rivals_of("X1"))
    assert all(len(picture) < 4000 for picture in courses(of, of.lines[0]).values())
