"""Filters that look for text repeating itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from plait.data.op import Bounds, Filter, Shared

if TYPE_CHECKING:
    import polars as pl


class CharacterRepetitionFilter(Filter):
    """Keeps texts with a share of repeated runs of characters.

    Example:
        - character_repetition_filter: {rep_len: 10, max_ratio: 0.4}

        >>> CharacterRepetitionFilter(rep_len=2).measure_texts(["ababab"])
        [0.6]

    Source: Data-Juicer 1.6.1, ``character_repetition_filter``.
    """

    stat = "char_rep_ratio"

    rep_len: PositiveInt = 10
    """Characters per run."""
    min_ratio: float = 0.0
    """Smallest share kept, 0 to 1."""
    max_ratio: float = 0.5
    """Largest share kept, 0 to 1."""

    def measure(self, shared: Shared) -> pl.Expr:
        """Occurrences of the ⌊√distinct⌋ most frequent of the runs that repeat, over those of all runs."""
        import polars as pl

        def ratio(texts: pl.Series) -> pl.Series:
            from plait.data import kernels

            codes, starts = kernels.character_codes(texts)
            return pl.Series(texts.name, kernels.repetition(codes, starts, self.rep_len, top=True))

        return shared.text.map_batches(ratio, return_dtype=pl.Float64, is_elementwise=True)

    def bounds(self) -> Bounds:
        """Smallest and largest share."""
        return self.min_ratio, self.max_ratio


class WordRepetitionFilter(Filter):
    """Keeps texts with a share of repeated runs of words.

    Example:
        - word_repetition_filter: {rep_len: 10, max_ratio: 0.4}

        >>> WordRepetitionFilter(rep_len=2).measure_texts(["to be or not to be"])
        [0.4]

    Source: Data-Juicer 1.6.1, ``word_repetition_filter`` with ``tokenization: false``.
    """

    stat = "word_rep_ratio"
    needs = frozenset({"words"})

    rep_len: PositiveInt = 10
    """Words per run."""
    min_ratio: float = 0.0
    """Smallest share kept, 0 to 1."""
    max_ratio: float = 0.5
    """Largest share kept, 0 to 1."""

    def measure(self, shared: Shared) -> pl.Expr:
        """Occurrences of runs that repeat over those of all runs."""
        import polars as pl

        def ratio(words: pl.Series) -> pl.Series:
            from plait.data import kernels

            hashes, starts = kernels.word_hashes(words)
            return pl.Series(words.name, kernels.repetition(hashes, starts, self.rep_len, top=False))

        return shared.words.map_batches(ratio, return_dtype=pl.Float64, is_elementwise=True)

    def bounds(self) -> Bounds:
        """Smallest and largest share."""
        return self.min_ratio, self.max_ratio
