"""Deduplicators inside a run decide the same whatever the chunks, and as they do on one batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plait.core.quarantine import Quarantine
from plait.data.batch import Batch, RowsInMemory
from plait.data.execute import execute
from plait.data.op import Deduplicator
from plait.data.ops.duplicates.lines import DocumentLineDeduplicator
from plait.data.plan import read_ops
from plait.engines import LocalEngine
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
