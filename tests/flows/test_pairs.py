"""The stage data.pairs on a tiny model: what it writes and drops, that splits never meet, that a kill costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from align.tiny_models import save_tiny_language_model
from plait.core.hashing import hash_path
from plait.core.io import read_table, write_table
from plait.core.seeds import Seeds
from plait.core.stage import StageContext
from plait.errors import DataError, UsageError
from plait.flows.pairs import Pairs
from plait.records import DOCUMENT, PREFERENCE_PAIR

# A token of the tiny model is a byte, and its words are random bytes: completions are long enough to hold some.
SMALL: dict[str, Any] = {"train": 6, "heldout": 3, "prompt_tokens": 60, "completion_tokens": 60, "chunk": 4}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_language_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def quiet_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "delta", "of", "the", "a", "to"]
    rows = [
        {"id": f"doc-{i}", "text": " ".join(random.choice(words, 40)) + ".", "source": "test", "group": None}
        for i in range(80)
    ]
    rows.append({"id": "short", "text": "too short", "source": "test", "group": None})
    write_table(pa.Table.from_pylist(rows, DOCUMENT), tmp_path / "documents.parquet")
    return tmp_path / "documents.parquet"


def run(stage: Pairs, folder: Path, *, seed: int = 7) -> StageContext:
    context = StageContext(
        folder=folder, seeds=Seeds(seed).child("pairs"), engine=None, name="pairs", outputs=Pairs.outputs
    )
    stage.run(context)
    return context


def rows_of(context: StageContext, name: str) -> list[dict[str, str]]:
    table = read_table(context.output(name))
    assert table.schema == PREFERENCE_PAIR
    return table.to_pylist()


def test_pairs_continue_their_documents_and_splits_never_meet(tmp_path: Path, model: Path, documents: Path) -> None:
    context = run(Pairs(documents=documents, model=str(model), **SMALL), tmp_path / "stage")
    train, heldout = rows_of(context, "pairs"), rows_of(context, "heldout")
    assert (len(train), len(heldout)) == (6, 3)
    assert not {r["id"] for r in train} & {r["id"] for r in heldout}
    assert not {r["prompt"] for r in train} & {r["prompt"] for r in heldout}
    texts = {r["id"]: r["text"] for r in read_table(documents).to_pylist()}
    for pair in [*train, *heldout]:
        assert texts[pair["id"]].startswith(pair["prompt"] + pair["chosen"])
        assert len(pair["prompt"].encode()) <= 60
        assert pair["rejected"].strip()
        assert pair["rejected"] != pair["chosen"]
        assert pair["chosen"] == pair["chosen"].rstrip()
        assert pair["rejected"] == pair["rejected"].rstrip()
        assert pair["source"] == "test"
    assert context.report.facts["pairs written"] == 6
    means = context.report.facts["chosen, mean tokens"], context.report.facts["rejected, mean tokens"]
    assert abs(means[0] - means[1]) <= 3  # a word has five bytes, and cuts are at words


def test_the_split_of_a_document_does_not_depend_on_seed_or_neighbours(
    tmp_path: Path, model: Path, documents: Path
) -> None:
    stage = Pairs(documents=documents, model=str(model), **SMALL)
    first, second = run(stage, tmp_path / "a"), run(stage, tmp_path / "b", seed=8)
    trained = {r["id"] for context in (first, second) for r in rows_of(context, "pairs")}
    held = {r["id"] for context in (first, second) for r in rows_of(context, "heldout")}
    assert not trained & held
    assert rows_of(first, "pairs") != rows_of(second, "pairs")


def test_neither_order_of_documents_nor_chunk_changes_the_pairs(tmp_path: Path, model: Path, documents: Path) -> None:
    first = run(Pairs(documents=documents, model=str(model), **SMALL), tmp_path / "a")
    table = read_table(documents)
    write_table(table.take(np.random.default_rng(1).permutation(len(table))), tmp_path / "shuffled.parquet")
    second = run(
        Pairs(documents=tmp_path / "shuffled.parquet", model=str(model), **(SMALL | {"chunk": 3})), tmp_path / "b"
    )
    for name in Pairs.outputs:
        assert rows_of(first, name) == rows_of(second, name)


class _Speaker:
    """Stands in for the model's samples, to bring about every way a pair can be unusable."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers

    def __call__(self, lm: Any, prompts: Sequence[Any], **_: Any) -> list[Any]:
        from plait.models import Completion

        texts = [self.answers.get(lm.decode(list(prompt)), " fine " * 9) for prompt in prompts]
        return [Completion(text, (1,), (0.0,), "stop") for text in texts]


def test_unusable_completions_are_dropped_and_counted(
    tmp_path: Path, model: Path, documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import plait.models

    first, second, third, fourth, *_ = rows_of(
        run(Pairs(documents=documents, model=str(model), **SMALL), tmp_path / "a"), "pairs"
    )
    answers = {first["prompt"]: first["chosen"], second["prompt"]: "", third["prompt"]: " \n ", fourth["prompt"]: " x"}
    monkeypatch.setattr(plait.models, "generate", _Speaker(answers))
    context = run(Pairs(documents=documents, model=str(model), **SMALL), tmp_path / "b")
    [table] = context.report.tables
    counts = dict(map(tuple, table.rows))
    assert counts["rejected equals chosen"] == 1
    assert counts["rejected is empty"] == 2
    assert counts["rejected too short"] == 1
    assert not {r["prompt"] for r in rows_of(context, "pairs")} & set(answers)
    assert len(rows_of(context, "pairs")) == 6


def test_too_few_documents_are_said_and_none_is_an_error(tmp_path: Path, model: Path, documents: Path) -> None:
    # What a model with random weights says is of any length.
    many = SMALL | {"train": 200, "ops": ()}
    context = run(Pairs(documents=documents, model=str(model), **many), tmp_path / "a")
    assert any("of 200 pairs asked" in note for note in context.report.warnings)
    rows = [{"id": str(i), "text": "short", "source": "s", "group": None} for i in range(9)]
    write_table(pa.Table.from_pylist(rows, DOCUMENT), tmp_path / "short.parquet")
    with pytest.raises(DataError, match=r"data\.no-pairs"):
        run(Pairs(documents=tmp_path / "short.parquet", model=str(model), **SMALL), tmp_path / "b")


def test_pairs_pass_the_filters_asked_for(tmp_path: Path, model: Path, documents: Path) -> None:
    def log_ratios(context: StageContext) -> list[float]:
        return [np.log((len(p["chosen"]) + 1) / (len(p["rejected"]) + 1)) for p in rows_of(context, "pairs")]

    def stage(bound: float) -> Pairs:
        ops = ({"pair_length_bias_filter": {"min_log_ratio": -9, "max_log_ratio": bound}},)
        return Pairs(documents=documents, model=str(model), ops=ops, **SMALL)

    free = log_ratios(run(Pairs(documents=documents, model=str(model), **SMALL), tmp_path / "free"))
    bound = float(np.mean(free))
    assert min(free) < bound < max(free)
    context = run(stage(bound), tmp_path / "a")
    kept = log_ratios(context)
    assert kept
    assert max(kept) <= bound
    rows = {row[0]: row[1] for row in context.report.tables[0].rows}
    assert rows["pair_length_bias_filter"] > 0
    with pytest.raises(DataError, match=r"no document gave a pair for pairs \(.*pair_length_bias_filter: [0-9]+"):
        run(stage(-8.0), tmp_path / "b")
    with pytest.raises(UsageError, match=r"does not judge each pair by itself.*data\.not-a-filter"):
        Pairs(documents=documents, ops=("prompt_deduplicator",)).checkable()


def test_bad_documents_are_set_aside(tmp_path: Path, model: Path, documents: Path) -> None:
    lines = [json.dumps(r) for r in read_table(documents).to_pylist()]
    lines[4] = "{broken"
    (tmp_path / "documents.jsonl").write_text("\n".join(lines))
    stage = Pairs(documents=tmp_path / "documents.jsonl", model=str(model), max_bad_fraction=0.05, **SMALL)
    assert run(stage, tmp_path / "a").quarantine.counts == {"not JSON": 1}
    with pytest.raises(DataError, match=r"data\.too-many-bad"):
        run(stage.model_copy(update={"max_bad_fraction": 0.0}), tmp_path / "b")


KILLED = """
import sys
from pathlib import Path
import torch
from plait.core.seeds import Seeds
from plait.core.stage import StageContext
from plait.flows.pairs import Pairs

torch.set_num_threads(1)
documents, model, folder = map(Path, sys.argv[1:])
context = StageContext(
    folder=folder, seeds=Seeds(7).child("pairs"), engine=None, name="pairs", outputs=Pairs.outputs
)
Pairs(
    documents=documents, model=str(model), train=12, heldout=4, prompt_tokens=60, completion_tokens=400, chunk=2
).run(context)
"""


@pytest.mark.slow
def test_a_kill_costs_at_most_a_chunk_and_changes_nothing(tmp_path: Path, model: Path, documents: Path) -> None:
    table = read_table(documents)
    texts = [f"{t} {t} {t} {t}" for t in table["text"].to_pylist()]
    long = tmp_path / "long.parquet"
    write_table(table.set_column(1, "text", pa.array(texts)), long)
    command = [sys.executable, "-c", KILLED, str(long), str(model)]
    process = subprocess.Popen([*command, str(tmp_path / "killed")])
    scratch = tmp_path / "killed" / "scratch"
    deadline = time.monotonic() + 120
    while process.poll() is None and len(list(scratch.glob("*.json"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it finished before it could be killed"
    saved = {p.name: p.stat().st_mtime_ns for p in scratch.glob("*.json")}
    assert len(saved) >= 2
    assert not (tmp_path / "killed" / "heldout.parquet").exists()
    for folder in ("killed", "whole"):
        subprocess.run([*command, str(tmp_path / folder)], check=True)
    for name in Pairs.outputs.values():
        assert hash_path(tmp_path / "killed" / name) == hash_path(tmp_path / "whole" / name)
    assert {name: (scratch / name).stat().st_mtime_ns for name in saved} == saved


@pytest.mark.model
@pytest.mark.slow
def test_the_default_model_gives_pairs_of_matched_length(tmp_path: Path) -> None:
    from itertools import islice

    from plait.data.sources import python_documents

    rows = [d for d in islice(python_documents(), 3_000) if len(d["text"]) > 300]
    write_table(pa.Table.from_pylist(rows, DOCUMENT), tmp_path / "documents.parquet")
    context = run(Pairs(documents=tmp_path / "documents.parquet", train=12, heldout=4), tmp_path / "stage")
    facts = context.report.facts
    assert facts["pairs written"] == 12
    assert abs(float(facts["chosen, mean tokens"]) - float(facts["rejected, mean tokens"])) < 1.5
