"""Scopes: globs of cgroups, as they are written and as they match."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from okoomer.policy.error import PolicyError
from okoomer.policy.glob import component_matches, components, literal, matches
from okoomer.policy.scope import LONGEST, MOST_BRACES, MOST_PATHS, parse_scope, scope_of
from okoomer.policy.source import Text


@pytest.mark.parametrize(
    ("globs", "named", "others"),
    [
        ("system.slice/*", ["/system.slice/a.service"], ["/system.slice", "/system.slice/a/b", "/x.slice/a"]),
        ("system.slice/*", [], ["/system.slice/.a"]),
        ("system.slice/.*", ["/system.slice/.a"], ["/system.slice/a"]),
        ("/a/b/", ["/a/b"], ["/a", "/a/b/c"]),
        ("", ["/"], ["/a"]),
        ("/", ["/"], ["/a"]),
        (" a , b/c ", ["/a", "/b/c"], ["/b"]),
        ("/, a", ["/", "/a"], ["/b"]),
        ("**", ["/a"], ["/", "/a/b"]),
        ("a/**/b", ["/a/x/b"], ["/a/b", "/a/x/y/b"]),
        ("{a,b{c,d}}/e", ["/a/e", "/bc/e", "/bd/e"], ["/b/e", "/a", "/bc"]),
        ("{a/b,c}x", ["/a/bx", "/cx"], ["/a/b"]),
        ("a{,b}", ["/a", "/ab"], []),
        ("user-?.slice", ["/user-1.slice"], ["/user-10.slice", "/user-.slice"]),
        ("?a", ["/ba"], ["/.a"]),
        ("[a-c]x", ["/ax", "/cx"], ["/dx", "/x"]),
        ("[!a-c]x", ["/dx"], ["/ax", "/.x"]),
        ("[^a-c]x", ["/dx"], ["/ax"]),
        ("[]]", ["/]"], ["/["]),
        ("[!]]", ["/a"], ["/]"]),
        ("[a-]", ["/a", "/-"], ["/b"]),
        ("[-a]", ["/a", "/-"], ["/b"]),
        ("[[:digit:]_]", ["/1", "/_"], ["/a", "/:"]),
        ("a[[:punct:]]", ["/a-", "/a]", "/a[", "/a\\"], ["/aa"]),
        (r"[a\]b]", ["/]", "/a"], ["/\\"]),
        (r"\*", ["/*"], ["/a"]),
        (r"a\,b", ["/a,b"], ["/a", "/b"]),
        (r"\{a\}", ["/{a}"], ["/a"]),
        (r"dev-x\\x2d*", ["/dev-x\\x2dy"], ["/dev-xx2dy"]),
        ("a*b*c", ["/abc", "/aXbbYbc", "/abcbc"], ["/acb", "/ab", "/abcx"]),
        ("*", ["/a\nb", "/é"], []),
        ("a.b", ["/a.b"], ["/axb"]),
    ],
)
def test_what_a_scope_names(globs: str, named: list[str], others: list[str]) -> None:
    scope = scope_of(globs)
    assert scope.text == globs
    assert [path for path in (*named, *others) if matches(scope, path)] == named


def test_an_attribute_behind_the_paths_is_what_a_cgroup_has_to_have() -> None:
    scope = scope_of("a/*, b  with  user.x.y ")
    assert (scope.tag, scope.paths) == ("user.x.y", scope_of("a/*,b").paths)
    assert scope_of(r"a\ with user.x").paths == ((("a with user.x", b""),),)
    assert literal("/a  with user.x").paths == scope_of(literal("/a  with user.x").text).paths
    for globs, relative in (("a with restart", False), ("a with user.", False), ("./a with user.x", True)):
        with pytest.raises(ValueError, match="attribute"):
            scope_of(globs, relative)


def test_a_relative_scope_begins_at_a_cgroup() -> None:
    scope = scope_of("./*/x, ./y", relative=True)
    assert scope.relative
    assert matches(scope, "/a/b/c/x", "/a/b") and matches(scope, "/a/b/y", "/a/b")
    assert not matches(scope, "/a/c/x", "/a/b") and not matches(scope, "/a", "/a/b")
    for itself in (".", "./"):
        assert matches(scope_of(itself, relative=True), "/a/b", "/a/b")
    assert not scope_of("a", relative=True).relative


@pytest.mark.parametrize(
    ("globs", "start", "marked", "said"),
    [
        ("a//b", 2, "", "a path with nothing between two slashes"),
        ("x, a/../b", 5, "..", "a path that goes elsewhere"),
        ("a/.", 2, ".", "a path that goes elsewhere"),
        ("a/[b/c]", 2, "[b", "a bracket that is not closed"),
        ("[]", 0, "[]", "a bracket that is not closed"),
        ("a{b,c", 1, "{b,c", "a brace that is not closed"),
        ("ab}", 2, "}", "a brace that closes nothing"),
        ("a,,b", 2, "", "no path between commas"),
        ("a,", 2, "", "no path between commas"),
        ("a\\", 1, "\\", "a backslash before nothing"),
        ("[z-a]", 1, "z-a", "a range that ends before it begins"),
        ("[[:foo:]]", 1, "[:foo:]", "unknown class of characters"),
        ("x, ./a", 3, "./a", "a path that begins at a rule's cgroup"),
        ("a\nb", 0, "a\nb", "not a scope"),
        ("é" * 128, 0, "é" * 128, "longer than a name can be"),
        ("x/?" + "a" * 255, 2, "?" + "a" * 255, "longer than a name can be"),
        ("b," + "{a,b}" * 9, 2, "{a,b}" * 9, "too many paths"),
        ("{a}" * 33, 0, "{a}" * 33, "too many braces"),
    ],
)
def test_refused_scopes(globs: str, start: int, marked: str, said: str) -> None:
    text = Text("p", globs, globs, range(len(globs) + 1))
    with pytest.raises(PolicyError, match=said) as caught:
        parse_scope(text)
    assert (caught.value.text, caught.value.column) == (marked, start + 1)
    with pytest.raises(ValueError, match=said):
        scope_of(globs)


def test_from_the_root_and_from_a_cgroup_do_not_mix() -> None:
    for globs in ("./a,b", "a,./b"):
        with pytest.raises(ValueError, match="in one scope"):
            scope_of(globs, relative=True)


def test_what_is_just_not_too_much() -> None:
    assert len(scope_of("{a,b}" * 8).paths) == MOST_PATHS
    assert scope_of("{a}" * MOST_BRACES).paths == scope_of("a" * MOST_BRACES).paths
    assert matches(scope_of("a" * LONGEST), "/" + "a" * LONGEST)
    assert len(scope_of("a,{a,a}").paths) == 1


def test_an_error_within_braces_has_its_place() -> None:
    with pytest.raises(ValueError, match=r"'\[xc'"):
        scope_of("a{b,[x}c")


ODD = st.text(st.sampled_from("ab*?[]{}\\,!-. é'\""), min_size=1, max_size=8)


@given(st.lists(ODD, max_size=3))
def test_a_literal_scope_names_its_path_and_is_read_back(names: list[str]) -> None:
    assume(not {".", ".."} & set(names))
    path = "/" + "/".join(names)
    scope = literal(path)
    assert scope.paths == (tuple((name, b"") for name in names),)
    assert matches(scope, path) and not matches(scope, f"{path}/x")
    assert scope_of(scope.text).paths == scope.paths


def test_a_path_has_the_names_between_its_slashes() -> None:
    assert components("/") == components("") == ()
    assert components("/a/b.c/") == ("a", "b.c")


def test_no_name_makes_a_search_long() -> None:
    (component,) = scope_of("*a" * 40 + "*b").paths[0]
    began = time.process_time()
    assert not component_matches(component, "a" * 255)
    assert component_matches(component, "a" * 254 + "b")
    assert time.process_time() - began < 1


GLOBS = st.text(st.sampled_from("ab.*?[]!-"), min_size=1, max_size=8)


@settings(deadline=None)
@given(GLOBS, st.lists(st.text(st.sampled_from("ab.-]"), min_size=1, max_size=5), min_size=5, max_size=5))
def test_what_begins_with_no_dot_matches_as_in_a_shell(pattern: str, names: list[str]) -> None:
    assume(pattern not in (".", ".."))
    try:
        scope = scope_of(pattern)
    except ValueError:
        assume(False)
    for name in names:
        if not name.startswith("."):
            assert matches(scope, f"/{name}") == fnmatchcase(name, pattern)
