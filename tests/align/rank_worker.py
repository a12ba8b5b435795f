"""One of several processes that train together; started by `test_ranks` with the variables that torchrun sets.

    python rank_worker.py FOLDER

Each named run trains the tiny model and leaves ``FOLDER/NAME.rank.safetensors`` and ``FOLDER/NAME.rank.json``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from align.processes import leave_group
from align.tiny_models import lora, random_pairs, tiny_model
from plait.align.presets import DPO, BetaDPO, DrDPO
from plait.align.reference import ReferenceCache, reference_logprobs
from plait.align.trainer import PairTrainer, training_arguments
from plait.align.training import Trained, train_pairs
from plait.core.seeds import Seeds
from plait.errors import PlaitError
from plait.models import LoRA

SEEDS = Seeds(5)
PRESETS = {
    "dpo": DPO(),
    "beta_dpo": BetaDPO(drop=0.25),
    "dr_dpo": DrDPO(beta_prime=0.5),
    "official_beta_dpo": BetaDPO(drop=0.25, compat="official"),
    "official_dr_dpo": DrDPO(compat="official"),
}
RUNS: dict[str, dict[str, Any]] = {
    **{
        f"{name}-{micro}": {"objective": name, "micro": micro}
        for name in ("dpo", "beta_dpo", "dr_dpo")
        for micro in (1, 4)
    },
    "weighted-1": {"objective": "dpo", "micro": 1, "weighted": True},
    "official_dr-2": {"objective": "official_dr_dpo", "micro": 2},
    "official_beta-2": {"objective": "official_beta_dpo", "micro": 2},
    "kept-2": {"objective": "beta_dpo", "micro": 2, "dropout": 0.3, "checkpoints": True},
}


def pairs_of(*, weighted: bool, seed: int = 4) -> list[Any]:
    pairs = random_pairs(19, seed=seed, longest=8)
    return [replace(pair, weight=1.0 + n % 3) for n, pair in enumerate(pairs)] if weighted else pairs


def make(
    folder: Path,
    *,
    objective: str,
    micro: int,
    weighted: bool = False,
    dropout: float = 0.0,
    checkpoints: bool = False,
    steps: int = 3,
    seed: int = 4,
    on_step: Any = None,
) -> PairTrainer:
    """A trainer over 8 pairs per step, however many processes share them, with 7 pairs held out."""
    model = lora(tiny_model(), scale=0.1, dropout=dropout)
    pairs = pairs_of(weighted=weighted, seed=seed)
    train, heldout = pairs[:12], pairs[12:]
    values = reference_logprobs(model, pairs, cache=ReferenceCache())
    built = PRESETS[objective].build(seeds=SEEDS)
    args = training_arguments(
        folder,
        steps=steps,
        batch_size=8,
        micro_batch_size=micro,
        learning_rate=1e-3,
        checkpoint_every=2 if checkpoints else 0,
        use_cpu=True,
    )
    args.adam_epsilon = 1e-5  # else Adam blows the rounding of gradients near zero up to whole steps
    return PairTrainer(
        model,
        args,
        objective=built,
        pairs=train,
        reference=values[:12],
        heldout=heldout,
        heldout_reference=values[12:],
        seeds=SEEDS,
        on_step=on_step,
    )


RECORDS: list[dict[str, Any]] = [
    {"id": str(n), "prompt": f"{n} + 1 = ", "chosen": f"{n + 1}, I think", "rejected": f"{n - 1}"} for n in range(9)
] + [{"id": "bad", "prompt": "q", "chosen": "same", "rejected": "same"}]


def from_records(folder: Path, *, model: Path, micro: int) -> Trained:
    """`train_pairs` on a model of bytes: reference, quarantine and training shared by the ranks."""
    args = training_arguments(folder / "out", steps=2, batch_size=4, micro_batch_size=micro, use_cpu=True)
    return train_pairs(str(model), RECORDS, args, lora=LoRA(), max_bad_fraction=0.2, cache=ReferenceCache())


def outcome(trained: PairTrainer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The trained weights, and everything else that must be equal however the work was split."""
    weights = {n: p.detach().clone() for n, p in trained.network.named_parameters() if p.requires_grad}
    facts = {"curve": trained.curve, "evaluated": trained.evaluate(), "state": trained.objective.state_dict()}
    return weights, facts


class Killed(Exception):
    """Stands for a kill, at the same step in every process."""


def _killed_at_3(step: int, _steps: int, _scalars: Any) -> None:
    if step == 3:
        raise Killed


def main(folder: Path) -> None:
    """All runs, one after the other, in the process group that the first one opens."""
    everything(folder, os.environ["RANK"])
    leave_group()


def everything(folder: Path, rank: str) -> None:
    for name, settings in RUNS.items():
        trained = make(folder / name, **settings)
        trained.run()
        weights, facts = outcome(trained)
        save_file(weights, folder / f"{name}.{rank}.safetensors")
        (folder / f"{name}.{rank}.json").write_text(json.dumps(facts))
    torch.rand(int(rank) * 3)  # whatever else a process did before
    settings = RUNS["kept-2"]
    with contextlib.suppress(Killed):
        make(folder / "resumed", **settings, on_step=_killed_at_3).run()
    resumed = make(folder / "resumed", **settings)
    resumed.run()
    save_file(outcome(resumed)[0], folder / f"resumed.{rank}.safetensors")
    try:
        make(folder / "other", objective="dpo", micro=4, seed=4 + int(rank)).run()
    except PlaitError as error:
        (folder / f"refused.{rank}.txt").write_text(str(error))
    trained = from_records(folder / "records", model=folder / "model", micro=2)
    (folder / f"records.{rank}.json").write_text(json.dumps(trained.curve))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
