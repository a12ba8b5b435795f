"""Stated confidence: the order reward and proper scores, on a toy and on SmolLM2's additions.

    make bench-align-confidence
    python benchmarks/align_confidence.py --quick          short runs of both parts, one seed of the model: a look
    python benchmarks/align_confidence.py --parts toy      the toy alone

The toy: question types with a probability of success, confidences trained by REINFORCE on each reward from an
over-confident start; differences are paired by seed, with 95 % bootstrap-t intervals.

The model: SmolLM2-135M learns the format with random confidences, answers additions of 1 to 3 digits, and is trained on
confidence pairs of its own answers. Confidences in answers to additions held out are read in three ways: expected
(their mean), stated (in expectation over what could be said), and likeliest (what greedy decoding says). Differences
to the taught model have 95 % bootstrap intervals paired by problem. Where the confidence is low a calculator looks up.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from record import Benchmark, Claim

from plait.align.confidence import metrics
from plait.align.confidence.arithmetic import Addition, additions
from plait.align.confidence.elicit import confidence_distribution, expected, likeliest
from plait.align.confidence.metrics import Numbers
from plait.align.confidence.offline import Graded, confidence_pairs
from plait.align.confidence.prompts import GRID, ask
from plait.align.confidence.quality import numeric_match
from plait.align.confidence.retrieval import sweep_thresholds
from plait.align.confidence.rewards import ConfidenceReward
from plait.align.confidence.stated import compare_stated, measure_stated
from plait.align.confidence.teach import format_records
from plait.align.evaluate import Interval
from plait.align.noise.bench import difference, paired
from plait.core.seeds import Seeds

if TYPE_CHECKING:
    from plait.align.resumable import OnStep
    from plait.models import LanguageModel

ROOT = Seeds(2026)
TYPES, DRAWN, RATE, NOISE = 200, 200, 0.5, 0.3
ToyReward: TypeAlias = Literal["order", "brier", "hybrid"]
TOY: tuple[ToyReward, ...] = ("order", "brier", "hybrid")
BATCHES = (8, 64)
TOY_MEASURES = ("ECE", "Brier", "AUROC", "Spearman")
KINDS: tuple[Literal["order", "brier"], ...] = ("order", "brier")
MEASURES = ("mean confidence", "ECE", "Brier", "NLL", "AUROC", "Spearman")
LOOKED_UP = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Size:
    """How much of the model part: problems to learn the format, to train on and to measure, and optimiser steps."""

    shown: int = 240
    learnt: int = 200
    heldout: int = 300
    teaching: int = 30
    steps: int = 50


def toy(record: Benchmark, *, seeds: int, samples: int) -> str:
    """Every reward at the same budget of samples, all seeds at once."""
    found = {"untrained": toy_run("brier", 8, seeds=seeds, samples=0)}
    for batch, kind in itertools.product(BATCHES, TOY):
        started = time.monotonic()
        found[f"{kind}, batch {batch}"] = toy_run(kind, batch, seeds=seeds, samples=samples)
        sys.stderr.write(f"toy: {kind}, batch {batch}: {time.monotonic() - started:.0f} s\n")
    for name, measures in found.items():
        record.ours |= {f"toy {name} {measure}": values for measure, values in measures.items()}

    def change(name: str, measure: str, sign: int) -> None:
        lead = paired(found[name][measure], found["untrained"][measure], seeds=ROOT.child("paired", name, measure))
        text = f"Toy: {name} {'raises' if sign > 0 else 'lowers'} {measure}: {difference(lead)}"
        holds = lead.low > 0 if sign > 0 else lead.high < 0
        record.claims.append(Claim(text, 0.0, round(sign * lead.value, 4), holds))

    for batch in BATCHES:
        change(f"order, batch {batch}", "AUROC", 1)
        change(f"order, batch {batch}", "Spearman", 1)
        change(f"brier, batch {batch}", "ECE", -1)
        change(f"hybrid, batch {batch}", "ECE", -1)
    columns = ["reward", *TOY_MEASURES, "share at 0 or 1"]
    rows = [[name, *(f"{np.mean(m[column]):.3f}" for column in columns[1:])] for name, m in found.items()]
    return markdown(f"Toy: {TYPES} types of questions, {samples:,} samples", columns, rows)


def toy_run(kind: ToyReward, batch: int, *, seeds: int, samples: int) -> dict[str, list[float]]:
    """Trained confidences of one reward: measure → one value per seed.

    ``samples`` is the budget of every batch size, so that rows are comparable.
    """
    draw, grid = ROOT.child("toy").numpy(), np.asarray(GRID)
    success = draw.random((seeds, TYPES))
    logits = np.tile(4 * grid, (seeds, TYPES, 1))  # over-confident at the start
    reward = ConfidenceReward(kind=kind, standardise=False)
    baseline = np.zeros((seeds, 1))
    world = np.arange(seeds)[:, None]
    for _ in range(samples // batch):
        rows = draw.integers(TYPES, size=(seeds, batch))
        p = softmax(logits[world, rows])
        picked = pick(p, draw.random((seeds, batch, 1)))
        right = (draw.random((seeds, batch)) < success[world, rows]).astype(float)
        noisy = 2 * right - 1 + NOISE * draw.standard_normal((seeds, batch))
        earned = np.stack(earn(reward, grid[picked], noisy, right))
        step = (np.arange(len(grid)) == picked[..., None]) - p
        np.add.at(logits, (world, rows), RATE * (earned - baseline)[..., None] * step)
        baseline += 0.05 * (earned.mean(1, keepdims=True) - baseline)
    asked = ROOT.child("toy", "measured").numpy()
    p = np.repeat(softmax(logits), DRAWN, axis=1)
    confidence = grid[pick(p, asked.random((*p.shape[:2], 1)))]
    correct = (asked.random(confidence.shape) < np.repeat(success, DRAWN, axis=1)).astype(float)
    found: dict[str, list[float]] = {
        name: [metrics.METRICS[name](c, y) for c, y in zip(confidence, correct, strict=True)] for name in TOY_MEASURES
    }
    return found | {"share at 0 or 1": ((confidence == 0) | (confidence == 1)).mean(1).tolist()}


def earn(reward: ConfidenceReward, stated: Numbers, quality: Numbers, correct: Numbers) -> list[Numbers]:
    """Of each seed's batch on its own."""
    return [
        reward(c.tolist(), quality=q.tolist(), correct=y.tolist())
        for c, q, y in zip(stated, quality, correct, strict=True)
    ]


def softmax(logits: Numbers) -> Numbers:
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def pick(probabilities: Numbers, uniform: Numbers) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    below = (probabilities.cumsum(-1) < uniform).sum(-1)
    return np.minimum(below, probabilities.shape[-1] - 1)


@dataclass(frozen=True)
class Measured:
    """One seed: which answers of the taught model are right, and how its states distribute confidence in them."""

    right: Numbers
    distributions: Mapping[str, Numbers]


def model(record: Benchmark, *, seeds: int, size: Size) -> str:
    """The taught model against itself after order pairs and after Brier pairs."""
    runs = [model_run(size, ROOT.child("model", number), name=f"seed {number}") for number in range(seeds)]
    rows: list[list[str]] = []
    for number, run in enumerate(runs):
        record.ours.setdefault("model accuracy", []).append(float(run.right.mean()))
        for state, distribution in run.distributions.items():
            marks = run.right
            readings = {
                "expected": metrics.measure(expected(distribution), marks, seeds=ROOT.child("measure")),
                "stated": measure_stated(distribution, marks, seeds=ROOT.child("measure")),
                "likeliest": metrics.measure(likeliest(distribution), marks, seeds=ROOT.child("measure")),
            }
            for reading, found in readings.items():
                for measure in MEASURES:
                    record.ours.setdefault(f"model {state} {reading} {measure}", []).append(found[measure].value)
                rows.append([str(number), state, reading, *(found[m].text(3) for m in MEASURES)])
    for reading in ("expected", "stated"):
        for state, measure, sign in (("order", "AUROC", 1), ("order", "Spearman", 1), ("brier", "ECE", -1)):
            model_claim(record, runs, state, measure, sign, reading=reading)
    model_claim(record, runs, "brier", "ECE", -1, reading="likeliest")
    title = f"SmolLM2-135M: confidence in {size.heldout} additions held out (95 % over problems)"
    columns = ["seed", "model", "confidence", *MEASURES]
    return "\n".join([markdown(title, columns, rows), looking_up(record, runs)])


def model_claim(
    record: Benchmark,
    runs: Sequence[Measured],
    state: str,
    measure: str,
    sign: int,
    *,
    reading: Literal["expected", "stated", "likeliest"],
) -> None:
    """Holds if it does in every seed."""
    changes: list[Interval] = []
    for run in runs:
        before, after, seeds = run.distributions["taught"], run.distributions[state], ROOT.child("compare")
        if reading == "stated":
            found = compare_stated(before, after, run.right, seeds=seeds)
        else:
            read = expected if reading == "expected" else likeliest
            found = metrics.compare(read(before), read(after), run.right, seeds=seeds)
        changes.append(found[measure])
    for end in ("value", "low", "high"):
        name = f"model {state} minus taught {measure} of the {reading} confidence, {end}"
        record.ours[name] = [float(getattr(change, end)) for change in changes]
    text = f"SmolLM2: {state} pairs {'raise' if sign > 0 else 'lower'} {measure} of the {reading} confidence: "
    text += "; ".join(f"{c.value:+.3f} ({c.low:+.3f} to {c.high:+.3f})" for c in changes)
    least = min(sign * c.value for c in changes)
    holds = all(c.low > 0 if sign > 0 else c.high < 0 for c in changes)
    record.claims.append(Claim(text, 0.0, round(least, 4), holds))


def model_run(size: Size, seeds: Seeds, *, name: str) -> Measured:
    """Teach, answer, train and read one seed."""
    from plait.align.arguments import training_arguments
    from plait.align.presets import DPO
    from plait.align.sft.training import train_texts
    from plait.align.training import train_pairs
    from plait.models import LoRA, load

    told = Progress(name)
    lora = LoRA(targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    test = additions(size.heldout, seeds=seeds.child("test"))
    kept = frozenset(one.question for one in test)
    learn = additions(size.learnt, seeds=seeds.child("train"), exclude=kept)
    shown = additions(size.shown, seeds=seeds.child("teach"), exclude=kept | {one.question for one in learn})
    records = format_records([(one.question, one.answer) for one in shown], seeds=seeds)
    with tempfile.TemporaryDirectory() as folder:
        args = training_arguments(Path(folder) / "teach", steps=size.teaching, batch_size=8, learning_rate=1e-3)
        taught = train_texts(load("smollm2-135m"), records, args, lora=lora, on_step=told.step("teaching")).merged()
        taught.network.save_pretrained(Path(folder) / "taught")
        taught.tokenizer.save_pretrained(Path(folder) / "taught")
        said, learnt = answers(taught, test), answers(taught, learn)
        told.say("answered")
        questions = [one.question for one in test]
        read = {"taught": confidence_distribution(taught, questions, said)}
        graded = [Graded(p.question, a, marked(a, p)) for a, p in zip(learnt, learn, strict=True)]
        for kind in KINDS:
            pairs = confidence_pairs(graded, kind=kind, per_answer=2, seeds=seeds)
            args = training_arguments(Path(folder) / kind, steps=size.steps, batch_size=8, learning_rate=1e-3)
            lm = load(str(Path(folder) / "taught"))
            told.say(f"{len(pairs)} {kind} pairs")
            train_pairs(lm, pairs, args, objective=DPO(beta=0.3), lora=lora, on_step=told.step(kind))
            read[kind] = confidence_distribution(lm, questions, said)
    right = np.array([marked(a, p) for a, p in zip(said, test, strict=True)])
    told.say(f"accuracy {right.mean():.2f} held out")
    return Measured(right, read)


def answers(lm: LanguageModel, problems: Sequence[Addition]) -> list[str]:
    from plait.models import generate

    prompts = [lm.encode(ask(one.question)) for one in problems]
    written = generate(lm, prompts, max_new_tokens=8, seeds=[0] * len(prompts), stop=["\n"])
    return [one.text.strip() for one in written]


def marked(answer: str, problem: Addition) -> float:
    return float(numeric_match(answer, problem.answer))


def looking_up(record: Benchmark, runs: Sequence[Measured]) -> str:
    """Accuracy where the least confident are looked up; the look-up is a calculator, and right."""
    rows: list[list[str]] = []
    for number, run in enumerate(runs):
        for state, distribution in run.distributions.items():
            confidence = expected(distribution)
            thresholds = np.quantile(confidence, LOOKED_UP).tolist()
            curve = sweep_thresholds(confidence, run.right, np.ones(len(run.right)), thresholds=thresholds)
            for share, one in zip(LOOKED_UP, curve, strict=True):
                name = f"model {state} looking up {share:.0%}"
                record.ours.setdefault(name, []).append(one.accuracy)
                record.ours.setdefault(f"{name} at random", []).append(one.at_random)
            rows.append([str(number), state, *(f"{one.accuracy:.3f} ({one.at_random:.3f})" for one in curve)])
    columns = ["seed", "model", *(f"{share:.0%} looked up" for share in LOOKED_UP)]
    return markdown("Accuracy with a calculator for the least confident (as many at random)", columns, rows)


class Progress:
    """Told on standard error, at most every five seconds within a phase."""

    def __init__(self, name: str) -> None:
        self.name, self.started, self.last = name, time.monotonic(), 0.0

    def say(self, text: str) -> None:
        self.last = time.monotonic()
        sys.stderr.write(f"{self.name}, {self.last - self.started:.0f} s: {text}\n")

    def step(self, phase: str) -> OnStep:
        """For a trainer."""

        def tell(step: int, steps: int, _: object) -> None:
            if step == steps or time.monotonic() - self.last >= 5:
                self.say(f"{phase} {step}/{steps}")

        return tell


def markdown(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [columns, *rows]]
    return "\n".join([f"## {title}", "", lines[0], "|---" * len(columns) + "|", *lines[1:], ""])


def main() -> None:
    """Run the parts asked for, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="toy,model")
    parser.add_argument("--seeds", type=int, default=8, help="of the toy")
    parser.add_argument("--model-seeds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="little of everything; writes nothing")
    options = parser.parse_args()
    model_seeds, samples, size = (options.model_seeds, 160_000, Size())
    if options.quick:
        model_seeds, samples, size = 1, 16_000, Size(shown=64, learnt=48, heldout=60, teaching=8, steps=6)
    record = Benchmark("align_confidence", seeds=list(range(options.seeds)), facts={"root seed": ROOT.seed})
    tables: list[str] = []
    for part, run in {
        "toy": lambda: toy(record, seeds=options.seeds, samples=samples),
        "model": lambda: model(record, seeds=model_seeds, size=size),
    }.items():
        if part not in options.parts.split(","):
            continue
        started = time.process_time()
        tables.append(run())
        record.facts[f"{part} (CPU s)"] = round(time.process_time() - started, 1)
    if options.quick:
        claims = [f"- {c.text}: {'holds' if c.holds else 'does not hold'}" for c in record.claims]
        sys.stdout.write("\n".join([*tables, *claims, str(record.facts), ""]))
    else:
        record.facts["model seeds"] = model_seeds
        record.write(*tables)


if __name__ == "__main__":
    main()
