"""Names of this package's components; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

CHAT_MODELS: dict[str, Entry] = {
    "endpoint": Entry("plait.llm.endpoint:Endpoint", "Any OpenAI-compatible server.", extra="llm"),
    "local": Entry(
        "plait.llm.local:LocalModel",
        "A transformers model in this process, concurrent calls merged into batches.",
        extra="llm",
    ),
    "replay": Entry("plait.llm.replay:Replay", "Another model's answers, recorded and replayed exactly.", extra="llm"),
    "scripted": Entry("plait.llm.scripted:Scripted", "Answers written down beforehand, for tests and demos."),
}
