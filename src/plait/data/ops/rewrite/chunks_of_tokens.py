"""Cutting a text by the number of its tokens."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Protocol

from plait.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_CHARACTERS_PER_TOKEN = 8  # a guess, only for how much is encoded at once
_WORDS_BEYOND = 64  # words before a cut that may differ from those of the whole text: one, or a cut special token's


class Encoding(Protocol):
    """What a tokenizer makes of a text."""

    @property
    def ids(self) -> list[int]:
        """The tokens."""
        ...

    @property
    def word_ids(self) -> Sequence[int | None]:
        """Of each token, the number of the word it is of; words are split before tokens are made of them."""
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
    whole = codec.decode(tokens) == text
    while len(tokens) > most:
        window = codec.decode(tokens[:most])
        last = next(iter(deque(split.finditer(window), maxlen=1)), None)
        if last is None:
            piece, text = window, _after(text, codec, tokens, most - overlap, whole=whole)
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
        tokens = _first(text, codec, most, whole=whole)
    yield text


def _after(text: str, codec: Codec, tokens: Sequence[int], count: int, *, whole: bool) -> str:
    """What the tokens after the first ``count`` decode to; ``tokens`` may be the first ones of the text only."""
    if whole:
        before = codec.decode(tokens[:count])
        # Not so where a token ends inside of a character.
        if text.startswith(before):
            return text[len(before) :]
    return codec.decode(codec.encode(text).ids[count:])


def _first(text: str, codec: Codec, most: int, *, whole: bool) -> list[int]:
    """The first tokens of a text, more than ``most`` if it has more.

    Where decoding gives back the text (``whole``), only as much of it is encoded as is needed: words far enough before
    the end of a part are those of the whole text, so a long text is not encoded again for each piece.
    """
    size = (most + _WORDS_BEYOND) * _CHARACTERS_PER_TOKEN
    while whole and size < len(text):
        part = codec.encode(text[:size])
        words = part.word_ids
        last = words[-1] if words else None
        if len(part.ids) > most and last is not None:
            reached = words[most]
            if reached is not None and reached + _WORDS_BEYOND <= last:
                return part.ids[: most + 1]
        size *= 2
    return codec.encode(text).ids
