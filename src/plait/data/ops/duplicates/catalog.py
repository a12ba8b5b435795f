"""Names of the operations of this folder; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

OPS: dict[str, Entry] = {
    "document_deduplicator": Entry(
        "plait.data.ops.duplicates.documents:DocumentDeduplicator", "Drops exact copies.", "data"
    ),
    "document_minhash_deduplicator": Entry(
        "plait.data.ops.duplicates.minhash:DocumentMinhashDeduplicator", "Drops near copies, each verified.", "data"
    ),
}
