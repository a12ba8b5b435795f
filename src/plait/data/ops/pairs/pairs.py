"""Filters and weights for preference pairs, each pair by itself."""

from __future__ import annotations

import sys
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, PositiveFloat, PositiveInt

from plait.data.batch import Batch
from plait.data.op import Bounds, Cost, Mapper, Need
from plait.data.ops.pairs.ranges import KnownRangeFilter
from plait.data.ops.pairs.texts import jaccard, pair_texts, scores


class PairLengthBiasFilter(KnownRangeFilter):
    """Keeps pairs whose answers are of like length.

    The number is ``ln((chosen + 1) / (rejected + 1))`` in characters: positive if the chosen answer is longer. A model
    trained on pairs that are mostly positive learns to be long. A pair with a null answer has no number and is dropped.

    Example:
        - pair_length_bias_filter: {min_log_ratio: -0.7, max_log_ratio: 0.7}

    Source: ours; Park et al. 2024, "Disentangling Length from Quality in Direct Preference Optimization", on why.
    """

    stat = "length_log_ratio"
    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"chars"})

    prompt_key: str = "prompt"
    """Field of the prompt. Without a field ``prompt`` both answers begin with it, and what they share is left out."""
    chosen_key: str = "chosen"
    """Field of the preferred answer: text or messages."""
    rejected_key: str = "rejected"
    """Field of the other answer."""
    min_log_ratio: float = -1.5
    """Least logarithm of the ratio kept."""
    max_log_ratio: float = 1.5
    """Greatest logarithm of the ratio kept."""

    def value(self, batch: Batch) -> np.ndarray:
        """Logarithm of the ratio of lengths."""
        return _length_log_ratio(batch, self.prompt_key, self.chosen_key, self.rejected_key)

    def bounds(self) -> Bounds:
        """Least and greatest."""
        return self.min_log_ratio, self.max_log_ratio


class PairSimilarityFilter(KnownRangeFilter):
    """Keeps pairs whose answers differ enough to teach something.

    The number is the Jaccard similarity of the two answers' word n-grams. A pair with a null answer has no number and
    is dropped.

    Example:
        - pair_similarity_filter: {max_similarity: 0.8}

    Source: ours; Pal et al. 2024, "Smaug: Fixing Failure Modes of Preference Optimisation with DPO-Positive", on why
    pairs that are nearly equal hurt.
    """

    stat = "pair_similarity"
    cost: ClassVar[Cost] = "words"
    needs: ClassVar[frozenset[Need]] = frozenset({"words"})

    prompt_key: str = "prompt"
    """Field of the prompt. Without a field ``prompt`` both answers begin with it, and what they share is left out."""
    chosen_key: str = "chosen"
    """Field of the preferred answer: text or messages."""
    rejected_key: str = "rejected"
    """Field of the other answer."""
    ngram: PositiveInt = 2
    """Words per n-gram."""
    min_similarity: float = 0.0
    """Least similarity kept, 0 to 1."""
    max_similarity: float = 0.9
    """Greatest similarity kept, 0 to 1."""

    def value(self, batch: Batch) -> np.ndarray:
        """Similarity of the answers."""
        texts = pair_texts(batch, self.prompt_key, self.chosen_key, self.rejected_key)
        alike = jaccard(texts.chosen.fill_null(""), texts.rejected.fill_null(""), size=self.ngram)
        return np.where((texts.chosen.is_null() | texts.rejected.is_null()).to_numpy(), np.nan, alike)

    def bounds(self) -> Bounds:
        """Least and greatest."""
        return self.min_similarity, self.max_similarity


class PairMarginFilter(KnownRangeFilter):
    """Keeps pairs whose scores are far enough apart.

    Pairs without a score are dropped, and their number is not known.

    Example:
        - pair_margin_filter: {min_margin: 0.5}

    Source: ours; the margin as in Touvron et al. 2023, "Llama 2", section 3.2.2.
    """

    stat = "margin"
    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"fields"})

    chosen_score_key: str = "score_chosen"
    """Field of the preferred answer's score."""
    rejected_score_key: str = "score_rejected"
    """Field of the other answer's score."""
    min_margin: float = 0.0
    """Least margin kept."""
    max_margin: float = sys.float_info.max
    """Greatest margin kept."""

    def value(self, batch: Batch) -> np.ndarray:
        """Score of the preferred answer less that of the other."""
        return scores(batch, self.chosen_score_key) - scores(batch, self.rejected_score_key)

    def bounds(self) -> Bounds:
        """Least and greatest."""
        return self.min_margin, self.max_margin


class PairWeightMapper(Mapper):
    """Gives each pair a weight that trainers take into account.

    ``sigmoid``: how likely the preference holds if the margin of scores is a log-odds, ``1 / (1 + exp(-margin /
    temperature))``. ``confidence``: twice that less one, so that pairs of equal score weigh nothing, nor do those
    whose scores say the opposite. ``length``: ``exp(-|ln((chosen + 1) / (rejected + 1))| / temperature)`` of the
    lengths in characters. Pairs without a score, or without an answer for ``length``, weigh nothing. Trainers set pairs
    that weigh nothing aside as bad records: drop them first, by ``pair_margin_filter``.

    Example:
        - pair_weight_mapper: {rule: sigmoid, temperature: 2.0}

    Source: ours; the sigmoid is the Bradley-Terry probability.
    """

    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"fields"})

    rule: Literal["sigmoid", "confidence", "length"] = "sigmoid"
    """How a weight follows from a pair."""
    temperature: PositiveFloat = 1.0
    """Larger makes weights more alike."""
    weight_key: str = Field(default="weight", min_length=1)
    """Field to write."""
    prompt_key: str = "prompt"
    """Field of the prompt, for ``length``; see ``pair_length_bias_filter``."""
    chosen_key: str = "chosen"
    """Field of the preferred answer, for ``length``."""
    rejected_key: str = "rejected"
    """Field of the other answer, for ``length``."""
    chosen_score_key: str = "score_chosen"
    """Field of the preferred answer's score."""
    rejected_score_key: str = "score_rejected"
    """Field of the other answer's score."""

    def apply(self, batch: Batch) -> Batch:
        """The batch with weights."""
        weights = np.nan_to_num(self.weights(batch), nan=0.0)
        return batch.with_column(self.weight_key, pl.Series(weights, dtype=pl.Float64))

    def weights(self, batch: Batch) -> np.ndarray:
        """Weight of each pair, float64 ``[rows]``; not a number where a score is missing."""
        if self.rule == "length":
            ratio = _length_log_ratio(batch, self.prompt_key, self.chosen_key, self.rejected_key)
            return np.exp(-np.abs(ratio) / self.temperature)
        margin = scores(batch, self.chosen_score_key) - scores(batch, self.rejected_score_key)
        # tanh does not overflow where exp would.
        confidence = np.tanh(margin / (2 * self.temperature))
        return np.maximum(confidence, 0.0) if self.rule == "confidence" else (1 + confidence) / 2


def _length_log_ratio(batch: Batch, prompt_key: str, chosen_key: str, rejected_key: str) -> np.ndarray:
    texts = pair_texts(batch, prompt_key, chosen_key, rejected_key)
    chosen, rejected = (
        side.str.len_chars().cast(pl.Float64).fill_null(np.nan).to_numpy() for side in (texts.chosen, texts.rejected)
    )
    return np.log((chosen + 1.0) / (rejected + 1.0))
