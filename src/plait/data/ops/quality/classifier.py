"""Keeps texts by the score of a quality classifier."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, PositiveFloat

from plait.data.batch import Batch, session
from plait.data.op import Columns, Cost, Filter, Need


class QualityClassifierFilter(Filter):
    """Keeps texts a trained classifier calls good.

    ``label`` keeps those whose probability is above one half. ``pareto`` keeps a text if its score is above one less a
    Pareto-distributed number, so that some of lower score stay: mostly good, and not all alike. The number follows
    from the text, so that the same texts stay however they are cut into chunks.

    Example:
        - quality_classifier_filter: {model: quality.npz, keep: label}

    Source: Data-Juicer (2309.02033), quality classifier; the Pareto rule is that of Brown et al. 2020, "Language
    Models are Few-Shot Learners", appendix A.
    """

    stats = ("quality_score",)
    cost: ClassVar[Cost] = "words"
    needs: ClassVar[frozenset[Need]] = frozenset({"words"})

    model: str
    """File of a classifier, made by ``plait data quality``."""
    keep: Literal["label", "pareto"] = "label"
    """Which rule."""
    threshold: float = Field(default=0.5, ge=0, le=1)
    """Probability above which ``label`` keeps."""
    alpha: PositiveFloat = 9.0
    """Shape of the Pareto distribution; larger keeps fewer."""
    seed: int = 0
    """Other numbers for ``pareto``."""

    def measure(self, batch: Batch) -> Columns:
        """Probability of being good."""
        from plait.data.quality import load

        trained = session(self, lambda: load(Path(self.model)))
        return {"quality_score": trained.scores(batch.text(self.text_key))}

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether the score is high enough."""
        scores = np.asarray(stats["quality_score"])
        return scores > self.threshold if self.keep == "label" else scores > 1 - self._pareto(batch)

    def _pareto(self, batch: Batch) -> np.ndarray:
        """A Pareto (Lomax) number per text, as ``numpy.random.pareto`` draws them, from the hash of the text."""
        from plait.data.kernels import hash_strings

        hashes = hash_strings(batch.text(self.text_key)) ^ np.uint64(
            self.seed * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        )
        # Mixed once more, so that seeds give unrelated numbers.
        mixed = (hashes ^ (hashes >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
        uniform = ((mixed ^ (mixed >> np.uint64(29))) >> np.uint64(11)).astype(np.float64) / (1 << 53)
        return (1 - uniform) ** (-1 / self.alpha) - 1
