"""Names of the operations of this folder; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

OPS: dict[str, Entry] = {
    "quality_classifier_filter": Entry(
        "plait.data.ops.quality.classifier:QualityClassifierFilter", "Keeps texts a classifier calls good.", "data"
    ),
}
