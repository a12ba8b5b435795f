"""Cutting a text by the number of its tokens."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Protocol

from plait.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Encoding(Protocol):
    """What a tokenizer makes of a text."""

    @property
    def ids(self) -> list[int]:
        """The tokens."""
        ...


class Codec(Protocol):
    """A tokenizer of the package ``tokenizers``."""

    def encode(self, sequence: str, /) -> Encoding:
        """Tokens of a text."""
        ...

    def decode(self, ids: Sequence[int], /) -> str:
        """Text of some tokens, special ones left out."""
        ...


def cut_tokens(text: str, codec: Codec, most: int, pattern: str | None, overlap: int) -> Iterator[str]:
    """Pieces of at most so many tokens.

    Args:
        text: The text.
        codec: Encodes and decodes.
        most: Most tokens of a piece.
        pattern: Pieces end before its last match within reach; ``None`` to cut at equal lengths.
        overlap: Tokens that pieces share that do not end at the pattern.
    """
    split = re.compile(pattern) if pattern is not None else None
    tokens = codec.encode(text).ids
    if split is None:
        if len(tokens) <= most:
            yield text
            return
        for start in range(0, len(tokens), most - overlap):
            yield codec.decode(tokens[start : start + most])
        return
    while len(tokens) > most:
        window = codec.decode(tokens[:most])
        last = next(iter(deque(split.finditer(window), maxlen=1)), None)
        if last is None:
            piece, text = window, codec.decode(tokens[most - overlap :])
        elif last.end() == 0:
            raise UsageError(
                f"split_pattern {pattern!r} matches nothing at all, so no piece ends there",
                code="data.pattern",
                hint="write a pattern that matches at least one character",
            )
        else:
            piece, text = window[: last.start()], text[last.end() :]
        if piece.strip():
            yield piece
        tokens = codec.encode(text).ids
    yield text
