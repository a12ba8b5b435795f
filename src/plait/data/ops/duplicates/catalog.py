"""Names of the operations of this folder; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

OPS: dict[str, Entry] = {
    "decontamination_filter": Entry(
        "plait.data.ops.duplicates.decontamination:DecontaminationFilter",
        "Drops texts that contain passages of evaluation sets.",
        "data",
    ),
    "document_deduplicator": Entry(
        "plait.data.ops.duplicates.documents:DocumentDeduplicator", "Drops exact copies.", "data"
    ),
    "document_line_deduplicator": Entry(
        "plait.data.ops.duplicates.lines:DocumentLineDeduplicator",
        "Takes lines that stand in many documents out of all of them.",
        "data",
    ),
    "document_minhash_deduplicator": Entry(
        "plait.data.ops.duplicates.minhash:DocumentMinhashDeduplicator", "Drops near copies, each verified.", "data"
    ),
    "document_minhash_deduplicator_with_uid": Entry(
        "plait.data.ops.duplicates.aliases:DocumentMinhashDeduplicatorWithUid",
        "Drops near copies and keeps the lowest number.",
        "data",
    ),
    "document_simhash_deduplicator": Entry(
        "plait.data.ops.duplicates.simhash:DocumentSimhashDeduplicator", "Drops near copies by SimHash.", "data"
    ),
    "index_deduplicator": Entry(
        "plait.data.ops.duplicates.index:IndexDeduplicator",
        "Drops near copies of what an index of earlier releases holds.",
        "data",
    ),
    "ray_bts_minhash_cpp_deduplicator": Entry(
        "plait.data.ops.duplicates.aliases:RayBtsMinhashCppDeduplicator",
        "Another name of document_minhash_deduplicator.",
        "data",
    ),
    "ray_bts_minhash_deduplicator": Entry(
        "plait.data.ops.duplicates.aliases:RayBtsMinhashDeduplicator",
        "Another name of document_minhash_deduplicator.",
        "data",
    ),
    "ray_bts_minhash_deduplicator_with_uid": Entry(
        "plait.data.ops.duplicates.aliases:RayBtsMinhashDeduplicatorWithUid",
        "Another name of document_minhash_deduplicator_with_uid.",
        "data",
    ),
    "ray_document_deduplicator": Entry(
        "plait.data.ops.duplicates.aliases:RayDocumentDeduplicator", "Another name of document_deduplicator.", "data"
    ),
    "semantic_deduplicator": Entry(
        "plait.data.ops.duplicates.semantic:SemanticDeduplicator", "Drops texts that mean the same as another.", "data"
    ),
}
