from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.batch import Batch
from plait.data.names import ROW
from plait.data.ops.rewrite.chunks import TextChunkMapper
from plait.data.ops.rewrite.chunks_of_tokens import cut_tokens
from plait.data.ops.rewrite.code import PythonFileMapper, PythonLambdaMapper
from plait.data.ops.rewrite.replace import ReplaceContentMapper
from plait.errors import DataError, UsageError


def test_rows_multiply_with_their_fields_and_their_number():
    batch = Batch.of(pl.DataFrame({"text": ["a\n\nb", "\n\n", "c"], "id": [1, 2, 3]}))
    assert TextChunkMapper().apply(batch).frame.select("text", "id", ROW).rows() == [
        ("a", 1, 0),
        ("b", 1, 0),
        ("c", 3, 2),
    ]


def test_pieces_overlap_only_where_no_pattern_ended_them():
    assert TextChunkMapper(max_len=4, split_pattern=None, overlap_len=1).rewrite_texts(["abcdefg"]) == [
        "abcd",
        "defg",
        "g",
    ]
    assert TextChunkMapper(max_len=4, split_pattern=" ", overlap_len=1).rewrite_texts(["ab cdefgh"]) == [
        "ab",
        "cdef",
        "fgh",
    ]


@given(st.text("ab ", max_size=60), st.integers(1, 9))
@settings(deadline=None)
def test_no_piece_is_too_long_and_nothing_is_lost(text: str, most: int):
    pieces = TextChunkMapper(max_len=most, split_pattern=" ").rewrite_texts([text])
    assert all(len(piece) <= most for piece in pieces)
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")


def test_long_texts_need_no_recursion():
    assert len(TextChunkMapper(max_len=1, split_pattern="x").rewrite_texts(["a" * 5000])) == 5000


@pytest.mark.parametrize(
    "settings", [{"split_pattern": None}, {"max_len": 3, "overlap_len": 3}, {"split_pattern": "("}]
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object]):
    with pytest.raises(UsageError):
        TextChunkMapper.model_validate(settings)


class Points(NamedTuple):
    ids: list[int]
    word_ids: list[int | None]


class Letters:
    """A tokenizer with a token for each character."""

    def encode(self, sequence: str, /) -> Points:
        return Points([ord(c) for c in sequence], list(range(len(sequence))))

    def decode(self, ids: Sequence[int], /) -> str:
        return "".join(map(chr, ids))


def test_tokens_are_cut_as_characters_are():
    for text, most, pattern, overlap in [("ab cdefgh", 4, " ", 1), ("abcdefg", 4, None, 1), ("ab", 4, " ", 0)]:
        by_character = TextChunkMapper(max_len=most, split_pattern=pattern, overlap_len=overlap).rewrite_texts([text])
        assert list(cut_tokens(text, Letters(), most, pattern, overlap)) == by_character


class Counting(Letters):
    """The same, which counts what it encodes."""

    encoded = 0

    def encode(self, sequence: str, /) -> Points:
        self.encoded += len(sequence)
        return super().encode(sequence)


@pytest.mark.parametrize("pattern", [r"\.", "-"])
def test_long_texts_are_encoded_part_by_part(pattern: str):
    codec, text = Counting(), "a sentence of some words. " * 4_000
    pieces = list(cut_tokens(text, codec, 100, pattern, 0))
    assert pieces == TextChunkMapper(max_len=100, split_pattern=pattern).rewrite_texts([text])
    assert codec.encoded < 25 * len(text)


def test_patterns_replace_in_turn():
    op = ReplaceContentMapper(pattern=["r'a(.)c'", "<"], repl=[r"<\1>", "("])
    assert op.rewrite_texts(["abc a\nc"]) == ["(b> (\n>"]
    assert ReplaceContentMapper(pattern=["a", "b"], repl="$1").rewrite_texts(["ab"]) == ["$1$1"]
    assert ReplaceContentMapper().rewrite_texts(["ab"]) == ["ab"]


def test_look_around_needs_the_other_engine():
    with pytest.raises(UsageError) as raised:
        ReplaceContentMapper(pattern="a(?=b)")
    assert raised.value.code == "data.pattern"
    assert ReplaceContentMapper(pattern="a(?=b)", engine="backtracking").rewrite_texts(["ab ac"]) == ["b ac"]
    with pytest.raises(UsageError, match="2 patterns but 1"):
        ReplaceContentMapper(pattern=["a", "b"], repl=["x"])


def test_code_runs_only_where_it_is_trusted(tmp_path: Path):
    with pytest.raises(UsageError) as raised:
        PythonLambdaMapper(lambda_str="lambda row: row")
    assert raised.value.code == "data.untrusted-code"
    with pytest.raises(UsageError):
        PythonFileMapper(file_path=str(tmp_path / "a.py"))
    assert PythonLambdaMapper().rewrite_texts(["a"]) == ["a"]


@pytest.mark.parametrize(
    "source", ["print(1)", "lambda: 1", "lambda a, b: 1", "lambda a=print(1): a", "lambda *a: a", "lambda", "x := 1"]
)
def test_only_a_lambda_of_one_argument_is_ever_evaluated(source: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(UsageError) as raised:
        PythonLambdaMapper(lambda_str=source, trust_code=True)
    assert raised.value.code == "data.wrong-code"
    assert capsys.readouterr().out == ""


def test_functions_see_rows_or_columns_and_may_change_types(tmp_path: Path):
    batch = Batch.of(pl.DataFrame({"text": ["a", "bb"], "n": [1, 2]}))
    one = PythonLambdaMapper(lambda_str="lambda r: {**r, 'n': str(r['n']), 'm': len(r['text'])}", trust_code=True)
    assert one.apply(batch).frame.drop(ROW).to_dicts() == [
        {"text": "a", "n": "1", "m": 1},
        {"text": "bb", "n": "2", "m": 2},
    ]
    file = tmp_path / "mine.py"
    file.write_text("def up(columns):\n    return {'text': [t.upper() for t in columns['text']]}\n")
    many = PythonFileMapper(file_path=str(file), function_name="up", batched=True, trust_code=True)
    assert many.apply(batch).frame.select("text", ROW).rows() == [("A", 0), ("BB", 1)]


def test_functions_must_give_dicts_of_as_many_rows():
    with pytest.raises(DataError, match="not a dict"):
        PythonLambdaMapper(lambda_str="lambda r: 1", trust_code=True).rewrite_texts(["a"])
    fewer = PythonLambdaMapper(lambda_str="lambda c: {'text': c['text'][:1]}", batched=True, trust_code=True)
    with pytest.raises(DataError, match=r"\[1\] rows for 2"):
        fewer.rewrite_texts(["a", "b"])
