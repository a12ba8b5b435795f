"""Taggers of agent runs: which tool calls succeeded, how many tokens were used."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, cast

import polars as pl

from plait.data.op import Cost, Mapper, Need
from plait.data.ops.llm.meta import with_meta
from plait.data.ops.rewrite.contents import dicts, returned, role_of
from plait.data.ops.rewrite.rows import fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plait.data.batch import Batch

_SUCCESS = (r"(?i)wrote\s+\d+\s*bytes", r"(?i)^(?:success|ok)(?:\s|$)", r"(?i)\bsuccessfully\b")
_ERROR = (
    r"(?i)\berror\s*:",
    r"(?i)\b(?:exception|failed|failure)\b",
    r"(?i)not\s+found|permission\s+denied",
    r"(?:执行|操作|请求|调用|接口)失败|(?:发生|出现)错误",
    r"错误码|无法访问|权限不足|无权限|找不到",
)
_RESULT = pl.List(pl.Struct({"content_preview": pl.String, "result": pl.String}))
_TYPES = {
    "tool_success_count": pl.Int64,
    "tool_fail_count": pl.Int64,
    "tool_unknown_count": pl.Int64,
    "tool_success_ratio": pl.Float64,
}


class ToolSuccessTaggerMapper(Mapper):
    """Counts the tool calls of a conversation that succeeded and that failed, by what the tools returned.

    What matches an error pattern failed; an empty result says nothing; any other succeeded.

    Example:
        - tool_success_tagger_mapper: {messages_key: messages}

    Source: Data-Juicer 1.6.1, ``tool_success_tagger_mapper``.
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"fields"})

    messages_key: str = "messages"
    """Field with the conversation."""
    tool_role_names: list[str] | None = None
    """Roles of what tools return; ``null`` for ``tool`` and ``tool_use``."""
    success_patterns: list[str] | None = None
    """Regular expressions of Python's of success; ``null`` for the usual words."""
    error_patterns: list[str] | None = None
    """Regular expressions of Python's of failure, looked for first; ``null`` for the usual words."""
    store_per_tool_results: bool = True
    """Also keep what was decided of each result."""

    def apply(self, batch: Batch) -> Batch:
        """Reads every message with a tool's role."""
        errors = [re.compile(pattern) for pattern in self.error_patterns or _ERROR]
        successes = [re.compile(pattern) for pattern in self.success_patterns or _SUCCESS]
        roles = self.tool_role_names or ["tool", "tool_use"]
        results = list[list[dict[str, str]]]()
        for messages in batch.column(self.messages_key).to_list():
            told = [returned(m.get("content")) for m in dicts(messages) if role_of(m) in roles]
            results.append([{"content_preview": t[:200], "result": _verdict(t, errors, successes)} for t in told])
        counts = {
            label: [sum(r["result"] == label for r in row) for row in results]
            for label in ("success", "error", "unknown")
        }
        pairs = zip(counts["success"], counts["error"], strict=True)
        values: dict[str, Sequence[Any]] = {
            "tool_success_count": counts["success"],
            "tool_fail_count": counts["error"],
            "tool_unknown_count": counts["unknown"],
            "tool_success_ratio": [good / (good + bad) if good + bad else None for good, bad in pairs],
        }
        if self.store_per_tool_results:
            return with_meta(batch, values | {"tool_results": results}, _TYPES | {"tool_results": _RESULT})
        return with_meta(batch, values, _TYPES)


class UsageCounterMapper(Mapper):
    """Adds up the tokens that an answer's usage tells of, wherever its platform puts it.

    Example:
        - usage_counter_mapper: {usage_key: usage, choices_key: choices}

    Source: Data-Juicer 1.6.1, ``usage_counter_mapper``.
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"fields"})

    choices_key: str = "choices"
    """Field with the answers, each of which may tell of its usage."""
    usage_key: str = "usage"
    """Field with the usage of the whole."""
    response_metadata_key: str = "response_metadata"
    """Field with facts on the answer, usage among them."""
    dedupe_identical_usage: bool = True
    """Count a usage once that is told in several places."""

    def apply(self, batch: Batch) -> Batch:
        """Reads row by row."""
        totals = [self._total(row) for row in fields_of(batch)]
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        values = {name: [total[i] for total in totals] for i, name in enumerate(names)}
        return with_meta(batch, values, dict.fromkeys(names, pl.Int64))

    def _total(self, row: Mapping[str, Any]) -> tuple[int, int, int | None]:
        places = list[object]()
        if self.usage_key in row:
            places.append(row[self.usage_key] if isinstance(row[self.usage_key], dict) else row)
        places.append(row.get(self.response_metadata_key) or {})
        for choice in dicts(row.get(self.choices_key)):
            places.append(choice)
            places.append(choice.get("message") or choice.get("delta"))
        told = [_usage(cast("Mapping[str, Any]", place)) for place in places if isinstance(place, dict)]
        if self.dedupe_identical_usage:
            told = _unique(told)
        prompt, completion = sum(p for p, _, _ in told), sum(c for _, c, _ in told)
        total = next((t for _, _, t in told if t is not None), None)
        return prompt, completion, (prompt + completion or None) if total is None else total


def _unique(told: Sequence[tuple[int, int, int | None]]) -> list[tuple[int, int, int | None]]:
    """Usages without repeats, the first of each; a total that is not told counts as what it must be."""
    seen = dict[tuple[int, int, int], tuple[int, int, int | None]]()
    for prompt, completion, total in told:
        known = prompt + completion if total is None else total
        seen.setdefault((prompt, completion, known), (prompt, completion, total))
    return list(seen.values())


def _verdict(told: str, errors: Sequence[re.Pattern[str]], successes: Sequence[re.Pattern[str]]) -> str:
    if not told:
        return "unknown"
    if any(pattern.search(told) for pattern in errors):
        return "error"
    del successes  # what is neither empty nor an error counts as a success anyway, as in Data-Juicer
    return "success"


def _usage(place: Mapping[str, Any]) -> tuple[int, int, int | None]:
    """Tokens of the prompt, of the answer, and of both if that is told."""
    inner = place.get("usage") or place.get("usage_metadata") or {}
    usage: Mapping[str, Any] = inner if isinstance(inner, dict) else {}
    named = ("prompt_tokens", "completion_tokens")
    if all(usage.get(n) is None for n in named) and any(place.get(n) is not None for n in named):
        usage = place
    return (
        int(usage.get("prompt_tokens") or usage.get("input_tokens") or 0),
        int(usage.get("completion_tokens") or usage.get("output_tokens") or 0),
        usage.get("total_tokens"),
    )
