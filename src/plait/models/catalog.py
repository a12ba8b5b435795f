"""Names of this package's components; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

MODELS: dict[str, Entry] = {
    "smollm2-135m": Entry(
        "plait.models.source:SMOLLM2_135M",
        "SmolLM2-135M-Instruct: English, 8192 tokens of context, runs on a laptop's processor.",
        extra="models",
    ),
}
