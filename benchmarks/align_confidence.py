"""Stated confidence: the order reward and proper scores, on a toy and on SmolLM2's additions.

    python benchmarks/align_confidence.py [--quick] [--out FILE]

(a) A tabular toy: question types with a probability of success, confidences trained by REINFORCE on each reward.
(b) SmolLM2-135M: taught the format, then trained on confidence pairs; measured on additions held out.
(c) Looking up by (b)'s confidence, where the look-up is a calculator.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from plait.align.confidence import metrics
from plait.align.confidence.arithmetic import additions
from plait.align.confidence.elicit import confidence_distribution, expected, likeliest
from plait.align.confidence.offline import Graded, confidence_pairs
from plait.align.confidence.prompts import GRID, ask
from plait.align.confidence.quality import numeric_match
from plait.align.confidence.retrieval import sweep_thresholds
from plait.align.confidence.rewards import ConfidenceReward
from plait.align.confidence.teach import format_records
from plait.core.seeds import Seeds


def toy(kind: str, batch: int, *, seed: int, samples: int = 320_000, types: int = 200) -> dict[str, float]:
    """Trained confidences of one reward, measured in expectation over types and confidences.

    ``samples`` is the budget of every batch size, so that rows are comparable.
    """
    draw = np.random.default_rng(seed)
    success = draw.random(types)
    grid = np.asarray(GRID)
    logits = np.tile(4 * grid, (types, 1))  # over-confident at the start
    reward = ConfidenceReward.model_validate({"kind": kind, "standardise": False})
    rate = 0.5
    baseline = 0.0
    for _ in range(samples // batch):
        rows = draw.integers(types, size=batch)
        shifted = np.exp(logits[rows] - logits[rows].max(1, keepdims=True))
        p = shifted / shifted.sum(1, keepdims=True)
        picked = (p.cumsum(1) < draw.random((batch, 1))).sum(1).clip(0, len(grid) - 1)
        right = (draw.random(batch) < success[rows]).astype(float)
        noisy = 2 * right - 1 + 0.3 * draw.standard_normal(batch)
        earned = (
            np.zeros(1)
            if batch == 1 and kind == "order"
            else reward(grid[picked].tolist(), quality=noisy.tolist(), correct=right.tolist())
        )
        step = -p
        step[np.arange(batch), picked] += 1
        np.add.at(logits, rows, rate * (earned - baseline)[:, None] * step)
        baseline += 0.05 * (float(earned.mean()) - baseline)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    rows = np.repeat(np.arange(types), 200)
    picked = (p[rows].cumsum(1) < draw.random((len(rows), 1))).sum(1).clip(0, len(grid) - 1)
    c, y = grid[picked], (draw.random(len(rows)) < success[rows]).astype(float)
    return {
        "ECE": metrics.ece(c, y),
        "AUROC": metrics.auroc(c, y),
        "Brier": metrics.brier(c, y),
        "share at 0 or 1": float(np.mean((c == 0) | (c == 1))),
    }


def run_toy(*, quick: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"untrained": [toy("brier", 8, seed=seed, samples=0) for seed in range(3)]}
    for kind in ("order", "brier", "hybrid"):
        for batch in (8, 64) if kind != "order" else (1, 8, 64):
            rows = [toy(kind, batch, seed=seed, samples=40_000 if quick else 160_000) for seed in range(3)]
            found[f"{kind} {batch}"] = {
                name: {"mean": round(float(np.mean([r[name] for r in rows])), 3), "seeds": [r[name] for r in rows]}
                for name in rows[0]
            }
            sys.stderr.write(f"toy {kind} {batch}: { {n: v['mean'] for n, v in found[f'{kind} {batch}'].items()} }\n")
    return found


def run_model(*, quick: bool, seed: int) -> dict[str, Any]:
    from plait.align.arguments import training_arguments
    from plait.align.presets import DPO
    from plait.align.sft.training import train_texts
    from plait.align.training import train_pairs
    from plait.models import LoRA, generate, load

    seeds = Seeds(seed)
    train_count, test_count, steps = (30, 45, 4) if quick else (120, 150, 30)
    lora = LoRA(targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    test = additions(test_count, seeds=seeds.child("test"))
    kept = frozenset(one.question for one in test)
    learn = additions(train_count, seeds=seeds.child("train"), exclude=kept)
    shown = additions(160, seeds=seeds.child("teach"), exclude=kept | {one.question for one in learn})
    records = format_records([(one.question, one.answer) for one in shown], seeds=seeds)
    with tempfile.TemporaryDirectory() as folder:
        args = training_arguments(Path(folder) / "teach", steps=4 if quick else 20, batch_size=8, learning_rate=1e-3)
        taught = train_texts(load("smollm2-135m"), records, args, lora=lora).merged()
        taught_folder = Path(folder) / "taught"
        taught.network.save_pretrained(taught_folder)
        taught.tokenizer.save_pretrained(taught_folder)

        def answers(problems: list[Any]) -> list[str]:
            prompts = [taught.encode(ask(one.question)) for one in problems]
            written = generate(taught, prompts, max_new_tokens=6, seeds=[0] * len(prompts), stop=["\n"])
            return [one.text.split("\n")[0].strip() for one in written]

        said, learnt = answers(test), answers(learn)
        right = np.array([float(numeric_match(a, t.answer)) for a, t in zip(said, test, strict=True)])
        graded = [Graded(p.question, a, float(numeric_match(a, p.answer))) for a, p in zip(learnt, learn, strict=True)]
        sys.stderr.write(f"accuracy {right.mean():.2f} held out, {np.mean([g.quality for g in graded]):.2f} trained\n")
        questions = [one.question for one in test]
        states = {"before": confidence_distribution(taught, questions, said)}
        for kind in ("order", "brier"):
            pairs = confidence_pairs(graded, kind=kind, per_answer=2, seeds=seeds)
            args = training_arguments(Path(folder) / kind, steps=steps, batch_size=8, learning_rate=1e-3)
            lm = load(str(taught_folder))
            train_pairs(lm, pairs, args, objective=DPO(beta=0.3), lora=lora)
            states[kind] = confidence_distribution(lm, questions, said)
            sys.stderr.write(f"{kind}: trained\n")
    found: dict[str, Any] = {"accuracy": float(right.mean()), "seed": seed, "problems": test_count}
    for reading, read in (("expected", expected), ("likeliest", likeliest)):
        before = read(states["before"])
        found[reading] = {
            name: {n: vars(i) for n, i in metrics.measure(read(d), right, seeds=seeds).items()}
            for name, d in states.items()
        } | {
            f"{name} minus before": {
                n: vars(i) for n, i in metrics.compare(before, read(states[name]), right, seeds=seeds).items()
            }
            for name in ("order", "brier")
        }
    found["looking up"] = {
        name: [vars(one) for one in sweep_thresholds(expected(d), right, np.ones(len(right)))]
        for name, d in states.items()
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("toy", "model"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    start, found = time.perf_counter(), {}
    if options.only != "toy":
        found["model"] = run_model(quick=options.quick, seed=options.seed)
    if options.only != "model":
        found["toy"] = run_toy(quick=options.quick)
    found["seconds"] = round(time.perf_counter() - start, 1)
    text = json.dumps(found, indent=1)
    if options.out is None:
        print(text)
    else:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
