"""Pieces of a SentencePiece model as words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from plait.data.characters import special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plait.data.batch import Batch
    from plait.data.ops.filters.pieces import PieceModel


def without_pieces(model: PieceModel, batch: Batch, text_key: str, unwanted: Sequence[str]) -> pl.Series:
    """Texts without the pieces that hold one of some strings, the others put together without blanks.

    Texts that lose nothing stay as they are.

    Args:
        model: The SentencePiece model.
        batch: The rows.
        text_key: Field of the texts.
        unwanted: What pieces must not hold, the special characters around them aside.
    """
    around = special()
    out = list[str]()
    for text, pieces in zip(batch.text(text_key).to_list(), model.pieces(batch, text_key), strict=True):
        plain = [piece.replace("▁", "") for piece in pieces]
        kept = [piece for piece in plain if not any(bad in piece.strip(around) for bad in unwanted)]
        out.append("".join(kept) if len(kept) != len(pieces) else text)
    return pl.Series(out, dtype=pl.String)
