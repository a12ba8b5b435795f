"""Names of this package's components; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

CHAT_MODELS: dict[str, Entry] = {}
