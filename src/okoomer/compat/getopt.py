"""Reading a command line as getopt_long(3) of the GNU library does, in its words where something is wrong.

Python's own getopt reads all of a command line before it gives any of it; there the first mistake counts and `-h`
answers at once, whatever follows.
"""

from __future__ import annotations

from okoomer.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class BadUsage(Exception):
    """What is wrong with a command line, without the name of the program."""


class Option(Record):
    """An option by its names: `short` is one letter or "", `long` a word or ""; `takes` is what its argument is called,
    "" if it takes none; `text` says what it does."""

    short: str
    long: str
    takes: str
    text: str


def given(arguments: Iterable[str], options: Iterable[Option], in_order: bool = False) -> Iterator[tuple[str, str]]:
    """The options of a command line one after the other, by their letter or else their word, each with its argument; at
    last those words that are no options, each with the name "".

    Args:
        arguments: Without the name of the program.
        in_order: The first word that is no option ends the options.

    Raises:
        BadUsage: The next is no option, or lacks an argument or has one too many.
    """
    rest, others = list(arguments), []
    letters = {option.short: option for option in options if option.short}
    words = {option.long: option for option in options if option.long}
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            others += rest
            break
        if argument.startswith("--"):
            yield _long(argument[2:], words, rest)
        elif argument.startswith("-") and argument != "-":
            yield from _bundle(argument[1:], letters, rest)
        else:
            others.append(argument)
            if in_order:
                others += rest
                break
    for other in others:
        yield "", other


def _long(text: str, words: dict[str, Option], rest: list[str]) -> tuple[str, str]:
    name, equals, argument = text.partition("=")
    found = [name] if name in words else [word for word in words if word.startswith(name)]
    if not found:
        raise BadUsage(f"unrecognized option '--{text}'")
    if len(found) > 1:
        names = " ".join(f"'--{word}'" for word in found)
        raise BadUsage(f"option '--{text}' is ambiguous; possibilities: {names}")
    option = words[found[0]]
    if equals and not option.takes:
        raise BadUsage(f"option '--{option.long}' doesn't allow an argument")
    if option.takes and not equals:
        if not rest:
            raise BadUsage(f"option '--{option.long}' requires an argument")
        argument = rest.pop(0)
    return option.short or option.long, argument


def _bundle(text: str, letters: dict[str, Option], rest: list[str]) -> Iterator[tuple[str, str]]:
    while text:
        letter, text = text[0], text[1:]
        option = letters.get(letter)
        if option is None:
            raise BadUsage(f"invalid option -- '{letter}'")
        if not option.takes:
            yield letter, ""
            continue
        if not text and not rest:
            raise BadUsage(f"option requires an argument -- '{letter}'")
        yield letter, text or rest.pop(0)
        return
