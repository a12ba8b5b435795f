"""The default model answers operations for real."""

from __future__ import annotations

import pytest

from plait.data.batch import Batch
from plait.data.ops.llm.line import line_to
from plait.data.ops.llm.meta import META
from plait.data.ops.llm.tags import TEXT_TAGS, TextTaggingByPromptMapper
from plait.llm import LocalModel

pytestmark = pytest.mark.model


def test_texts_are_tagged_in_one_batch() -> None:
    op = TextTaggingByPromptMapper(
        tag_list=("travel", "food"), model=LocalModel(window_ms=200), sampling_params={"max_tokens": 16}
    )
    after = op.apply(Batch.of_texts(["The ship sailed to Oslo.", "Bread is baked from flour.", ""]))
    first, second, empty = after.column(TEXT_TAGS).to_list()
    assert first[0] in op.tag_list
    assert second[0] in op.tag_list
    assert empty is None
    statuses = after.column(f"{META}.text_tagging_by_prompt_status").to_list()
    assert statuses == ["ok", "ok", "not asked"]
    counts = line_to(op.chat()).model.counts
    assert (counts.calls, counts.batches) == (2, 1)
