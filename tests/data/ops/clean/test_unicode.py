"""fix_unicode against ftfy itself, line by line and rule by rule."""

from __future__ import annotations

import hashlib

import ftfy
import numpy as np
import pytest
from ftfy.badness import BADNESS_RE, MOJIBAKE_CATEGORIES
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.ops.clean import unicode
from plait.data.ops.clean.mojibake import Form, tables
from plait.data.ops.clean.unicode import FixUnicodeMapper

PIECES = [
    *("&amp;", "&lt;", "&AMP;", "&#38;", "&#x2019;", "&", "amp;", "<", "\n", "\r", "\r\n", "\u2028", "\x1b[0m", "\x00"),
    *("\ufeff", "ﬁ", "ŉ", "，", "；", "＜", "＆", "ｶ", "ﾞ", "\u0301", "A", "e", " ", "\u037e", "가", "ᄀ", "ᅡ", "ᆨ"),
    *("“", "’", "\xa0", "à", "Ã", "©", "â€œ", "â€™", "Ð", "中", "क", "़", "ำ", "\u0344", "😀", "\U0001d15e", "\x85"),
    *("œ", "В", "Ђ", "Ù", "Ø", "€", "Â", "°", "²"),
]
PIECE = st.sampled_from(PIECES) | st.sampled_from(sorted(set("".join(MOJIBAKE_CATEGORIES.values()))))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(PIECE, max_size=8).map("".join), min_size=1, max_size=20), st.sampled_from(["NFC", "NFKD"]))
def test_texts_become_what_ftfy_makes_of_them(texts: list[str], form: Form) -> None:
    fixed = [ftfy.fix_text(text, normalization=form) for text in texts]
    assert FixUnicodeMapper(normalization=form).rewrite_texts(texts) == fixed


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=20), st.sampled_from(["latin-1", "cp1251", "mac-roman", "cp437"]))
def test_mojibake_is_repaired_as_ftfy_does(texts: list[str], encoding: str) -> None:
    broken = [text.encode().decode(encoding, errors="replace") for text in texts]
    assert FixUnicodeMapper().rewrite_texts(broken) == [ftfy.fix_text(text) for text in broken]


def test_the_automaton_was_written_for_this_version_of_the_pattern() -> None:
    assert hashlib.sha256(BADNESS_RE.pattern.encode()).hexdigest()[:16] == "9dcc0f2ac90d9ae3"


def test_no_replacement_takes_more_than_four_times_the_room() -> None:
    found = tables("NFC")
    sizes = np.diff(found.string_starts)
    for code in map(ord, "".join(chr(c) for c in range(0x10000) if not 0xD800 <= c < 0xE000)):
        if found.needs[found.kinds[code]] & 1:
            assert sizes[found.replacement[code]] <= 4 * len(chr(code).encode())


def test_entities_stay_from_the_first_less_than_sign_on() -> None:
    assert FixUnicodeMapper().rewrite_texts(["&amp;\n<b> &amp;\n&amp;"]) == ["&\n<b> &amp;\n&amp;"]


def test_each_text_starts_anew() -> None:
    assert FixUnicodeMapper().rewrite_texts(["< &amp;", "&amp;"]) == ["< &amp;", "&"]


def test_lines_that_ftfy_would_cut_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicode, "_SEGMENT", 6)
    text = "abcde\u0301&amp; “x”\n&lt; < &lt;\nok"
    expected = ftfy.fix_text(text, max_decode_length=6)
    assert FixUnicodeMapper().rewrite_texts([text, "“x”"]) == [expected, '"x"']


def test_settings_are_read_as_data_juicer_reads_them() -> None:
    assert FixUnicodeMapper.model_validate({"normalization": "nfkc"}).rewrite_texts(["10³"]) == ["103"]
    assert FixUnicodeMapper.model_validate({"normalization": None}).normalization == "NFC"


@pytest.mark.parametrize("text", ["&" + "amp;" * 50_000, "&#38;" * 20_000 + "amp;" * 20_000])
def test_nested_entities_take_linear_time(text: str) -> None:
    assert FixUnicodeMapper().rewrite_texts([text])[0].startswith("&")
