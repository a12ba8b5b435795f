"""TRL's `DPOTrainer` over rows of preference pairs; run with its own Python.

python trl_run.py SETTINGS.json RESULT.json

Settings and result are those of `align_speed`. The rows are trained on in the order of the file, one pass.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer


class Measured(DPOTrainer):
    """`DPOTrainer` that notes what it computes; nothing else is changed."""

    tokens = 0
    reference = (0.0, 0.0)

    def _precompute_ref_logps(self, *given: Any) -> Dataset:
        found, self.reference = timed(lambda: super(Measured, self)._precompute_ref_logps(*given))
        return found

    def compute_loss(self, model: Any, inputs: Any, *given: Any, **named: Any) -> Any:
        self.tokens += inputs["input_ids"].numel()
        return super().compute_loss(model, inputs, *given, **named)


def timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """What work gives, and its wall-clock and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return done, (time.perf_counter() - wall, time.process_time() - cpu)


def main(settings: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(settings["threads"])
    rows = [json.loads(line) for line in Path(settings["pairs"]).read_text().splitlines()]
    device = settings["device"]
    bf16 = settings["dtype"] == "bfloat16"
    args = DPOConfig(
        output_dir=settings["folder"],
        per_device_train_batch_size=settings["batch_size"],
        num_train_epochs=1,
        learning_rate=settings["learning_rate"],
        train_sampling_strategy="sequential",
        precompute_ref_log_probs=settings["reference"] == "precomputed",
        gradient_checkpointing=settings["gradient_checkpointing"],
        bf16=bf16,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    model = AutoModelForCausalLM.from_pretrained(settings["model"], dtype=torch.float32)
    trainer = Measured(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(settings["model"]),
    )
    _, (wall, cpu) = timed(trainer.train)
    columns = ["ref_chosen_logps", "ref_rejected_logps"]
    known = trainer.train_dataset
    return {
        "pairs": len(known),
        "train wall s": wall,
        "train CPU s": cpu,
        "reference wall s": trainer.reference[0],
        "reference CPU s": trainer.reference[1],
        "tokens": trainer.tokens,
        "logprobs": [list(pair) for pair in zip(*(known[c] for c in columns), strict=True)]
        if settings["reference"] == "precomputed"
        else [],
        "device MiB": torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0,
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
