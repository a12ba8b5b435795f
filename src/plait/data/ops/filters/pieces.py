"""Pieces of a SentencePiece model in the place of words."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.core.optional import require
from plait.data import characters
from plait.data.batch import session
from plait.data.op import Op
from plait.errors import UsageError

if TYPE_CHECKING:
    from plait.data.batch import Batch
    from plait.data.kernels import Words


class PieceModel(Op):
    """A SentencePiece model; what uses the same file shares it."""

    path: str
    """The model's file."""

    def ready(self) -> None:
        """Looks for the package."""
        require("sentencepiece", extra="data", feature="words from a SentencePiece model")

    def pieces(self, batch: Batch, text_key: str) -> list[list[str]]:
        """Pieces of each text."""
        return session(self, self._load).encode(batch.text(text_key).to_list(), out_type=str)

    def words(self, batch: Batch, text_key: str) -> Words:
        """Pieces of each text in lower case, without special characters around them; empty ones left out."""
        return batch.shared(("pieces", text_key, self.path), lambda: _words(self.pieces(batch, text_key)))

    def _load(self) -> Any:
        sentencepiece = require("sentencepiece", extra="data", feature="words from a SentencePiece model")
        return sentencepiece.SentencePieceProcessor(model_file=self.path)


def piece_model(path: str | None, lang: str) -> PieceModel:
    """A SentencePiece model.

    Args:
        path: Its file; ``None`` for the one Data-Juicer keeps for the language.
        lang: The language.

    Raises:
        UsageError: There is no such file.
    """
    file = Path(path).expanduser() if path else juicer_cache("models") / f"{lang}.sp.model"
    if not file.is_file():
        raise UsageError(
            f"there is no SentencePiece model at {file}",
            code="data.no-sentencepiece-model",
            hint="set sentencepiece_model to the file of one, or tokenization: false for words between blanks",
        )
    return PieceModel(path=str(file))


def juicer_cache(kind: str) -> Path:
    """Where Data-Juicer keeps what it has downloaded: ``models`` or ``assets``."""
    home = os.environ.get("DATA_JUICER_CACHE_HOME") or os.environ.get("CACHE_HOME", "~/.cache") + "/data_juicer"
    return Path(os.environ.get(f"DATA_JUICER_{kind.upper()}_CACHE") or f"{home}/{kind}").expanduser()


def _words(texts: list[list[str]]) -> Words:
    from plait.data.kernels import Words, hash_strings
    from plait.data.utf8 import starts_of

    special = characters.special()
    known = {piece: i for i, piece in enumerate(dict.fromkeys(p for text in texts for p in text))}
    refined = [piece.lower().strip(special) for piece in known]
    hashes = hash_strings(refined)
    filled = np.array([bool(word) for word in refined], np.bool_)
    plain = np.array([bool(piece.strip(special)) for piece in known], np.bool_)
    split = np.array([len(text) for text in texts], np.int64)
    numbers = np.fromiter((known[p] for text in texts for p in text), np.int64, int(split.sum()))
    row = np.repeat(np.arange(len(texts)), split)
    counts = np.bincount(row[filled[numbers]], minlength=len(texts))
    cased = np.bincount(row[plain[numbers]], minlength=len(texts))
    return Words(hashes[numbers[filled[numbers]]], starts_of(counts), cased, split)
