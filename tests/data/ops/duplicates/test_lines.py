"""Lines of many documents: counted once per document, exempt where the rules say, taken out."""

from __future__ import annotations

import re
import string
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.batch import Batch, RowsInMemory
from plait.data.ops.duplicates.lines import DocumentLineDeduplicator

lines = st.text(st.sampled_from("aB1 #<>/{}[]();\\\t\r\xa0\u2003ſKé."), max_size=8) | st.sampled_from(
    ["\\begin{x}", "\\end{x}", "<br/>", "<p>text", "<a href=1>", "# title", "};", " a ", "<b> "]
)
texts = st.lists(st.lists(lines, max_size=6).map("\n".join), max_size=8)


def exempt(line: str, op: DocumentLineDeduplicator) -> bool:
    """The rules as they are published."""
    bare = line.strip()
    tag = re.compile(r"^\s*</?[a-z][a-z0-9]*[^>]*>?\s*$", re.IGNORECASE)
    return (
        len(bare) < op.min_line_length
        or (op.skip_brackets and all(c in "{}[]();" for c in bare))
        or (op.skip_markdown_headers and bare.startswith("#"))
        or (op.skip_latex_env and bool(re.match(r"^\s*\\(begin|end)\{", bare)))
        or (op.skip_html_tags and bool(tag.match(bare)))
    )


def compared(line: str, op: DocumentLineDeduplicator) -> str:
    line = line.lower() if op.lowercase else line
    if op.ignore_special_character:
        line = re.sub(rf"\s+|\d+|[{re.escape(string.punctuation)}]", "", line)
    return line.strip()


def published(documents: list[str], op: DocumentLineDeduplicator) -> list[str]:
    count = Counter[str]()
    for text in documents:
        count.update({compared(line, op) for line in text.split("\n") if not exempt(line, op)})

    def stays(line: str) -> bool:
        return exempt(line, op) or count[compared(line, op)] <= op.frequency_threshold

    return ["\n".join(filter(stays, text.split("\n"))) for text in documents]


def deduplicated(documents: list[str], op: DocumentLineDeduplicator, memory: int | None = None) -> list[str]:
    batch = Batch.of_texts(documents)
    rows = RowsInMemory(op, batch)
    rows.memory_bytes = memory or rows.memory_bytes
    found = op.decide(rows)
    assert not len(found.position)
    assert found.state is not None
    return op.rewrite(batch, found.state).to_list()


@pytest.mark.parametrize(
    "op",
    [
        DocumentLineDeduplicator(frequency_threshold=1),
        DocumentLineDeduplicator(frequency_threshold=2, lowercase=True, min_line_length=1),
        DocumentLineDeduplicator(frequency_threshold=1, ignore_special_character=True, skip_brackets=False),
        DocumentLineDeduplicator(
            frequency_threshold=1,
            min_line_length=0,
            skip_html_tags=False,
            skip_latex_env=False,
            skip_markdown_headers=False,
        ),
    ],
)
@settings(deadline=None, max_examples=60)
@given(documents=texts)
def test_as_published(op: DocumentLineDeduplicator, documents: list[str]) -> None:
    assert deduplicated(documents, op) == published(documents, op)


def test_memory_does_not_matter() -> None:
    documents = [f"line {i % 5}\nline {i % 7}\nown {i}" for i in range(40)]
    op = DocumentLineDeduplicator(frequency_threshold=6)
    assert deduplicated(documents, op, memory=300) == deduplicated(documents, op) == published(documents, op)


def test_what_was_decided_holds_for_texts_in_other_batches(tmp_path: Path) -> None:
    op = DocumentLineDeduplicator(frequency_threshold=1)
    found = op.decide(RowsInMemory(op, Batch.of_texts(["same\none", "same\ntwo"]), scratch=tmp_path))
    assert found.facts["frequent_lines"] == 1
    assert found.state is not None
    assert len(np.load(found.state)) == 1
    assert op.rewrite(Batch.of_texts(["two\nsame", "none"]), found.state).to_list() == ["two", "none"]
    assert op.rewrite(Batch.of(pl.DataFrame({"text": pl.Series([], dtype=pl.String)})), found.state).to_list() == []
