"""Filters that count characters."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from plait.data.op import Bounds, Columns, RangeFilter

if TYPE_CHECKING:
    from plait.data.batch import Batch


class TextLengthFilter(RangeFilter):
    """Keeps texts of a length in characters.

    Example:
        - text_length_filter: {min_len: 120, max_len: 100000}

        >>> TextLengthFilter(min_len=3).measure_texts(["hello", "hi"])
        [5.0, 2.0]

    Source: Data-Juicer 1.6.1, ``text_length_filter``.
    """

    stat = "text_len"
    cost = "bytes"
    needs = frozenset({"chars"})

    min_len: int = 10
    """Shortest text kept, in characters."""
    max_len: int = sys.maxsize
    """Longest text kept, in characters."""

    def value(self, batch: Batch) -> np.ndarray:
        """Characters."""
        return batch.text(self.text_key).str.len_chars().to_numpy()

    def bounds(self) -> Bounds:
        """Shortest and longest."""
        return self.min_len, self.max_len


class AlphanumericFilter(RangeFilter):
    """Keeps texts with a share of letters and digits.

    Example:
        - alphanumeric_filter: {min_ratio: 0.5}

        >>> AlphanumericFilter().measure_texts(["ab1!", ""])
        [0.75, 0.0]

    Source: Data-Juicer 1.6.1, ``alphanumeric_filter``. With ``tokenization`` it counts letters per token; the
    tokenizer, there one that is downloaded, is a setting here.
    """

    needs = frozenset({"chars"})

    tokenization: bool = False
    """Count letters per token instead of letters and digits per character; the stat is ``alpha_token_ratio``."""
    min_ratio: float = 0.25
    """Smallest share kept, 0 to 1; letters per token may be more."""
    max_ratio: float = sys.maxsize
    """Largest share kept."""
    hf_tokenizer: str = "EleutherAI/pythia-6.9b-deduped"
    """With ``tokenization``: a known model, a folder, or a Hub id that is on this machine already."""

    def ready(self) -> None:
        """Looks for the tokenizer."""
        if self.tokenization:
            from plait.data.ops.filters.tokens import check_tokenizer

            check_tokenizer(self.hf_tokenizer)

    @property
    def stats(self) -> tuple[str, ...]:
        """One name for the share of characters, another for that of tokens."""
        return ("alpha_token_ratio",) if self.tokenization else ("alnum_ratio",)

    def measure(self, batch: Batch) -> Columns:
        """The one number."""
        return {self.stats[0]: self.value(batch)}

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether the number lies in the range."""
        del batch
        return self.inside(stats[self.stats[0]])

    def value(self, batch: Batch) -> np.ndarray:
        """Characters for which Python's ``str.isalnum`` holds, over all characters; 0 for an empty text."""
        scan = batch.scan(self.text_key)
        if not self.tokenization:
            return share(scan.alnum, scan.chars)
        from plait.data.ops.filters.tokens import count_tokens

        return share(scan.alpha, count_tokens(self.hf_tokenizer, batch, self.text_key))

    def bounds(self) -> Bounds:
        """Smallest and largest share."""
        return self.min_ratio, self.max_ratio


class SpecialCharactersFilter(RangeFilter):
    """Keeps texts with a share of special characters: punctuation, digits, blanks, symbols, emoji.

    Example:
        - special_characters_filter: {max_ratio: 0.4}

        >>> SpecialCharactersFilter().measure_texts(["ab1!"])
        [0.5]

    Source: Data-Juicer 1.6.1, ``special_characters_filter``.
    """

    stat = "special_char_ratio"
    needs = frozenset({"chars"})

    min_ratio: float = 0.0
    """Smallest share kept, 0 to 1."""
    max_ratio: float = 0.25
    """Largest share kept, 0 to 1."""

    def value(self, batch: Batch) -> np.ndarray:
        """Special characters over all characters; 0 for an empty text."""
        scan = batch.scan(self.text_key)
        return share(scan.special, scan.chars)

    def bounds(self) -> Bounds:
        """Smallest and largest share."""
        return self.min_ratio, self.max_ratio


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """One count over another, 0 where that is 0, float64 ``[texts]``."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)
