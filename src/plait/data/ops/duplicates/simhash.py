"""Near copies of documents, by SimHash."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import PositiveInt, field_validator, model_validator

from plait.data.dedup.tokens import Shingling, runnable
from plait.data.ops.duplicates.keeping import KeepOne

if TYPE_CHECKING:
    from plait.data.batch import Batch
    from plait.data.op import Columns, Cost, Decision, Need, Rows


class DocumentSimhashDeduplicator(KeepOne):
    """Drops texts whose SimHash differs in few bits from that of another.

    All pairs within the distance are found, by as many sorted tables as there are ways to choose blocks that agree.
    A row takes 8 bytes on disk and 40 in memory.

    Unlike Data-Juicer: words end at any blank, not at the space alone; and a text shorter than one shingle has no
    near duplicates (there, all such texts are duplicates of each other).

    Example:
        - document_simhash_deduplicator: {tokenization: character, window_size: 4}

        >>> op = DocumentSimhashDeduplicator(window_size=1)
        >>> op.find_in(["the quick brown fox", "something else", "The quick brown fox"]).position
        array([2])

    Source: Data-Juicer 1.6.1, ``document_simhash_deduplicator``; Manku et al. 2007, "Detecting near-duplicates for
    web crawling".
    """

    cost: ClassVar[Cost] = "words"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})
    stat: ClassVar[str] = "equal_bits"

    tokenization: Literal["space", "punctuation", "character"] = "space"
    """What a token is: what stands between blanks (``space``) or punctuation marks (``punctuation``), or a
    ``character`` (for Chinese and the like)."""
    window_size: PositiveInt = 6
    """Tokens per shingle."""
    lowercase: bool = True
    """Compare in lower case."""
    ignore_pattern: str | None = None
    """Regular expression (Rust syntax) of what is left out before comparing."""
    num_blocks: PositiveInt = 6
    """Blocks that the 64 bits are cut into, to find pairs; the result does not depend on it."""
    hamming_distance: PositiveInt = 4
    """Most bits in which near duplicates differ; below ``num_blocks``."""
    compat: Literal["plait", "data-juicer"] = "plait"
    """Reproduce Data-Juicer's known bugs: words end at the space alone, all texts shorter than one shingle are
    duplicates of each other; with its hashes, so that it decides the same."""

    _pattern = field_validator("ignore_pattern")(runnable)

    @model_validator(mode="after")
    def _searchable(self) -> Self:
        if not self.hamming_distance < self.num_blocks <= 64:
            raise ValueError(
                f"hamming_distance ({self.hamming_distance}) must be below num_blocks ({self.num_blocks}), "
                "and there are at most 64 blocks"
            )
        return self

    def keys(self, batch: Batch) -> Columns:
        """The SimHash of each text."""
        from plait.data.dedup.simhash import md5_shingles, simhashes

        shingling = Shingling(self.tokenization, self.window_size, self.lowercase, self.ignore_pattern)
        texts = batch.text(self.text_key)
        found = md5_shingles(texts, shingling) if self.compat == "data-juicer" else shingling.shingles(texts)
        return {"simhash": simhashes(*found).reshape(-1, 1)}

    def decide(self, rows: Rows) -> Decision:
        """Drop texts connected to a preferred one by hashes that differ in few bits."""
        from plait.data.dedup.clusters import sorted_decision
        from plait.data.dedup.groups import groups_of
        from plait.data.dedup.simhash import BITS, block_masks, connect, distances, masked
        from plait.data.dedup.unions import components

        zeros = self.compat == "data-juicer"
        hashes = rows.key("simhash", slice(0, 1))[:, 0]
        parent = np.arange(rows.count)
        compared, joined = 0, 0
        tables = [(1 << BITS) - 1, *block_masks(self.num_blocks, self.hamming_distance)]
        for number, mask in enumerate(tables):
            groups = groups_of(rows, "simhash", slice(0, 1), masked(mask, zeros=zeros))
            counts = connect(hashes, groups, self.hamming_distance if number else 0, parent)
            compared, joined = compared + counts[0], joined + counts[1]
        members, cluster = components(parent)
        dropped, survivor, sizes = self.survivors(rows, members, cluster)
        facts = {
            "compared": compared,
            "clusters": len(sizes),
            "largest_cluster": int(sizes.max(initial=0)),
            "bytes_per_row": 8,
        }
        value = 1 - distances(hashes[dropped], hashes[survivor]) / BITS
        return sorted_decision(dropped, survivor, value, facts)
