"""A quarantine in memory, for records that are set aside before the block they belong to is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plait.core.quarantine import Quarantine

Reject = tuple[str, str, str]
"""Place, reason, record."""

_SHOWN = 8_000


class Collected(Quarantine):
    """Keeps what is set aside until a block takes it along."""

    def __init__(self) -> None:
        super().__init__(Path())
        self._held: list[Reject] = []

    def add(self, *, where: str, reason: str, record: Any) -> None:
        """Set one record aside."""
        text = record if isinstance(record, str) else json.dumps(record, ensure_ascii=False, default=str)
        if len(text) > _SHOWN:
            text = f"{text[:_SHOWN]}… ({len(text)} characters in all)"
        self._held.append((where, reason, text))
        self.counts[reason] = self.counts.get(reason, 0) + 1

    def take(self) -> tuple[Reject, ...]:
        """What was set aside since the last time."""
        held, self._held = tuple(self._held), []
        return held
