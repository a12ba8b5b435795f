"""Stage ``align.confidence``: a model learns to say how sure it is, and is measured before and after."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from plait.core.figures import Table
from plait.core.io import read_table
from plait.core.optional import check_installed
from plait.core.stage import InputPath, Stage, StageContext
from plait.errors import DataError
from plait.models import LoRA

if TYPE_CHECKING:
    from plait.align.confidence.metrics import Numbers
    from plait.models import LanguageModel


@dataclass(frozen=True)
class _Problem:
    question: str
    reference: str


class Confidence(Stage):
    """Teach a model to state a confidence, and train it until what it states fits what is so.

    The model answers every question once, greedily; answers are marked against their references; pairs that differ in
    the stated confidence alone are trained on; confidences of the answers held out are measured before and after.

    Example:
        - name: confidence
          use: align.confidence
          questions: questions.jsonl
          match: number
          reward: brier

    Source: Tao et al. 2024, CONQORD (arXiv 2404.17287), its order reward; the proper scores are the field's.
    """

    outputs: ClassVar[Mapping[str, str]] = {"model": "model", "result": "result.json", "answers": "answers.jsonl"}

    questions: InputPath
    """Records with ``question`` and ``answer``, the reference."""
    model: str = "smollm2-135m"
    """The model that is adapted; see ``plait models ls``."""
    match: Literal["exact", "number"] = "exact"
    """When an answer is right: the same words, or the same last number."""
    reward: Literal["brier", "log", "order", "hybrid"] = "brier"
    """Which of two confidences is the better one: by a proper score, or by the order of the answers."""
    heldout_share: float = Field(default=0.3, gt=0, lt=1)
    """The part of the questions that is only measured on."""
    lora: LoRA = LoRA(targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    """Adapter of both trainings; it is merged into the model that is written."""
    teach_steps: int = Field(default=20, ge=0)
    """Optimiser steps that teach the format, with confidences at random; 0 for a model that knows it."""
    steps: int = Field(default=30, ge=1)
    """Optimiser steps on confidence pairs."""
    batch_size: int = Field(default=8, ge=1)
    """Texts or pairs per step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak of AdamW's learning rate."""
    beta: float = Field(default=0.3, gt=0)
    """Of the DPO loss, per nat: smaller lets confidences move further."""
    pairs_per_answer: int = Field(default=2, ge=1)
    """Pairs of confidences drawn for each answer."""
    max_answer: int = Field(default=16, ge=1)
    """Longest answer, in tokens."""
    max_bad_fraction: float = Field(default=0.1, ge=0, le=1)
    """Stop if more than this share of the records cannot be used."""
    device: str = "cpu"
    """Where to train: ``cpu``, ``cuda``, or ``auto``."""

    def checkable(self) -> None:
        """Raises MissingExtra without torch, transformers and peft."""
        for package in ("torch", "transformers", "peft", "accelerate"):
            check_installed(package, extra="align", feature="align.confidence")

    def fingerprint(self) -> Mapping[str, str]:
        """The model by name, or by content where the name is a path."""
        from plait.models import resolve

        return {"model": resolve(self.model).fingerprint() if Path(self.model).exists() else self.model}

    def run(self, context: StageContext) -> None:
        """Teach the format, answer, mark, measure, train on confidence pairs, measure again, describe."""
        self.checkable()
        import numpy as np

        from plait.align.confidence.elicit import confidence_distribution, expected

        learn, heldout = self._read(context)
        lm = self._taught(learn, context)
        graded, measured = self._answer(lm, learn, context), self._answer(lm, heldout, context)
        questions, answers = [one.question for one in heldout], [answer for answer, _ in measured]
        correct = np.array([right for _, right in measured])
        before = expected(confidence_distribution(lm, questions, answers))
        lm = self._trained(lm, learn, graded, context)
        after = expected(confidence_distribution(lm, questions, answers))
        lm.network.save_pretrained(context.output("model"))
        lm.tokenizer.save_pretrained(context.output("model"))
        with context.output("answers").open("w", encoding="utf-8") as out:
            for problem, (answer, right), first, second in zip(heldout, measured, before, after, strict=True):
                row = {"question": problem.question, "reference": problem.reference, "answer": answer}
                row |= {"correct": bool(right), "confidence_before": float(first), "confidence": float(second)}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._describe(before, after, correct, context)

    def _read(self, context: StageContext) -> tuple[list[_Problem], list[_Problem]]:
        table = read_table(self.questions, quarantine=context.quarantine)
        for column in ("question", "answer"):
            if column not in table.column_names:
                raise DataError(
                    f'there is no field "{column}"; fields: {", ".join(table.column_names)}',
                    code="data.missing-field",
                    where=str(self.questions),
                    hint="records have question and answer",
                )
        found: list[_Problem] = []
        for number, row in enumerate(table.to_pylist(), 1):
            if row["question"] and row["answer"] is not None:
                found.append(_Problem(str(row["question"]), str(row["answer"])))
            else:
                context.quarantine.add(
                    where=f"{self.questions}:{number}", reason="empty question or answer", record=row
                )
        context.quarantine.check(table.num_rows, max_bad_fraction=self.max_bad_fraction, where=str(self.questions))
        # Equal questions go to one side.
        names = sorted({problem.question for problem in found})
        held_count = round(self.heldout_share * len(names))
        if not 2 <= held_count <= len(names) - 2:
            raise DataError(
                f"{len(names)} different questions cannot be split into two to train on and two to measure on",
                code="align.too-few-questions",
                where=str(self.questions),
                hint="give more questions, or another heldout_share",
            )
        shuffled = context.seeds.child("split").numpy().permutation(len(names))
        held = {names[int(index)] for index in shuffled[:held_count]}
        return [p for p in found if p.question not in held], [p for p in found if p.question in held]

    def _taught(self, learn: Sequence[_Problem], context: StageContext) -> LanguageModel:
        from plait.align.confidence.teach import format_records
        from plait.align.sft.training import train_texts
        from plait.models import load

        lm = load(self.model, device=self.device)
        if not self.teach_steps:
            return lm
        records = format_records([(p.question, p.reference) for p in learn], seeds=context.seeds)
        args = self._arguments(context, "teach", self.teach_steps)
        return train_texts(
            lm,
            records,
            args,
            lora=self.lora,
            on_step=lambda step, steps, _: context.progress("steps of the format", step, steps),
        ).merged()

    def _answer(
        self, lm: LanguageModel, problems: Sequence[_Problem], context: StageContext
    ) -> list[tuple[str, float]]:
        """The model's own answers, and whether each is right."""
        from plait.align.confidence.prompts import ask
        from plait.align.confidence.quality import exact_match, numeric_match
        from plait.models import generate

        written = generate(
            lm,
            [lm.encode(ask(problem.question)) for problem in problems],
            max_new_tokens=self.max_answer,
            seeds=[0] * len(problems),
            stop=["\n"],
            on_progress=lambda done, total: context.progress("answers", done, total),
        )
        matches = exact_match if self.match == "exact" else numeric_match
        answers = [one.text.split("\n")[0].strip() for one in written]
        return [(a, float(matches(a, p.reference))) for a, p in zip(answers, problems, strict=True)]

    def _trained(
        self,
        lm: LanguageModel,
        learn: Sequence[_Problem],
        graded: Sequence[tuple[str, float]],
        context: StageContext,
    ) -> LanguageModel:
        from plait.align.confidence.offline import Graded, confidence_pairs
        from plait.align.presets import DPO
        from plait.align.sft.training import merge_adapter
        from plait.align.training import train_pairs
        from plait.models import attach_lora

        pairs = confidence_pairs(
            [Graded(p.question, answer, right) for p, (answer, right) in zip(learn, graded, strict=True)],
            kind=self.reward,
            per_answer=self.pairs_per_answer,
            seeds=context.seeds,
        )
        lm = attach_lora(lm, self.lora, seed=context.seeds.child("lora").integer())
        train_pairs(
            lm,
            pairs,
            self._arguments(context, "pairs", self.steps),
            objective=DPO(beta=self.beta),
            on_step=lambda step, steps, scalars: context.progress("steps", step, steps, loss=round(scalars["loss"], 4)),
        )
        context.report.facts["confidence pairs"] = len(pairs)
        return merge_adapter(lm)

    def _arguments(self, context: StageContext, name: str, steps: int) -> Any:
        from plait.align.arguments import training_arguments

        return training_arguments(
            context.scratch / name,
            steps=steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=context.seeds.child(name).integer(bits=31),
            use_cpu=self.device == "cpu",
        )

    def _describe(self, before: Numbers, after: Numbers, correct: Numbers, context: StageContext) -> None:
        import numpy as np

        from plait.align.confidence.figures import confidence_histogram, reliability_diagram, risk_coverage_figure
        from plait.align.confidence.metrics import compare, measure
        from plait.align.confidence.retrieval import retrieval_figure, sweep_thresholds

        seeds, report = context.seeds, context.report
        found = {"before": measure(before, correct, seeds=seeds), "after": measure(after, correct, seeds=seeds)}
        change = compare(before, after, correct, seeds=seeds)
        result = {when: {n: vars(i) for n, i in m.items()} for when, m in (found | {"change": change}).items()}
        context.output("result").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        first, second = found["before"], found["after"]
        report.headline = (
            f"ECE {first['ECE'].value:.2f} → {second['ECE'].text()}, "
            f"AUROC {first['AUROC'].value:.2f} → {second['AUROC'].text()} on {len(correct)} questions held out"
        )
        report.facts |= {"questions held out": len(correct), "right of them": round(float(correct.mean()), 4)}
        report.tables.append(
            Table(
                title="Stated confidence",
                columns=["measure", "before", "after", "change"],
                rows=[
                    [n, first[n].text(3), second[n].text(3), change[n].text(3) if n in change else None] for n in first
                ],
                note="Mean of the distribution over the confidences; 95 % bootstrap intervals, paired in change.",
            )
        )
        models = {"before": before, "after": after}
        report.figures += [
            reliability_diagram(models, correct),
            confidence_histogram(models),
            risk_coverage_figure(models, correct),
            retrieval_figure(sweep_thresholds(after, correct, np.ones(len(correct)))),
        ]
        report.notes.append(
            "In the last figure a look-up is always right: it shows what the confidence can save at most."
        )
        if correct.min() == correct.max():
            context.warn("all answers held out are right, or all are wrong: there is nothing to rank")
