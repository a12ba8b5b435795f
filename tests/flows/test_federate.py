"""The stage with a tiny model: what it reports is what the parts give, and a kill changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from statistics import fmean

import pyarrow as pa
import pytest
from tests.federate.tiny_language_model import save_tiny_model, write_documents

from plait.core.io import write_table
from plait.core.seeds import Seeds
from plait.core.stage import StageContext
from plait.engines import LocalEngine
from plait.errors import StrandError
from plait.flows.federate import FederateLoRA
from plait.records import DOCUMENT


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> FederateLoRA:
    folder = tmp_path_factory.mktemp("federate")
    return FederateLoRA(
        documents=write_documents(folder / "documents.parquet"),
        model=str(save_tiny_model(folder / "model")),
        rounds=2,
        steps=3,
        batch_size=4,
        sequence_length=32,
        heldout_blocks=4,
        learning_rate=1e-2,
    )


def run(stage: FederateLoRA, folder: Path) -> StageContext:
    context = StageContext(folder=folder, seeds=Seeds(7), engine=LocalEngine(workers=1), outputs=stage.outputs)
    stage.run(context)
    return context


def test_report_says_what_was_measured(stage: FederateLoRA, tmp_path: Path):
    report = run(stage, tmp_path).report
    matrix = next(t for t in report.tables if t.title.startswith("Held-out"))
    rows = {row[0]: row[1:] for row in matrix.rows}
    assert list(rows) == ["untouched", "astronomy, alone", "baking, alone", "chess, alone", "federated"]
    assert all(row[-1] == pytest.approx(fmean(row[:-1]), abs=1e-4) for row in rows.values())
    alone = fmean(rows[f"{name}, alone"][-1] for name in ("astronomy", "baking", "chess"))
    assert rows["federated"][-1] < rows["untouched"][-1]
    assert report.headline == (
        f"held-out loss: untouched {rows['untouched'][-1]:.3f}, alone {alone:.3f} (mean of 3 owners), "
        f"federated {rows['federated'][-1]:.3f}"
    )
    owners = next(t for t in report.tables if t.title == "Owners")
    assert [row[:2] for row in owners.rows] == [["astronomy", 30], ["baking", 30], ["chess", 30]]
    assert sum(row[3] for row in owners.rows) == pytest.approx(1, abs=1e-3)
    assert report.facts["bytes an owner sends per round"] > 4 * report.facts["trained parameters"]
    curve = report.figures[1].series["federated"]
    assert [x for x, _ in curve] == [0, 1, 2]
    assert curve[-1][1] == rows["federated"][-1]
    assert len(report.figures[2].series["chess"]) == 6


def test_the_written_adapter_is_the_federated_model(stage: FederateLoRA, tmp_path: Path):
    from plait.federate.payload import Payload
    from plait.models import load
    from plait.models.adapters import adapter_vector, load_adapter

    context = run(stage, tmp_path)
    vector = adapter_vector(load_adapter(load(stage.model), context.output("adapter")))
    measured = {path.stem: json.loads(path.read_text()) for path in context.scratch.rglob("*.json")}
    losses = measured[Payload.of_vector(vector).digest()]
    federated = context.report.tables[1].rows[-1]
    assert federated[1:-1] == [round(loss, 4) for loss in losses.values()]


def test_alone_and_together_share_their_first_round(stage: FederateLoRA, tmp_path: Path):
    context = run(stage, tmp_path)
    kept = sorted(p.name[:4] for p in context.scratch.rglob("*.reply"))
    # Three owners: round 0 once for both, round 1 together and alone.
    assert kept == ["0000"] * 3 + ["0001"] * 6


def test_training_alone_is_not_disturbed_by_a_robust_rule(stage: FederateLoRA, tmp_path: Path):
    def rows(changes, folder):
        report = run(stage.model_copy(update=changes), tmp_path / folder).report
        return {row[0]: row[1:] for row in report.tables[1].rows}

    mean, median = rows({}, "mean"), rows({"rule": "median"}, "median")
    assert mean["chess, alone"] == median["chess, alone"]
    assert mean["federated"] != median["federated"]


def test_bad_documents_are_quarantined_and_small_owners_named(stage: FederateLoRA, tmp_path: Path):
    import pyarrow.parquet as pq

    rows = pq.read_table(stage.documents).to_pylist()
    rows += [
        {"id": "x", "text": "", "source": "s", "group": "chess"},
        {"id": "y", "text": "no owner", "source": "s", "group": None},
        {"id": "z", "text": "hardly a word", "source": "s", "group": "tiny"},
    ]
    write_table(pa.Table.from_pylist(rows, schema=DOCUMENT), tmp_path / "more.parquet")
    context = run(stage.model_copy(update={"documents": tmp_path / "more.parquet"}), tmp_path / "run")
    assert context.quarantine.counts == {"no text": 1, "no group": 1}
    assert any(note.startswith("tiny is left out: its 1 documents fill 0 blocks") for note in context.report.warnings)
    clean = run(stage, tmp_path / "clean")
    assert context.report.headline == clean.report.headline


def test_one_owner_is_not_a_federation(stage: FederateLoRA, tmp_path: Path):
    with pytest.raises(StrandError, match="0 owners with enough text"):
        run(stage.model_copy(update={"heldout_blocks": 1000}), tmp_path)


@pytest.mark.model
def test_default_model_learns_the_owners_texts(stage: FederateLoRA, tmp_path: Path):
    small = {"model": "smollm2-135m", "steps": 2, "batch_size": 2, "heldout_blocks": 1, "learning_rate": 5e-3}
    report = run(stage.model_copy(update=small), tmp_path).report
    rows = {row[0]: row[-1] for row in report.tables[1].rows}
    assert rows["federated"] < rows["untouched"] - 0.05
    assert report.facts["trained parameters"] == 460_800
    # One float32 per parameter, and names and losses beside it: under one part in a hundred.
    assert 4 * 460_800 < report.facts["bytes an owner sends per round"] < 1.01 * 4 * 460_800


SCRIPT = """
    import sys, time
    from pathlib import Path
    from plait.core.seeds import Seeds
    from plait.core.stage import StageContext
    from plait.engines import LocalEngine
    from plait.federate.learners.lora import AdapterLearner
    from plait.flows.federate import FederateLoRA

    class Slow(AdapterLearner):
        def train(self, vector, **work):
            time.sleep(float(sys.argv[3]))
            return super().train(vector, **work)

    import plait.flows.federate
    plait.flows.federate.AdapterLearner = Slow
    if __name__ == "__main__":
        stage = FederateLoRA.model_validate_json(sys.argv[1])
        stage.run(context := StageContext(
            folder=Path(sys.argv[2]), seeds=Seeds(7), engine=LocalEngine(workers=1), outputs=stage.outputs))
        (Path(sys.argv[2]) / "report.json").write_text(context.report.model_dump_json())
"""


@pytest.mark.slow  # three processes that import torch
def test_kill_minus_nine_then_again_gives_the_same_bytes(stage: FederateLoRA, tmp_path: Path):
    script = tmp_path / "run.py"
    script.write_text(textwrap.dedent(SCRIPT))
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    def command(folder: Path, pause: str) -> list[str]:
        return [sys.executable, str(script), stage.model_dump_json(), str(folder), pause]

    def replies() -> int:
        return len(list(killed.rglob("*.reply")))

    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run(command(whole, "0"), check=True, env=offline)
    process = subprocess.Popen(command(killed, "0.3"), env=offline)
    try:
        deadline = time.monotonic() + 120
        while replies() < 4:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert 4 <= replies() < 9
    subprocess.run(command(killed, "0"), check=True, env=offline)
    assert replies() == 9

    def outputs(folder: Path) -> dict[str, bytes]:
        files = [*(folder / "adapter").rglob("*"), folder / "report.json"]
        return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.is_file()}

    assert len(outputs(whole)) == 3
    assert outputs(killed) == outputs(whole)
