"""Near copies of documents, by MinHash and verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PositiveInt, field_validator, model_validator

from plait.data.dedup.tokens import Shingling, Tokenization, runnable
from plait.data.ops.duplicates.keeping import KeepOne

if TYPE_CHECKING:
    from plait.data.batch import Batch
    from plait.data.op import Columns, Cost, Decision, Need, Rows


class DocumentMinhashDeduplicator(KeepOne):
    """Drops texts that share most of their runs of words with another.

    MinHash proposes candidates; each is verified by the exact Jaccard similarity of the sets of shingles (of their
    64-bit hashes) before anything is dropped. A row takes 8 bytes per band on disk (296 with the defaults) and 20 in
    memory, a candidate up to 100, beyond the 64 MiB that any barrier may take. On disk where memory is short, a
    candidate takes 8 bytes per band in which it has company, and 8 per shingle.

    Unlike Data-Juicer: candidates are verified, so bands are chosen to miss few pairs (37 of 6 rows at 0.7 miss 1 %
    of the pairs at the threshold); words end at any blank, not at the space alone; and a text shorter than one
    shingle has no near duplicates (there, all such texts are duplicates of each other).

    Example:
        - document_minhash_deduplicator: {jaccard_threshold: 0.7}

        >>> text = "the quick brown fox jumps over the lazy dog and then it rests"
        >>> near = DocumentMinhashDeduplicator().find_in([text, "some other text of five words", text + " again"])
        >>> near.position, near.value
        (array([2]), array([0.9]))

    Source: Data-Juicer 1.6.1, ``document_minhash_deduplicator``; Broder 1997, "On the resemblance and containment
    of documents".
    """

    cost: ClassVar[Cost] = "words"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})
    stat: ClassVar[str] = "jaccard"

    tokenization: Tokenization = "space"
    """What a token is: what stands between blanks (``space``) or punctuation marks (``punctuation``), a
    ``character`` (for Chinese and the like), or a piece of a ``sentencepiece`` model."""
    window_size: PositiveInt = 5
    """Tokens per shingle."""
    lowercase: bool = True
    """Compare in lower case."""
    ignore_pattern: str | None = None
    """Regular expression (Rust syntax) of what is left out before comparing."""
    num_permutations: PositiveInt = 256
    """Most entries of a signature; no more are computed than the bands use."""
    jaccard_threshold: float = Field(default=0.7, ge=0, le=1)
    """Least share of shingles in common, 0 to 1."""
    num_bands: PositiveInt | None = None
    """Bands of the signature; chosen with ``num_rows_per_band`` to fit the threshold when not given."""
    num_rows_per_band: PositiveInt | None = None
    """Entries per band."""
    tokenizer_model: str | None = None
    """File of the SentencePiece model, for ``tokenization: sentencepiece``."""
    verify: bool = True
    """Drop only what is verified to be as similar as the threshold asks."""
    compat: Literal["plait", "data-juicer"] = "plait"
    """Reproduce Data-Juicer's known bugs: words end at the space alone, candidates are not verified, all texts shorter
    than one shingle are duplicates of each other; with its hashes, so that it decides the same."""

    _pattern = field_validator("ignore_pattern")(runnable)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.tokenization == "sentencepiece" and self.tokenizer_model is None:
            raise ValueError("tokenization: sentencepiece needs tokenizer_model, the path of a .model file")
        self.bands()
        return self

    def bands(self) -> tuple[int, int]:
        """Bands, and entries of the signature in each."""
        from plait.data.dedup.signatures import choose_bands

        verified = self.verify and self.compat == "plait"
        return choose_bands(
            self.jaccard_threshold, self.num_permutations, self.num_bands, self.num_rows_per_band, verified=verified
        )

    def shingling(self) -> Shingling:
        """How texts become shingles."""
        return Shingling(self.tokenization, self.window_size, self.lowercase, self.ignore_pattern, self.tokenizer_model)

    def keys(self, batch: Batch) -> Columns:
        """One key per band."""
        bands, entries = self.bands()
        texts = batch.text(self.text_key)
        if self.compat == "data-juicer":
            from plait.data.dedup.juicer import band_keys as juicer_keys

            return {"bands": juicer_keys(texts, self.shingling(), self.num_permutations, bands, entries)}
        from plait.data.dedup.signatures import band_keys

        return {"bands": band_keys(*self.shingling().shingles(texts), bands=bands, rows=entries)}

    def decide(self, rows: Rows) -> Decision:
        """Drop texts connected to a preferred one by pairs as similar as the threshold asks."""
        from plait.data.dedup.clusters import Candidates, cluster
        from plait.data.dedup.groups import Spill, groups_of_each
        from plait.data.dedup.sets import fetch_sets

        bands, entries = self.bands()
        candidates = Candidates(rows.count, Spill.of(rows))
        for groups in groups_of_each(rows, "bands", bands):
            candidates.add(groups)
        preferred = self.preferred(rows, candidates.positions)
        verified = self.verify and self.compat == "plait"
        room = rows.memory_bytes - candidates.memory_bytes
        sets = fetch_sets(rows, self.text_key, preferred, self.shingling().sets, room) if verified else None
        about = {
            "bands": bands,
            "rows_per_band": entries,
            "threshold": self.jaccard_threshold,
            "bytes_per_row": 8 * bands,
            "shingles": 0 if sets is None else int(np.sum(sets.size)),
        }
        return cluster(candidates, preferred, sets, self.jaccard_threshold, about)
