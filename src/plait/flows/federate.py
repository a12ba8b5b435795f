"""Federated learning as a stage: owners fine-tune one model together, and what each of them gains.

- {name: federate, use: federate.lora, documents: ${curate.documents}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from plait.core.figures import Bars, Lines, Table
from plait.core.hashing import hash_json
from plait.core.io import read_table
from plait.core.optional import check_installed
from plait.core.seeds import Seeds
from plait.core.stage import InputPath, Stage, StageContext
from plait.errors import StrandError
from plait.federate.aggregators.base import Aggregator
from plait.federate.aggregators.coordinate import CoordinateMedian, TrimmedMean
from plait.federate.aggregators.mean import Mean, capped_weights
from plait.federate.algorithms.base import Reply
from plait.federate.algorithms.fedavg import FedAvg
from plait.federate.learners.lora import AdapterLearner, AdapterTraining
from plait.federate.payload import Payload, Vector
from plait.federate.rounds import PhaseRecord, run_rounds
from plait.federate.shards import Blocks, shard
from plait.federate.transports.checkpointed import Checkpointed
from plait.federate.transports.inprocess import InProcess
from plait.models.adapters import LoRA

if TYPE_CHECKING:
    from plait.models import LanguageModel

TOGETHER = "federated"
UNTOUCHED = "untouched"


class FederateLoRA(Stage):
    """Owners of texts train one LoRA adapter together by federated averaging; the texts stay with them.

    Compares three models on held-out texts of all owners, mixed equally: the untouched base, each owner training alone,
    and the federated one. Every owner takes the same number of steps alone as together.

    Example:
        - {name: federate, use: federate.lora, documents: "${curate.documents}", rounds: 2, steps: 6}
    """

    outputs: ClassVar[Mapping[str, str]] = {"adapter": "adapter"}

    documents: InputPath
    """Documents with ``text`` and ``group``; each group is an owner."""
    model: str = "smollm2-135m"
    """The base model: a catalog name, a folder, a ``.gguf`` file or a Hub id."""
    rounds: int = Field(default=2, ge=1)
    """Rounds of federated averaging."""
    steps: int = Field(default=5, ge=1)
    """Optimiser steps of each owner per round."""
    batch_size: int = Field(default=2, ge=1)
    """Blocks of text per step."""
    sequence_length: int = Field(default=128, ge=8)
    """Tokens per block."""
    learning_rate: float = Field(default=5e-3, gt=0)
    """Step size of AdamW, which restarts every round."""
    lora: LoRA = LoRA()
    """The adapter that is trained and travels."""
    rule: Literal["mean", "median", "trimmed-mean"] = "mean"
    """How the owners' changes become one; the last two withstand some owners that lie."""
    trim: int = Field(default=1, ge=0)
    """For the trimmed mean: the number of liars to withstand."""
    max_weight: float = Field(default=1.0, ge=1)
    """No owner counts more than this many equal shares in the mean, however many texts it claims. Owners take
    equally many steps, so at 1 every step counts the same; a large value weighs by texts, as first published.
    """
    heldout_blocks: int = Field(default=6, ge=1)
    """Blocks held out of each owner's texts, for comparing."""

    def fingerprint(self) -> Mapping[str, str]:
        """The result depends on the base model."""
        from plait.models import resolve

        return {"model": resolve(self.model).fingerprint()}

    def checkable(self) -> None:
        """The model must be known and its packages installed."""
        from plait.models import resolve

        resolve(self.model)
        check_installed("torch", extra="federate", feature="federated fine-tuning")
        check_installed("peft", extra="federate", feature="federated fine-tuning")

    def run(self, context: StageContext) -> None:
        """Shard the texts, train together and alone, compare, and write the federated adapter."""
        from plait.models import load
        from plait.models.adapters import attach_lora, save_adapter

        lm = load(self.model)
        owners = self._owners(lm, context)
        seed = context.seeds.child("learner").integer()
        training = AdapterTraining(learning_rate=self.learning_rate, batch_size=self.batch_size, seed=seed)
        lm = attach_lora(lm, self.lora, seed=seed % 2**32)
        tokens = {owner: (part.train, part.heldout) for owner, part in owners.items()}
        learner = AdapterLearner(training, lm, tokens=tokens)
        trials = Trials(self, learner, context, folder=context.scratch / self._key(owners, context))
        untouched = trials.heldout(learner.start())
        together = trials.run(
            FedAvg(steps=self.steps, aggregator=self._rule(), max_weight=self.max_weight), list(owners)
        )
        # The first round starts from the same model on the same batches: alone finds its answers kept by the run above.
        alone = {owner: trials.run(FedAvg(steps=self.steps), [owner]) for owner in owners}
        learner.load(together.model)
        save_adapter(lm, context.output("adapter"))
        self._describe(context, owners, untouched, together, alone, parameters=learner.start().size)

    def _owners(self, lm: LanguageModel, context: StageContext) -> dict[str, Owner]:
        """Texts by group, as token blocks; groups too small to train and compare are left out, with a warning."""
        table = read_table(self.documents, columns=["id", "text", "group"], quarantine=context.quarantine)
        texts: dict[str, list[str]] = {}
        for record in table.to_pylist():
            if not record["text"] or not record["group"]:
                reason = "no text" if not record["text"] else "no group"
                context.quarantine.add(where=f"{self.documents.name} id {record['id']}", reason=reason, record=record)
            else:
                texts.setdefault(record["group"], []).append(record["text"])
        owners: dict[str, Owner] = {}
        separator = min(lm.eos_ids)
        for done, group in enumerate(sorted(texts), start=1):
            train, heldout = shard(
                texts[group],
                encode=lm.encode,
                separator=separator,
                length=self.sequence_length,
                heldout_blocks=self.heldout_blocks,
                seeds=context.seeds.child("texts", group),
            )
            context.progress("owners read", done, len(texts))
            if len(heldout) < self.heldout_blocks or len(train) < self.batch_size:
                blocks = len(heldout) + len(train)
                context.warn(
                    f"{group} is left out: its {len(texts[group])} documents fill {blocks} blocks of "
                    f"{self.sequence_length} tokens, and {self.heldout_blocks + self.batch_size} are needed"
                )
                continue
            owners[group] = Owner(len(texts[group]), train, heldout)
        if len(owners) < 2:
            raise StrandError(
                f"{len(owners)} owners with enough text, at least 2 needed",
                code="federate.too-few-clients",
                where=str(self.documents),
                hint="give documents of more groups, or lower sequence_length, batch_size or heldout_blocks",
            )
        return owners

    def _rule(self) -> Aggregator:
        return {"mean": Mean(), "median": CoordinateMedian(), "trimmed-mean": TrimmedMean(trim=self.trim)}[self.rule]

    def _key(self, owners: Mapping[str, Owner], context: StageContext) -> str:
        """Names all that unfinished work depends on, so that other settings never find it."""
        settings = self.model_dump(mode="json", exclude={"documents"})
        parts = {name: hash_json([part.train.tolist(), part.heldout.tolist()]) for name, part in sorted(owners.items())}
        return hash_json([settings, dict(self.fingerprint()), parts, context.seeds.digest().hex()])[:16]

    def _describe(
        self,
        context: StageContext,
        owners: Mapping[str, Owner],
        untouched: Mapping[str, float],
        together: Trial,
        alone: Mapping[str, Trial],
        *,
        parameters: int,
    ) -> None:
        names = list(owners)
        base, joint = fmean(untouched.values()), fmean(together.heldout.values())
        apart = fmean(fmean(trial.heldout.values()) for trial in alone.values())
        report = context.report
        report.headline = (
            f"held-out loss: untouched {base:.3f}, alone {apart:.3f} (mean of {len(names)} owners), "
            f"federated {joint:.3f}"
        )
        record = together.records[-1]
        report.facts |= {
            "owners": len(names),
            "rounds": self.rounds,
            "steps of each owner, alone and together": self.rounds * self.steps,
            "tokens per step": self.batch_size * self.sequence_length,
            "trained parameters": parameters,
            "bytes an owner sends per round": max(record.received.values()),
            "held-out tokens": len(names) * self.heldout_blocks * self.sequence_length,
            "SHA-256 of the federated model": record.digest,
        }
        report.figures += [
            _bars(names, untouched, together, alone),
            _curves(self, base, apart, together),
            _training(self, names, together),
        ]
        report.tables += [_owner_table(self, owners, record), _matrix(names, untouched, together, alone)]
        for reason in _refusals(together):
            context.warn(reason)
        report.notes += _remarks(names, base, apart, joint, together, alone)


@dataclass(frozen=True)
class Owner:
    """One owner's texts: how many documents, and token blocks ``[blocks, tokens]``."""

    documents: int
    train: Blocks
    heldout: Blocks


@dataclass
class Trial:
    """One run of federated averaging: its model, losses by step, and held-out losses by round and owner."""

    model: Vector
    records: list[PhaseRecord] = field(default_factory=list[PhaseRecord])
    losses: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    by_round: list[Mapping[str, float]] = field(default_factory=list[Mapping[str, float]])

    @property
    def heldout(self) -> Mapping[str, float]:
        """Held-out loss of each owner after the last round."""
        return self.by_round[-1]


class Trials:
    """Runs and compares, keeping every reply and evaluation in a folder so that a kill loses one of them at most.

    Args:
        stage: The settings.
        learner: The shared model and every owner's blocks.
        context: For seeds and progress.
        folder: What is kept; belongs to these settings and blocks alone.
    """

    def __init__(self, stage: FederateLoRA, learner: AdapterLearner, context: StageContext, *, folder: Path) -> None:
        self._stage = stage
        self._learner = learner
        self._context = context
        self._folder = folder
        self._seeds: Seeds = context.seeds.child("rounds")
        self._done = 0
        (folder / "heldout").mkdir(parents=True, exist_ok=True)

    def run(self, algorithm: FedAvg, owners: Sequence[str]) -> Trial:
        """Federated averaging among some owners; of one owner, it is training alone."""
        trial = Trial(self._learner.start())
        together = len(owners) > 1

        def on_reply(reply: Reply) -> None:
            losses = trial.losses.setdefault(reply.task.client, [])
            losses += [float(loss) for loss in reply.payload.meta["losses"]]
            self._done += 1
            total = 2 * len(self._learner.examples()) * self._stage.rounds
            self._context.progress("rounds of an owner", self._done, total, loss=f"{losses[-1]:.3f}")

        def on_phase(record: PhaseRecord, model: Payload) -> None:
            trial.model = model.vector()
            trial.records.append(record)
            if together or record.round + 1 == self._stage.rounds:
                trial.by_round.append(self.heldout(trial.model))
            if together:
                mean = fmean(trial.by_round[-1].values())
                self._context.metric("federated held-out loss", mean, step=record.round + 1)

        examples = self._learner.examples()
        run_rounds(
            algorithm,
            Checkpointed(InProcess(algorithm, self._learner), self._folder / "replies"),
            start=Payload.of_vector(self._learner.start(), layout=self._learner.layout()),
            clients={owner: examples[owner] for owner in owners},
            rounds=self._stage.rounds,
            seeds=self._seeds,
            on_reply=on_reply,
            on_phase=on_phase,
        )
        return trial

    def heldout(self, vector: Vector) -> dict[str, float]:
        """Loss on each owner's held-out blocks, in nats per token."""
        path = self._folder / "heldout" / f"{Payload.of_vector(vector).digest()}.json"
        if not path.exists():
            losses = {owner: self._learner.evaluate(vector, client=owner) for owner in self._learner.examples()}
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(losses))
            partial.replace(path)
        return json.loads(path.read_text())


def _bars(names: Sequence[str], untouched: Mapping[str, float], together: Trial, alone: Mapping[str, Trial]) -> Bars:
    groups = [*names, "all, equally"]

    def with_mean(losses: Mapping[str, float]) -> list[float]:
        return [round(losses[name], 4) for name in names] + [round(fmean(losses.values()), 4)]

    mean_alone = {name: fmean(trial.heldout[name] for trial in alone.values()) for name in names}
    own = [round(alone[name].heldout[name], 4) for name in names]
    return Bars(
        title="Held-out loss on each owner's texts",
        y="loss (nats per token)",
        groups=groups,
        series={
            UNTOUCHED: with_mean(untouched),
            "alone, mean of owners": with_mean(mean_alone),
            "alone, the owner itself": [*own, round(fmean(own), 4)],
            TOGETHER: with_mean(together.heldout),
        },
        note="Lower is better. 'The owner itself' is judged on the texts it trained for, the hardest rival to beat.",
    )


def _curves(stage: FederateLoRA, base: float, apart: float, together: Trial) -> Lines:
    points = [(0.0, round(base, 4))]
    points += [(float(i + 1), round(fmean(losses.values()), 4)) for i, losses in enumerate(together.by_round)]
    return Lines(
        title="Held-out loss by round",
        x="rounds",
        y="loss (nats per token)",
        series={
            TOGETHER: points,
            "alone (mean)": [(0.0, round(base, 4)), (float(stage.rounds), round(apart, 4))],
        },
        note="Mean over all owners' held-out texts; training alone is measured at its end only.",
    )


def _training(stage: FederateLoRA, names: Sequence[str], together: Trial) -> Lines:
    return Lines(
        title="Training loss of each owner in the federation",
        x="steps",
        y="loss (nats per token)",
        series={
            name: [(float(i + 1), round(loss, 4)) for i, loss in enumerate(together.losses[name])] for name in names
        },
        note=f"The owners' adapters become one after every {stage.steps} steps.",
    )


def _owner_table(stage: FederateLoRA, owners: Mapping[str, Owner], record: PhaseRecord) -> Table:
    weights = capped_weights([len(part.train) for part in owners.values()], max_weight=stage.max_weight)
    if stage.rule != "mean":
        weights = [1 / len(owners)] * len(owners)
    return Table(
        title="Owners",
        columns=["owner", "documents", "training tokens", "weight", "bytes received per round", "bytes sent per round"],
        rows=[
            [name, part.documents, part.train.size, round(weight, 4), record.sent[name], record.received[name]]
            for (name, part), weight in zip(owners.items(), weights, strict=True)
        ],
        note="Bytes are those of the messages, measured; nothing else leaves an owner.",
    )


def _matrix(names: Sequence[str], untouched: Mapping[str, float], together: Trial, alone: Mapping[str, Trial]) -> Table:
    models = {UNTOUCHED: untouched}
    models |= {f"{name}, alone": alone[name].heldout for name in names}
    models[TOGETHER] = together.heldout
    return Table(
        title="Held-out loss of every model on every owner's texts",
        columns=["model", *names, "mean"],
        rows=[
            [model, *(round(losses[name], 4) for name in names), round(fmean(losses.values()), 4)]
            for model, losses in models.items()
        ],
        note="nats per token; lower is better",
    )


def _refusals(together: Trial) -> list[str]:
    return [
        f"round {record.round + 1}: the change of {owner} was refused, it {reason}"
        for record in together.records
        for owner, reason in record.numbers.refused.items()
    ]


def _remarks(
    names: Sequence[str], base: float, apart: float, joint: float, together: Trial, alone: Mapping[str, Trial]
) -> list[str]:
    better = [name for name in names if together.heldout[name] < alone[name].heldout[name]]
    everywhere = [name for name in names if joint < fmean(alone[name].heldout.values())]
    notes = [
        f"On its own held-out texts the federated model beats training alone for {len(better)} of {len(names)} owners"
        + (f" ({', '.join(better)})." if 0 < len(better) < len(names) else "."),
        f"On all owners' texts it beats the model of {len(everywhere)} of {len(names)} owners.",
        "Each owner took the same steps alone as together, but the federated model profits from the steps of all of "
        "them. Pooling all texts in one place is not measured here; it is what a federation tries to come near.",
        "Alone and together share their first round, which starts from the same model on the same batches; it is "
        "computed once. The optimiser restarts every round in both.",
        "The two factors of each adapted layer are averaged on their own (the usual way); their product is not the "
        "average of the owners' products.",
    ]
    if joint >= apart:
        notes.insert(0, "The federation did not beat training alone: try more rounds, or another learning rate.")
    if joint >= base:
        notes.insert(0, "The federation did not beat the untouched model: the learning rate is probably too high.")
    return notes
