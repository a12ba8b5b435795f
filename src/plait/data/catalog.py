"""Names of the data operations: Data-Juicer's, so that its recipes run; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry
from plait.data.ops.clean import catalog as clean
from plait.data.ops.duplicates import catalog as duplicates
from plait.data.ops.filters import catalog as filters
from plait.data.ops.llm import catalog as llm
from plait.data.ops.pairs import catalog as pairs
from plait.data.ops.quality import catalog as quality
from plait.data.ops.rewrite import catalog as rewrite
from plait.data.ops.select import catalog as select

OPS: dict[str, Entry] = dict(
    sorted(
        {
            **clean.OPS,
            **rewrite.OPS,
            **filters.OPS,
            **duplicates.OPS,
            **select.OPS,
            **pairs.OPS,
            **quality.OPS,
            **llm.OPS,
        }.items()
    )
)
