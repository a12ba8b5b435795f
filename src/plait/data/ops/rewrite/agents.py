"""A mapper that turns agents' messages into a dialogue that text operations understand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

import polars as pl

from plait.data.op import Cost, Mapper, Need
from plait.data.ops.llm.meta import with_meta
from plait.data.ops.rewrite.contents import dicts, role_of, said, tool_calls, tool_name
from plait.data.ops.rewrite.rows import fields_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from plait.data.batch import Batch

_SKILLS = (
    re.compile(r"(?i)[/\\]([a-z][a-z0-9_]*)[/\\]skill\.md"),
    re.compile(r"##\s+([a-zA-Z][a-zA-Z0-9_]*(?:\.[a-zA-Z0-9_]+)?)\s*(?:\n|$)"),
)
_MOST_NAMES = 10
_NAME = "agent_dialog_normalize_mapper"


@dataclass
class _Turn:
    query: str
    response: str = ""


class AgentDialogNormalizeMapper(Mapper):
    """Writes agents' messages as text, as pairs of query and response, and as the last such pair.

    What an assistant says in several messages, and what tools return in between, is one response. Of tool calls
    without words the names are noted.

    Example:
        - agent_dialog_normalize_mapper: {messages_key: messages, choices_key: choices}

    Source: Data-Juicer 1.6.1, ``agent_dialog_normalize_mapper``. Differs: its third pattern of skills, ``Check "…"``,
    finds only what the first one finds, and is left out.
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"fields"})

    messages_key: str = "messages"
    """Field with the conversation."""
    choices_key: str = "choices"
    """Field with answers that are not in the conversation yet."""
    history_key: str = "dialog_history"
    """Field for the pairs of query and response."""
    query_key: str = "query"
    """Field for the last query."""
    response_key: str = "response"
    """Field for the last response."""
    extract_tool_skill_tags: bool = True
    """Note the names of tools and skills."""
    include_system_in_first_user: bool = False
    """Put what the system says before the user's next words."""
    user_label: str = "User"
    """What stands before a query in the text."""
    assistant_label: str = "Assistant"
    """What stands before a response in the text."""
    copy_lineage_fields: bool = True
    """Note the fields ``request_model``, ``pt`` and ``total_cost_time``."""
    copy_request_id: bool = True
    """Note the first field of `request_id_keys` that is not empty."""
    request_id_keys: tuple[str, ...] = ("request_id", "trace_id", "id")
    """Fields that may name the request."""
    history_tool_result_max_chars: int = 10_000
    """Longest result of a tool, in characters; 0 for any. What is longer loses its middle."""
    history_max_assistant_trace_chars: int = 0
    """Longest response, in characters; 0 for any."""
    history_max_user_chars: int = 0
    """Longest query, in characters; 0 for any."""
    history_compress_head_ratio: float = 0.62
    """Share of the beginning in what is left of a text that loses its middle."""

    def apply(self, batch: Batch) -> Batch:
        """Reads row by row."""
        rows = [self._row(row) for row in fields_of(batch)]
        types: dict[str, Any] = {
            "agent_dialog_history_compressed": pl.Boolean,
            "agent_turn_count": pl.Int64,
            "agent_tool_types": pl.List(pl.String),
            "agent_skill_types": pl.List(pl.String),
            "agent_last_user_msg_idx": pl.Int64,
            "agent_last_assistant_msg_idx": pl.Int64,
            "agent_request_id": pl.String,
        }
        if not self.extract_tool_skill_tags:
            del types["agent_tool_types"], types["agent_skill_types"]
        if not self.copy_request_id:
            del types["agent_request_id"]
        lineage = {"request_model": "agent_request_model", "pt": "agent_pt"} | {
            "total_cost_time": "agent_total_cost_time_ms"
        }
        schema = batch.frame.schema
        for field, name in lineage.items() if self.copy_lineage_fields else ():
            if field in schema:
                types[name] = schema[field]
                for meta, value in zip((meta for _, meta in rows), batch.column(field), strict=True):
                    meta[name] = value
        columns = {
            self.text_key: pl.Series([_flat(self, turns) for turns, _ in rows], dtype=pl.String),
            self.history_key: pl.Series(
                [[[turn.query, turn.response] for turn in turns] for turns, _ in rows],
                dtype=pl.List(pl.List(pl.String)),
            ),
            self.query_key: pl.Series([turns[-1].query if turns else "" for turns, _ in rows], dtype=pl.String),
            self.response_key: pl.Series([meta["response"] for _, meta in rows], dtype=pl.String),
        }
        for name, series in columns.items():
            batch = batch.with_text(name, series)
        return with_meta(batch, {name: [meta.get(name) for _, meta in rows] for name in types}, types)

    def _row(self, row: Mapping[str, Any]) -> tuple[list[_Turn], dict[str, Any]]:
        raw = row.get(self.messages_key)
        messages: list[Any] = cast("list[Any]", raw) if isinstance(raw, list) else []
        known = dicts(messages)
        shortened = list[str]()
        turns = self._turns(known, shortened)
        response = turns[-1].response if turns else ""
        places = {role_of(m): i for i, m in enumerate(messages) if isinstance(m, dict)}
        return turns, {
            "response": response or _chosen(row.get(self.choices_key)),
            "agent_dialog_history_compressed": bool(shortened),
            "agent_turn_count": len(turns),
            "agent_tool_types": _unique(name for m in known for call in tool_calls(m) if (name := tool_name(call))),
            "agent_skill_types": _unique(_skills(known)),
            "agent_last_user_msg_idx": places.get("user"),
            "agent_last_assistant_msg_idx": places.get("assistant"),
            "agent_request_id": next(
                (text for key in self.request_id_keys if row.get(key) is not None and (text := str(row[key]).strip())),
                None,
            ),
        }

    def _turns(self, messages: Sequence[Mapping[str, Any]], shortened: list[str]) -> list[_Turn]:
        turns = list[_Turn]()
        system = list[str]()

        def cut(text: str, most: int) -> str:
            if most <= 0 or len(text) <= most:
                return text
            shortened.append(text[:1])
            return without_middle(text, most, self.history_compress_head_ratio)

        for message in messages:
            role, content = role_of(message), said(message.get("content"))
            if role == "system" and self.include_system_in_first_user and content:
                system.append(content)
            elif role == "user":
                content = "\n\n".join([*system, content]).strip() if system else content
                system = []
                turns.append(_Turn(cut(content, self.history_max_user_chars)))
            elif role == "assistant":
                content = content or _called(message)
                if not turns:
                    turns.append(_Turn(""))
                parts = [part for part in (turns[-1].response, content) if part]
                turns[-1].response = cut("\n\n".join(parts), self.history_max_assistant_trace_chars)
            elif role == "tool":
                body = cut(content, self.history_tool_result_max_chars)
                if turns:
                    before = turns[-1].response + "\n" if turns[-1].response else ""
                    whole = f"{before}[Tool result]\n{body}"
                    turns[-1].response = cut(whole, self.history_max_assistant_trace_chars)
        return turns


def without_middle(text: str, most: int, head_share: float) -> str:
    """A long text without its middle, in about so many characters; a mark says how many are missing.

    Example:
        >>> len(without_middle("a" * 5000, 1000, 0.62)) < 1000
        True
    """
    budget = most - 128  # what the mark may take
    if budget < 400:
        return text[: max(0, most - 48)] + f"\n…[truncated — {_NAME}]…"
    head = max(200, int(budget * min(0.85, max(0.35, head_share))))
    tail = max(200, budget - head)
    head = max(200, budget - tail)
    missing = len(text) - head - tail
    if missing <= 0:
        return text
    mark = f"[··· {missing} chars omitted from middle; head+tail preserved — {_NAME}]"
    return f"{text[:head]}\n\n{mark}\n\n{text[-tail:]}"


def _flat(op: AgentDialogNormalizeMapper, turns: Sequence[_Turn]) -> str:
    lines = list[str]()
    for turn in turns:
        lines += [f"{op.user_label}: {turn.query}"] if turn.query else []
        lines += [f"{op.assistant_label}: {turn.response}"] if turn.response else []
    return "\n\n".join(lines)


def _called(message: Mapping[str, Any]) -> str:
    names = list(dict.fromkeys(name for call in tool_calls(message) if (name := tool_name(call))))
    if not names:
        return ""
    more = [f"...+{len(names) - _MOST_NAMES}"] if len(names) > _MOST_NAMES else []
    return "[Tool calls: " + ", ".join(names[:_MOST_NAMES] + more) + "]"


def _chosen(choices: object) -> str:
    for choice in dicts(choices):
        message = choice.get("message") or choice.get("delta") or choice
        content = cast("Mapping[str, Any]", message).get("content") if isinstance(message, dict) else None
        text = said(content) if isinstance(content, (str, list)) else ""
        if text:
            return text
    return ""


def _skills(messages: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for message in messages:
        text = said(message.get("content"))
        for pattern in _SKILLS:
            for found in pattern.finditer(text):
                yield found[1].strip()


def _unique(names: Iterable[str]) -> list[str]:
    """Names in the order in which they came; one empty name where there is none, as in Data-Juicer."""
    return list(dict.fromkeys(stripped for name in names if (stripped := name.strip()))) or [""]
