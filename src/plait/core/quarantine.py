"""Bad records are set aside with their reason, and counted; never repaired or dropped in silence."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plait.errors import DataError

_SHOWN = 2_000  # characters of a bad record that are kept; the place says where to find the rest


@dataclass
class Quarantine:
    """A ``quarantine.jsonl``: one line per bad record, ``{"where", "reason", "record"}``.

    The file starts empty each time, so work that is done again after a kill is not counted twice.

    Example:
        >>> import tempfile
        >>> q = Quarantine(Path(tempfile.mkdtemp()) / "quarantine.jsonl")
        >>> q.add(where="a.jsonl:3", reason="not JSON", record="{oops")
        >>> q.counts
        {'not JSON': 1}
    """

    path: Path
    counts: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def total(self) -> int:
        """How many records were set aside."""
        return sum(self.counts.values())

    def add(self, *, where: str, reason: str, record: Any) -> None:
        """Set one record aside.

        Args:
            where: ``file:line`` or another place it can be found again.
            reason: A short reason; records are counted by it, so it holds no values of the record.
            record: The record, or as much of it as could be read; long ones are cut and say so.
        """
        text = record if isinstance(record, str) else json.dumps(record, ensure_ascii=False, default=str)
        if len(text) > _SHOWN:
            text = f"{text[:_SHOWN]}… ({len(text)} characters in all)"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a" if self.counts else "w", encoding="utf-8") as out:
            line = {"where": where, "reason": reason, "record": text}
            # Undecodable bytes arrive as lone surrogates; JSON escapes keep the line valid UTF-8.
            out.write(json.dumps(line, ensure_ascii=True) + "\n")
        self.counts[reason] = self.counts.get(reason, 0) + 1

    def check(self, read: int, *, max_bad_fraction: float, where: str) -> None:
        """Stop when too many are bad.

        Args:
            read: Good and bad records seen so far.
            max_bad_fraction: The largest share of bad ones tolerated, 0 to 1.
            where: The input, for the error.

        Raises:
            DataError: More than the tolerated share is bad.
        """
        if read and self.total > max_bad_fraction * read:
            reasons = ", ".join(f"{n} × {reason}" for reason, n in sorted(self.counts.items()))
            raise DataError(
                f"{self.total} of {read} records are bad ({reasons}), more than "
                f"max_bad_fraction = {max_bad_fraction:g}",
                code="data.too-many-bad",
                where=where,
                hint=f"look at {self.path}, mend the input, or raise max_bad_fraction (--max-bad)",
            )
