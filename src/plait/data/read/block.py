"""Blocks of rows that are read where they are worked on.

Each is plain values, so that it travels to any worker, and has a ``key`` that its content and settings decide.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
from xxhash import xxh3_128

from plait.core.quarantine import Quarantine
from plait.data.read.documents import Documents
from plait.data.read.lines import LineBytes, LineRange
from plait.data.read.tables import RowGroups, RowsInMemory

WholeBlock = LineRange | LineBytes | RowGroups | RowsInMemory | Documents
"""Consecutive rows of the input."""


@dataclass(frozen=True)
class Picked:
    """Some of a block's rows, some perhaps several times.

    Args:
        block: The block.
        times: How often each of its rows is taken, int32 ``[rows]``.
    """

    block: WholeBlock
    times: np.ndarray = field(repr=False)

    @property
    def where(self) -> str:
        """The place in words."""
        return self.block.where

    @cached_property
    def key(self) -> str:
        """Hash of the block's content, its settings, and the choice."""
        return xxh3_128(self.block.key.encode() + self.times.tobytes()).hexdigest()

    def count(self) -> int:
        """How many rows are taken, good and bad."""
        return int(self.times.sum())

    def load(self, quarantine: Quarantine) -> pa.Table:
        """The rows taken; bad ones among them go to the quarantine."""
        return self.block.load(quarantine, self.times)


Block = WholeBlock | Picked
"""Rows of the input with a ``key``, a place in words (``where``), ``count()`` and ``load(quarantine)``."""
