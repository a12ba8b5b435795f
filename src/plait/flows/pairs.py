"""Stage ``data.pairs``: documents in, preference pairs out: how a person went on, over how the model does.

- {name: pairs, use: data.pairs, documents: ${curate.documents}, train: 96, heldout: 32}
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from plait.core.figures import Example, Histogram, Table
from plait.core.folder import write_text
from plait.core.io import read_batches, write_table
from plait.core.optional import check_installed
from plait.core.stage import InputPath, Stage, StageContext
from plait.data.continuations import cut_to, prompt_end, share_of, without_last_word
from plait.data.op import Filter
from plait.data.plan import Plan, compile_plan, read_ops
from plait.errors import DataError, UsageError
from plait.records import DOCUMENT, PREFERENCE_PAIR, PreferencePair

if TYPE_CHECKING:
    from plait.models import LanguageModel
    from plait.records import Document

DEFAULT_OPS: tuple[str | dict[str, dict[str, Any] | None], ...] = (
    {"pair_length_bias_filter": {"min_log_ratio": -0.7, "max_log_ratio": 0.7}},
    {"pair_similarity_filter": {"max_similarity": 0.8}},
)
"""Neither answer is twice as long as the other, and they are not nearly the same."""

_OVERSAMPLING = 12
"""Documents held per pair asked for; what is left over covers documents that give no pair."""
_FEWEST_TOKENS = 8
"""A shorter prompt or completion says too little to prefer one over the other."""


class Pairs(Stage):
    """Builds preference pairs from documents: the human continuation is chosen, the model's own sample is rejected.

    Both continue the same prompt and are cut to the same length at the end of a word, so that neither length nor a
    broken word gives the answer away. What is learnt from such pairs is the documents' way of going on, not the
    judgement of a person who compared two answers.

    Example:
        - {name: pairs, use: data.pairs, documents: "${curate.documents}", train: 96, heldout: 32}

    Source: Chen et al. 2024, "Self-Play Fine-Tuning", section 4.1 (human text over the model's own).
    """

    outputs: ClassVar[Mapping[str, str]] = {"pairs": "pairs.parquet", "heldout": "heldout.parquet"}

    documents: InputPath
    """Documents with ``id`` and ``text``, in any format of `plait.core.io`."""
    model: str = "smollm2-135m"
    """The model whose continuations are rejected; see ``plait models ls``."""
    train: int = Field(default=96, ge=1)
    """Pairs to train on."""
    heldout: int = Field(default=32, ge=1)
    """Pairs to measure on, from documents of their own."""
    prompt_tokens: int = Field(default=48, ge=_FEWEST_TOKENS)
    """Longest prompt, in tokens: the first sentences that fit, or else the first words."""
    completion_tokens: int = Field(default=32, ge=_FEWEST_TOKENS)
    """Longest completion, in tokens."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the model's sample."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus of the model's sample."""
    ops: tuple[str | dict[str, dict[str, Any] | None], ...] = DEFAULT_OPS
    """Filters that each pair must pass, as in ``data.curate``; see ``plait data ops pair``."""
    chunk: int = Field(default=16, ge=1)
    """Completions between checkpoints, sampled as one batch: what a kill can cost."""
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1)
    """Stop if more than this share of the documents cannot be read."""
    device: str = "cpu"
    """Where to sample: ``cpu``, ``cuda``, or ``auto``."""

    def checkable(self) -> None:
        """Raises MissingExtra without torch and transformers."""
        for package in ("torch", "transformers"):
            check_installed(package, extra="models", feature="data.pairs")
        check_installed("polars", extra="data", feature="data.pairs")
        for name, op in read_ops(self.ops):
            if not isinstance(op, Filter):
                raise UsageError(
                    f"{name} does not judge each pair by itself",
                    code="data.not-a-filter",
                    hint="use filters here; run `plait data run` on the pairs for the others",
                )

    def fingerprint(self) -> Mapping[str, str]:
        """The model by name, or by content where the name is a path."""
        from plait.models import resolve

        return {"model": resolve(self.model).fingerprint() if Path(self.model).exists() else self.model}

    def run(self, context: StageContext) -> None:
        """Draw documents, sample how the model goes on, pair the two, and write both splits."""
        self.checkable()
        from plait.models import load

        lm = load(self.model, device=self.device)
        splits = self._draw(context)
        made = _Made(compile_plan(read_ops(self.ops)))
        for name, wanted in (("pairs", self.train), ("heldout", self.heldout)):
            found = self._make(name, splits[name], wanted, lm, context, made)
            if not found:
                raise self._no_pairs(name, made)
            if len(found) < wanted:
                context.warn(f"{len(found)} of {wanted} pairs asked for {name}: there are too few long documents")
            write_table(pa.Table.from_pylist(found, PREFERENCE_PAIR), context.output(name))
            context.report.facts[f"{name} written"] = len(found)
        _describe(made, context)

    def _no_pairs(self, name: str, made: _Made) -> DataError:
        counts = ", ".join(f"{reason}: {count}" for reason, count in made.dropped.most_common())
        return DataError(
            f"no document gave a pair for {name} ({counts or 'there are no documents'})",
            code="data.no-pairs",
            where=str(self.documents),
            hint=f"documents need {_FEWEST_TOKENS} tokens and {self.completion_tokens} more, and pairs must pass ops",
        )

    def _draw(self, context: StageContext) -> dict[str, list[Document]]:
        """Documents for each split in random order: the split by hash of the id, the order by hash of seed and id."""
        share = self.heldout / (self.train + self.heldout)
        salt = context.seeds.child("order").digest()

        def order(document: Document) -> bytes:
            return hashlib.blake2b(document["id"].encode(), key=salt, digest_size=16).digest()

        kept: dict[str, list[tuple[bytes, Document]]] = {"pairs": [], "heldout": []}
        wanted = {"pairs": self.train * _OVERSAMPLING, "heldout": self.heldout * _OVERSAMPLING}
        read = 0
        for documents in self._documents(context):
            read += len(documents)
            for name, part in kept.items():
                mine = [d for d in documents if (share_of(d["id"]) < share) == (name == "heldout")]
                part += [(order(document), document) for document in mine]
                kept[name] = heapq.nsmallest(wanted[name], part, key=lambda pair: pair[0])
            context.progress("documents", read)
        context.quarantine.check(
            read + context.quarantine.total, max_bad_fraction=self.max_bad_fraction, where=str(self.documents)
        )
        return {name: [document for _, document in part] for name, part in kept.items()}

    def _documents(self, context: StageContext) -> Iterator[list[Document]]:
        for batch in read_batches(
            self.documents, schema=DOCUMENT, required=["id", "text"], quarantine=context.quarantine
        ):
            yield batch.to_pylist()

    def _make(
        self,
        name: str,
        documents: Sequence[Document],
        wanted: int,
        lm: LanguageModel,
        context: StageContext,
        made: _Made,
    ) -> list[PreferencePair]:
        """The first ``wanted`` pairs; chunks are fixed by the documents alone, so a resumed run makes the same."""
        tasks = self._tasks(documents, lm, made)
        found = list[PreferencePair]()
        number = 0
        while len(found) < wanted and (some := list(islice(tasks, self.chunk))):
            checkpoint = context.scratch / f"{name}-{number:04d}.json"
            for task, completion in zip(some, self._complete(some, lm, context, checkpoint), strict=True):
                pair = self._pair(task, completion, lm, made) if len(found) < wanted else None
                if pair is not None:
                    found.append(pair)
            number += 1
            context.progress(name, len(found), wanted)
        return found

    def _tasks(self, documents: Sequence[Document], lm: LanguageModel, made: _Made) -> Iterator[_Task]:
        def count(text: str) -> int:
            return len(lm.encode(text))

        for document in documents:
            # A text is encoded only as far as it can matter; no token is longer than 64 characters on average.
            text = document["text"][: 64 * (self.prompt_tokens + self.completion_tokens)]
            end = prompt_end(text, count, at_least=_FEWEST_TOKENS, at_most=self.prompt_tokens)
            if end is None or count(text[end:]) < self.completion_tokens:
                made.dropped["document too short"] += 1
            elif text[:end] in made.prompts:
                made.dropped["prompt seen before"] += 1
            else:
                made.prompts.add(text[:end])
                yield _Task(document, text[:end], text[end:])

    def _complete(
        self, tasks: Sequence[_Task], lm: LanguageModel, context: StageContext, checkpoint: Path
    ) -> list[dict[str, Any]]:
        """How the model goes on, from the checkpoint if there is one."""
        ids = [task.document["id"] for task in tasks]
        if checkpoint.exists():
            saved: list[dict[str, Any]] = json.loads(checkpoint.read_text())
            if [one["id"] for one in saved] == ids:
                return saved
        from plait.models import generate

        completions = generate(
            lm,
            [lm.encode(task.prompt) for task in tasks],
            max_new_tokens=self.completion_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seeds=[context.seeds.child("completion", one).integer() for one in ids],
            batch_size=self.chunk,
        )
        result = [
            {"id": one, "text": completion.text, "finish": completion.finish}
            for one, completion in zip(ids, completions, strict=True)
        ]
        write_text(checkpoint, json.dumps(result))
        return result

    def _pair(
        self, task: _Task, completion: Mapping[str, Any], lm: LanguageModel, made: _Made
    ) -> PreferencePair | None:
        def count(text: str) -> int:
            return len(lm.encode(text))

        rejected: str = completion["text"]
        if completion["finish"] == "length":
            rejected = without_last_word(rejected)
        rejected = rejected.rstrip()
        chosen = cut_to(task.rest, count, target=count(rejected))
        rejected = cut_to(rejected, count, target=count(chosen))
        reason = _unusable(chosen, rejected, count(rejected))
        if reason is not None:
            made.dropped[reason] += 1
            return None
        pair: PreferencePair = {
            "id": task.document["id"],
            "prompt": task.prompt,
            "chosen": chosen,
            "rejected": rejected,
            "source": task.document["source"] or "",
        }
        if (refused := made.refused_by(pair)) is not None:
            made.dropped[refused] += 1
            return None
        made.lengths.append((count(chosen), count(rejected)))
        made.examples.append(pair)
        return pair


@dataclass(frozen=True)
class _Task:
    document: Document
    prompt: str
    rest: str


@dataclass
class _Made:
    """What both splits together add up to, and the filters all pairs pass."""

    plan: Plan
    prompts: set[str] = field(default_factory=set[str])
    dropped: Counter[str] = field(default_factory=Counter[str])
    lengths: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    examples: list[PreferencePair] = field(default_factory=list[PreferencePair])

    def refused_by(self, pair: PreferencePair) -> str | None:
        """The filter that drops a pair."""
        import polars as pl

        from plait.data.batch import Batch
        from plait.data.visit import DROPPED_BY, visit

        for one in self.plan.passes:
            [by] = visit(one, Batch.of(pl.DataFrame([pair]))).fates[DROPPED_BY].to_list()
            if by >= 0:
                return self.plan.steps[by].name
        return None


def _unusable(chosen: str, rejected: str, length: int) -> str | None:
    if not rejected.strip():
        return "rejected is empty"
    if rejected.strip() == chosen.strip():
        return "rejected equals chosen"
    return "rejected too short" if length < _FEWEST_TOKENS else None


def _describe(made: _Made, context: StageContext) -> None:
    report = context.report
    chosen, rejected = np.array(made.lengths, float).T
    report.headline = (
        f"{report.facts['pairs written']} pairs to train on and {report.facts['heldout written']} held out, "
        f"mean length {chosen.mean():.1f} tokens chosen, {rejected.mean():.1f} rejected"
    )
    report.facts |= {
        "chosen, mean tokens": round(float(chosen.mean()), 2),
        "rejected, mean tokens": round(float(rejected.mean()), 2),
        "chosen longer than rejected, share of pairs": round(float((chosen > rejected).mean()), 3),
        "rejected longer than chosen, share of pairs": round(float((rejected > chosen).mean()), 3),
    }
    edges = np.arange(0.5, max(chosen.max(), rejected.max()) + 1)
    report.figures.append(
        Histogram(
            title="Length of completions",
            x="tokens",
            edges=edges.tolist(),
            counts={
                "chosen": np.histogram(chosen, edges)[0].astype(float).tolist(),
                "rejected": np.histogram(rejected, edges)[0].astype(float).tolist(),
            },
            note="The two are cut to match: an objective cannot win by preferring the longer one.",
        )
    )
    reasons = ["document too short", "prompt seen before", "rejected is empty", "rejected equals chosen"]
    reasons += ["rejected too short", *dict.fromkeys(step.name for step in made.plan.steps)]
    rows: list[list[str | int | float | None]] = [[reason, made.dropped[reason]] for reason in reasons]
    report.tables.append(Table(title="Documents that gave no pair", columns=["reason", "documents"], rows=rows))
    for pair in made.examples[:3]:
        report.examples.append(
            Example(
                title=f"Pair from {pair['id']}",
                text=f"prompt:   {pair['prompt']}\n\nchosen:   {pair['chosen']}\n\nrejected: {pair['rejected']}",
            )
        )
    report.notes.append(
        "chosen is how the document goes on, rejected a sample of the model; no person compared the two"
    )
