"""Names of this package's components; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

CHAT_MODELS: dict[str, Entry] = {
    "endpoint": Entry("plait.llm.endpoint:Endpoint", "any OpenAI-compatible server", extra="llm"),
    "local": Entry("plait.llm.local:LocalModel", "a transformers model in this process, batched", extra="llm"),
    "replay": Entry("plait.llm.replay:Replay", "another model's answers, recorded and replayed exactly", extra="llm"),
    "scripted": Entry("plait.llm.scripted:Scripted", "answers written down beforehand, for tests and demos"),
}
