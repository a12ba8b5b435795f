"""Where a text is cut into a prompt and its continuation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.data.continuations import cut_to, prompt_end, share_of, without_last_word

prose = st.lists(st.sampled_from(["one", "two.", "three,", "x", "end!", "\n"]), max_size=40).map(" ".join)


def words(text: str) -> int:
    return len(text.split())


@given(text=prose, at_most=st.integers(1, 20))
def test_a_prompt_is_a_beginning_in_range_and_ends_with_a_word(text: str, at_most: int) -> None:
    end = prompt_end(text, words, at_least=1, at_most=at_most)
    if end is None:
        assert not text.split()
    else:
        assert 1 <= words(text[:end]) <= at_most
        assert not text[:end][-1].isspace()
        assert text[end : end + 1].isspace() or end == len(text)


def test_the_last_sentence_that_fits_is_taken_before_more_words() -> None:
    text = "One two. Three four five. Six seven eight nine."
    assert text[: prompt_end(text, words, at_least=2, at_most=6)] == "One two. Three four five."
    assert text[: prompt_end(text, words, at_least=2, at_most=4)] == "One two."
    assert text[: prompt_end(text, words, at_least=3, at_most=4)] == "One two. Three four"
    assert prompt_end("One two", words, at_least=3, at_most=9) is None


@pytest.mark.parametrize(("target", "cut"), [(1, " one"), (2, " one two"), (9, " one two three"), (0, " one")])
def test_a_completion_is_cut_nearest_to_the_target(target: int, cut: str) -> None:
    assert cut_to(" one two three ", words, target=target) == cut


def test_of_two_equally_near_the_shorter() -> None:
    assert cut_to("abc defgh", len, target=6) == "abc"


def test_a_broken_last_word_is_left_out() -> None:
    assert without_last_word(" one two thr") == " one two"
    assert without_last_word(" one two ") == " one two"
    assert without_last_word("thr") == ""


@given(name=st.text(st.characters(exclude_categories=["Cs"])))
def test_shares_are_in_range(name: str) -> None:
    assert 0 <= share_of(name) < 1


def test_shares_are_even() -> None:
    below = sum(share_of(f"name-{i}") < 0.25 for i in range(4_000))
    assert 900 < below < 1_100
