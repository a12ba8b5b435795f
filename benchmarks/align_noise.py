"""Objectives under wrong labels, where the truth is known: flips (P1), gap structure (P2), real pairs (P3).

    make bench-align-noise
    python benchmarks/align_noise.py --quick                          one seed, three rates, no P2: a look
    python benchmarks/align_noise.py --seeds 8 --parts flips          P1 alone
    python benchmarks/align_noise.py --hh pairs.jsonl --parts real    P3 alone, on your pairs

P1 and P2 train two-layer transformers (width 64, 24 tokens, prompts of 4, responses of 8) from a reference model of
their own language, on 2,000 pairs labelled by a known reward, 8 epochs of batches of 64, AdamW at 5e-4, β = 0.1. All
numbers against DPO are paired by seed, with 95 % bootstrap-t intervals. P3 flips labels of real pairs, and asks how
well wrong ones are found: by the doctor's text scorer, by the model as it is, and by the loss of a short Dr. DPO run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from record import Benchmark, Claim

from plait.align.beta_rules import InstanceBeta
from plait.align.losses import Sigmoid
from plait.align.noise.bench import METHODS, Cell, Method, difference, method_run, paired, run_experiment, table
from plait.align.noise.toy import ToySettings, draw_pairs, train_together
from plait.align.noise.toy_model import ToySize
from plait.align.noise.toy_world import make_worlds
from plait.align.objectives import Objective
from plait.align.presets import DPO, BetaDPO, DrDPO
from plait.core.seeds import Seeds

ROOT = Seeds(2026)
RATES = (0.0, 0.1, 0.2, 0.3, 0.4)
GAP_SHARES = (0.0, 0.5, 1.0)
BETAS = (0.03, 0.1, 0.3, 1.0)
REAL_FLIPS, REAL_LONGEST = 0.25, 160


def flips(record: Benchmark, seeds: int, rates: Sequence[float], settings: ToySettings) -> str:
    """P1."""
    cells = run_experiment(seeds=seeds, rates=rates, settings=settings, root=ROOT, on_progress=progress("P1"))
    keep(record, cells)
    worst = max(rates)
    noisy = (f"{worst:.0%} flips", worst)
    lead(record, cells, "Dr. DPO β'=1", "DPO", "accuracy", *noisy)
    lead(record, cells, "rDPO true ε", "DPO", "accuracy", *noisy)
    lead(record, cells, "IPO τ=0.1", "DPO", "accuracy", *noisy)
    lead(record, cells, "filter only", "DPO", "accuracy", *noisy)
    lead(record, cells, "β-DPO raw scale", "DPO", "accuracy", *noisy)
    lead(record, cells, "β-DPO raw scale", "filter only", "accuracy", *noisy)
    lead(record, cells, "Dr. DPO β'=1", "Dr. DPO wrong sign", "accuracy", *noisy)
    lead(record, cells, "Dr. DPO β'=1", "DPO", "win_rate", *noisy)
    if 0.0 in rates:
        lead(record, cells, "Dr. DPO β'=1", "DPO", "accuracy", "clean labels", 0.0)
    columns, rows = table(cells, seeds=ROOT)
    return markdown("P1: flipped labels", columns, rows)


def gap_structure(record: Benchmark, seeds: int, settings: ToySettings) -> str:
    """P2: best against second of eight samples (low gap), best against worst (high gap), mixed."""
    worlds = make_worlds([ROOT.child("gap", n) for n in range(seeds)], ToySize())
    methods: dict[str, Method] = {
        **{f"DPO β={beta:g}": lambda _, s, beta=beta: DPO(beta=beta).build(seeds=s) for beta in BETAS},
        "dynamic β": lambda _, s: BetaDPO(drop=0.0).build(seeds=s),
        "filter only": METHODS["filter only"],
        "dynamic β and filter": METHODS["β-DPO raw scale"],
        "per-pair β": lambda _, s: Objective(Sigmoid(), beta=InstanceBeta(), seeds=s),
    }
    won: dict[tuple[float, str], list[float]] = {}
    told = progress("P2")
    for n, world in enumerate(worlds):
        for index, share in enumerate(GAP_SHARES):
            pairs = draw_pairs(world, settings, choose=mixed(share))
            results = train_together([method_run(pairs, m, 0.0, world.seeds) for m in methods.values()], settings)
            for name, result in zip(methods, results, strict=True):
                won.setdefault((share, name), []).append(result.final.win_rate)
                record.ours.setdefault(f"gap {share:g} {name} win", []).append(result.final.win_rate)
            told("training", n * len(GAP_SHARES) + index + 1, seeds * len(GAP_SHARES))

    def best(share: float, seed: int) -> float:
        return max(BETAS, key=lambda beta: won[share, f"DPO β={beta:g}"][seed])

    import math

    rise = paired(
        [math.log(best(1.0, n)) for n in range(seeds)], [math.log(best(0.0, n)) for n in range(seeds)], seeds=ROOT
    )
    add(record, "The best β of high-gap pairs is larger than of low-gap pairs (log ratio)", rise)
    for name in ("dynamic β", "filter only", "dynamic β and filter", "per-pair β"):
        lead_ = paired(won[0.5, name], won[0.5, "DPO β=0.1"], seeds=ROOT)
        add(record, f"{name} has a higher win rate than fixed β=0.1 on mixed gaps", lead_)
    batch = paired(won[0.5, "dynamic β"], won[0.5, "per-pair β"], seeds=ROOT)
    add(record, "Dynamic β by batch has a higher win rate than per-pair β on mixed gaps", batch)
    rows = [[name, *(f"{sum(won[share, name]) / seeds:.3f}" for share in GAP_SHARES)] for name in methods]
    return markdown("P2: win rate by share of high-gap pairs", ["method", *map(str, GAP_SHARES)], rows)


def mixed(share: float) -> Any:
    """Best against worst for this share of the prompts, best against second for the others."""

    def choose(drawn: torch.Tensor, rewards: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        order = rewards.argsort(0, descending=True)
        prompts = torch.arange(drawn.shape[1])
        other = torch.where(((prompts * 0.6180339887) % 1) < share, order[-1], order[1])
        return drawn[order[0], prompts], drawn[other, prompts]

    return choose


def real(record: Benchmark, path: Path, count: int) -> str:
    """P3: real pairs with injected flips; AUROC of each score, higher meaning more suspicious."""
    from sklearn.metrics import roc_auc_score

    from plait.align.arguments import training_arguments
    from plait.align.evaluate import PairScores, score_pairs
    from plait.align.noise.doctor import examine
    from plait.align.noise.injectors import Symmetric
    from plait.align.reference import ReferenceCache, reference_logprobs
    from plait.align.training import train_pairs
    from plait.models import LoRA

    given = [{"id": str(n), **json.loads(line)} for n, line in enumerate(path.read_text().splitlines())]
    noisy = Symmetric(rate=REAL_FLIPS).apply(given, seeds=ROOT.child("real"))
    wrong = {row["id"]: row["flipped"] for row in noisy.records}
    found = examine(noisy.records, seeds=ROOT)
    scores = {"text scorer, held out, all pairs": {d.id: -d.margin for d in found.diagnoses}}
    record.facts["flip rate injected"] = round(noisy.realised, 3)
    record.facts["flip rate estimated (mixture)"] = found.flip_rate.mixture.text()
    record.facts["flip rate estimated (confident)"] = found.flip_rate.confident.text()
    record.facts["doctor trusts its estimate"] = found.flip_rate.agree

    short = [r for r in noisy.records if sum(len(r[k]) for k in ("prompt", "chosen", "rejected")) < REAL_LONGEST * 4]
    cache, told = ReferenceCache(), progress("P3")
    objective = DrDPO(beta_prime=1.0)
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(folder, epochs=1, batch_size=8, learning_rate=2e-4)
        trained = train_pairs(
            "smollm2-135m",
            short[:count],
            arguments,
            objective=objective,
            lora=LoRA(),
            cache=cache,
            on_step=lambda step, steps, _: told("training", step, steps),
        )
    pairs = trained.pairs.pairs
    before = PairScores.of(pairs, reference_logprobs(trained.model, pairs, cache=cache))
    after = score_pairs(trained.model, pairs, on_progress=lambda done, total: told("scoring", done, total))
    ids = [pair.id for pair in pairs]
    scores["text scorer, held out"] = {i: scores["text scorer, held out, all pairs"][i] for i in ids}
    scores["model as it is, per token"] = dict(zip(ids, -before.per_token(), strict=True))
    # In one batch the weight of Dr. DPO falls with the loss: as rankings, weight, loss and implicit reward are one.
    scores["Dr. DPO weight after one epoch"] = dict(zip(ids, -after.implicit(before), strict=True))
    rows: list[list[str]] = []
    for name, by_id in scores.items():
        labels, values = [wrong[i] for i in by_id], [float(v) for v in by_id.values()]
        area = float(roc_auc_score(labels, values))
        draws = ROOT.child("auroc", name).numpy().integers(len(labels), size=(1000, len(labels)))
        areas = [
            roc_auc_score([labels[i] for i in d], [values[i] for i in d])
            for d in draws
            if 0 < sum(labels[i] for i in d) < len(d)
        ]
        low, high = (float(sorted(areas)[int(share * len(areas))]) for share in (0.025, 0.975))
        rows.append([name, str(len(labels)), f"{area:.3f}", f"{low:.3f} to {high:.3f}"])
        record.ours[f"AUROC {name}"] = [area]
        record.claims.append(
            Claim(
                f"{name} finds flips of real pairs better than chance (lower end of 95 %)",
                0.5,
                round(low, 3),
                low > 0.5,
            )
        )
    return markdown("P3: flips of real pairs", ["score", "pairs", "AUROC", "95 %"], rows)


def keep(record: Benchmark, cells: Sequence[Cell]) -> None:
    for cell in cells:
        for epoch in cell.measures:
            for measure in ("accuracy", "win_rate", "kl", "detection", "precision", "pull"):
                name = f"{cell.rate:.0%} {cell.method} {measure} epoch {epoch}"
                record.ours[name] = cell.values(measure, epoch=epoch)


def lead(
    record: Benchmark, cells: Sequence[Cell], first: str, second: str, measure: str, where: str, rate: float
) -> None:
    by_name = {(cell.method, cell.rate): cell.values(measure) for cell in cells}
    found = paired(by_name[first, rate], by_name[second, rate], seeds=ROOT.child(first, second))
    add(record, f"{first} beats {second} in {measure.replace('_', ' ')} at {where}", found)


def add(record: Benchmark, text: str, found: Any) -> None:
    """A claim holds if the whole interval is above 0."""
    record.claims.append(Claim(f"{text}: {difference(found)}", 0.0, round(found.value, 4), found.low > 0))


def progress(part: str) -> Any:
    """Told at most every five seconds, on standard error."""
    started = last = 0.0

    def tell(what: str, done: int, total: int) -> None:
        nonlocal started, last
        now = time.monotonic()
        if done <= 1:  # a new phase: its pace starts now
            started = now
        elif now - last >= 5:
            last = now
            left = (now - started) * (total - done) / done
            sys.stderr.write(f"{part}: {what} {done}/{total}, about {left:.0f} s left\n")

    return tell


def markdown(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [columns, *rows]]
    return "\n".join([f"## {title}", "", lines[0], "|---" * len(columns) + "|", *lines[1:], ""])


def main() -> None:
    """Run the parts asked for, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--gap-seeds", type=int, default=8)
    parser.add_argument("--parts", default="flips,gaps,real")
    parser.add_argument("--hh", type=Path, help="real preference pairs, JSON lines; P3 is left out without it")
    parser.add_argument("--real-pairs", type=int, default=320)
    parser.add_argument("--quick", action="store_true", help="one seed, 0, 20 and 40 %% flips, P1 only; writes nothing")
    options = parser.parse_args()
    parts = ["flips"] if options.quick else options.parts.split(",")
    seeds, rates = (1, (0.0, 0.2, 0.4)) if options.quick else (options.seeds, RATES)
    record = Benchmark("align_noise", seeds=list(range(seeds)), facts={"root seed": ROOT.seed})
    tables: list[str] = []
    for part, run in {
        "flips": lambda: flips(record, seeds, rates, ToySettings()),
        "gaps": lambda: gap_structure(record, options.gap_seeds, ToySettings(epochs=4, measured=(4,))),
        "real": lambda: real(record, options.hh, options.real_pairs),
    }.items():
        if part not in parts or (part == "real" and options.hh is None):
            continue
        started = time.monotonic()
        tables.append(run())
        record.facts[f"{part} (s)"] = round(time.monotonic() - started, 1)
        if not options.quick:
            record.write(*tables)  # after each part: what is done is not lost with the next
    if options.quick:
        claims = [f"- {c.text}: {'holds' if c.holds else 'does not hold'}" for c in record.claims]
        sys.stdout.write("\n".join([*tables, *claims, str(record.facts), ""]))


if __name__ == "__main__":
    main()
