"""One of several processes that fine-tune together, by `TextTrainer` and by the TRL adapter; see `test_text_ranks`.

    python text_rank_worker.py FOLDER

Each named run leaves ``FOLDER/NAME.rank.safetensors`` and ``FOLDER/NAME.rank.json``.
"""

from __future__ import annotations

import json
import os
import random
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from align.processes import leave_group
from align.tiny_models import VOCABULARY, lora, tiny_model
from plait.align.arguments import training_arguments
from plait.align.sft.texts import TokenText
from plait.align.sft.trainer import TextTrainer
from plait.core.seeds import Seeds

TRL = {
    "dr_dpo": ("DrDPOTrainer", {"beta_prime": 0.5}),
    "beta_dpo": ("BetaDPOTrainer", {"drop": 0.25}),
    "cdpo": ("CDPOTrainer", {}),
}
RUNS = [
    *(("texts", micro) for micro in (1, 4)),
    *((name, micro) for name in TRL for micro in (2, 4)),
]


def texts() -> list[TokenText]:
    draw = random.Random(8)
    made: list[TokenText] = []
    for n in range(13):
        length = draw.randint(3, 12)
        tokens = tuple(draw.randrange(3, VOCABULARY) for _ in range(length))
        made.append(TokenText(str(n), tokens, (False, *(draw.random() < 0.5 for _ in range(length - 2)), True)))
    return made


def make(folder: Path, name: str, micro: int) -> Any:
    """A trainer over 8 texts or pairs per step, however many processes share them."""
    if name == "texts":
        args = training_arguments(
            folder, steps=3, batch_size=8, micro_batch_size=micro, learning_rate=1e-3, use_cpu=True
        )
        return TextTrainer(lora(tiny_model(), scale=0.1), args, texts=texts(), seeds=Seeds(3))
    import plait.align.trl as ours
    from align.test_trl_adapter import trainer

    kind, settings = TRL[name]
    split = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": 8 // micro // processes()}
    return trainer(
        getattr(ours, kind), folder, lora=True, count=24, beta=0.5, optim="sgd", learning_rate=0.1, **split, **settings
    )


def processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def outcome(trained: Any) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """The trained weights, and the log of each step."""
    network = trained.accelerator.unwrap_model(trained.model)
    weights = {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad}
    return weights, [entry for entry in trained.state.log_history if "grad_norm" in entry]


def main(folder: Path) -> None:
    """All runs, one after the other, in the process group that the first one opens."""
    rank = os.environ["RANK"]
    for name, micro in RUNS:
        run(folder, name, micro, rank)
    leave_group()


def run(folder: Path, name: str, micro: int, rank: str) -> None:
    trained = make(folder / f"{name}-{micro}", name, micro)
    trained.train()
    weights, curve = outcome(trained)
    save_file(weights, folder / f"{name}-{micro}.{rank}.safetensors")
    (folder / f"{name}-{micro}.{rank}.json").write_text(json.dumps(curve))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
