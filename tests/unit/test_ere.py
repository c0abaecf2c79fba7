"""Extended regular expressions: the same texts are found as the C library finds, and the same errors are errors."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from random import Random

import pytest

from okoomer.compat.ere import CLASSES, DEEPEST, NotAnExpression, python
from okoomer.policy.select import compile_pattern
from tests.unit.strategies import cases

LIBC = ctypes.CDLL(None)
#: regex.h and locale.h
EXTENDED, NO_SUB, LC_ALL = 1, 8, 6


@pytest.fixture(autouse=True, scope="module")
def c_locale() -> Iterator[None]:
    """Daemons that set no locale have this one."""
    LIBC.setlocale.restype = ctypes.c_char_p
    before = LIBC.setlocale(LC_ALL, None)
    LIBC.setlocale(LC_ALL, b"C")
    yield
    LIBC.setlocale(LC_ALL, before)


def of_the_library(expression: str, texts: list[str]) -> list[bool] | None:
    """Which texts the C library finds the expression in; None if it is an error."""
    compiled = ctypes.create_string_buffer(256)
    if LIBC.regcomp(compiled, expression.encode(), EXTENDED | NO_SUB):
        return None
    found = [LIBC.regexec(compiled, text.encode(), 0, None, 0) == 0 for text in texts]
    LIBC.regfree(compiled)
    return found


def ours(expression: str, texts: list[str]) -> list[bool] | None:
    try:
        pattern = re.compile(python(expression))
    except NotAnExpression:
        return None
    return [pattern.search(text) is not None for text in texts]


TEXTS = ["", "a", "b", "aa", "ab", "ba", "abc", "a-b", "a b", "a.b", "a\nb", "a\n", "\\b", "a]b]", "n", "d", "A1_", "-",
         "]", "[", "^", "$", "*", "{1}", "(", "|", "b\na", "\t", "Web Content", "z-9", "aaaa", "abab"]  # fmt: skip


@pytest.mark.parametrize(
    "expression",
    [
        "", "a", "^a", "a$", "^$", "a^b", "$a", "^^a", "a$$", "(^a|b)c", "(^)*a", ".", "a.b", "a|b", "a|", "|a", "a||b",
        "(|a)b", "()", "a)", ")", "}", "a}", "]", "a**", "a*+", "a*?", "a+?b", "(a*)*b", "a{2}", "a{1,2}", "a{2,}",
        "a{,2}b", "a{,}", "a{0}b", "a{1}{2}", "a{01}", "(ab){2}", r"a{1\,2}",
        "[abc]", "[^abc]", "[]]", "[^]]", "[a-c]", "[a-]", "[-a]", "[--a]", "[%--]", "[---]", "[a-c-]", r"[\n]",
        r"[a\]b]", "[[:alpha:]]", "[^[:space:]]", "[[:digit:]-]", "[[.-.]a]", "[[.a.]-[.c.]]", "[[=a=]]", "[[.].]]",
        "[:alpha:]", "[[]", "[$^*]", "[.]", "[&&]", "[|~]", "[[a]", "[a-z&&]",
        r"\.", r"\*", r"\(", r"\{", r"\|", r"\]", r"\n", r"\d", r"\t", r"\-", r"\/", r"a\.b",
        r"\<a", r"a\>", r"\bb\b", r"\B", r"\w+", r"\W", r"\s", r"\S", r"\`a", r"a\'", r"(a)\1", r"(a)\10", r"((a)|b)\2",
        "*a", "(*a)", "^*a", "a|*b", "+", "?", "{1}", "(+a)", "a{1", "a{x}", "a{}", "a{2,1}", "a{40000}", "a{ 1}",
        "a{1a}", "a{1,2,3}", "a{1,", "a{", "a{99999999999999999999999}", "(", "(a", "((a)", "[", "[]", "[^", "[^]",
        "[a", "[a-", "[[:foo:]]", "[z-a]", "[a-c-e]", "[a--]", "[a-[:digit:]]",
        "[[:digit:]-z]", "[[.space.]]", "[[=ab=]]",
        "[[=a=]-c]", "[[:]", "[[.a]", "[[:alpha:]", "\\", "a\\", r"\1", r"(a\1)", r"(a)|b\1", r"\<*", r"\b+", "$*",
        r"\9",
    ],
)  # fmt: skip
def test_an_expression_means_what_the_c_library_takes_it_for(expression: str) -> None:
    assert ours(expression, TEXTS) == of_the_library(expression, TEXTS), python(expression)


ATOMS = ("a", "b", "-", "z", "1", "_", " ", ".", "\\.", "\\*", "\\w", "\\W", "\\s", "\\S", "\\d", "\\n", "\\]")
PLACES = ("^", "$", "\\<", "\\>", "\\b", "\\B", "\\`", "\\'")
ITEMS = ("a", "b-z", "-", "]", "^", "\\", "[:alpha:]", "[:punct:]", "[:space:]", "[.-.]", "[=a=]", "1", "[", "%--", ".")
REPEATS = ("", "", "", "*", "+", "?", "{2}", "{0,2}", "{1,}", "{,1}", "**", "*?", "+*")


def text(random: Random, characters: str, most: int) -> str:
    return "".join(random.choices(characters, k=random.randint(0, most)))


def texts(random: Random) -> list[str]:
    # No ends of lines: a $ in the middle of an expression sometimes matches before one, sometimes not (glibc 2.36).
    return [text(random, "ab-z1_ .\t]\\^[%", 6) for _ in range(6)]


def expression(random: Random, depth: int = 0) -> str:
    """A well-formed expression, mostly. Over repetitions within repetitions the library itself would take for ever, and
    places within them it takes for what they are not (glibc 2.36)."""
    repeats = ("", "", "*", "?") if depth else REPEATS

    def part() -> str:
        dice = random.random()
        if dice < 0.15 and not depth:
            return random.choice(PLACES)
        if dice < 0.35 and depth < 2:
            return f"({expression(random, depth + 1)}){random.choice(('', '?', '{2}', '+', '*')[: 2 if depth else 5])}"
        if dice < 0.6:
            items = "".join(random.choices(ITEMS, k=random.randint(1, 4)))
            return f"[{random.choice(('', '^'))}{items}]{random.choice(repeats)}"
        return random.choice(ATOMS) + random.choice(repeats)

    rows = ["".join(part() for _ in range(random.randint(1, 3))) for _ in range(random.randint(1, 2))]
    return "|".join(rows)


@cases(3000)
def test_generated_expressions_find_the_same(random: Random) -> None:
    generated, found_in = expression(random), texts(random)
    assert ours(generated, found_in) == of_the_library(generated, found_in), (generated, found_in)


@cases(4000)
def test_any_text_is_the_same_expression_or_the_same_error(random: Random) -> None:
    generated, found_in = text(random, "ab-z1|()[]{}*+?.^$\\<:=,d", 9), texts(random)
    assert ours(generated, found_in) == of_the_library(generated, found_in), (generated, found_in)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_holds_the_same_characters(name: str) -> None:
    texts = [chr(code) for code in range(1, 128)]
    for expression in (f"[[:{name}:]]", f"[^[:{name}:]]"):
        assert ours(expression, texts) == of_the_library(expression, texts)


def test_what_came_out_can_be_handed_to_the_guard() -> None:
    assert compile_pattern(python(r"^(chrom.*|[[:alpha:]]+\.exe)$"))


def test_a_letter_of_any_alphabet_is_one_character() -> None:
    assert re.search(python("^.$"), "ü") and re.search(python("ü[^a]"), "üö")
    assert not re.search(python("[[:alpha:]]"), "ü")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("a(b", "a ( without its ) at character 2"),
        ("ab[c", "a [ without its ] at character 3"),
        ("*a", "nothing to repeat at character 1"),
        ("a|*b", "nothing to repeat at character 3"),
        ("a\\", "a backslash at the end at character 2"),
        ("a{x}", "not a number of repetitions, such as {2} or {1,3} at character 3"),
        ("a{3,1}", "repetitions from more to fewer at character 3"),
        ("a{99999}", "more than 32767 repetitions at character 3"),
        ("x\\2", "\\2 refers to no group before it at character 2"),
        ("[[:foo:]]", f"unknown class 'foo', one of {', '.join(CLASSES)} at character 4"),
        ("[[.ab.]]", "'ab' is not one character at character 4"),
        ("(" * (DEEPEST + 1), f"more than {DEEPEST} groups within each other at character {DEEPEST + 1}"),
    ],
)
def test_an_error_says_what_and_where(expression: str, said: str) -> None:
    with pytest.raises(NotAnExpression) as error:
        python(expression)
    assert str(error.value) == said
