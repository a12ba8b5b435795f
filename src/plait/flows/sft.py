"""Stage ``align.sft``: texts or conversations in, a fine-tuned model out, and what it changed on texts held out.

- {name: sft, use: align.sft, texts: conversations.jsonl, steps: 100}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from plait.align.sft.formats import Dialogue, read_text
from plait.align.sft.texts import TextLimits, TokenText, tokenise_texts
from plait.core.io import read_table, write_table
from plait.core.optional import check_installed
from plait.core.seeds import Seeds
from plait.core.stage import InputPath, Stage, StageContext
from plait.errors import DataError
from plait.flows.sft_report import MeasuredTexts, describe
from plait.models.adapters import LoRA

if TYPE_CHECKING:
    from plait.align.sft.evaluate import TextScores
    from plait.models import LanguageModel


class SFT(Stage):
    """Fine-tunes a model on texts, completions or conversations, and measures it on some held out.

    Its ``model`` is a whole model in a folder, any adapter merged into it: what preference learning, agents or another
    run start from. The adapter by itself lies in ``model/adapter``.

    Example:
        - name: sft
          use: align.sft
          texts: conversations.jsonl
          epochs: 1
    """

    outputs: ClassVar[Mapping[str, str]] = {"model": "model", "scores": "scores.parquet"}

    texts: InputPath
    """Records with ``messages``; ``prompt`` and ``completion``; ``text``; or ``prompt``, ``chosen`` and ``rejected``,
    of which the chosen text is learnt."""
    heldout: InputPath | None = None
    """Records of the same kind that are only measured on; part of ``texts`` if absent."""
    heldout_share: float = Field(default=0.1, gt=0, lt=1)
    """The part held out where there is no file of its own; all records of a prompt go to one side."""
    model: str = "smollm2-135m"
    """The model that is trained; see ``plait models ls``."""
    lora: LoRA | None = LoRA(targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    """Rank, scale and places of the adapter; null trains all weights."""
    steps: int = Field(default=36, ge=1)
    """Optimiser steps."""
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the texts, in place of ``steps``."""
    batch_size: int = Field(default=8, ge=1)
    """Texts per step."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Texts per forward pass, a divisor of ``batch_size``: less memory, same result."""
    packed: bool = True
    """Let short texts share a row, without seeing each other: same result, hardly any padding."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of AdamW's learning rate."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps until the peak."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate goes on from its peak."""
    limits: TextLimits = TextLimits(max_length=512)
    """How long a text may be, in tokens, and what of it is learnt."""
    measure: int = Field(default=64, ge=1)
    """At most so many held-out texts are measured, the first of the file."""
    checkpoint_every: int = Field(default=6, ge=1)
    """Steps between checkpoints: what a kill can cost."""
    max_bad_fraction: float = Field(default=0.1, ge=0, le=1)
    """Stop if more than this share of the records cannot be used."""
    device: str = "cpu"
    """Where to train: ``cpu``, ``cuda``, or ``auto``."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and "steps" in self.model_fields_set:
            raise ValueError("give steps or epochs, not both")
        return self

    def checkable(self) -> None:
        """Raises MissingExtra without torch, transformers and peft."""
        for package in ("torch", "transformers", "peft", "accelerate"):
            check_installed(package, extra="align", feature="align.sft")

    def fingerprint(self) -> Mapping[str, str]:
        """The model by name, or by content where the name is a path."""
        from plait.models import resolve

        return {"model": resolve(self.model).fingerprint() if Path(self.model).exists() else self.model}

    def run(self, context: StageContext) -> None:
        """Tokenise, measure, train from the last checkpoint, measure again, save, describe."""
        self.checkable()
        from plait.models import attach_lora, load

        lm = load(self.model, device=self.device)
        train, heldout = self._read(lm, context)
        if self.lora is None:
            lm.model.requires_grad_(True)
        else:
            lm = attach_lora(lm, self.lora, seed=context.seeds.child("lora").integer())
        measured = self._train(lm, train, heldout, context)
        _write_scores(heldout.texts, measured.before, measured.after, context.output("scores"))
        describe(measured, context.report, seeds=context.seeds)
        context.report.facts |= {
            "texts trained on": len(train.texts),
            "records given": train.given + heldout.given,
            "records set aside": context.quarantine.total,
            "texts cut": train.cut + heldout.cut,
            "texts split": train.split + heldout.split,
        }
        _save(lm, context.output("model"))

    def _read(self, lm: LanguageModel, context: StageContext) -> tuple[_Texts, _Texts]:
        """As many training texts as the steps can use, drawn at random, and the first held-out texts."""
        records = _records(self.texts, context)
        if self.heldout is None:
            records, held = _split(records, share=self.heldout_share, seeds=context.seeds, where=str(self.texts))
        else:
            held = _records(self.heldout, context)
        given = len(records) + len(held) + context.quarantine.total
        train = self._tokenise(records, lm, self.texts, context)
        heldout = self._tokenise(held, lm, self.heldout or self.texts, context)
        context.quarantine.check(given, max_bad_fraction=self.max_bad_fraction, where=str(self.texts))
        if self.epochs is None and len(train.texts) > self.steps * self.batch_size:
            shuffled = context.seeds.child("subset").numpy().permutation(len(train.texts))
            train = train.take(sorted(int(i) for i in shuffled[: self.steps * self.batch_size]))
        return train, heldout.take(range(min(self.measure, len(heldout.texts))))

    def _tokenise(
        self, records: Sequence[Mapping[str, Any]], lm: LanguageModel, path: Path, context: StageContext
    ) -> _Texts:
        found = tokenise_texts(records, tokenizer=lm.tokenizer, limits=self.limits)
        by_id = {str(record["id"]): record for record in records}
        for problem in found.problems:
            where = f"{path.name}:{problem.id}"
            context.quarantine.add(where=where, reason=problem.reason, record=by_id[problem.id])
        if not found.texts:
            raise DataError(
                f"none of the {len(records)} records can be learnt from",
                code="align.no-texts",
                where=str(path),
                hint=f"see {context.quarantine.path.name} for the reasons",
            )
        return _Texts(found.texts, given=len(records), cut=found.cut, split=found.split)

    def _train(self, lm: LanguageModel, train: _Texts, heldout: _Texts, context: StageContext) -> MeasuredTexts:
        from plait.align.arguments import training_arguments
        from plait.align.sft.trainer import TextTrainer

        def on_step(step: int, steps: int, scalars: Mapping[str, float]) -> None:
            context.progress("steps", step, steps, loss=round(scalars["loss"], 4))
            for name in ("loss", "tokens", "grad_norm"):
                context.metric(name, scalars[name], step=step)

        trainer = TextTrainer(
            lm.model,
            training_arguments(
                context.scratch / "checkpoints",
                steps=self._steps(len(train.texts)),
                batch_size=self.batch_size,
                micro_batch_size=self.micro_batch_size,
                learning_rate=self.learning_rate,
                warmup_steps=self.warmup_steps,
                schedule=self.schedule,
                checkpoint_every=self.checkpoint_every,
                seed=context.seeds.child("trainer").integer(bits=31),
                use_cpu=lm.device.type == "cpu",
            ),
            texts=train.texts,
            heldout=heldout.texts,
            packed=self.packed,
            seeds=context.seeds.child("order"),
            on_step=on_step,
        )
        context.report.facts["layout"] = trainer.layout_reason
        before = self._measure(lm, heldout, trainer.packed, context)
        curve = trainer.run()
        after = self._measure(lm, heldout, trainer.packed, context)
        return MeasuredTexts(before=before, after=after, curve=curve)

    def _measure(self, lm: LanguageModel, heldout: _Texts, packed: bool, context: StageContext) -> TextScores:
        from plait.align.sft.evaluate import score_texts

        return score_texts(
            lm.model,
            heldout.texts,
            packed=packed,
            on_progress=lambda done, total: context.progress("held-out texts", done, total),
        )

    def _steps(self, texts: int) -> int:
        """Optimiser steps: as asked for, or as many as the epochs need."""
        return self.steps if self.epochs is None else max(1, math.ceil(self.epochs * texts / self.batch_size))


@dataclass(frozen=True)
class _Texts:
    """Usable texts, how many records were given, and how many of them were cut or split."""

    texts: list[TokenText]
    given: int
    cut: int
    split: int

    def take(self, rows: Sequence[int]) -> _Texts:
        return _Texts([self.texts[i] for i in rows], self.given, self.cut, self.split)


def _records(path: Path, context: StageContext) -> list[dict[str, Any]]:
    """The records of a file; one without an id gets the number of its row."""
    table = read_table(path, quarantine=context.quarantine)
    return [
        {"id": str(n), **{k: v for k, v in record.items() if k != "id" or v is not None}}
        for n, record in enumerate(table.to_pylist())
    ]


def _split(
    records: Sequence[dict[str, Any]], *, share: float, seeds: Seeds, where: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Records to train on and records held out; all of one prompt go to one side."""
    groups: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        groups.setdefault(_asked(record), []).append(row)
    if len(groups) < 2:
        raise DataError(
            f"{len(records)} records of one prompt cannot be split into some to train on and some held out",
            code="align.one-prompt",
            where=where,
            hint="give the held-out records as a file of their own",
        )
    held: set[int] = set()
    keys = list(groups)
    for index in seeds.child("split").numpy().permutation(len(keys))[:-1]:  # one prompt is left to train on
        if len(held) >= max(1, round(share * len(records))):
            break
        held |= set(groups[keys[int(index)]])
    return [r for n, r in enumerate(records) if n not in held], [r for n, r in enumerate(records) if n in held]


def _asked(record: Mapping[str, Any]) -> str:
    """What a record answers; a text without a prompt stands for itself."""
    found = read_text(record)
    if isinstance(found, str):  # it is set aside later, with its reason; here it only needs a side
        return str(record["id"])
    if isinstance(found, Dialogue):
        until = next(n for n, m in enumerate(found.messages) if n >= found.first and m.get("role") == "assistant")
        return json.dumps(list(found.messages[:until]), default=str)
    return json.dumps(found.prompt or found.completion)


def _save(lm: LanguageModel, folder: Path) -> None:
    """The whole model, any adapter merged into it, and the adapter by itself inside."""
    from plait.align.sft.training import merge_adapter
    from plait.models import save_adapter
    from plait.models.quiet import quiet_loading

    if hasattr(lm.model, "peft_config"):
        save_adapter(lm, folder / "adapter")
    with quiet_loading():
        merge_adapter(lm).network.save_pretrained(folder)
        lm.tokenizer.save_pretrained(folder)


def _write_scores(texts: Sequence[TokenText], before: TextScores, after: TextScores, path: Path) -> None:
    import pyarrow as pa

    columns = {
        "id": [text.id for text in texts],
        "loss_before": before.loss,
        "loss_after": after.loss,
        "tokens": before.tokens.astype("int64"),
    }
    write_table(pa.table(columns), path)
