"""A mapper that cuts texts into several rows."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from plait.core.optional import require
from plait.data.batch import session
from plait.data.op import Cost, Mapper, Need
from plait.data.ops.rewrite.rows import multiplied
from plait.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from plait.data.batch import Batch


class TextChunkMapper(Mapper):
    r"""Cuts each text into rows: at a pattern, at a length, or at the last pattern before a length.

    Example:
        - text_chunk_mapper: {max_len: 2000, split_pattern: '\n\n', overlap_len: 0}

        >>> TextChunkMapper(max_len=8, split_pattern=" ").rewrite_texts(["one two three"])
        ['one two', 'three']

    Source: Data-Juicer 1.6.1, ``text_chunk_mapper``. Differs: long texts need no recursion, where Data-Juicer
    stops at Python's limit of 1000 chunks; a cut inside a text of tokens goes on after the pattern's place in the
    text that the tokens decode to; the tokenizer must be on this machine.
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"chars"})

    max_len: Annotated[int, Field(ge=1)] | None = None
    """Longest row, in characters or tokens."""
    split_pattern: str | None = r"\n\n"
    """Regular expression of Python's at which to cut; where none lies within `max_len`, the cut is made there."""
    overlap_len: Annotated[int, Field(ge=0)] = 0
    """By how much rows overlap that are not cut at the pattern."""
    tokenizer: str | None = None
    """Count tokens of this tokenizer instead of characters: a known model, a folder with ``tokenizer.json``, or a
    Hub id that is on this machine."""
    trust_remote_code: bool = False
    """Has no effect: tokenizers are files here, and no code of theirs runs."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.max_len is None and self.split_pattern is None:
            raise UsageError(
                "neither max_len nor split_pattern says where to cut", code="data.pattern", hint="set one of them"
            )
        if self.max_len is not None and self.overlap_len >= self.max_len:
            raise UsageError(
                f"overlap_len is {self.overlap_len}, as long as rows of max_len {self.max_len}",
                code="data.pattern",
                hint="make it smaller than max_len",
            )
        if self.split_pattern is not None:
            try:
                re.compile(self.split_pattern)
            except re.error as error:
                raise UsageError(
                    f"split_pattern {self.split_pattern!r} is wrong: {error}", code="data.pattern"
                ) from error
        return self

    def ready(self) -> None:
        """Looks for the tokenizer."""
        if self.tokenizer is not None:
            _tokenizer_file(self.tokenizer)

    def apply(self, batch: Batch) -> Batch:
        """Cuts row by row."""
        return multiplied(batch, self.text_key, [list(self._cut(text)) for text in batch.text(self.text_key)])

    def _cut(self, text: str) -> Iterator[str]:
        if self.max_len is None:
            pieces: list[str | None] = re.split(self.split_pattern or "", text)
            return (piece for piece in pieces if piece is not None and piece.strip())
        if self.tokenizer is not None:
            from plait.data.ops.rewrite.chunks_of_tokens import cut_tokens

            codec = session(self, lambda: _tokenizer(self.tokenizer or ""))
            return cut_tokens(text, codec, self.max_len, self.split_pattern, self.overlap_len)
        if self.split_pattern is None:
            return _even(text, self.max_len, self.overlap_len)
        return _before(text, self.max_len, self.split_pattern, self.overlap_len)


def _even(text: str, most: int, overlap: int) -> Iterator[str]:
    """Pieces of equal length; a short text whole."""
    if len(text) <= most:
        yield text
        return
    for start in range(0, len(text), most - overlap):
        yield text[start : start + most]


def _before(text: str, most: int, pattern: str, overlap: int) -> Iterator[str]:
    """Pieces that end before the last match within reach, or at their full length."""
    split = re.compile(pattern)
    start = 0
    while len(text) - start > most:
        window = text[start : start + most]
        last = next(iter(deque(split.finditer(window), maxlen=1)), None)
        if last is None:
            piece, step = window, most - overlap
        elif last.end() == 0:
            raise UsageError(
                f"split_pattern {pattern!r} matches nothing at all, so no piece ends there",
                code="data.pattern",
                hint="write a pattern that matches at least one character",
            )
        else:
            piece, step = window[: last.start()], last.end()
        if piece.strip():
            yield piece
        start += step
    yield text[start:]


def _tokenizer(name: str) -> Any:
    file = _tokenizer_file(name)
    return require("tokenizers", extra="models", feature="counting tokens").Tokenizer.from_file(str(file))


def _tokenizer_file(name: str) -> Path:
    from plait.data.ops.filters.tokens import local_model

    file = local_model(name, setting="tokenizer") / "tokenizer.json"
    if not file.is_file():
        raise UsageError(f"{file.parent} holds no tokenizer.json", code="model.missing", hint="name another tokenizer")
    return file
