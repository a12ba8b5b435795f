"""Where records come from, and how many of them are taken."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Self


@dataclass(frozen=True, repr=False)
class Source:
    """One input.

    Args:
        path: A file, folder, pattern or address; ``hf://datasets/owner/name`` for one on the Hugging Face hub.
        weight: Share of its rows that is taken: ``ceil(weight * rows)``; above 1 rows are repeated.
        split: Which split of a dataset on the hub, or of a saved one.
        name: Which configuration of a dataset on the hub.
        limit: At most so many rows, from the start.
    """

    path: str
    weight: float = field(default=1.0, kw_only=True)
    split: str = field(default="train", kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    limit: int | None = field(default=None, kw_only=True)

    def with_weight(self, weight: float) -> Self:
        """The same input with another weight."""
        return replace(self, weight=weight)

    def __repr__(self) -> str:
        shown = [f"path={self.path!r}"]
        shown += [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self)[1:] if getattr(self, f.name) != f.default]
        return f"Source({', '.join(shown)})"
