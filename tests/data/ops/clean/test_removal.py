"""Blanks, e-mails, links and addresses against the patterns they stand for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.ops.clean.addresses import CleanIpMapper
from plait.data.ops.clean.emails import CleanEmailMapper
from plait.data.ops.clean.links import CleanLinksMapper
from plait.data.ops.clean.pii import PiiRedactionMapper
from plait.data.ops.clean.whitespace import WhitespaceNormalizationMapper
from plait.errors import UsageError

EMAIL = re.compile(r"[A-Za-z0-9.\-+_]+@[a-z0-9.\-+_]+\.[a-z]+")
LINK = re.compile(
    r"\b((?:[a-z][\w-]+:(?:/{1,3}|[a-z0-9%])|www\d{0,3}[.]|[a-z0-9.\-]+[.][a-z]{2,4}/)"
    r"(?:[^\s()<>]+|\(([^\s()<>]+|(\([^\s()<>]+\)))*\))+"
    r"(?:\(([^\s()<>]+|(\([^\s()<>]+\)))*\)|[^\s`!()\[\]{};:'\".,<>?«»“”‘’]))",
    re.IGNORECASE,
)
IP = re.compile(
    r"(?:(?:1[0-9][0-9]\.)|(?:2[0-4][0-9]\.)|(?:25[0-5]\.)|(?:[1-9][0-9]\.)|(?:[0-9]\.)){3}"
    r"(?:(?:1[0-9][0-9])|(?:2[0-4][0-9])|(?:25[0-5])|(?:[1-9][0-9])|(?:[0-9]))|([\da-fA-F]{1,4}:){7}[\da-fA-F]{1,4}"
)
BLANKS = "\t\x84\xa0\u2000\u2001\u2009\u200a\u200b\u200c\u200d\u202f\u205f\u2060\u3000\ufffc"

LINK_PIECES = [
    *("a", "b-", "://", ":", "/", "//", ".", "www", "WWW.", "www1", ".co", ".com/", "http", "(", ")", " ", "<", ">"),
    *("é", "中", "K", "ſ", "“", "\xa0", "_", "-", "9", "٣", "%", "«", "!", "?", "\u2028", "x", "\n", "@", "+"),
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.sampled_from(LINK_PIECES), max_size=14).map("".join), min_size=1, max_size=20))
def test_links_are_those_of_the_pattern(texts: list[str]) -> None:
    assert CleanLinksMapper(repl="#").rewrite_texts(texts) == [LINK.sub("#", text) for text in texts]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("aB1.-+_@ é", max_size=16), min_size=1, max_size=20))
def test_emails_are_those_of_the_pattern(texts: list[str]) -> None:
    assert CleanEmailMapper(repl="#").rewrite_texts(texts) == [EMAIL.sub("#", text) for text in texts]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("0125.:fg ", max_size=24), min_size=1, max_size=20))
def test_addresses_are_those_of_the_pattern(texts: list[str]) -> None:
    assert CleanIpMapper(repl="#").rewrite_texts(texts) == [IP.sub("#", text) for text in texts]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text(st.sampled_from([*BLANKS, *"a中é\n\r\x1c\x1f\x85\u1680\u2028\ufeff "]), max_size=12), min_size=1)
)
def test_blanks_are_stripped_then_replaced(texts: list[str]) -> None:
    expected = [re.sub(f"[{BLANKS}\u2002-\u2008]", " ", text.strip()) for text in texts]
    assert WhitespaceNormalizationMapper().rewrite_texts(texts) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1))
def test_whitespace_is_idempotent_unless_a_zero_width_blank_ends_a_text(texts: list[str]) -> None:
    once = WhitespaceNormalizationMapper().rewrite_texts(texts)
    twice = WhitespaceNormalizationMapper().rewrite_texts(once)
    assert WhitespaceNormalizationMapper().rewrite_texts(twice) == twice


def test_by_hand() -> None:
    links = CleanLinksMapper()
    assert links.rewrite_texts(["(see http://a.b/c(d)e.)", "a:b", "std::x", "www.x.y,"]) == [
        "(see .)",
        "a:b",
        "std::x",
        ",",
    ]
    assert CleanEmailMapper().rewrite_texts(["a@b.c@d.e f@g"]) == ["@d.e f@g"]
    assert CleanIpMapper().rewrite_texts(["256.1.1.1 1:2:3:4:5:6:7:8"]) == ["2 "]


def test_own_patterns() -> None:
    own = CleanLinksMapper(pattern="r'<(a.c)>'", repl=r"[\1]$")
    assert own.rewrite_texts(["<a\nc> http://x.y/z"]) == ["[a\nc]$ http://x.y/z"]


def test_patterns_that_could_hang_are_refused() -> None:
    with pytest.raises(UsageError, match="linear time"):
        CleanEmailMapper(pattern="(?<=x)y")
    with pytest.raises(UsageError, match="names the group 1"):
        CleanEmailMapper(repl=r"<\1>")
    with pytest.raises(UsageError, match="escape"):
        CleanEmailMapper(repl=r"\q")


def test_what_stands_for_an_address_is_part_of_no_other() -> None:
    op = PiiRedactionMapper(ip_replacement="0")
    assert op.rewrite_texts(["1.2.3.41.2.3.4", "1.2.3.4,5.6.7.8 \U0010fffe"]) == ["0.2.3.4", "0,0 \U0010fffe"]
