"""Deduplicators inside a run decide the same whatever the chunks, and as they do on one batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from plait.core.quarantine import Quarantine
from plait.data.batch import Batch, RowsInMemory
from plait.data.blocks import TableBlock
from plait.data.execute import execute
from plait.data.op import Deduplicator
from plait.data.ops.duplicates.lines import DocumentLineDeduplicator
from plait.data.plan import read_ops
from plait.engines import LocalEngine
from plait.errors import DataError
from toy_ops import ListBlock

RANDOM = np.random.default_rng(5)
BASE = ["\n".join(" ".join(RANDOM.choice(list("abcdefgh"), 12)) for _ in range(4)) + "\nfooter" for _ in range(30)]
TEXTS = BASE + BASE[:6] + [f"{text} end" for text in BASE[6:14]]
ROWS = [(f"d{i:02}", text) for i, text in enumerate(TEXTS)]


def run(name: str, size: int, folder: Path) -> list[tuple[str, str]]:
    blocks = [ListBlock(tuple(ROWS[i : i + size])) for i in range(0, len(ROWS), size)]
    with LocalEngine(workers=2) as engine:
        done = execute([name], blocks, folder=folder, engine=engine, quarantine=Quarantine(folder / "q.jsonl"))
        return [row for frame in done.frames() for row in frame.select("id", "text").rows()]


@pytest.mark.parametrize(
    "name",
    [
        "document_deduplicator",
        "document_minhash_deduplicator",
        "document_simhash_deduplicator",
        "document_line_deduplicator",
    ],
)
def test_chunks_do_not_matter(name: str, tmp_path: Path) -> None:
    [(_, op)] = read_ops([name])
    assert isinstance(op, Deduplicator)
    batch = Batch.of_texts(TEXTS)
    decision = op.decide(RowsInMemory(op, batch))
    texts = batch.text()
    if isinstance(op, DocumentLineDeduplicator):
        assert decision.state is not None
        texts = op.rewrite(batch, decision.state)
    dropped = set(decision.position.tolist())
    expected = [(ROWS[i][0], text) for i, text in enumerate(texts) if i not in dropped]
    assert expected != ROWS
    for size in (7, 100):
        (tmp_path / str(size)).mkdir()
        assert run(name, size, tmp_path / str(size)) == expected


def test_a_dot_leads_into_a_struct_here_too(tmp_path: Path) -> None:
    """Texts to verify and scores come from the field that is named, not from another."""
    rows = [{"id": f"d{i}", "data": {"text": BASE[i // 3], "score": i % 3}, "last": f"{i} " * i} for i in range(9)]
    settings = {"text_key": "data.text", "keep": "best", "score_key": "data.score"}
    decided = _kept([{"document_minhash_deduplicator": settings}], rows, tmp_path)
    assert decided == ["d2", "d5", "d8"]


def test_a_field_that_is_not_there_is_told(tmp_path: Path) -> None:
    rows = [{"id": f"d{i}", "text": BASE[0], "meta": {"a": 1}} for i in range(2)]
    for name in ("score", "meta.b", "text.b"):
        with pytest.raises(DataError, match=f'no field "{name}"'):
            _kept([{"document_deduplicator": {"keep": "best", "score_key": name}}], rows, tmp_path)


def test_a_changed_evaluation_set_is_looked_at_again(tmp_path: Path) -> None:
    """A run goes on from what is on disk, but not from results of another evaluation set."""
    path, rows = tmp_path / "set.jsonl", [{"id": f"d{i}", "text": BASE[i]} for i in range(2)]
    for gone, left in (("d0", "d1"), ("d1", "d0")):
        text = next(row["text"] for row in rows if row["id"] == gone)
        path.write_text(json.dumps({"text": text}) + "\n")
        assert _kept([{"decontamination_filter": {"path": [str(path)], "ngram": 40}}], rows, tmp_path) == [left]


def _kept(ops: list[Any], rows: list[dict[str, Any]], folder: Path) -> list[str]:
    with LocalEngine(workers=1) as engine:
        done = execute(
            ops,
            [TableBlock(pa.Table.from_pylist(rows))],
            folder=folder,
            engine=engine,
            quarantine=Quarantine(folder / "q.jsonl"),
        )
        return [name for frame in done.frames() for name in frame["id"]]
