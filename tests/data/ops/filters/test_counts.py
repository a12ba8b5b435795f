"""Filters of characters, lines, words and repetition: by hand, and against the definition written plainly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data import kernels
from plait.data.batch import Batch
from plait.data.op import RangeFilter
from plait.data.ops.filters.characters import AlphanumericFilter, SpecialCharactersFilter, TextLengthFilter
from plait.data.ops.filters.lines import AverageLineLengthFilter, MaximumLineLengthFilter
from plait.data.ops.filters.repetition import CharacterRepetitionFilter, WordRepetitionFilter
from plait.data.ops.filters.words import WordsNumFilter
from plait.data.special import special_points

SPECIAL = "".join(map(chr, special_points()))
ODD = [
    "",
    " ",
    "\n\t \r\n",
    "😀😃 👩‍👩‍👧‍👦 🇩🇪 x",
    "e\u0301 a\u0308\u0300 \u0301",
    "שלום עולם مرحبا بالعالم \u200f\u202e abc",
    "ΣΑΣ ΟΔΟΣ Σ σς ΣΣ.",
    "İstanbul İİ ı I",
    "a\x00b \x00 \x00\x00",
    "Гг Г Ⓜ ⓜ ⓂⓂ Гa aГ",
    "\x1c\x1d\x1e\x85\u2028\u2029a\r\n\r\nb\rc\x0b\x0cd",
    "ǅ ß ẞ ŉ ﬁ \u212a \u212b",
    "𝔘𝔫𝔦 𐐀𐐨 𞤀",
    "x" * 1_000_000,
    "the cat sat " * 40,
]
texts = st.lists(
    st.text(st.sampled_from("abAB .,\n\t\r\u2028\x1c\x00ΣσςİıГⓂ😀é\u0301中的ß1½\u200b\u3000"), max_size=60), max_size=8
)


def plain_words(text: str, *, lower: bool) -> list[str]:
    split = text.replace("\n", " ").replace("\t", " ").split(" ")
    words = [(w.lower() if lower else w).strip(SPECIAL) for w in split]
    return [w for w in words if w]


def plain_repetition(items: Sequence[object], size: int, *, top: bool) -> float:
    counts = Counter(tuple(items[i : i + size]) for i in range(len(items) - size + 1))
    several = sorted((n for n in counts.values() if n > 1), reverse=True)
    taken = several[: int(np.sqrt(len(counts)))] if top else several
    return sum(taken) / counts.total() if counts else 0.0


def ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def plain(op: RangeFilter, text: str) -> float:
    lines = text.splitlines()
    match op:
        case TextLengthFilter():
            return len(text)
        case AlphanumericFilter():
            return ratio(sum(map(str.isalnum, text)), len(text))
        case SpecialCharactersFilter():
            return ratio(sum(c in SPECIAL for c in text), len(text))
        case AverageLineLengthFilter():
            return ratio(len(text), len(lines))
        case MaximumLineLengthFilter():
            return max(map(len, lines), default=0)
        case WordsNumFilter():
            return len(plain_words(text, lower=False))
        case CharacterRepetitionFilter():
            return plain_repetition(text, op.rep_len, top=True)
        case WordRepetitionFilter():
            return plain_repetition(plain_words(text, lower=True), op.rep_len, top=False)
        case _:
            raise AssertionError(op)


OPS = [
    TextLengthFilter(),
    AlphanumericFilter(),
    SpecialCharactersFilter(),
    AverageLineLengthFilter(),
    MaximumLineLengthFilter(),
    WordsNumFilter(),
    CharacterRepetitionFilter(),
    CharacterRepetitionFilter(rep_len=2),
    CharacterRepetitionFilter(rep_len=1),
    WordRepetitionFilter(),
    WordRepetitionFilter(rep_len=2),
]


@pytest.mark.parametrize("op", OPS, ids=repr)
def test_odd_texts_are_measured_as_defined(op: RangeFilter) -> None:
    assert op.measure_texts(ODD) == pytest.approx([plain(op, text) for text in ODD], abs=1e-12)


@pytest.mark.parametrize("op", OPS, ids=repr)
@given(some=texts)
@settings(max_examples=40, deadline=None)
def test_any_texts_are_measured_as_defined(op: RangeFilter, some: list[str]) -> None:
    assert op.measure_texts(some) == pytest.approx([plain(op, text) for text in some], abs=1e-12)


@given(
    some=st.lists(st.text(st.sampled_from("abé 語😀"), max_size=200), max_size=5),
    size=st.integers(1, 19),
    most=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.8, 1.0]),
)
@settings(max_examples=300, deadline=None)
def test_the_exact_repetition_lies_in_its_bracket(some: list[str], size: int, most: float) -> None:
    op, batch = CharacterRepetitionFilter(rep_len=size, max_ratio=most), Batch.of_texts(some)
    low, high = op.bracket(batch)
    exact = op.value(batch)
    assert (low <= exact).all()
    assert (exact <= high + 1e-12).all()


def test_the_bracket_settles_ordinary_text_and_not_repeated_text() -> None:
    ordinary = " ".join(str(number * number) for number in range(400))
    _, high = CharacterRepetitionFilter(max_ratio=0.2).bracket(Batch.of_texts([ordinary, "abcdefghij" * 200]))
    assert high[0] < 0.2
    assert high[1] > 0.9


@pytest.mark.parametrize("size", [1, 7, 8, 9, 10, 16, 17])
def test_the_bracket_holds_for_repeats_at_either_end(size: int) -> None:
    # Looking ends where the bound is tight enough; what follows counts as repeated.
    plain_part = "".join(chr(0x4E00 + number) for number in range(500))
    some = [plain_part + "ab" * 300, "ab" * 300 + plain_part, "ab" * 300, "abcdefg", "é" * 40]
    for most in (0.0, 0.2, 0.5, 0.9):
        op, batch = CharacterRepetitionFilter(rep_len=size, max_ratio=most), Batch.of_texts(some)
        _, high = op.bracket(batch)
        assert (op.value(batch) <= high + 1e-12).all()


def test_a_slot_that_is_full_still_bounds() -> None:
    # 1,991 equal runs in one slot that counts to 255: the rest is added on top.
    assert kernels.character_repetition_bound(Batch.of_texts(["a" * 2000]).text(), 10) == pytest.approx([1.0])


def test_the_square_root_of_distinct_runs_is_counted() -> None:
    # Pairs ab ×4, ba ×3, cd ×2, and bc, dc, ... once: 7 distinct, so the 2 most frequent of those that repeat.
    text = "abababab" + "cdcd"
    counts = Counter(text[i : i + 2] for i in range(len(text) - 1))
    assert (counts["ab"], counts["ba"], len(counts)) == (4, 3, 5)
    assert CharacterRepetitionFilter(rep_len=2).measure_texts([text]) == pytest.approx([7 / 11])


def test_words_of_rows_are_those_of_the_whole_batch() -> None:
    words = Batch.of_texts(ODD).words()
    kept = np.arange(len(ODD)) % 3 != 1
    alone = Batch.of_texts([t for t, keep in zip(ODD, kept, strict=True) if keep]).words()
    some = words.where(kept)
    assert np.array_equal(some.hashes, alone.hashes)
    assert np.array_equal(some.starts, alone.starts)
    assert np.array_equal(some.cased, alone.cased)


def test_a_slice_of_a_column_is_read_from_its_own_start() -> None:
    column = Batch.of_texts(["skip this one é", "one two é", "three"]).text().slice(1)
    assert kernels.words(column).counts.tolist() == [3, 1]
    assert kernels.scan(column).chars.tolist() == [9, 5]
    assert kernels.character_repetition(column, 1).tolist() == pytest.approx(
        [plain_repetition(t, 1, top=True) for t in ("one two é", "three")]
    )


def test_bounds_are_inclusive_unless_told_otherwise() -> None:
    batch = Batch.of_texts(["a" * n for n in (9, 10, 20, 21)])
    closed = TextLengthFilter(min_len=10, max_len=20)
    opened = TextLengthFilter(min_len=10, max_len=20, min_closed_interval=False, max_closed_interval=False)
    assert closed.keeps(batch, closed.measure(batch)).tolist() == [False, True, True, False]
    assert opened.keeps(batch, opened.measure(batch)).tolist() == [False, False, False, False]


def test_a_reversed_range_keeps_what_a_closed_bound_is_equal_to() -> None:
    batch = Batch.of_texts(["a" * n for n in (9, 10, 15, 20, 21)])
    closed = TextLengthFilter(min_len=10, max_len=20, reversed_range=True)
    opened = closed.model_copy(update={"min_closed_interval": False, "max_closed_interval": False})
    assert closed.keeps(batch, closed.measure(batch)).tolist() == [True, True, False, True, True]
    assert opened.keeps(batch, opened.measure(batch)).tolist() == [True, False, False, False, True]
