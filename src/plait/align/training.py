"""From records to a trained model in one call.

    from plait.align import DrDPO, train_pairs, training_arguments
    from plait.models import LoRA

    records = [{"prompt": "Is the sea blue?", "chosen": " Mostly.", "rejected": " No."}, …]
    trained = train_pairs("smollm2-135m", records, training_arguments("out", epochs=1), objective=DrDPO(), lora=LoRA())
    trained.save("adapter")

Who comes from TRL passes what there is already:

    trained = train_pairs(model, dataset, TrainingArguments("out", …), tokenizer=tokenizer, objective=BetaDPO())
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.align.pairs import TokenisedPairs, TokenLimits, TokenPair, tokenise_pairs
from plait.align.presets import DPO, ObjectiveSettings
from plait.core.optional import require
from plait.core.quarantine import Quarantine
from plait.core.seeds import Seeds
from plait.errors import UsageError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedTokenizerBase, TrainingArguments

    from plait.align.objectives import Objective
    from plait.align.reference import PairLogprobs, ReferenceCache
    from plait.align.shared_prefix import Layout
    from plait.align.trainer import OnStep, PairTrainer
    from plait.models import LanguageModel, LoRA

Records = Iterable[Mapping[str, Any]]
"""Dicts, or a `datasets.Dataset`, in TRL's preference formats (`plait.align.formats`)."""


@dataclass(frozen=True)
class Trained:
    """A trained model, and how it came about.

    Args:
        model: The network, adapter included.
        tokenizer: Its tokenizer.
        pairs: What became of the records: the pairs trained on, and those set aside with their reasons.
        trainer: To evaluate with, or to look into.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase
    pairs: TokenisedPairs
    trainer: PairTrainer

    @property
    def curve(self) -> list[dict[str, float]]:
        """Loss, gap, accuracy, β, … at each log."""
        return self.trainer.curve

    def save(self, folder: Path | str) -> None:
        """Write the model, or its adapter, and the tokenizer as `transformers` and peft read them."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def train_pairs(
    model: str | LanguageModel | nn.Module,
    records: Records,
    args: TrainingArguments,
    *,
    objective: ObjectiveSettings | None = None,
    lora: LoRA | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    reference_model: nn.Module | None = None,
    heldout: Records = (),
    limits: TokenLimits | None = None,
    max_bad_fraction: float = 0.1,
    cache: ReferenceCache | None = None,
    on_step: OnStep | None = None,
) -> Trained:
    """Train a model on preference records, or go on from the last checkpoint in ``args.output_dir``.

    Reference log-probabilities are computed before training and kept on disk, so that at no time a second model is
    needed in memory: they come from the model with its adapter off, from the model before its first step (full
    fine-tuning), or from ``reference_model``, which may be dropped afterwards. Under ``torchrun`` the work is shared.

    Args:
        model: A name that `plait.models.load` knows, a loaded `LanguageModel`, or a `transformers` or peft model with
            its ``tokenizer``. What asks for gradients is trained; of a model by name everything, unless ``lora``.
        records: What is trained on. Those that cannot be used are written with their reason to
            ``quarantine.jsonl`` in ``args.output_dir``.
        args: From `training_arguments`, or any `transformers.TrainingArguments`.
        objective: What is minimised; DPO if left out.
        lora: A fresh adapter on the model; only it is trained.
        tokenizer: Of a model that comes without.
        reference_model: What the policy is compared with, if not with itself.
        heldout: What is measured on, at ``args.eval_strategy``.
        limits: How long prompts and completions may be.
        max_bad_fraction: Stop if more than this share of the records cannot be used.
        cache: Where reference log-probabilities are kept; a file in the cache folder if left out.
        on_step: Called with the step, the number of steps and the scalars at each log.

    Raises:
        DataError: A column is missing, or too many records cannot be used.
        UsageError: There is no tokenizer, or the arguments ask for something this trainer cannot do.
        ModelError: A log-probability or the loss is not a number.
        RunError: The checkpoint in the folder belongs to another run.

    Example:
        >>> from plait.align import training_arguments
        >>> records = [{"prompt": f"{n} + 1 =", "chosen": f" {n + 1}", "rejected": f" {n}"} for n in range(8)]
        >>> trained = train_pairs("smollm2-135m", records, training_arguments("out", steps=2))  # doctest: +SKIP
        >>> [entry["step"] for entry in trained.curve]  # doctest: +SKIP
        [1, 2]
    """
    for package in ("torch", "transformers", "accelerate"):
        require(package, extra="align", feature="train_pairs")
    from plait.align.shared_prefix import choose_layout
    from plait.align.trainer import PairTrainer

    seeds = Seeds(args.seed)
    network, tokenizer = _ready(model, tokenizer, lora, device=str(args.device), seeds=seeds)
    train, measured = _read(
        records, heldout, tokenizer=tokenizer, limits=limits, folder=_folder(args), max_bad_fraction=max_bad_fraction
    )
    built = (objective or DPO()).build(seeds=seeds.child("objective"))
    everything = [*train.pairs, *measured.pairs]
    layout, _ = choose_layout(network, longest=max((pair.longest_branch for pair in everything), default=1))
    logprobs = _reference(built, reference_model or network, everything, args=args, layout=layout, cache=cache)
    trainer = PairTrainer(
        network,
        args,
        objective=built,
        pairs=train.pairs,
        reference=logprobs and logprobs[: len(train.pairs)],
        heldout=measured.pairs,
        heldout_reference=logprobs and logprobs[len(train.pairs) :],
        seeds=seeds.child("order"),
        on_step=on_step,
    )
    trainer.run()
    return Trained(network, tokenizer, train, trainer)


def _ready(
    model: str | LanguageModel | nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    lora: LoRA | None,
    *,
    device: str,
    seeds: Seeds,
) -> tuple[Any, PreTrainedTokenizerBase]:
    """The network on its device, asking for gradients where it is trained, and its tokenizer."""
    from plait.models import LanguageModel, attach_lora, load

    by_name = isinstance(model, str)
    lm = load(model, device=device) if by_name else model
    if isinstance(lm, LanguageModel):
        if lora is not None:
            lm = attach_lora(lm, lora, seed=seeds.child("lora").integer())
        elif by_name:
            lm.model.requires_grad_(True)
        network: Any = lm.model
        return network.to(device), tokenizer or lm.tokenizer
    if lora is not None:
        raise UsageError(
            f"lora adapts a model by name or a LanguageModel, not a {type(lm).__name__}",
            code="align.lora",
            hint="call peft.get_peft_model on it first",
        )
    if tokenizer is None:
        raise UsageError(f"a {type(lm).__name__} comes without a tokenizer", code="align.no-tokenizer", hint="pass it")
    return lm.to(device), tokenizer


def _read(
    records: Records,
    heldout: Records,
    *,
    tokenizer: PreTrainedTokenizerBase,
    limits: TokenLimits | None,
    folder: Path,
    max_bad_fraction: float,
) -> tuple[TokenisedPairs, TokenisedPairs]:
    """Both sets as tokens, and what cannot be used written down."""
    from plait.align import ranks

    # Every rank counts, so that all stop together; one writes.
    quarantine = Quarantine(folder / "quarantine.jsonl" if ranks.rank() == 0 else Path(os.devnull))
    read: list[TokenisedPairs] = []
    given = 0
    for name, source in (("records", records), ("heldout", heldout)):
        rows = [{**record, "id": _name(record, number)} for number, record in enumerate(source)]
        tokenised = tokenise_pairs(rows, tokenizer=tokenizer, limits=limits)
        by_id = {row["id"]: row for row in rows}
        for problem in tokenised.problems:
            quarantine.add(where=f"{name}:{problem.id}", reason=problem.reason, record=by_id[problem.id])
        read.append(tokenised)
        given += len(rows)
    quarantine.check(given, max_bad_fraction=max_bad_fraction, where=str(folder))
    return read[0], read[1]


def _reference(
    objective: Objective,
    model: nn.Module,
    pairs: Sequence[TokenPair],
    *,
    args: TrainingArguments,
    layout: Layout,
    cache: ReferenceCache | None,
) -> list[PairLogprobs] | None:
    """Log-probabilities of all pairs under the reference model, shared between the ranks."""
    import torch

    from plait.align import ranks
    from plait.align.reference import ReferenceCache, reference_logprobs
    from plait.core.cache import cache_root

    if not objective.needs_reference:
        return None
    cache = cache or ReferenceCache(cache_root() / "reference-logprobs.jsonl")
    model.to(args.device)
    # In the precision of the policy: else the gap would hold the rounding of bfloat16 before the first step.
    with torch.autocast(args.device.type, dtype=torch.bfloat16, enabled=args.bf16):
        mine = reference_logprobs(model, ranks.deal(pairs), cache=cache, layout=layout)
    found = torch.tensor(mine, dtype=torch.float64, device=args.device).reshape(-1, 2)
    return [(chosen, rejected) for chosen, rejected in ranks.gather(found).tolist()]


def _folder(args: TrainingArguments) -> Path:
    return Path(args.output_dir or ".")


def _name(record: Mapping[str, Any], number: int) -> str:
    given = record.get("id")
    return str(number) if given is None else str(given)
