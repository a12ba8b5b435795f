"""The host's arguments: sensible ones for a quiet run, and which of your own are honoured, or refused.

A `transformers.TrainingArguments` has about a hundred fields. Those that our trainers cannot honour are refused by
name: a setting that is ignored in silence is worse than an error.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from transformers.modeling_layers import GradientCheckpointingLayer

from plait.errors import UsageError

_REFUSED: Mapping[str, tuple[Any, str]] = {
    # name: (the value that leaves it off, what to do instead)
    "auto_find_batch_size": (False, "choose per_device_train_batch_size; a smaller one gives the same result"),
    "dataloader_num_workers": (0, "leave it at 0: laying out a batch is quicker than sending it between processes"),
    "deepspeed": (None, "train with torchrun"),
    "fp16": (False, "use bf16, which needs no loss scaling"),
    "fp16_full_eval": (False, "evaluation runs as training does"),
    "bf16_full_eval": (False, "evaluation runs as training does"),
    "ignore_data_skip": (False, "a resumed run goes on where it stopped"),
    "include_num_input_tokens_seen": ("no", "tokens are known beforehand: TokenPair.length"),
    "label_smoothing_factor": (0.0, "for pairs, use the loss cdpo"),
    "neftune_noise_alpha": (None, "texts are read without noise"),
    "parallelism_config": (None, "train with torchrun: each process holds the whole model"),
    "push_to_hub": (False, "call model.push_to_hub after training"),
    "restore_callback_states_from_checkpoint": (False, "callbacks start afresh"),
    "save_only_model": (False, "a checkpoint holds what resuming needs; save the model after training"),
    "torch_compile": (False, "rows change their length from step to step"),
    "use_liger_kernel": (False, "the vocabulary head already runs on completion tokens only"),
}

_DECISIVE = (  # arguments that change the numbers of a run
    *("max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "max_grad_norm"),
    *("optim", "optim_args", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("bf16", "tf32", "seed"),
)


def training_arguments(
    folder: Path | str,
    *,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = 4,
    micro_batch_size: int | None = None,
    learning_rate: float = 1e-4,
    schedule: str = "linear",
    warmup_steps: float = 0,
    weight_decay: float = 0.0,
    max_grad_norm: float = 1.0,
    checkpoint_every: int = 0,
    seed: int = 0,
    use_cpu: bool = False,
    bf16: bool = False,
    gradient_checkpointing: bool = False,
) -> TrainingArguments:
    """Arguments for a quiet, deterministic run.

    Args:
        folder: Where checkpoints go.
        steps: Optimiser steps; or give ``epochs``.
        epochs: Passes over the pairs.
        batch_size: Pairs per step, over all processes.
        micro_batch_size: Pairs per forward pass of one process; a smaller one needs less memory and gives the same
            step.
        learning_rate: The peak of AdamW's learning rate.
        schedule: A `transformers` schedule: ``linear``, ``cosine``, ``constant``, …
        warmup_steps: Steps until the learning rate is at its peak; below 1, their share of all steps.
        weight_decay: AdamW's.
        max_grad_norm: Gradients are scaled down to this norm; 0 leaves them.
        checkpoint_every: Steps between checkpoints, of which the last is kept; 0 makes none.
        seed: Of the global generators; only a LoRA dropout draws from them.
        use_cpu: Train on the CPU even where there is a GPU.
        bf16: Run the model in bfloat16 under autocast; weights and log-probabilities stay in float32.
        gradient_checkpointing: Compute activations again in the backward pass: less memory, same gradients.

    Raises:
        UsageError: Neither or both of ``steps`` and ``epochs`` are given, or the batch cannot be split so.
    """
    if (steps is None) == (epochs is None):
        raise UsageError("give either steps or epochs", code="align.how-long")
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    micro = micro_batch_size or max(1, batch_size // processes)
    if batch_size % (micro * processes):
        raise UsageError(
            f"micro_batch_size {micro} on {processes} processes does not divide batch_size {batch_size}",
            code="align.micro-batch",
            hint="choose a divisor",
        )
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=-1 if steps is None else steps,
        num_train_epochs=1.0 if epochs is None else epochs,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=batch_size // (micro * processes),
        learning_rate=learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=warmup_steps,
        weight_decay=weight_decay,
        max_grad_norm=max_grad_norm,
        save_strategy="steps" if checkpoint_every else "no",
        save_steps=checkpoint_every or 500,
        save_total_limit=1,
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        logging_nan_inf_filter=False,
        dataloader_pin_memory=False,
        use_cpu=use_cpu,
        bf16=bf16,
        activation_checkpointing=gradient_checkpointing,
        average_tokens_across_devices=False,
    )


def host_arguments(args: TrainingArguments, *, items: int) -> TrainingArguments:
    """A copy in which epochs are steps; the host's own epochs are not ours, whose batches are always full.

    ``num_train_epochs`` gives ``max_steps``, rounded up, and the strategies ``epoch`` become every so many steps.

    Args:
        args: From `training_arguments`, or your own.
        items: How many there are to train on.

    Raises:
        UsageError: An argument cannot be honoured.
    """
    _refuse(args)
    host = copy.copy(args)
    host.logging_nan_inf_filter = False  # a loss that is not a number is an error here, not a gap in a curve
    per_epoch = items / global_batch_size(args)
    if args.max_steps <= 0:
        host.max_steps = max(1, math.ceil(args.num_train_epochs * per_epoch))
    for kind in ("logging", "eval", "save"):
        strategy = getattr(args, f"{kind}_strategy")
        if strategy == "epoch":
            setattr(host, f"{kind}_strategy", type(strategy)("steps"))
            setattr(host, f"{kind}_steps", max(1, round(per_epoch)))
    return host


def global_batch_size(args: TrainingArguments) -> int:
    """Pairs, or texts, per optimiser step, over all processes."""
    return args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size


def decisive(args: TrainingArguments) -> dict[str, Any]:
    """The arguments that change the numbers of a run, as plain JSON."""
    named = {name: getattr(args, name) for name in _DECISIVE}
    return {name: value if isinstance(value, int | float) else str(value) for name, value in named.items()}


def check_checkpointing(model: Any, args: TrainingArguments) -> None:
    """Whether the model's layers can be computed again without dropout.

    Raises:
        UsageError: ``gradient_checkpointing`` is asked for, and they cannot.
    """
    if not args.activation_checkpointing:
        return
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise _refusal("gradient_checkpointing", "lower per_device_train_batch_size; this model cannot do it")
    # A layer recomputes only in training mode, so one that drops units by its own hand cannot be kept from it.
    drops = [n for n, v in vars(layers[0]).items() if "dropout" in n and isinstance(v, float) and v > 0]
    if drops:
        raise _refusal("gradient_checkpointing", f"set {drops[0]} of the model's configuration to 0")


def _refuse(args: TrainingArguments) -> None:
    for name, (off, instead) in _REFUSED.items():
        if getattr(args, name, off) not in (off, None, ""):
            raise _refusal(f"{name}={getattr(args, name)!r}", instead)
    if args.fsdp:
        raise _refusal("fsdp", "train with torchrun: each process holds the whole model")
    if str(args.train_sampling_strategy) == "sequential":
        raise _refusal("train_sampling_strategy='sequential'", "leave it out: batches are drawn at random")
    if args.n_gpu > 1:
        raise UsageError(
            f"one process sees {args.n_gpu} GPUs",
            code="align.one-device",
            hint=f"start one process per GPU: torchrun --nproc_per_node {args.n_gpu} …; or set CUDA_VISIBLE_DEVICES",
        )


def _refusal(what: str, instead: str) -> UsageError:
    return UsageError(f"this trainer does not support {what}", code="align.unsupported-argument", hint=instead)
