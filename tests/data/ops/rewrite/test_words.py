from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.characters import special
from plait.data.ops.rewrite.tables import RemoveTableTextMapper
from plait.data.ops.rewrite.words import RemoveLongWordsMapper, RemoveWordsWithIncorrectSubstringsMapper
from plait.errors import UsageError

TEXTS = st.lists(st.text("ab|é中.h-/ \t\n", max_size=40), max_size=5)


def merged(text: str, keep: Callable[[str], bool]) -> str:
    """Data-Juicer's way: split at newlines, tabs, spaces; put together what is left."""
    lines = [[[w for w in part.split(" ") if w and keep(w)] for part in line.split("\t")] for line in text.split("\n")]
    joined = ["\t".join(" ".join(words) for words in line if words) for line in lines]
    return "\n".join(line for line in joined if line)


@given(TEXTS, st.integers(0, 3), st.integers(1, 6))
@settings(deadline=None)
def test_words_of_the_wrong_length_go(texts: list[str], least: int, most: int):
    def keep(word: str) -> bool:
        length = len(word) if len(word) <= most else len(word.strip(special()))
        return least <= length <= most

    got = RemoveLongWordsMapper(min_len=least, max_len=most).rewrite_texts(texts)
    assert got == [merged(text, keep) for text in texts]


@given(TEXTS, st.lists(st.text("abé中.-/", max_size=3), max_size=3))
@settings(deadline=None)
def test_words_with_unwanted_strings_go(texts: list[str], unwanted: list[str]):
    got = RemoveWordsWithIncorrectSubstringsMapper(substrings=unwanted).rewrite_texts(texts)
    assert got == [merged(t, lambda w: not any(u in w.strip(special()) for u in unwanted)) for t in texts]


def test_tokenization_takes_the_model_that_data_juicer_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sentencepiece = pytest.importorskip("sentencepiece", reason="an optional package")
    monkeypatch.setenv("DATA_JUICER_MODELS_CACHE", str(tmp_path))
    op = RemoveWordsWithIncorrectSubstringsMapper(tokenization=True, substrings=["b"], lang="xx")
    with pytest.raises(UsageError, match="SentencePiece") as raised:
        op.rewrite_texts(["a"])
    assert raised.value.code == "data.no-sentencepiece-model"
    assert str(tmp_path / "xx.sp.model") in str(raised.value)
    assert "sentencepiece_model" in str(raised.value)
    (tmp_path / "text").write_text("abc acb bca cab", encoding="utf-8")
    settings = {"vocab_size": 20, "hard_vocab_limit": False, "minloglevel": 3, "model_type": "char"}
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"), model_prefix=str(tmp_path / "xx.sp"), **settings
    )
    assert op.rewrite_texts(["abc ca", "ca c"]) == ["acca", "ca c"]


@given(st.lists(st.text("ab| \t\nc\u2003", max_size=50), max_size=4), st.integers(2, 20), st.integers(2, 20))
@settings(deadline=None, max_examples=300)
def test_tables_go_as_by_one_pattern_after_the_other(texts: list[str], least: int, most: int):
    want = list(texts)
    for count in range(least - 1, most):
        pattern = re.compile(rf"(?<=\n)((\S+?)([ |\t](\S+?)){{{count}}}\n+){{2,}}")
        want = [pattern.sub("", text) for text in want]
    assert RemoveTableTextMapper(min_col=least, max_col=most).rewrite_texts(texts) == want


def test_lines_that_a_table_parted_can_be_a_table_of_more_columns():
    # a|b|c has two or three columns; b b goes with c c first, and leaves the two others side by side.
    text = "x\na a a\nb b\nc c\nd d d\n"
    assert RemoveTableTextMapper().rewrite_texts([text]) == ["x\n"]
    assert RemoveTableTextMapper(max_col=2).rewrite_texts([text]) == ["x\na a a\nd d d\n"]


def test_many_pipes_take_linear_time():
    text = "x\n" + "a|" * 50_000 + "\n" + "|" * 50_000 + "\n"
    assert RemoveTableTextMapper().rewrite_texts([text]) == ["x\n"]
