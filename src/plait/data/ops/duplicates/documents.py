"""Deduplicators: exact copies, and near copies."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt

from plait.data.op import Deduplicator, Duplicates, Texts

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

_NON_CHARACTERS = r"\s+|\d+|[!-/:-@\[-`{-~]"


class DocumentDeduplicator(Deduplicator):
    """Drops texts that equal another, blanks around them aside.

    Example:
        - document_deduplicator: {lowercase: true}

        >>> DocumentDeduplicator().find_in(["a text", "another", "a text "]).position
        array([2])

    Source: Data-Juicer 1.6.1, ``document_deduplicator``; there the first in file order stays, here the lowest
    id.
    """

    stat = "exact"

    lowercase: bool = False
    """Compare in lower case."""
    ignore_non_character: bool = False
    """Compare without blanks, digits and punctuation."""

    def keys(self, texts: pl.Series) -> np.ndarray:
        """128 bits of each text as one key of two columns."""
        from plait.data.dedup import text_digests

        if self.lowercase:
            texts = texts.str.to_lowercase()
        if self.ignore_non_character:
            texts = texts.str.replace_all(_NON_CHARACTERS, "")
        return text_digests(texts.str.strip_chars())

    def find(self, keys: np.ndarray, texts: Texts) -> Duplicates:
        """Texts with the digest of an earlier one."""
        from plait.data.dedup import find_equal

        del texts
        return find_equal(keys)


class DocumentMinhashDeduplicator(Deduplicator):
    """Drops texts that share most of their runs of words with another.

    MinHash-LSH proposes candidates; each is verified by the Jaccard similarity of the two sets of shingles
    before anything is dropped.

    Unlike Data-Juicer 1.6.1, ``document_minhash_deduplicator``: candidates are verified; words end at any
    blank, not at the space alone; a text shorter than one shingle has no near duplicates (there, all such
    texts are duplicates of each other); the lowest id stays.

    Example:
        - document_minhash_deduplicator: {jaccard_threshold: 0.7}

        >>> text = "the quick brown fox jumps over the lazy dog and then it rests"
        >>> near = DocumentMinhashDeduplicator().find_in([text, "some other text of five words", text + " again"])
        >>> near.position, near.similarity
        (array([2]), array([0.9]))

    Source: Broder 1997, "On the resemblance and containment of documents"; Leskovec et al., Mining of Massive
    Datasets, 3.4.
    """

    stat = "jaccard"

    tokenization: Literal["space"] = "space"
    """What a token is: a run of characters that are no blanks."""
    window_size: PositiveInt = 5
    """Words per shingle."""
    lowercase: bool = True
    """Compare in lower case."""
    ignore_pattern: str | None = None
    """Regular expression (Rust syntax) of what is left out before comparing."""
    num_permutations: PositiveInt = 256
    """Length of a signature."""
    jaccard_threshold: float = Field(default=0.7, gt=0, le=1)
    """Least share of shingles in common, 0 to 1."""
    num_bands: PositiveInt | None = None
    """Bands of the signature; chosen with ``num_rows_per_band`` to fit the threshold when not given."""
    num_rows_per_band: PositiveInt | None = None
    """Rows per band."""

    def keys(self, texts: pl.Series) -> np.ndarray:
        """One key per band."""
        from plait.data.dedup import band_keys, best_bands

        bands, rows = best_bands(self.jaccard_threshold, self.num_permutations)
        shingles, starts = self._shingles(texts)
        return band_keys(
            shingles,
            starts,
            permutations=self.num_permutations,
            bands=self.num_bands or bands,
            rows=self.num_rows_per_band or rows,
        )

    def find(self, keys: np.ndarray, texts: Texts) -> Duplicates:
        """Texts whose verified similarity to a kept one reaches the threshold, directly or through others."""
        import polars as pl

        from plait.data.dedup import find_near

        def shingle_sets(positions: list[int]) -> list[np.ndarray]:
            import numpy as np

            flat, starts = self._shingles(pl.Series(texts.fetch(positions), dtype=pl.String))
            return [np.unique(flat[a:b]) for a, b in pairwise(starts)]

        return find_near(keys, shingle_sets, threshold=self.jaccard_threshold)

    def _shingles(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        from plait.data import kernels

        if self.ignore_pattern:
            texts = texts.str.replace_all(self.ignore_pattern, "")
        if self.lowercase:
            texts = texts.str.to_lowercase()
        return kernels.shingle_hashes(texts.str.extract_all(r"\S+"), self.window_size)
