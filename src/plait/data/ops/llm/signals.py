"""Signs that a session of an agent went wrong, from what other operations found out about it. No model is asked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import polars as pl

from plait.data.batch import Batch
from plait.data.names import STATS
from plait.data.op import Mapper
from plait.data.ops.llm.mapper import Row
from plait.data.ops.llm.meta import meta_of, with_meta
from plait.errors import DataError

VERDICTS = (
    "dialog_memory_consistency",
    "dialog_coreference",
    "dialog_topic_shift",
    "dialog_error_recovery",
    "dialog_clarification_quality",
    "dialog_proactivity",
    "dialog_non_repetition",
    "agent_trace_coherence",
    "agent_tool_relevance",
)
"""Names in the meta of what judges gave 1 to 5 points."""

_NEGATIVE = ("负面", "negative", "angry", "沮丧", "不满", "frustrated", "disappointed", "unhappy")
_TOOL_ERRORS = "tool_message_error_pattern"
_LOW_MARKS = ("llm_agent_analysis_eval_low", "llm_reply_quality_eval_low")
_SIGNAL = pl.Struct({"code": pl.String, "detail": pl.String, "weight": pl.String})


class Signal(NamedTuple):
    """One sign, with what it was read from and how much it says."""

    code: str
    detail: str
    weight: Literal["high", "medium"]


class AgentBadCaseSignalMapper(Mapper):
    """Lists signs that a session of an agent went wrong, and sorts it into a tier for people to look at.

    ``high_precision`` follows from a tool that failed, or from low marks with the advice to discard; ``watchlist`` from
    one weaker sign alone, or from ``min_medium_signals_for_watchlist`` of them. What filters before it measured counts
    too, and the column ``__dj__stats__`` where the rows have one.

    Example:
        - agent_bad_case_signal_mapper: {min_tool_fail_count_for_signal: 2}

    Source: Data-Juicer 1.6.1, ``agent_bad_case_signal_mapper``; there thresholds that cannot be read from
    ``calibration_json_path`` are left out with a warning, here they are an error.
    """

    cost = "python"
    needs = frozenset({"fields"})

    stats_key: Literal["__dj__stats__"] = STATS
    """Column of what filters measured."""
    query_key: str = "query"
    """Field of the request."""
    response_key: str = "response"
    """Field of the reply."""
    signal_on_tool_fail: bool = True
    """Count failed tools."""
    min_tool_fail_count_for_signal: int = 1
    """Fewest failures that are a sign; at least 1."""
    signal_on_low_tool_success_ratio: bool = True
    """Look at the share of calls that succeeded."""
    tool_success_ratio_max_for_signal: float = 0.499
    """Largest share that is a sign."""
    min_tool_rounds_for_ratio_signal: int = 2
    """Fewest calls of tools for it."""
    signal_on_suspect_empty_response: bool = True
    """Look for short replies to long requests."""
    min_query_len_for_empty_check: int = 80
    """Shortest such request, in characters."""
    max_response_len_for_empty_check: int = 20
    """Longest such reply, in characters."""
    max_total_tokens: int | None = None
    """More tokens are a sign."""
    max_latency_ms: int | None = None
    """More milliseconds are a sign."""
    calibration_json_path: str | None = None
    """File of thresholds by model: ``{"default": {"max_total_tokens": …}, "by_request_model": {"m": {…}}}``."""
    auto_calibrate_thresholds: bool = False
    """Read thresholds from that file."""
    calibration_manual_overrides_auto: bool = True
    """Thresholds given here go before those of the file."""
    auto_enable_perplexity_from_calibration: bool = True
    """A ``perplexity_high_threshold`` in the file switches the look at perplexity on."""
    signal_on_llm_analysis_low: bool = True
    """Look at the score of ``llm_analysis_filter``."""
    llm_analysis_score_max_for_bad: float = 0.28
    """Largest score that is a sign."""
    llm_analysis_discard_must_be_strict: bool = True
    """Only where the model advised to discard."""
    high_precision_llm_analysis_discard_threshold: float = 0.24
    """Largest score that, with that advice, is a strong sign."""
    signal_on_llm_text_quality_low: bool = True
    """Look at the score of ``llm_quality_score_filter``."""
    llm_text_quality_score_max_for_bad: float = 0.28
    """Largest score that is a sign."""
    llm_text_quality_discard_must_be_strict: bool = True
    """Only where the model advised to discard."""
    high_precision_llm_text_quality_discard_threshold: float = 0.24
    """Largest score that, with that advice, is a strong sign."""
    signal_on_negative_sentiment_hint: bool = False
    """Look for words of displeasure in the labels of ``dialog_sentiment_detection_mapper``."""
    negative_sentiment_substrings: tuple[str, ...] | None = None
    """Those words; eight by default."""
    signal_on_high_perplexity: bool = False
    """Look at the perplexity."""
    perplexity_high_threshold: float = 800.0
    """Smallest perplexity that is a sign."""
    signal_hard_query_poor_reply: bool = False
    """Look for difficult requests with poor replies, by the scores of the filters with those names."""
    hard_query_difficulty_min: float = 0.72
    """Smallest such difficulty."""
    poor_reply_quality_max: float = 0.36
    """Largest such quality."""
    high_precision_on_tool_fail_alone: bool = True
    """Failed tools alone make ``high_precision``, otherwise ``watchlist``."""
    min_medium_signals_for_watchlist: int = 2
    """Fewest weaker signs that make ``watchlist``."""
    signal_on_low_dialog_quality_meta: bool = True
    """Look at the verdicts of judges."""
    dialog_quality_low_score_threshold: float = 2.0
    """Most points that are low."""
    min_dialog_quality_low_axes_for_signal: int = 1
    """Fewest low verdicts that are a sign; at least 1."""

    def apply(self, batch: Batch) -> Batch:
        """The batch with signs and tier in its meta."""
        found = [self.signals(row) for row in batch.frame.to_dicts()]
        signals, tier = "agent_bad_case_signals", "agent_bad_case_tier"
        values = {signals: [[sign._asdict() for sign in signs] for signs in found], tier: list(map(self.tier, found))}
        return with_meta(batch, values, {signals: pl.List(_SIGNAL), tier: pl.String})

    def signals(self, row: Row) -> list[Signal]:
        """The signs of one session, the rules in Data-Juicer's order."""
        meta, stats = meta_of(row), row.get(self.stats_key) or {}
        bounds = self.thresholds(str(meta.get("agent_request_model") or "").strip())
        return [
            *self._of_tools(meta),
            *self._of_reply(row),
            *_above("high_token_usage", "total_tokens", meta.get("total_tokens"), bounds["max_total_tokens"]),
            *_above("high_latency_ms", "total_cost_time_ms", meta.get("agent_total_cost_time_ms"),
                    bounds["max_latency_ms"]),
            *self._of_marks(stats),
            *self._of_mood(meta),
            *self._of_numbers(stats, bounds["perplexity_high_threshold"]),
            *self._of_verdicts(meta),
        ]  # fmt: skip

    def tier(self, signals: Sequence[Signal]) -> str:
        """``high_precision``, ``watchlist`` or ``none``.

        Example:
            >>> op = AgentBadCaseSignalMapper()
            >>> op.tier([Signal("high_latency_ms", "", "medium")]), op.tier([])
            ('watchlist', 'none')
        """
        strong = {sign.code for sign in signals if sign.weight == "high"}
        if _TOOL_ERRORS in strong:
            return "high_precision" if self.high_precision_on_tool_fail_alone else "watchlist"
        if strong.intersection(_LOW_MARKS):
            return "high_precision"
        weak = len(signals) - len(strong)
        return "watchlist" if weak >= self.min_medium_signals_for_watchlist or len(signals) == weak == 1 else "none"

    def thresholds(self, model: str) -> Mapping[str, float | None]:
        """The bounds for a session with a model, ``None`` where there is none: those given here and in the file."""
        own = {
            "max_total_tokens": self.max_total_tokens,
            "max_latency_ms": self.max_latency_ms,
            "perplexity_high_threshold": self.perplexity_high_threshold if self.signal_on_high_perplexity else None,
        }
        if not (self.auto_calibrate_thresholds and self.calibration_json_path):
            return own
        read = read_thresholds(Path(self.calibration_json_path).expanduser(), model)
        if not (self.signal_on_high_perplexity or self.auto_enable_perplexity_from_calibration):
            read = {**read, "perplexity_high_threshold": None}
        first, second = (own, read) if self.calibration_manual_overrides_auto else (read, own)
        return {name: second.get(name) if first.get(name) is None else first[name] for name in own}

    def _of_tools(self, meta: Mapping[str, Any]) -> list[Signal]:
        failed, succeeded = (int(meta.get(name) or 0) for name in ("tool_fail_count", "tool_success_count"))
        signals, ratio = list[Signal](), meta.get("tool_success_ratio")
        if self.signal_on_tool_fail and failed >= max(1, self.min_tool_fail_count_for_signal):
            signals.append(Signal(_TOOL_ERRORS, f"tool_fail_count={failed}", "high"))
        enough = succeeded + failed >= self.min_tool_rounds_for_ratio_signal
        low = ratio is not None and float(ratio) <= self.tool_success_ratio_max_for_signal
        if self.signal_on_low_tool_success_ratio and enough and low:
            detail = f"ratio={ratio}, success={succeeded}, fail={failed}"
            signals.append(Signal("low_tool_success_ratio", detail, "medium"))
        return signals

    def _of_reply(self, row: Row) -> list[Signal]:
        said, reply = (len(str(row.get(key) or "").strip()) for key in (self.query_key, self.response_key))
        long = said >= self.min_query_len_for_empty_check
        if not (self.signal_on_suspect_empty_response and long and reply <= self.max_response_len_for_empty_check):
            return []
        return [Signal("suspect_empty_or_trivial_final_response", f"query_len={said}, response_len={reply}", "medium")]

    def _of_marks(self, stats: Mapping[str, Any]) -> list[Signal]:
        rules = (
            (self.signal_on_llm_analysis_low, "llm_analysis", self.llm_analysis_score_max_for_bad,
             self.llm_analysis_discard_must_be_strict, self.high_precision_llm_analysis_discard_threshold),
            (self.signal_on_llm_text_quality_low, "llm_quality", self.llm_text_quality_score_max_for_bad,
             self.llm_text_quality_discard_must_be_strict, self.high_precision_llm_text_quality_discard_threshold),
        )  # fmt: skip
        signals = list[Signal]()
        for code, (on, name, most, strict, strong) in zip(_LOW_MARKS, rules, strict=True):
            score, advice = _number(stats.get(f"{name}_score")), _advice(stats.get(f"{name}_record"))
            if not on or score is None or score > most or (strict and advice != "discard"):
                continue
            weight = "high" if score <= strong and advice == "discard" else "medium"
            signals.append(Signal(code, f"score={score}, recommendation={advice or 'n/a'}", weight))
        return signals

    def _of_mood(self, meta: Mapping[str, Any]) -> list[Signal]:
        labels = meta.get("dialog_sentiment_labels")
        if not self.signal_on_negative_sentiment_hint or not isinstance(labels, list):
            return []
        said = " ".join(str(label).lower() for label in cast("list[object]", labels))
        words = self.negative_sentiment_substrings or _NEGATIVE
        hint = any(word.lower() in said for word in words) and bool(labels)
        return [Signal("negative_sentiment_label_hint", f"labels={labels[:6]}", "medium")] if hint else []

    def _of_numbers(self, stats: Mapping[str, Any], most: float | None) -> list[Signal]:
        names = ("perplexity", "llm_difficulty_score", "llm_quality_score")
        perplexity, difficulty, quality = (_number(stats.get(name)) for name in names)
        signals = list[Signal]()
        if most is not None and perplexity is not None and perplexity >= most:
            signals.append(Signal("high_perplexity", f"perplexity={perplexity}", "medium"))
        hard = difficulty is not None and difficulty >= self.hard_query_difficulty_min
        poor = quality is not None and quality <= self.poor_reply_quality_max
        if self.signal_hard_query_poor_reply and hard and poor:
            detail = f"difficulty={difficulty}, llm_quality_score={quality}"
            signals.append(Signal("hard_query_low_reply_quality_conjunction", detail, "medium"))
        return signals

    def _of_verdicts(self, meta: Mapping[str, Any]) -> list[Signal]:
        most, low = float(self.dialog_quality_low_score_threshold), list[str]()
        for name in VERDICTS:
            verdict = meta.get(name)
            if not isinstance(verdict, dict) or verdict.get("skipped") or verdict.get("error"):
                continue
            points = _number(verdict.get("score"))
            if points is not None and points <= most:
                low.append(name)
        enough = len(low) >= max(1, self.min_dialog_quality_low_axes_for_signal)
        if not (self.signal_on_low_dialog_quality_meta and enough):
            return []
        return [Signal("dialog_turn_quality_meta_low", f"axes={low}, threshold={most}", "medium")]


def read_thresholds(path: Path, model: str) -> Mapping[str, float | None]:
    """The thresholds of a file for a model: its own go before those for all.

    Raises:
        DataError: There is no such file, or it holds something else.
    """
    try:
        default, by_model = _read(path, path.stat().st_mtime_ns)
        return {**default, **by_model.get(model, {})}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"the thresholds cannot be read: {error}",
            code="data.bad-thresholds",
            where=str(path),
            hint='they look like {"default": {"max_total_tokens": 9000}, "by_request_model": {"m": {…}}}',
        ) from error


@lru_cache(maxsize=4)
def _read(path: Path, changed_ns: int) -> tuple[dict[str, float | None], dict[str, dict[str, float | None]]]:
    del changed_ns  # another time of change is another file
    whole = json.loads(path.read_text(encoding="utf-8"))
    by_model = (whole.get("by_request_model") or {}).items()
    return _bounds(whole.get("default") or {}), {name: _bounds(row) for name, row in by_model}


def _bounds(row: Mapping[str, Any]) -> dict[str, float | None]:
    whole = {name: row.get(name) for name in ("max_total_tokens", "max_latency_ms") if name in row}
    bounds: dict[str, float | None] = {name: None if value is None else int(value) for name, value in whole.items()}
    if "perplexity_high_threshold" in row:
        most = row["perplexity_high_threshold"]
        bounds["perplexity_high_threshold"] = None if most is None else float(most)
    return bounds


def _above(code: str, name: str, value: Any, most: float | None) -> list[Signal]:
    if most is None or value is None or int(value) <= most:
        return []
    return [Signal(code, f"{name}={value}", "medium")]


def _number(value: Any) -> float | None:
    """A number, or ``None`` where there is none; filters give NaN where a model gave no usable answer."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number


def _advice(record: Any) -> str:
    """What a record of marks recommends, in lower case; empty where it says nothing."""
    if isinstance(record, str):
        try:
            record = json.loads(record)
        except ValueError:
            return ""
    advice = cast("Mapping[str, Any]", record).get("recommendation") if isinstance(record, Mapping) else None
    if isinstance(advice, Sequence) and not isinstance(advice, str) and advice:
        advice = advice[0]
    return "" if advice is None else str(cast("object", advice)).strip().strip('"').lower()
