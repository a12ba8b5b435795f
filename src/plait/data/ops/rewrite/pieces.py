"""Pieces of a SentencePiece model as words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from plait.core.optional import require
from plait.data.batch import session
from plait.data.characters import special
from plait.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plait.data.op import Op


def without_pieces(op: Op, texts: pl.Series, path: str | None, unwanted: Sequence[str]) -> pl.Series:
    """Texts without the pieces that hold one of some strings, the others put together without blanks.

    Texts that lose nothing stay as they are.

    Args:
        op: The operation that asks, which keeps the model open.
        texts: The texts.
        path: File of the SentencePiece model.
        unwanted: What pieces must not hold, the special characters around them aside.

    Raises:
        ModelError: There is no such file.
    """
    if path is None or not Path(path).is_file():
        raise ModelError(
            f"tokenization needs the file of a SentencePiece model, not {path!r}",
            code="model.missing",
            hint="set tokenizer_path",
        )
    model: Any = session(op, lambda: _open(path))
    around = special()
    out = list[str]()
    for text in texts.to_list():
        pieces: list[str] = model.encode_as_pieces(text)
        plain = [piece.replace("▁", "") for piece in pieces]
        kept = [piece for piece in plain if not any(bad in piece.strip(around) for bad in unwanted)]
        out.append("".join(kept) if len(kept) != len(pieces) else text)
    return pl.Series(out, dtype=pl.String)


def _open(path: str) -> Any:
    module: Any = require("sentencepiece", extra="data", feature="tokenization by a SentencePiece model")
    return module.SentencePieceProcessor(model_file=path)
