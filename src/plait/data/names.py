"""Names of columns that hold what is no field of the data."""

from __future__ import annotations

STATS = "__dj__stats__"
"""Struct column of what filters measured of a row, where an operation or the export asks for it; Data-Juicer's name."""

ROW = "__row"
"""Column with the number of the row in its chunk, int64: where a row came from, whatever mappers made of it."""

RESERVED = frozenset(
    {"id", "kept", "dropped_by", "stat", "value", "duplicate_of", "changed_by", "changed", "source", "chars"}
)
"""Columns of the lineage that are no stats."""
