"""Patterns as Python spells them mean the same to Rust's engine."""

from __future__ import annotations

import re
import warnings

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plait.data.ops.clean.links import CleanLinksMapper
from plait.data.ops.clean.patterns import checked_pattern, replace_pattern
from plait.data.ops.clean.pii import PiiRedactionMapper
from plait.data.ops.clean.spelling import rust_pattern
from plait.data.ops.rewrite.replace import ReplaceContentMapper
from plait.errors import UsageError

PIECES = [
    r"\<", r"\>", r"\{", "{", "}", "]", "[", "[^", "[a-", "[[]", "(", ")", "(?:", "|", "*", "+", "?", ".", "^", "-",
    "&&", "--", "~~", "||", "{2}", "{,2}", "{1,}", "{}", "{a}", "a", "b", "x", "é", r"\é", "<", ">", "#", " ", r"\ ",
    r"\w", r"\d", r"\s", r"\W", r"\b", r"\.", r"\-", r"\]", r"\[", r"\x41", r"\u0062", r"\n", "\n", r"\Z", r"\A",
    "(?#c)", r"\'", "'", "&", "~", r"\\",
]  # fmt: skip
TEXTS = [
    "", "a", "aab<b>{a}]x", "[a-b]&&--~~||", "ab  \nxx-.\\]\t", "Aé Bb#{2}{,}{}", "!\"&'<>~^$|(*+?)", r"\begin{a}x"
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join))
@settings(deadline=None, max_examples=400, database=None)
def test_replaces_what_python_replaces(pattern: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what may mean something else one day
        try:
            python = re.compile(pattern, re.DOTALL)
        except re.error:
            assume(False)
            raise
    refused = ""
    try:
        checked_pattern(pattern)
    except UsageError as error:
        refused = str(error)
    if refused:
        assert re.search("give nothing back|missing expression|allow errors", refused)
        return
    for text in TEXTS:
        # Python also finds nothing right behind what it has found; a bare "$" is another known difference.
        if all(match.end() > match.start() for match in python.finditer(text)):
            assert replace_pattern(pl.Series([text]), pattern, "@")[0] == python.sub("@", text)


@pytest.mark.parametrize(
    ("pattern", "text", "want"),
    [
        (r"\<br\>", "a<br>b br", "a@b br"),
        (r"\\begin{figure}", r"a\begin{figure}", "a@"),
        ("[a&&b]+", "xa&bx", "x@x"),
        (r"[\w-.]+", "(a-b.c)", "(@)"),
        ("x{,2}y", "xxy", "@"),
        (r"b\Z", "bb", "b@"),
    ],
)
def test_signs_of_rusts_engine_are_plain_characters(pattern: str, text: str, want: str):
    assert ReplaceContentMapper(pattern=pattern, repl="@").rewrite_texts([text]) == [want]
    assert CleanLinksMapper(pattern=pattern, repl="@").rewrite_texts([text]) == [want]


@pytest.mark.parametrize("pattern", ["a++b", "[ab]*+a", "(?:abc){e<=1}", r"(a)\1", "(?<=a)b", "(?>a)b"])
def test_what_would_mean_something_else_is_refused(pattern: str):
    with pytest.raises(UsageError) as raised:
        ReplaceContentMapper(pattern=pattern)
    assert raised.value.code == "data.pattern"
    assert "\n" not in str(raised.value)


def test_the_spelling_is_kept_by_a_second_look():
    for pattern in (r"\<b\>|\begin{a}|[[&&]x{,2}\Z", r"[\w-.#]", r"[[:alpha:]-z]", r"\p{Han}{2}", r"[^]^-]"):
        assert rust_pattern(rust_pattern(pattern)) == rust_pattern(pattern)


def test_a_dot_in_extra_patterns_ends_at_the_line():
    op = PiiRedactionMapper(extra_patterns=[("name: .+", "name: *")])
    assert op.rewrite_texts(["name: Jo\nage: 3"]) == ["name: *\nage: 3"]
