"""Stage ``align.sft``: texts or conversations in, a fine-tuned model out, and what it changed on texts held out.

- {name: sft, use: align.sft, texts: conversations.jsonl, steps: 100}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from plait.align.sft.formats import Dialogue, read_text
from plait.align.sft.texts import TextLimits, TokenText, tokenise_texts
from plait.core.io import read_table, write_table
from plait.core.quarantine import Quarantine
from plait.core.stage import InputPath, Stage, StageContext
from plait.errors import DataError
from plait.flows.sft_report import MeasuredTexts, describe
from plait.flows.training import Training
from plait.flows.training_records import set_aside, with_ids

if TYPE_CHECKING:
    from plait.align.sft.evaluate import TextScores
    from plait.models import LanguageModel


class TextTask(Stage):
    """What is learnt: a base, so that these settings stand before those of `Training`."""

    texts: InputPath
    """Records with ``messages``; ``prompt`` and ``completion``; ``text``; or ``prompt``, ``chosen`` and ``rejected``,
    of which the chosen text is learnt."""
    limits: TextLimits = TextLimits(max_length=512)
    """How long a text may be, in tokens, and what of it is learnt."""
    packed: bool = True
    """Let short texts share a row, without seeing each other: same result, hardly any padding."""


class SFT(Training, TextTask):
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
    use: ClassVar[str] = "align.sft"
    in_python: ClassVar[str] = "plait.align.sft.training.train_texts"
    kind: ClassVar[str] = "records"
    curves: ClassVar[tuple[str, ...]] = ("loss", "tokens", "grad_norm")

    def run(self, context: StageContext) -> None:
        """Tokenise, measure, train from the last checkpoint, measure again, save, describe."""
        self.checkable()
        lm = self.load()
        train, heldout = self.examples(
            self.texts,
            read=_read,
            prompt_of=_asked,
            tokenise=lambda records, path: self._tokenise(records, lm, path, context),
            context=context,
        )
        lm = self.trainable(lm, context.seeds)
        measured = self._train(lm, train, heldout, context)
        _write_scores(heldout.texts, measured.before, measured.after, context.output("scores"))
        describe(measured, context.report, seeds=context.seeds)
        context.report.facts |= {
            "texts trained on": len(train),
            "records given": train.given + heldout.given,
            "records set aside": context.quarantine.total,
            "texts cut": train.cut + heldout.cut,
            "texts split": train.split + heldout.split,
        }
        _save(lm, context.output("model"))

    def _tokenise(
        self, records: Sequence[Mapping[str, Any]], lm: LanguageModel, path: Path, context: StageContext
    ) -> _Texts:
        found = tokenise_texts(records, tokenizer=lm.tokenizer, limits=self.limits)
        set_aside(found.problems, records, quarantine=context.quarantine, name=path.name)
        if not found.texts:
            raise DataError(
                f"none of the {len(records)} records can be learnt from",
                code="align.no-texts",
                where=str(path),
                hint=f"see {context.quarantine.path.name} for the reasons",
            )
        return _Texts(found.texts, given=len(records), cut=found.cut, split=found.split)

    def _train(self, lm: LanguageModel, train: _Texts, heldout: _Texts, context: StageContext) -> MeasuredTexts:
        from plait.align.sft.trainer import TextTrainer

        trainer = TextTrainer(
            lm.model,
            self.arguments(lm, context, examples=len(train)),
            texts=train.texts,
            heldout=heldout.texts,
            packed=self.packed,
            seeds=context.seeds.child("order"),
            on_step=self.on_step(context),
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


@dataclass(frozen=True)
class _Texts:
    """Usable texts, how many records were given, and how many of them were cut or split."""

    texts: list[TokenText]
    given: int
    cut: int
    split: int

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Iterable[int]) -> _Texts:
        return _Texts([self.texts[i] for i in rows], self.given, self.cut, self.split)


def _read(path: Path, quarantine: Quarantine) -> list[dict[str, Any]]:
    return with_ids(read_table(path, quarantine=quarantine))


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
