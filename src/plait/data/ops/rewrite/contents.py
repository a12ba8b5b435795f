"""What a message says, as plain text, however its platform writes it: a string, a list of blocks, a dict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

_REASONING = ("thinking", "reasoning", "reasoning_content")


def dicts(value: object) -> list[Mapping[str, Any]]:
    """The dicts of a list; none for anything else.

    Example:
        >>> dicts([{"role": "user"}, None]), dicts("no list")
        ([{'role': 'user'}], [])
    """
    return [item for item in cast("list[Any]", value) if isinstance(item, dict)] if isinstance(value, list) else []


def role_of(message: Mapping[str, Any]) -> str:
    """The role in lower case; empty if there is none."""
    return str(message.get("role") or "").lower()


def said(content: object) -> str:
    r"""What a message says to a reader: its texts and its reasoning, block by block.

    Example:
        >>> said([{"type": "text", "text": " Hello "}, {"type": "image"}, "there"])
        'Hello\nthere'
    """
    if isinstance(content, list):
        blocks = (_block(block) for block in cast("list[Any]", content))
        return "\n".join(block for block in blocks if block).strip()
    if content is None or isinstance(content, (str, dict)):
        return _fragment(content)
    return str(content).strip()


def returned(content: object) -> str:
    """What a tool returned, as one string: texts as they are, anything else as JSON.

    Example:
        >>> returned({"ok": True}), returned([{"type": "text", "text": "done"}])
        ('{"ok": true}', 'done')
    """
    if content is None:
        return ""
    if isinstance(content, dict):
        present = {k: v for k, v in cast("dict[str, Any]", content).items() if v is not None}
        return json.dumps(present, ensure_ascii=False, default=str)[:10_000]
    if not isinstance(content, list):
        return str(content).strip()
    parts = list[str]()
    for block in cast("list[Any]", content):
        if isinstance(block, str):
            parts.append(block.strip())
        elif isinstance(block, dict):
            known = cast("dict[str, Any]", block)
            parts.append(returned(known.get("text") if known.get("type") == "text" else known))
    return "\n".join(parts).strip()


def tool_name(call: Mapping[str, Any]) -> str | None:
    """The tool that a call names, as OpenAI (``function.name``) or Anthropic (``name``) write it."""
    function = call.get("function") or call.get("function_call")
    if isinstance(function, dict) and cast("dict[str, Any]", function).get("name"):
        return str(cast("dict[str, Any]", function)["name"])
    return str(call["name"]) if call.get("name") else None


def tool_calls(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The calls of a message."""
    return dicts(message.get("tool_calls") or message.get("tool_use"))


def _block(block: object) -> str:
    if not isinstance(block, dict):
        return block.strip() if isinstance(block, str) else ""
    known = {k: v for k, v in cast("dict[str, Any]", block).items() if v is not None}
    kind = known.get("type")
    if kind in ("text", "input_text") or (kind not in ("thinking", "reasoning") and "text" in known):
        return _fragment(known.get("text"))
    return _fragment(next((known[name] for name in _REASONING if known.get(name)), None))


def _fragment(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        known = cast("dict[str, Any]", value)
        return _fragment(next((known[n] for n in ("value", "text", "content") if known.get(n) not in (None, "")), None))
    if isinstance(value, list):
        return "\n".join(_fragment(v) for v in cast("list[Any]", value) if v not in (None, "")).strip()
    return str(value).strip()
