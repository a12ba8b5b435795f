"""Two processes over gloo fine-tune exactly what one process does, by `TextTrainer` and by the TRL adapter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from align.processes import TESTS, run_together
from align.text_rank_worker import RUNS, make, outcome

pytestmark = [
    pytest.mark.slow,
    # peft 0.21 reads a property that transformers 5.23 has renamed.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have left what they trained."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [str(TESTS / "align" / "text_rank_worker.py"), str(folder)]
    run_together(command, variables={"HF_DATASETS_CACHE": str(folder / "datasets")})
    return folder


@pytest.mark.parametrize(("name", "micro"), RUNS)
def test_two_ranks_train_what_one_does(
    together: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, micro: int
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    alone = make(tmp_path, name, 8)
    alone.train()
    weights, curve = outcome(alone)
    assert len(curve) == 3
    for rank in range(2):
        found = load_file(together / f"{name}-{micro}.{rank}.safetensors")
        assert found.keys() == weights.keys()
        for key, value in weights.items():
            torch.testing.assert_close(found[key], value, atol=2e-5, rtol=1e-4)
    entries = json.loads((together / f"{name}-{micro}.0.json").read_text())
    for key in ("loss", "grad_norm"):
        assert [e[key] for e in entries] == pytest.approx([e[key] for e in curve], rel=1e-4, abs=1e-5), key
