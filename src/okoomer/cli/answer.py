"""`okoomer answer`: questions of the guard, and a person's answers from a terminal."""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from okoomer.cli import place
from okoomer.cli.errors import NO, BadInput
from okoomer.cli.reach import Guard, No, finish, guard
from okoomer.events.model import END, LIMIT, PAUSE, RESUME
from okoomer.events.text import harmless, some_pids, to_json
from okoomer.events.unanswered import unanswered
from okoomer.units import size

WORDS = (RESUME, PAUSE, END, LIMIT)
#: Bytes in a unit, as people write them: as in policies, and by the letter alone as free, ps and systemd have it.
_UNITS = {
    **{letter + end: 1024**power for power, letter in enumerate("KMGT", 1) for end in ("", "iB")},
    **{letter + "B": 1000**power for power, letter in enumerate("kMGT", 1)},
}


@click.command()
@click.argument("words", metavar="[QUESTION] [resume|pause|end|limit [SIZE]]", nargs=-1)
@place.json_option
@place.runtime_option
def command(words: tuple[str, ...], as_json: bool, runtime_dir: str | None) -> None:
    """List the guard's open questions, or answer one.

    With one question open its number may be left out. A unit with a limit keeps at most SIZE, by default what it holds
    now. Exits with 1 if nothing is open, or the answer is not taken; with 3 if there is no guard to ask.

    \b
    Example:
      okoomer answer                   what is asked
      okoomer answer end               the one that is open
      okoomer answer 3 limit 1.5GiB
    """
    number, word, ceiling = parse(words)
    to = guard(runtime_dir)
    try:
        questions = sorted(to.questions(), key=lambda asked: int(asked["question"]))
        if not word:
            show([asked for asked in questions if number in (None, asked["question"])], number, as_json)
        else:
            give(to, questions, number, word, ceiling, as_json)
    finally:
        to.close()


def parse(words: tuple[str, ...]) -> tuple[int | None, str, int]:
    """The question's number if there is one, the answer or "", and the ceiling in bytes, 0 if none is named.

    Raises:
        BadInput: It is no answer.
    """
    left = list(words)
    number = None
    if left and re.fullmatch(r"[0-9]{1,9}", left[0]):
        number = int(left.pop(0))
    word = left.pop(0) if left else ""
    if word and word not in WORDS:
        raise BadInput(f"{harmless(word)}: an answer is one of {', '.join(WORDS)}, after the question's number if any")
    if left and word != LIMIT:
        raise BadInput(f"{harmless(left[0])}: a size goes with limit, and nothing with {word}")
    ceiling = parse_size(left.pop(0)) if left else 0
    if left:
        raise BadInput(f"{harmless(left[0])}: nothing comes after the size")
    return number, word, ceiling


def parse_size(text: str) -> int:
    """Bytes.

    Raises:
        BadInput: It is no size.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([A-Za-z]+)", text)
    unit = _UNITS.get(found[2]) if found else None
    if not found or unit is None or not 1 <= float(found[1]) * unit < 2**63:
        raise BadInput(f"{harmless(text)}: a size has a number and a unit, such as 512MiB or 1.5GiB")
    return int(float(found[1]) * unit)


def show(questions: list[dict[str, Any]], number: int | None, as_json: bool) -> None:
    """Lists questions.

    Raises:
        No: There is none.
    """
    if as_json:
        click.echo(to_json(questions))
        if not questions:
            raise click.exceptions.Exit(NO)
        return
    if not questions:
        raise No("no question is open" if number is None else f"question {number} is not open")
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(table(questions))
    else:
        for asked in questions:
            click.echo(": ".join((str(asked["question"]), "; ".join(cells(asked)))))


def table(questions: list[dict[str, Any]]) -> Any:
    """For a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("question", "who", "memory", "without an answer", "answers"):
        drawn.add_column(title)
    for asked in questions:
        drawn.add_row(str(asked["question"]), *(Text(cell) for cell in cells(asked)))
    return drawn


def cells(asked: dict[str, Any]) -> tuple[str, str, str, str]:
    """Who, what it is about, what happens, and what can be answered."""
    pids = tuple(int(pid) for pid in asked.get("pids") or ())
    stands = " is paused" if asked.get("paused") else ""
    left, then = asked.get("left"), unanswered(str(asked.get("then")))
    limit = asked.get("limit") or 0
    choices = [str(word) for word in asked.get("choices") or ()]
    return (
        f"{harmless(str(asked.get('name', '')))} ({some_pids(pids)}){stands}",
        f"its end frees {size(asked.get('freed') or 0)}, {size(asked.get('available') or 0)} available",
        f"{then} in {left:.0f} s" if left is not None else then,
        "|".join(f"{word} {size(limit).replace(' ', '')}" if word == LIMIT and limit else word for word in choices),
    )


#: What was done, by the answer.
_DONE = {RESUME: "goes on", PAUSE: "is paused; the question stays open", END: "is ended"}


def give(
    to: Guard, questions: list[dict[str, Any]], number: int | None, word: str, ceiling: int, as_json: bool
) -> None:
    """Answers one question.

    Raises:
        No: It is not open.
        BadInput: It cannot be known which is meant, or the question has no such answer.
    """
    opened = [str(asked["question"]) for asked in questions]
    if number is None and len(questions) > 1:
        raise BadInput(f"several questions are open: say which ({', '.join(opened)})")
    found = next((asked for asked in questions if number in (None, asked["question"])), None)
    if found is None:
        finish("", "none", "", as_json, f"question {number} is not open" if number else "no question is open")
        return
    if word not in found["choices"]:
        allowed = ", ".join(map(str, found["choices"]))
        raise BadInput(f"question {found['question']} cannot be answered with {word}, but with {allowed}")
    status, text = to.answer(int(found["question"]), word, ceiling)
    name, kept = harmless(str(found.get("name", ""))), ceiling or int(found.get("limit") or 0)
    done = f"{name} {_DONE.get(word) or f'keeps at most {size(kept)}'}"
    finish(done, status, text, as_json, f"question {found['question']} is over")
