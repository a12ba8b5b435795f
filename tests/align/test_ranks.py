"""Two processes over gloo train exactly what one process trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from align.processes import TESTS, run_together
from align.rank_worker import RUNS, from_records, make, outcome
from align.tiny_models import save_tiny_language_model
from plait.align import ranks


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have left what they trained."""
    folder = tmp_path_factory.mktemp("ranks")
    save_tiny_language_model(folder / "model")
    run_together([str(TESTS / "align" / "rank_worker.py"), str(folder)])
    return folder


def left(folder: Path, name: str, rank: int) -> tuple[dict[str, torch.Tensor], Any]:
    weights = load_file(folder / f"{name}.{rank}.safetensors")
    return weights, json.loads((folder / f"{name}.{rank}.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in RUNS if not n.startswith(("kept", "official_beta"))])
def test_two_ranks_train_what_one_does(together: Path, tmp_path: Path, name: str) -> None:
    """Official Dr. DPO sees each micro-batch of two by itself; official β-DPO divides by rank, which one has not."""
    alone = make(tmp_path, **RUNS[name] | {"micro": 2 if name == "official_dr-2" else 8})
    alone.run()
    weights, facts = outcome(alone)
    for rank in range(2):
        found_weights, found = left(together, name, rank)
        for key, value in weights.items():
            torch.testing.assert_close(found_weights[key], value, atol=1e-6, rtol=0)
        for key in ("loss", "gap", "beta", "kept", "effective_pairs", "accuracy", "grad_norm"):
            assert [e[key] for e in found["curve"]] == pytest.approx(
                [e[key] for e in facts["curve"]], rel=1e-4, abs=1e-5
            )
        assert found["evaluated"] == pytest.approx(facts["evaluated"], rel=1e-4, abs=1e-5)
        # Where each process looks at its own micro-batches, it has half of them.
        own = 2 if name == "official_dr-2" else 1
        assert found["state"]["steps"] == facts["state"]["steps"] / own


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_ranks_hold_the_same(together: Path, name: str) -> None:
    """Bit for bit: weights after training, curves, and the objective's state."""
    (first, facts), (second, other) = (left(together, name, rank) for rank in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert facts == other


@pytest.mark.slow
def test_two_ranks_resume_exactly(together: Path) -> None:
    """Dropout too: each rank goes on with its own generator."""
    unbroken, resumed = load_file(together / "kept-2.0.safetensors"), load_file(together / "resumed.1.safetensors")
    assert all(torch.equal(unbroken[key], resumed[key]) for key in unbroken)


@pytest.mark.slow
def test_two_ranks_train_from_records(together: Path, tmp_path: Path) -> None:
    alone = from_records(tmp_path, model=together / "model", micro=4).curve
    for rank in range(2):
        curve = json.loads((together / f"records.{rank}.json").read_text())
        for key in ("loss", "gap", "grad_norm"):
            assert [e[key] for e in curve] == pytest.approx([e[key] for e in alone], rel=1e-4, abs=1e-5), key
    [line] = (together / "records" / "out" / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["where"] == "records:bad"


@pytest.mark.slow
def test_ranks_that_differ_are_refused(together: Path) -> None:
    for rank in range(2):
        assert "the processes do not train the same" in (together / f"refused.{rank}.txt").read_text()


def test_one_process_deals_and_gathers_to_itself() -> None:
    assert (ranks.rank(), ranks.count()) == (0, 1)
    assert ranks.deal([3, 1, 2]) == [3, 1, 2]
    values = torch.arange(4.0, requires_grad=True)
    assert torch.equal(ranks.gather(values), values.detach())
    assert not ranks.gather(values).requires_grad
