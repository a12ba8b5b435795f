"""Signs that a session went wrong: by hand; `make parity` compares them with Data-Juicer's."""

from __future__ import annotations

import json

import polars as pl
import pyarrow as pa
import pytest

from plait.core.quarantine import Quarantine
from plait.data.batch import Batch
from plait.data.blocks import TableBlock
from plait.data.execute import execute
from plait.data.ops.llm.meta import META
from plait.data.ops.llm.signals import AgentBadCaseSignalMapper
from plait.engines import LocalEngine
from plait.errors import DataError


def told(op: AgentBadCaseSignalMapper, **row: object) -> tuple[list[str], str]:
    [meta] = op.apply(Batch.of(pl.DataFrame([row], strict=False))).column(META).to_list()
    signs = [f"{sign['code']}: {sign['detail']} ({sign['weight']})" for sign in meta["agent_bad_case_signals"]]
    return signs, meta["agent_bad_case_tier"]


def test_a_tool_that_failed_is_a_strong_sign():
    meta = {"tool_fail_count": 2, "tool_success_count": 1, "tool_success_ratio": 1 / 3}
    signs = [
        "tool_message_error_pattern: tool_fail_count=2 (high)",
        f"low_tool_success_ratio: ratio={1 / 3}, success=1, fail=2 (medium)",
    ]
    assert told(AgentBadCaseSignalMapper(), **{META: meta}) == (signs, "high_precision")
    assert told(AgentBadCaseSignalMapper(min_tool_fail_count_for_signal=3), **{META: meta}) == (signs[1:], "watchlist")


def test_nothing_known_is_no_sign():
    assert told(AgentBadCaseSignalMapper(), query="q") == ([], "none")


def test_low_marks_count_with_the_advice_to_discard():
    marks = {"llm_quality_score": 0.2, "llm_quality_record": json.dumps({"recommendation": ["discard"]})}
    sign = "llm_reply_quality_eval_low: score=0.2, recommendation=discard (high)"
    assert told(AgentBadCaseSignalMapper(), __dj__stats__=marks) == ([sign], "high_precision")
    keep = {**marks, "llm_quality_record": json.dumps({"recommendation": ["keep"]})}
    assert told(AgentBadCaseSignalMapper(), __dj__stats__=keep) == ([], "none")
    missing = {**marks, "llm_quality_score": float("nan")}
    assert told(AgentBadCaseSignalMapper(), __dj__stats__=missing) == ([], "none")


def test_what_a_filter_before_it_measured_counts(tmp_path):
    tags = {"topic": "t", "style": "s"}
    answer = {"dimension_scores": {"clarity": 1}, "tags": tags, "flags": [], "rationale": "r"}
    rule = {"pattern": "", "answer": json.dumps({**answer, "recommendation": ["discard"]})}
    marks = {"dim_required_keys": ["clarity"], "min_score": 0.1, "model": {"use": "scripted", "rules": [rule]}}
    ops = [{"llm_analysis_filter": marks}, {"agent_bad_case_signal_mapper": {}}]
    block = TableBlock(pa.table({"text": ["a b c"], "id": ["0"]}))
    with LocalEngine(workers=1) as engine:
        done = execute(ops, [block], folder=tmp_path, engine=engine, quarantine=Quarantine(tmp_path / "q.jsonl"))
    [frame] = done.frames()
    assert frame[META].struct.field("agent_bad_case_tier").to_list() == ["high_precision"]
    assert "__dj__stats__" not in frame.columns


def test_thresholds_of_a_file(tmp_path):
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps({"default": {"max_total_tokens": 5}, "by_request_model": {"m": {"max_latency_ms": 1}}}))
    op = AgentBadCaseSignalMapper(auto_calibrate_thresholds=True, calibration_json_path=str(path))
    assert op.thresholds("m") == {"max_total_tokens": 5, "max_latency_ms": 1, "perplexity_high_threshold": None}
    assert op.model_copy(update={"max_total_tokens": 9}).thresholds("other")["max_total_tokens"] == 9
    signs, tier = told(op, **{META: {"total_tokens": 6}})
    assert (signs, tier) == (["high_token_usage: total_tokens=6 (medium)"], "watchlist")
    for bad in ("[]", '{"default": {"max_total_tokens": "many"}}', "{"):
        path.write_text(bad + " " * len(path.read_text()))  # another size is another file
        with pytest.raises(DataError, match="thresholds cannot be read"):
            told(op, query="q")
    path.unlink()
    with pytest.raises(DataError, match="thresholds cannot be read"):
        told(op, query="q")
