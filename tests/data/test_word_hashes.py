"""Words found and hashed many bytes at a time are those that plain Python finds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data import kernels
from plait.data.dedup.tokens import Shingling
from plait.data.special import special_points
from plait.data.utf8 import buffers
from plait.data.word_hashes import CONTEXT, SEPARATOR, Folding, hash_strings, hash_words

SPECIAL = "".join(map(chr, special_points()))
# Pieces of many lengths, so that words lie before, across and behind every border of 8, 16 and 64 bytes.
pieces = st.one_of(
    st.text(st.sampled_from("abXYZ"), max_size=70),
    st.sampled_from([" ", "  ", "\n", "\t", "\xa0", "\u3000", ".", ",'", "1", "é", "語", "😀", "\0"]),
    st.sampled_from(["Ⱥ", "Г", "Ⓜ", "Σ", "İ"]),
)
texts = st.lists(st.lists(pieces, max_size=30).map("".join), min_size=1, max_size=4)


def hashes_of(strings: list[str]) -> list[int]:
    return hash_strings(*buffers(pl.Series(strings, dtype=pl.String))).tolist()


def per_text(hashes: np.ndarray, starts: np.ndarray) -> list[list[int]]:
    return [hashes[a:b].tolist() for a, b in pairwise(starts)]


@settings(deadline=None, max_examples=300)
@given(texts)
def test_words_of_any_text(some):
    found = kernels.words(pl.Series(some))
    split = [text.replace("\n", " ").replace("\t", " ").split(" ") for text in some]
    plain = [[w for word in words if (w := word.lower().strip(SPECIAL))] for words in split]
    assert per_text(found.hashes, found.starts) == list(map(hashes_of, plain))
    assert found.split.tolist() == list(map(len, split))
    assert found.cased.tolist() == [sum(bool(word.strip(SPECIAL)) for word in words) for words in split]


@settings(deadline=None, max_examples=300)
@given(texts, st.booleans(), st.sampled_from(["space", "word"]))
def test_tokens_of_any_text(some, lowercase, tokenization):
    hashes, starts = Shingling(tokenization=tokenization, lowercase=lowercase).tokens(pl.Series(some))
    folded = [text.lower() if lowercase else text for text in some]
    if tokenization == "word":
        folded = ["".join(c if c.isalnum() else " " for c in text) for text in folded]
    assert per_text(hashes, starts) == [hashes_of(text.split()) for text in folded]


@pytest.mark.parametrize("text", ["a-b" * 5_000, "a,é" * 5_000, "语-" * 5_000, "-" * 5_000, "x" * 5_000])
def test_there_is_room_for_words_that_no_blank_parts(text):
    hashes, _ = Shingling(tokenization="word").tokens(pl.Series([text]))
    assert hashes.tolist() == hashes_of("".join(c if c.isalnum() else " " for c in text.lower()).split())


def test_texts_in_the_middle_of_a_buffer_are_read_alone():
    raw = b"before\xff" + b"eins zwei" + b"x" * 200
    plain = Folding(np.arange(0x110000, dtype=np.int32), np.zeros(0x110000, np.bool_))
    plain.fold[32] = SEPARATOR
    found = hash_words(np.frombuffer(raw, np.uint8), np.array([7, 11, 11, 16]), plain)
    assert per_text(found.hashes, found.starts) == [hashes_of(["eins"]), [], hashes_of(["zwei"])]


def test_what_must_be_folded_by_its_context_is_told():
    fold = np.arange(0x110000, dtype=np.int32)
    fold[0x3A3] = CONTEXT
    found = hash_words(*buffers(pl.Series(["a", "aΣ", "b"])), Folding(fold, np.zeros(0x110000, np.bool_)))
    assert found.by_context.tolist() == [False, True, False]
    assert not found.respecified.any()


def test_strings_that_differ_have_other_hashes():
    some = [*("a" * n for n in range(40)), *("a" * n + "\0" for n in range(40)), *map(str, range(2_000))]
    assert len(set(hashes_of(some))) == len(some)
    assert len({h >> 32 for h in hashes_of(some)}) == len(some)
