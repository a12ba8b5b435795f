"""Each operation: by hand, against the definition written plainly in Python, and by properties that must hold."""

from __future__ import annotations

import math
import string
import unicodedata

import ftfy
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.ops.characters import AlphanumericFilter, SpecialCharactersFilter, TextLengthFilter
from plait.data.ops.lines import AverageLineLengthFilter, MaximumLineLengthFilter
from plait.data.ops.repetition import CharacterRepetitionFilter, WordRepetitionFilter
from plait.data.ops.special import special_class
from plait.data.ops.unicode import FixUnicodeMapper
from plait.data.ops.whitespace import WhitespaceNormalizationMapper
from plait.data.ops.words import WordsNumFilter

SPECIAL = set(
    pl.Series([chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000])
    .to_frame("c")
    .filter(pl.col("c").str.contains(f"^[{special_class()}]$"))["c"]
)
BLANKS = {"\t", "\x84", "\xa0", "\u202f", "\u205f", "\u2060", "\u3000", "\ufffc", *map(chr, range(0x2000, 0x200E))}


# ---- the definitions of Data-Juicer 1.6.1, as plainly as they can be written -------------------------------------


def words_of(text: str) -> list[str]:
    return [w for w in text.replace("\n", " ").replace("\t", " ").split(" ") if w]


def stripped(word: str) -> str:
    while word and word[0] in SPECIAL:
        word = word[1:]
    while word and word[-1] in SPECIAL:
        word = word[:-1]
    return word


def counts_of(grams: list) -> list[int]:
    counts = dict[object, int]()
    for gram in grams:
        counts[gram] = counts.get(gram, 0) + 1
    return sorted(counts.values(), reverse=True)


def character_repetition(text: str, n: int) -> float:
    counts = counts_of([text[i : i + n] for i in range(len(text) - n + 1)])
    if not counts:
        return 0.0
    top = min(int(np.sqrt(len(counts))), len(counts) - counts.count(1))
    return sum(counts[:top]) / sum(counts)


def word_repetition(text: str, n: int) -> float:
    words = [w for w in (stripped(w.lower()) for w in words_of(text)) if w]
    counts = counts_of([tuple(words[i : i + n]) for i in range(len(words) - n + 1)])
    return sum(c for c in counts if c > 1) / sum(counts) if counts else 0.0


DEFINITIONS = {
    TextLengthFilter(): len,
    AlphanumericFilter(): lambda t: sum(c.isalnum() for c in t) / len(t) if t else 0.0,
    SpecialCharactersFilter(): lambda t: sum(c in SPECIAL for c in t) / len(t) if t else 0.0,
    AverageLineLengthFilter(): lambda t: len(t) / len(t.splitlines()) if t.splitlines() else 0.0,
    MaximumLineLengthFilter(): lambda t: max(map(len, t.splitlines()), default=0),
    WordsNumFilter(): lambda t: sum(bool(stripped(w)) for w in words_of(t)),
    CharacterRepetitionFilter(rep_len=3): lambda t: character_repetition(t, 3),
    CharacterRepetitionFilter(): lambda t: character_repetition(t, 10),
    WordRepetitionFilter(rep_len=2): lambda t: word_repetition(t, 2),
    WordRepetitionFilter(): lambda t: word_repetition(t, 10),
}

texts = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=60)
    | st.text("ab \n", max_size=80)
    | st.text("aB1.!,é–ß\n\r\t\x0b\x1c\x85\u2028\u3000 🙂ГⓂİΣ", max_size=60)
    | st.lists(st.sampled_from(["the", "The", "cat,", "sat", "-", "10", "\n", "Г", "été"]), max_size=40).map(" ".join),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("op", DEFINITIONS, ids=lambda op: f"{op.stat}-{getattr(op, 'rep_len', '')}")
@settings(max_examples=120, deadline=None)
@given(batch=texts)
def test_a_stat_equals_its_definition(op, batch: list[str]) -> None:
    assert op.measure_texts(batch) == pytest.approx([float(DEFINITIONS[op](t)) for t in batch], abs=1e-12)


@pytest.mark.parametrize("op", DEFINITIONS, ids=lambda op: op.stat)
def test_an_empty_text_measures_zero(op) -> None:
    assert op.measure_texts(["", ""]) == [0.0, 0.0]


# ---- by hand ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "text", "value"),
    [
        (TextLengthFilter(), "naïve 🙂", 7),
        (AlphanumericFilter(), "ab 12!", 4 / 6),
        (AlphanumericFilter(), "été½", 1.0),
        (SpecialCharactersFilter(), "ab 12!", 4 / 6),
        (SpecialCharactersFilter(), "a🙂—b", 2 / 4),
        (AverageLineLengthFilter(), "ab\ncdef\n", 8 / 2),
        (AverageLineLengthFilter(), "ab\r\ncd", 6 / 2),
        (MaximumLineLengthFilter(), "ab\ncdef\n", 4),
        (MaximumLineLengthFilter(), "ab\u2028cdefg", 5),
        (WordsNumFilter(), "one - two... (three) 4", 3),
        # ab ba ab ba ab: two distinct, both repeat, the top ⌊√2⌋ = 1 of them has 3 of 5.
        (CharacterRepetitionFilter(rep_len=2), "ababab", 3 / 5),
        # "to be" twice among 5 pairs of words.
        (WordRepetitionFilter(rep_len=2), "To be, or not to be!", 2 / 5),
        (WordRepetitionFilter(rep_len=2), "one", 0),
    ],
)
def test_by_hand(op, text: str, value: float) -> None:
    assert op.measure_texts([text]) == [pytest.approx(value)]


@pytest.mark.parametrize(
    ("settings_", "kept"),
    [
        ({"min_len": 3, "max_len": 5}, [False, True, True, True, False]),
        ({"min_len": 3, "max_len": 5, "min_closed_interval": False}, [False, False, True, True, False]),
        ({"min_len": 3, "max_len": 5, "max_closed_interval": False}, [False, True, True, False, False]),
        ({"min_len": 3, "max_len": 5, "reversed_range": True}, [True, False, False, False, True]),
        ({}, [False] * 5),
    ],
)
def test_ranges_are_closed_open_or_reversed(settings_: dict, kept: list[bool]) -> None:
    op = TextLengthFilter(**settings_)
    assert pl.DataFrame({"v": [2.0, 3.0, 4.0, 5.0, 6.0]}).select(op.keeps(pl.col("v"))).to_series().to_list() == kept


# ---- mappers ------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(batch=texts)
def test_whitespace_equals_its_definition_and_settles(batch: list[str]) -> None:
    op = WhitespaceNormalizationMapper()
    once = op.rewrite_texts(batch)
    assert once == ["".join(" " if c in BLANKS else c for c in t.strip()) for t in batch]
    # A zero-width blank at an end becomes a space that only the next application strips, in Data-Juicer too.
    twice = op.rewrite_texts(once)
    assert twice == [t.strip() for t in once]
    assert op.rewrite_texts(twice) == twice


@settings(max_examples=200, deadline=None)
@given(batch=texts, form=st.sampled_from(["NFC", "NFKC", "NFD", "NFKD"]))
def test_fix_unicode_equals_ftfy_whatever_the_gate_lets_through(batch: list[str], form: str) -> None:
    fixed = FixUnicodeMapper(normalization=form).rewrite_texts(batch)
    assert fixed == [ftfy.fix_text(t, normalization=form) for t in batch]
    assert all(unicodedata.is_normalized(form, t) for t in fixed)


def test_fix_unicode_leaves_plain_ascii_alone() -> None:
    plain = "".join(c for c in map(chr, range(32, 127)) if c != "&") + "\n\t"
    assert ftfy.fix_text(plain) == plain
    assert FixUnicodeMapper().rewrite_texts([plain, "cafÃ©"]) == [plain, "café"]


# ---- the sets of characters ---------------------------------------------------------------------------------------


def test_special_characters_hold_what_they_must() -> None:
    assert set(string.punctuation + string.digits + string.whitespace) <= SPECIAL
    assert not SPECIAL & set(string.ascii_letters)
    assert len(SPECIAL) == 1_641


def test_alphanumeric_equals_python_for_every_character_of_its_unicode_version() -> None:
    characters = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cs", "Cn", "Co")]
    measured = AlphanumericFilter().measure_texts(characters)
    wrong = [c for c, m in zip(characters, measured, strict=True) if c.isalnum() != (m == 1.0)]
    assert len(wrong) == 0


def test_repetition_is_exact_on_long_texts_of_different_sizes() -> None:
    random = np.random.default_rng(0)
    batch = ["".join(random.choice(list("abc"), n)) for n in (5, 9, 10, 11, 3_000, 50, 20_000, 0, 7)]
    expected = [character_repetition(t, 10) for t in batch]
    assert CharacterRepetitionFilter().measure_texts(batch) == pytest.approx(expected, abs=1e-15)
    assert not math.isclose(expected[6], 0.0)
