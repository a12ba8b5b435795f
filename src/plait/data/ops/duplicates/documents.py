"""Exact copies of documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from plait.data.ops.duplicates.keeping import KeepOne

if TYPE_CHECKING:
    from plait.data.batch import Batch
    from plait.data.op import Columns, Cost, Decision, Need, Rows

_NON_CHARACTERS = r"[\s\x1c-\x1f\d!-/:-@\[-`{-~]+"


class DocumentDeduplicator(KeepOne):
    """Drops exact copies, blanks around them aside.

    Texts are compared by 128-bit digests: 16 bytes per row on disk; in memory 10 while all are compared, and 100 for a
    row that has a copy, beyond the 64 MiB that any barrier may take.

    Example:
        - document_deduplicator: {lowercase: true}

        >>> DocumentDeduplicator().find_in(["a text", "another", "a text "]).position
        array([2])

    Source: Data-Juicer 1.6.1, ``document_deduplicator``.
    """

    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})
    stat: ClassVar[str] = "exact"

    lowercase: bool = False
    """Compare in lower case."""
    ignore_non_character: bool = False
    """Compare without blanks, digits and punctuation."""

    def keys(self, batch: Batch) -> Columns:
        """The digest of each text."""
        from plait.data.dedup.exact import PYTHON_BLANKS, digests

        texts = batch.text(self.text_key)
        if self.lowercase:
            texts = texts.str.to_lowercase()
        if self.ignore_non_character:
            texts = texts.str.replace_all(_NON_CHARACTERS, "")
        return {"digest": digests(texts.str.strip_chars(PYTHON_BLANKS))}

    def decide(self, rows: Rows) -> Decision:
        """Drop texts whose digest another has."""
        from plait.data.dedup.clusters import Candidates, cluster
        from plait.data.dedup.groups import Spill, groups_of

        candidates = Candidates(rows.count, Spill.of(rows))
        for groups in groups_of(rows, "digest", slice(0, 2)):
            candidates.add(groups)
        preferred = self.preferred(rows, candidates.positions)
        found = cluster(candidates, preferred, None, 1.0, {"bytes_per_row": 16})
        found.value[:] = np.ones(len(found.position))
        return found
