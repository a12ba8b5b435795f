"""The four records that every strand reads and writes, as Arrow schemas.

Field names are those of TRL's dataset formats, so a file written here trains there and the other way round.
``id`` is stable and unique in its file; ``source`` says where a record came from.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

import pyarrow as pa


class Document(TypedDict):
    """One text. ``group`` is the owner or topic a federated run splits by."""

    id: str
    text: str
    source: str
    group: NotRequired[str]


class Message(TypedDict):
    """One turn; ``role`` is system, user, assistant or tool."""

    role: str
    content: str


class Conversation(TypedDict):
    """A dialogue, in order."""

    id: str
    messages: list[Message]
    source: str


class PreferencePair(TypedDict):
    """Two completions of one prompt; ``chosen`` is preferred to ``rejected``."""

    id: str
    prompt: str
    chosen: str
    rejected: str
    source: str


class Trajectory(TypedDict):
    """What one agent saw, said and earned in one run."""

    id: str
    agent: str
    messages: list[Message]
    reward: float
    source: str


_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

DOCUMENT = pa.schema([("id", pa.string()), ("text", pa.string()), ("source", pa.string()), ("group", pa.string())])
CONVERSATION = pa.schema([("id", pa.string()), ("messages", _MESSAGES), ("source", pa.string())])
PREFERENCE_PAIR = pa.schema(
    [
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("source", pa.string()),
    ]
)
TRAJECTORY = pa.schema(
    [
        ("id", pa.string()),
        ("agent", pa.string()),
        ("messages", _MESSAGES),
        ("reward", pa.float64()),
        ("source", pa.string()),
    ]
)
