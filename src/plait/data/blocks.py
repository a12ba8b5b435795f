"""Some consecutive rows of the input, small enough to hold: what a run is cut into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
from xxhash import xxh3_128

from plait.core.quarantine import Quarantine


class Block(Protocol):
    """Rows that are read where they are worked on; plain values, so that it can travel to any worker."""

    @property
    def key(self) -> str:
        """Hash of its content and of how it is read."""
        ...

    def load(self, quarantine: Quarantine) -> pa.Table:
        """Read it; what cannot be read goes to the quarantine."""
        ...


@dataclass(frozen=True)
class TableBlock:
    """Rows that are in memory already.

    Example:
        >>> block = TableBlock(pa.table({"text": ["one"]}))
        >>> block.key == TableBlock(pa.table({"text": ["one"]})).key
        True
    """

    table: pa.Table

    @property
    def key(self) -> str:
        """Hash of the rows."""
        digest = xxh3_128()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.table.schema) as writer:
            writer.write_table(self.table.combine_chunks())
        digest.update(sink.getvalue())
        return digest.hexdigest()

    def load(self, quarantine: Quarantine) -> pa.Table:
        """The rows."""
        del quarantine
        return self.table
