"""A filter by the perplexity of an n-gram model, or of a small neural one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.core.optional import require
from plait.data.batch import session
from plait.data.op import Bounds, Op, RangeFilter
from plait.data.ops.filters.likelihood import Scorer
from plait.data.ops.filters.pieces import juicer_cache, piece_model
from plait.data.ops.filters.tokens import check_language_model
from plait.errors import ModelError, UsageError

if TYPE_CHECKING:
    from plait.data.batch import Batch

_FEATURE = "an n-gram model (or set model: smollm2-135m)"


class PerplexityFilter(RangeFilter):
    """Keeps texts by an n-gram or small neural model's perplexity.

    Example:
        - perplexity_filter: {lang: en, max_ppl: 1500, kenlm_model: en.arpa.bin, sentencepiece_model: en.sp.model}

    With a language model instead: ``- perplexity_filter: {model: smollm2-135m, max_ppl: 60}``.

    Source: Wenzek et al. 2019 (1911.00359), perplexity of a KenLM model over SentencePiece pieces; Data-Juicer 1.6.1,
    ``perplexity_filter``. Nothing is downloaded: without files the ones that Data-Juicer left on this machine are
    taken. ``model`` is Plait's alternative; its numbers are per token and much smaller.
    """

    stat = "perplexity"
    cost = "model"
    needs = frozenset({"words", "model"})

    lang: str = "en"
    """Language of the texts."""
    min_ppl: float = 0
    """Smallest perplexity kept."""
    max_ppl: float = 1500
    """Largest perplexity kept."""
    kenlm_model: str | None = None
    """File of the n-gram model (ARPA or binary); by default Data-Juicer's own copy for ``lang``."""
    sentencepiece_model: str | None = None
    """File of the SentencePiece model; by default Data-Juicer's own copy for ``lang``."""
    model: str | None = None
    """A causal language model to take instead: a known one (``smollm2-135m``) or a folder."""

    def ready(self) -> None:
        """Looks for the models."""
        if self.model is not None:
            check_language_model(self.model, setting="model")
            return
        ngram_model(self.kenlm_model, self.lang).ready()
        piece_model(self.sentencepiece_model, self.lang).ready()

    def value(self, batch: Batch) -> np.ndarray:
        """Ten to the mean negative logarithm per piece and line, to one decimal; 0 for an empty text."""
        if self.model is not None:
            texts = batch.text(self.text_key).to_list()
            return np.exp(Scorer(name=self.model).losses([[text] for text in texts]))
        kenlm = ngram_model(self.kenlm_model, self.lang)
        pieces = piece_model(self.sentencepiece_model, self.lang).pieces(batch, self.text_key)
        return np.array([kenlm.perplexity(" ".join(text)) for text in pieces], np.float64)

    def bounds(self) -> Bounds:
        """Smallest and largest perplexity."""
        return self.min_ppl, self.max_ppl


class NgramModel(Op):
    """A KenLM model; what uses the same file shares it."""

    path: str
    """The model's file."""

    def ready(self) -> None:
        """Looks for the package."""
        require("kenlm", extra="data", feature=_FEATURE)

    def perplexity(self, text: str) -> float:
        """Perplexity of words that stand between blanks, line by line, to one decimal."""
        model: Any = session(self, self._open)
        lines = text.splitlines()
        length = sum(len(line.split()) + 1 for line in lines)
        return round(10.0 ** (-sum(model.score(line) for line in lines) / length), 1) if length else 0.0

    def _open(self) -> Any:
        kenlm = require("kenlm", extra="data", feature=_FEATURE)
        try:
            return kenlm.Model(self.path)
        except OSError as error:
            raise ModelError(
                f"the KenLM model cannot be read: {error}", code="model.unreadable", where=self.path
            ) from error


def ngram_model(path: str | None, lang: str) -> NgramModel:
    """A KenLM model.

    Args:
        path: Its file; ``None`` for the one Data-Juicer keeps for the language.
        lang: The language.

    Raises:
        UsageError: There is no such file.
    """
    file = Path(path).expanduser() if path else juicer_cache("models") / f"{lang}.arpa.bin"
    if not file.is_file():
        raise UsageError(
            f"there is no KenLM model at {file}",
            code="data.no-kenlm-model",
            hint="set kenlm_model to the file of one, or model: smollm2-135m for a small neural model",
        )
    return NgramModel(path=str(file))
