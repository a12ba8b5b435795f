"""Two processes over gloo fine-tune exactly what one process does, by `TextTrainer` and by the TRL adapter."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from align.text_rank_worker import RUNS, make, outcome

TESTS = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    # peft 0.21 reads a property that transformers 5.23 has renamed.
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have left what they trained."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    shared = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(TESTS),
        "HF_DATASETS_CACHE": str(folder / "datasets"),
    }
    workers = [
        subprocess.Popen(
            [sys.executable, str(TESTS / "align" / "text_rank_worker.py"), str(folder)],
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [worker.communicate(timeout=280)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], "\n".join(said)[-4000:]
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
