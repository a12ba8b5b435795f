"""Stop words and flagged words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.ops.filters.word_lists import FlaggedWordsFilter, StopWordsFilter, word_list
from plait.errors import DataError, UsageError

WORDS = {"en": ["the", "of"], "xx": ["ab", "abc", "a-b", "bcab"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("lists")
    (path / "my_stopwords.json").write_text(json.dumps(WORDS), encoding="utf-8")
    (path / "more_stopwords.json").write_text(json.dumps({"en": ["and"]}), encoding="utf-8")
    return str(path)


def test_shares_by_hand(folder: str) -> None:
    op = StopWordsFilter(stopwords_dir=folder)
    assert op.measure_texts(["The end of THE road, and more.", "", "...", "road"]) == pytest.approx([4 / 7, 0, 0, 0])


def test_all_joins_the_languages(folder: str) -> None:
    assert StopWordsFilter(stopwords_dir=folder, lang="all").measure_texts(["the ab x"]) == pytest.approx([2 / 3])


@given(st.lists(st.sampled_from(["a", "b", "ab", "c", "bc", "A", "-"]), max_size=12), st.sampled_from(["", "-"]))
@settings(max_examples=80, deadline=None, database=None)
def test_runs_count_as_if_written_together(parts: list[str], between: str) -> None:
    listed = set(WORDS["xx"])
    words = [p.lower() for p in parts if p != "-"]
    runs = [between.join(words[i : i + n]) for n in (2, 3) for i in range(len(words) - n + 1)]
    together = words + runs
    expected = sum(w in listed for w in together) / len(together) if together else 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopWordsFilter, "vocabulary", lambda self: frozenset(listed))
        op = StopWordsFilter(use_words_aug=True, words_aug_group_sizes=(2, 3), words_aug_join_char=between)
        assert op.measure_texts([" ".join(parts)]) == pytest.approx([expected])


def test_a_size_named_twice_counts_twice(folder: str) -> None:
    op = StopWordsFilter(stopwords_dir=folder, use_words_aug=True, words_aug_group_sizes=(2, 2))
    assert op.measure_texts(["the of"]) == pytest.approx([2 / 4])


@pytest.mark.parametrize("lang", ["en", "de", "fr", "es", "it", "pt", "nl", "ru", "zh"])
def test_our_lists_are_words_in_the_form_they_are_compared_in(lang: str) -> None:
    for kind in ("stopwords", "flagged"):
        words = word_list(kind, lang)
        assert len(words) > 50
        assert all(word == word.lower().strip() and " " not in word for word in words)


def test_ordinary_prose_has_stop_words_and_no_flagged_ones() -> None:
    prose = ["The house that he had built was on the hill, and it could be seen from all of the villages around."]
    assert StopWordsFilter().measure_texts(prose)[0] > 0.5
    assert FlaggedWordsFilter(lang="all").measure_texts(prose) == [0.0]
    deutsch = ["Das Haus, das er gebaut hatte, stand auf dem Hügel und war von allen Dörfern aus zu sehen."]
    assert StopWordsFilter(lang="de").measure_texts(deutsch)[0] > 0.5


def test_flagged_words_are_found() -> None:
    assert FlaggedWordsFilter().measure_texts(["What a bullshit !"]) == pytest.approx([1 / 3])


def test_errors_say_what_to_do(folder: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='list of stopwords for the language "tlh"'):
        StopWordsFilter(lang="tlh").measure_texts(["a"])
    with pytest.raises(UsageError, match="no JSON file with flagged_words in its name"):
        FlaggedWordsFilter(flagged_words_dir=folder).measure_texts(["a"])
    (tmp_path / "flagged_words.json").write_text("[1, 2]", encoding="utf-8")
    with pytest.raises(DataError, match="no list of words"):
        FlaggedWordsFilter(flagged_words_dir=str(tmp_path)).measure_texts(["a"])
