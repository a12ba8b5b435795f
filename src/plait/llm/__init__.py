"""Chat models behind one async protocol: local, endpoint, scripted, replayed.

model = open_chat("local")
[reply] = await model.chat([{"role": "user", "content": "2 + 2 = ?"}])
await model.aclose()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plait.llm.base import ChatComponent, ChatModel, JSONSchema, Reply, Usage
    from plait.llm.endpoint import Endpoint
    from plait.llm.limits import Limits, Prices
    from plait.llm.local import LocalModel
    from plait.llm.opening import ChatSetting, chat_component, open_chat
    from plait.llm.replay import Replay
    from plait.llm.scripted import Rule, Scripted
    from plait.llm.usage import UsageMeter, UsageTotals, usage_of

_HOME = {
    "ChatComponent": "base",
    "ChatModel": "base",
    "ChatSetting": "opening",
    "Endpoint": "endpoint",
    "JSONSchema": "base",
    "Limits": "limits",
    "LocalModel": "local",
    "Prices": "limits",
    "Replay": "replay",
    "Reply": "base",
    "Rule": "scripted",
    "Scripted": "scripted",
    "Usage": "base",
    "UsageMeter": "usage",
    "UsageTotals": "usage",
    "chat_component": "opening",
    "open_chat": "opening",
    "usage_of": "usage",
}

__all__ = [
    "ChatComponent",
    "ChatModel",
    "ChatSetting",
    "Endpoint",
    "JSONSchema",
    "Limits",
    "LocalModel",
    "Prices",
    "Replay",
    "Reply",
    "Rule",
    "Scripted",
    "Usage",
    "UsageMeter",
    "UsageTotals",
    "chat_component",
    "open_chat",
    "usage_of",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
