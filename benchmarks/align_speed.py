"""A pass of DPO over preference pairs: `PairTrainer` against TRL's `DPOTrainer`, full fine-tuning of SmolLM2-135M.

    make bench-align-speed
    python benchmarks/align_speed.py --pairs hh.jsonl            rows of your own: prompt, chosen, rejected
    python benchmarks/align_speed.py --pairs-count 4 --quick     a quick look at one of the three ways to run TRL
    python benchmarks/align_speed.py --device cuda               in bfloat16 on a GPU

Both train on the same rows with the same model, batch size, precision and threads, in processes of their own; loading
the model and tokenising the rows is not counted. TRL takes the rows in a random order, as it does by default, and runs
three times: as spelt out here, with its reference log-probabilities computed beforehand, and with its default
``gradient_checkpointing=True``. Ours runs twice: without and with what the first run left in the reference cache. Where
Plait multiplies matrices in another way than torch (`plait.models.fast_linear`), ours without that stands beside them:
what is left is what the layout of the pairs saves.

How much is padding depends on which pairs meet in a batch. So that a few batches stand for the file, the rows are that
one of 101 random draws whose share of padding is nearest to that of the whole file in random order. Without ``--pairs``
the rows are made of text on this machine, with lengths as in Anthropic's HH harmless-base.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from data_corpus import build
from measure import measure
from record import Benchmark, Claim

from plait.align.pairs import TokenPair, tokenise_pairs
from plait.core.seeds import Seeds
from plait.models.fast_linear import SWITCH, is_faster

HERE = Path(__file__).parent
PEER = HERE.parent / ".peers" / "trl"
TRL = "TRL 1.16.0"
SEED, DRAWS, LONGEST = 7, 101, 512
PROMPTS = (17, 19, 22, 26, 34, 49, 65, 75, 89, 100, 112, 124, 140, 153, 171, 194, 230, 278, 358)
CHOSEN = (6, 9, 11, 13, 15, 17, 19, 21, 24, 27, 30, 34, 39, 45, 53, 61, 74, 89, 117)
REJECTED = (6, 9, 12, 15, 17, 20, 23, 27, 30, 35, 39, 45, 51, 57, 64, 74, 88, 108, 144)
"""Every twentieth of the lengths in Anthropic's HH harmless-base, in tokens of SmolLM2."""


# --- the work, in a process of its own ------------------------------------------------------------------------------


def train(settings: dict[str, Any]) -> dict[str, Any]:
    """One pass of ours over the rows; TRL's is ``peers/trl_run.py``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from plait.align import DPO, PairTrainer, ReferenceCache, choose_layout, reference_logprobs, training_arguments

    torch.set_num_threads(settings["threads"])
    bf16, device = settings["dtype"] == "bfloat16", settings["device"]
    tokenizer: Any = AutoTokenizer.from_pretrained(settings["model"])
    pairs = tokenise_pairs(read(Path(settings["pairs"])), tokenizer=tokenizer).pairs
    network = AutoModelForCausalLM.from_pretrained(settings["model"], dtype=torch.float32).to(device)
    layout, _ = choose_layout(network, longest=max(pair.longest_branch for pair in pairs))
    cache = ReferenceCache(Path(settings["cache"]))

    def compute_reference() -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            return reference_logprobs(network, pairs, cache=cache, layout=layout)

    logprobs, reference = timed(compute_reference)
    args = training_arguments(
        settings["folder"],
        epochs=1,
        batch_size=settings["batch_size"],
        learning_rate=settings["learning_rate"],
        bf16=bf16,
        use_cpu=device == "cpu",
    )
    trainer = PairTrainer(network, args, objective=DPO().build(seeds=Seeds(SEED)), pairs=pairs, reference=logprobs)
    _, (wall, cpu) = timed(trainer.run)
    return {
        "pairs": len(pairs),
        "train wall s": wall,
        "train CPU s": cpu,
        "reference wall s": reference[0],
        "reference CPU s": reference[1],
        "tokens": sum(pair.length for pair in pairs),
        "logprobs": logprobs,
        "device MiB": torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0,
    }


def timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """What work gives, and its wall-clock and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return done, (time.perf_counter() - wall, time.process_time() - cpu)


# --- the rows -------------------------------------------------------------------------------------------------------


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def made(tokenizer: Any, work: Path, *, count: int) -> list[dict[str, str]]:
    """Pairs of running text, as long as those of HH."""
    corpus = work / "text.jsonl"
    build(corpus, mb=2, seed=SEED)
    ids = tokenizer.encode(" ".join(row["text"] for row in read(corpus)))
    draw, at = random.Random(SEED), 0
    rows: list[dict[str, str]] = []
    for _ in range(count):
        row = dict[str, str]()
        for name, lengths in (("prompt", PROMPTS), ("chosen", CHOSEN), ("rejected", REJECTED)):
            size = draw.choice(lengths)
            row[name] = tokenizer.decode(ids[at : at + size])
            at = (at + size) % (len(ids) - max(PROMPTS))
        rows.append(row)
    return rows


def padded(pairs: Sequence[TokenPair], batch_size: int) -> float:
    """Positions that a padded batch of both completions computes, per token that must be."""
    starts = range(0, len(pairs), batch_size)
    batches = [pairs[start : start + batch_size] for start in starts]
    positions = sum(2 * len(batch) * max(pair.longest_branch for pair in batch) for batch in batches)
    return positions / sum(pair.length for pair in pairs)


def representative(rows: list[dict[str, str]], tokenizer: Any, *, count: int, batch_size: int) -> list[dict[str, str]]:
    """Of many random draws, the one whose share of padding is nearest to that of all rows."""
    tokenised = tokenise_pairs([{**row, "id": n} for n, row in enumerate(rows)], tokenizer=tokenizer).pairs
    short = [pair for pair in tokenised if pair.longest_branch <= LONGEST]
    whole = mean(padded(random.Random(seed).sample(short, len(short)), batch_size) for seed in range(DRAWS))
    draws = [random.Random(seed).sample(short, count) for seed in range(SEED, SEED + DRAWS)]
    nearest = min(draws, key=lambda pairs: abs(padded(pairs, batch_size) - whole))
    return [rows[int(pair.id)] for pair in nearest]


# --- the comparison -------------------------------------------------------------------------------------------------


def run(
    command: Sequence[str | Path], settings: dict[str, Any], work: Path, *, fast_linear: bool = True
) -> dict[str, Any]:
    """A process's own result, and its peak memory."""
    folder = work / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    given, result = folder / "settings.json", folder / "result.json"
    given.write_text(json.dumps({**settings, "folder": str(folder / "out")}))
    threads = str(settings["threads"])
    quiet = {"OMP_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    chosen = {"HF_DATASETS_CACHE": str(folder / "datasets"), SWITCH: str(int(fast_linear))}
    measured = measure([*command, given, result], log=folder / "log.txt", environment={**quiet, **chosen})
    return {**json.loads(result.read_text()), "peak MiB": measured.memory_mib}


def per_pair(found: dict[str, Any]) -> dict[str, float]:
    pairs = found["pairs"]
    metrics = {
        "CPU s per pair": (found["reference CPU s"] + found["train CPU s"]) / pairs,
        "wall s per pair": (found["reference wall s"] + found["train wall s"]) / pairs,
        "peak MiB": found["peak MiB"],
        "tokens per pair": found["tokens"] / pairs,
    }
    return metrics | ({"GPU MiB": found["device MiB"]} if found["device MiB"] else {})


def known(found: dict[str, Any], *, read_again: bool) -> dict[str, float]:
    """Without computing the reference, but with looking it up."""
    parts = ["train", "reference"] if read_again else ["train"]
    return {
        f"{clock} s per pair, reference known": sum(found[f"{part} {clock} s"] for part in parts) / found["pairs"]
        for clock in ("CPU", "wall")
    }


def compare(chosen: argparse.Namespace) -> None:
    from plait.models import load

    work = chosen.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    lm = load("smollm2-135m")
    model = work / "model"
    if not (model / "config.json").exists():
        save_as_safetensors(lm, model)
    rows = read(chosen.pairs) if chosen.pairs else made(lm.tokenizer, work, count=1000)
    few = representative(rows, lm.tokenizer, count=chosen.pairs_count, batch_size=chosen.batch_size)
    pairs_file, cache = work / "pairs.jsonl", work / "reference.jsonl"
    pairs_file.write_text("".join(json.dumps(row) + "\n" for row in few))
    settings: dict[str, Any] = {
        "model": str(model),
        "pairs": str(pairs_file),
        "cache": str(cache),
        "threads": chosen.threads,
        "batch_size": chosen.batch_size,
        "learning_rate": 1e-6,
        "device": chosen.device,
        "dtype": "bfloat16" if chosen.device == "cuda" else "float32",
    }
    ours = [sys.executable, Path(__file__), "--train"]
    trl = [PEER / "bin" / "python", HERE / "peers" / "trl_run.py"]
    logprobs = dict[str, list[list[float]]]()

    def run_ours(*, fast_linear: bool = True) -> dict[str, float]:
        cache.unlink(missing_ok=True)
        first, second = (run(ours, settings, work, fast_linear=fast_linear) for _ in range(2))
        logprobs["plait"] = first["logprobs"]
        return per_pair(first) | known(second, read_again=True)

    def run_trl(*, precomputed: bool, checkpointing: bool) -> dict[str, float]:
        way = {"reference": "precomputed" if precomputed else "each step", "gradient_checkpointing": checkpointing}
        found = run(trl, settings | way, work)
        if not precomputed:
            return per_pair(found)
        logprobs[TRL] = found["logprobs"]
        return per_pair(found) | known(found, read_again=False)

    precomputed = f"{TRL}, precomputed reference"
    peers = {precomputed: lambda: run_trl(precomputed=True, checkpointing=False)}
    if is_faster() and chosen.device == "cpu":
        peers["plait, matrices by torch"] = lambda: run_ours(fast_linear=False)
    if not chosen.quick:
        peers[TRL] = lambda: run_trl(precomputed=False, checkpointing=False)
        peers[f"{TRL}, gradient checkpointing"] = lambda: run_trl(precomputed=False, checkpointing=True)
    benchmark = Benchmark("align_speed_gpu" if chosen.device == "cuda" else "align_speed", seeds=[SEED])
    benchmark.repeat(chosen.repeats, run_ours, **peers)

    sides = zip(logprobs["plait"], logprobs[TRL], strict=True)
    apart = max(abs(a - b) for mine, theirs in sides for a, b in zip(mine, theirs, strict=True))
    tokenised = tokenise_pairs(few, tokenizer=lm.tokenizer).pairs
    benchmark.facts = {
        "rows": "HH harmless-base" if chosen.pairs else "text of this machine, as long as HH harmless-base",
        "pairs": len(few),
        "batch size": chosen.batch_size,
        "threads": chosen.threads,
        "precision": settings["dtype"],
        "matrices": "oneDNN" if is_faster() and chosen.device == "cpu" else "torch",
        "positions TRL computes per token of ours": round(padded(tokenised, chosen.batch_size), 2),
        "largest difference of a log-probability, nats": round(apart, 6),
    }
    claim(benchmark, apart, peer=precomputed if chosen.quick else TRL, gpu=chosen.device == "cuda")
    benchmark.write()


def claim(benchmark: Benchmark, apart: float, *, peer: str, gpu: bool) -> None:
    if gpu:
        benchmark.claim("at least 1.5 times faster than TRL on a GPU", peer=peer, metric="wall s per pair", target=1.5)
        bound = 0.5  # the two round bfloat16 activations in different places
    else:
        benchmark.claim("at least 5 times less processor time than TRL", peer=peer, metric="CPU s per pair", target=5)
        cached = median(benchmark.ours["CPU s per pair, reference known"])
        ratio = median(benchmark.peers[peer]["CPU s per pair"]) / cached
        text = "at least 6 times less than TRL with the reference in the cache"
        benchmark.claims.append(Claim(text, 6, round(ratio, 3), ratio >= 6))
        benchmark.claim("peak memory at most half of TRL's", peer=peer, metric="peak MiB", target=2)
        bound = 1e-3
    text = f"log-probabilities equal to TRL's within {bound:g} nats"
    benchmark.claims.append(Claim(text, bound, round(apart, 6), apart <= bound))


def save_as_safetensors(lm: Any, folder: Path) -> None:
    """A model read from GGUF is refused by TRL as quantised, although it no longer is."""
    from transformers import AutoModelForCausalLM

    network: Any = AutoModelForCausalLM.from_config(lm.model.config)
    network.load_state_dict(lm.model.state_dict())
    network.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, help="JSON lines of prompt, chosen, rejected")
    parser.add_argument("--pairs-count", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quick", action="store_true", help="run TRL with precomputed reference only")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-align"), help="folder for model and outputs")
    parser.add_argument("--train", nargs=2, type=Path, metavar=("SETTINGS", "RESULT"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.train:
        settings, result = chosen.train
        result.write_text(json.dumps(train(json.loads(settings.read_text()))))
        return
    if not (PEER / "bin" / "python").exists():
        parser.error(f"{PEER} is missing: make peers")
    compare(chosen)


if __name__ == "__main__":
    main()
