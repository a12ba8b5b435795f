"""How the records of one read are taken: columns, what must be there, ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from plait.core.hashing import hash_code
from plait.data.read.ids import repeated, with_ids


def _code() -> str:
    """What changes when a newer version reads the same bytes otherwise."""
    return hash_code("plait.data.read.block")


@dataclass(frozen=True)
class Settings:
    """How records are read.

    Args:
        schema: Columns and types of every block of a read.
        required: Fields that must be there and not null.
        exclusive: Whether a field that the schema does not have makes a record bad; otherwise it is left out.
        max_line_bytes: A longer line is bad, and never held as a whole.
        id_key: Field to give an id where the records have none; empty for none.
        text_key: The field whose content is hashed for it.
    """

    schema: pa.Schema
    required: tuple[str, ...] = ()
    exclusive: bool = True
    max_line_bytes: int = 64 << 20
    id_key: str = ""
    text_key: str = "text"

    @property
    def name(self) -> str:
        """The settings and the version of the readers as text, for hashing."""
        columns = ",".join(f"{f.name!r}:{f.type}" for f in self.schema)
        return repr((columns, self.required, self.exclusive, self.max_line_bytes, self.id_key, self.text_key, _code()))

    def finished(self, batch: pa.RecordBatch, rows: np.ndarray, position: str, times: np.ndarray | None) -> pa.Table:
        """The rows as they are handed on.

        Args:
            batch: The records that are good.
            rows: Their places among all rows of the block.
            position: The block's place in the input.
            times: How often each row of the block is taken; once each when not given.
        """
        table = pa.Table.from_batches([batch])
        if self.id_key:
            table = with_ids(table, self.id_key, self.text_key, position)
        return table if times is None else repeated(table, times[rows], self.id_key)
