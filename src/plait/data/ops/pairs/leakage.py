"""Leakage: pairs whose prompt stands in an evaluation set."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
from pydantic import PositiveInt

from plait.data import kernels
from plait.data.batch import Batch, session
from plait.data.op import Bounds, Cost, Need
from plait.data.ops.pairs.ranges import KnownRangeFilter
from plait.data.ops.pairs.sets import contained
from plait.data.ops.pairs.texts import plain, prompts
from plait.errors import DataError


class PairLeakageFilter(KnownRangeFilter):
    """Keeps pairs whose prompt is not in an evaluation set.

    The number is the share of the prompt's word n-grams that occur in the evaluation texts; a prompt shorter than an
    n-gram leaks only if it is one of the evaluation texts, but for case and blanks. A pair with a null prompt has no
    number and is dropped.

    Example:
        - pair_leakage_filter: {evaluation: eval.jsonl, max_leakage: 0.3}

    Source: Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C (n-gram overlap), for prompts.
    """

    stat = "leakage"
    cost: ClassVar[Cost] = "words"
    needs: ClassVar[frozenset[Need]] = frozenset({"words"})

    evaluation: str
    """Evaluation set: a file of records in any format of `plait.core.io`."""
    evaluation_key: str = "prompt"
    """Field of the evaluation texts."""
    prompt_key: str = "prompt"
    """Field of the prompt: text or messages. Without a field ``prompt`` it is what both answers begin with."""
    ngram: PositiveInt = 8
    """Words per n-gram."""
    min_leakage: float = 0.0
    """Least leakage kept, 0 to 1."""
    max_leakage: float = 0.5
    """Greatest leakage kept, 0 to 1."""

    def value(self, batch: Batch) -> np.ndarray:
        """Share of the prompt's n-grams that occur in the evaluation texts."""
        known, whole = session(self, self._known)
        asked = prompts(batch, self.prompt_key)
        texts = asked.fill_null("")
        words = kernels.words(texts)
        share = contained(*kernels.shingles(words, self.ngram), known)
        short = words.counts < self.ngram
        share[short] = np.isin(_whole(texts)[short], whole)
        return np.where(asked.is_null().to_numpy(), np.nan, share)

    def bounds(self) -> Bounds:
        """Least and greatest."""
        return self.min_leakage, self.max_leakage

    def _known(self) -> tuple[np.ndarray, np.ndarray]:
        from plait.core.io import read_table

        path = Path(self.evaluation)
        if not path.exists():
            raise DataError("no such evaluation set", code="data.not-found", where=self.evaluation)
        texts = plain(
            Batch(pl.DataFrame(pl.from_arrow(read_table(path, columns=[self.evaluation_key])))), self.evaluation_key
        )
        # An empty question is no question: it would make every empty prompt leak.
        texts = texts.filter((texts.str.strip_chars() != "").fill_null(value=False))
        hashes, _ = kernels.shingles(kernels.words(texts), self.ngram)
        return np.unique(hashes), _whole(texts)


def _whole(texts: pl.Series) -> np.ndarray:
    return texts.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars().hash().to_numpy()
