"""Fourteen operations over 200 MB of text: `plait data run` against Data-Juicer's `dj-process` and datatrove.

    make bench-data-speed
    python benchmarks/data_speed.py --mb 10 --repeats 1                  a quick look
    python benchmarks/data_speed.py --corpus pages.jsonl                 another corpus
    python benchmarks/data_speed.py --sizes 200,1000,4000                how cost and memory grow, ours alone

All read the same corpus of `data_corpus`, on two workers, in turns. Data-Juicer runs the same recipe
(``peers/recipe.yaml``). datatrove has no such operations: its own filters for web text and its MinHash stand for them,
so that its time is that of comparable work, not of equal work.

Recall is the share of injected copies that are gone, among documents that the filters keep: of every original with all
its copies, all but one should go. A near copy that was dropped counts for precision if its text, as the mappers left
it, has the similarity asked for to the text kept instead, or to one that was dropped for the same.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from statistics import median

import polars as pl
from data_corpus import build
from measure import Measured, measure
from record import Benchmark, Claim

from plait.data.op import Mapper
from plait.data.plan import read_ops

HERE = Path(__file__).parent
RECIPE = HERE / "peers" / "recipe.yaml"
PEERS = Path(os.environ.get("PLAIT_PEERS", HERE.parent / ".peers"))
SEED, WORKERS, SHARDS = 7, 2, 4
NEAR, EXACT, JACCARD, SHINGLE = "document_minhash_deduplicator", "document_deduplicator", 0.7, 5
PAIRS_VERIFIED = 3_000
SMALL_RECIPE = (
    "process: [{text_length_filter: {min_len: 10}}, {words_num_filter: {min_num: 2}}, document_deduplicator]\n"
)
DJ, TROVE = "py-data-juicer 1.6.1", "datatrove 0.10.1"


def ours(corpus: Path, folder: Path, recipe: Path = RECIPE) -> Measured:
    fresh(folder)
    plait = Path(sys.executable).with_name("plait")
    command = [plait, "data", "run", recipe, "-d", corpus, "-o", folder / "out.jsonl", "--workers", str(WORKERS)]
    return measure(command, log=folder / "log.txt")


def data_juicer(corpus: Path, folder: Path) -> Measured:
    fresh(folder)
    command = [
        PEERS / "data-juicer" / "bin" / "dj-process", "--config", RECIPE, "--dataset_path", corpus,
        "--export_path", folder / "out.jsonl", "--ds_cache_dir", folder / "cache", "--np", str(WORKERS),
    ]  # fmt: skip
    offline = {"HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
    folders = {"HF_DATASETS_CACHE": str(folder / "cache"), "DATA_JUICER_CACHE_HOME": str(folder / "home")}
    return measure(command, log=folder / "log.txt", environment={**offline, **folders})


def datatrove(shards: Path, folder: Path) -> dict[str, float]:
    """Its filters and its deduplication, one after the other on the same shards."""
    fresh(folder)
    python, script = PEERS / "datatrove" / "bin" / "python", HERE / "peers" / "datatrove_run.py"
    parts = [
        measure([python, script, what, shards, folder / what, "--workers", str(WORKERS)], log=folder / f"{what}.txt")
        for what in ("filters", "minhash")
    ]
    return {
        "wall s": sum(part.wall for part in parts),
        "CPU s": sum(part.cpu for part in parts),
        "peak MiB": max(part.memory_mib for part in parts),
    }


def stages(lineage: pl.DataFrame) -> dict[str, int]:
    """Documents kept after the filters, and after each deduplicator."""
    filtered = lineage.filter(pl.col("kept") | pl.col("dropped_by").cast(pl.String).is_in([EXACT, NEAR])).height
    exact = filtered - lineage.filter(pl.col("dropped_by") == EXACT).height
    return {"filters": filtered, EXACT: exact, NEAR: int(lineage["kept"].sum())}


def stages_of_data_juicer(log: str) -> dict[str, int]:
    left = {name: int(count) for name, count in re.findall(r"OP \[(\w+)\] Done in .*?Left (\d+) samples", log)}
    return {"filters": left["word_repetition_filter"], EXACT: left[EXACT], NEAR: left[NEAR]}


def recall(corpus: pl.DataFrame, before: Collection[str], after: Collection[str]) -> dict[str, float]:
    """Share of surplus copies that are gone, in per cent: all, exact ones, near ones."""
    families = defaultdict[str, list[str]](list)
    kind = dict(zip(corpus["id"], corpus["kind"], strict=True))
    waiting = set(before)
    for name, original in zip(corpus["id"], corpus["dup_of"], strict=True):
        if name in waiting:
            families[original or name].append(name)
    surplus, left = defaultdict[str, int](int), defaultdict[str, int](int)
    kept = set(after)
    for members in families.values():
        copies = {kind[name] for name in members} - {"orig"}
        for label in ("all", *(copies if len(copies) == 1 else ())):
            surplus[label] += len(members) - 1
            left[label] += max(0, sum(name in kept for name in members) - 1)
    return {label: 100 * (1 - left[label] / surplus[label]) for label in ("all", "exact", "near") if surplus[label]}


def precision(corpus: pl.DataFrame, lineage: pl.DataFrame) -> dict[str, float]:
    """Share of dropped near copies, in per cent, that are near indeed; computed with sets of words in plain Python."""
    dropped = lineage.filter(pl.col("dropped_by") == NEAR).select("id", "duplicate_of")
    families = defaultdict[str, list[str]](list)
    for name, survivor in dropped.iter_rows():
        families[survivor].append(name)
    pairs = random.Random(SEED).sample(dropped.rows(), min(PAIRS_VERIFIED, dropped.height))
    needed = {n for name, survivor in pairs for n in (name, survivor, *families[survivor])}
    chosen = corpus.filter(pl.col("id").is_in(list(needed)))
    texts = chosen["text"].to_list()
    for _, op in read_ops(
        ["whitespace_normalization_mapper", "fix_unicode_mapper", "clean_email_mapper", "clean_links_mapper"]
    ):
        assert isinstance(op, Mapper)
        texts = op.rewrite_texts(texts)
    shingles = {name: _shingles(text) for name, text in zip(chosen["id"], texts, strict=True)}

    def near(name: str, others: list[str]) -> bool:
        return any(_jaccard(shingles[name], shingles[other]) >= JACCARD for other in others if other != name)

    right = sum(near(name, [survivor, *families[survivor]]) for name, survivor in pairs)
    return {"share": 100 * right / max(1, len(pairs)), "pairs": len(pairs)}


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}


def _jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


def start_up(folder: Path) -> float:
    """Seconds for three operations over 20 short documents, loops compiled before."""
    fresh(folder)
    small, recipe = folder / "small.jsonl", folder / "small.yaml"
    small.write_text("".join(json.dumps({"id": str(i), "text": f"document number {i}"}) + "\n" for i in range(20)))
    recipe.write_text(SMALL_RECIPE)
    return min(ours(small, folder / "run", recipe).wall for _ in range(3))


def fresh(folder: Path) -> None:
    """An empty folder, and nothing left to write of the run before, which would slow the next."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.sync()


def corpus_of(mb: float, work: Path) -> Path:
    """The corpus of a size, built once."""
    path = work / f"corpus-{mb:g}.jsonl"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        build(path, mb=mb, seed=SEED)
    return path


def split(corpus: Path, folder: Path) -> Path:
    """The corpus in shards, line by line in turns."""
    fresh(folder)
    files = [(folder / f"{number}.jsonl").open("wb") for number in range(SHARDS)]
    with corpus.open("rb") as lines:
        for number, line in enumerate(lines):
            files[number % SHARDS].write(line)
    for file in files:
        file.close()
    return folder


def ids(*files: Path) -> list[str]:
    return [name for file in files for name in pl.read_ndjson(file, schema={"id": pl.String})["id"]]


def compare(corpus: Path, work: Path, *, repeats: int, peer_repeats: int, peers: Collection[str]) -> None:
    shards = split(corpus, work / "shards")
    logs = dict[str, str]()

    def run_data_juicer() -> dict[str, float]:
        measured = data_juicer(corpus, work / "data-juicer")
        logs[DJ] = measured.output
        return measured.metrics()

    def run_ours() -> dict[str, float]:
        return ours(corpus, work / "ours").metrics()

    runs = {DJ: run_data_juicer, TROVE: lambda: datatrove(shards, work / "datatrove")}
    runs = {name: run for name, run in runs.items() if name.partition(" ")[0] in peers}
    ours(corpus, work / "ours")  # compiles the loops, once per machine
    benchmark = Benchmark("data_speed", seeds=[SEED])
    benchmark.repeat(min(repeats, peer_repeats), run_ours, **runs)
    benchmark.repeat(max(0, repeats - peer_repeats), run_ours)

    columns = pl.read_ndjson(corpus, schema_overrides={"id": pl.String, "dup_of": pl.String})
    lineage = pl.read_parquet(next((work / "ours").glob("*.run")) / "lineage.parquet")
    before = lineage.filter(pl.col("kept") | pl.col("dropped_by").cast(pl.String).is_in([EXACT, NEAR]))["id"].to_list()
    after = {"plait": ids(work / "ours" / "out.jsonl")}
    kept = {"plait": stages(lineage)}
    if DJ in runs:
        after[DJ] = ids(work / "data-juicer" / "out.jsonl")
        kept[DJ] = stages_of_data_juicer(logs[DJ])
    if TROVE in runs:
        after[TROVE] = ids(*sorted((work / "datatrove" / "minhash" / "data").glob("*.jsonl")))
    found = {who: recall(columns, before, names) for who, names in after.items()}
    right = precision(columns, lineage)
    small = start_up(work / "small")
    benchmark.facts = {
        "corpus MB": round(corpus.stat().st_size / 1e6, 1),
        "documents": columns.height,
        "workers": WORKERS,
        "MB per CPU second": round(corpus.stat().st_size / 1e6 / median(benchmark.ours["CPU s"]), 1),
        "kept after filters, exact, near": {who: " / ".join(map(str, counts.values())) for who, counts in kept.items()},
        "recall of copies %": {who: {k: round(v, 1) for k, v in values.items()} for who, values in found.items()},
        "near copies verified": right["pairs"],
        "start-up s": round(small, 2),
    }
    _claims(benchmark, found, right, small)
    benchmark.write()


def _claims(
    benchmark: Benchmark, found: Mapping[str, Mapping[str, float]], right: Mapping[str, float], small: float
) -> None:
    if DJ in benchmark.peers:
        benchmark.claim("at least 40 times faster than Data-Juicer", peer=DJ, metric="wall s", target=40)
        benchmark.claim("at least 30 times less processor time", peer=DJ, metric="CPU s", target=30)
    memory = median(benchmark.ours["peak MiB"])
    near = found["plait"].get("near", 0.0)
    benchmark.claims += [
        Claim("peak memory at most 600 MiB", 600, round(memory, 1), memory <= 600),
        Claim("finds at least 79 % of the near copies", 79, round(near, 2), near >= 79),
        Claim("at least 99 % of what it drops as near is near", 99, round(right["share"], 2), right["share"] >= 99),
        Claim("a small recipe is done in less than 1.5 s", 1.5, round(small, 2), small < 1.5),
    ]


def grow(sizes: list[float], work: Path, repeats: int) -> None:
    """Cost per megabyte and memory for growing input."""
    corpora = {mb: corpus_of(mb, work) for mb in sizes}
    ours(corpora[sizes[0]], work / "ours")
    benchmark = Benchmark("data_scaling", seeds=[SEED], facts={"sizes MB": sizes, "workers": WORKERS})

    def run() -> dict[str, float]:
        metrics = dict[str, float]()
        for mb, corpus in corpora.items():
            metrics |= {f"{mb:g} MB: {name}": value for name, value in ours(corpus, work / "ours").metrics().items()}
        return metrics

    benchmark.repeat(repeats, run)
    least, most = sizes[0], sizes[-1]
    cost = {mb: median(benchmark.ours[f"{mb:g} MB: CPU s"]) / mb for mb in sizes}
    memory = median(benchmark.ours[f"{most:g} MB: peak MiB"])
    benchmark.claims += [
        Claim(f"a megabyte costs at most 1.25 times as much in {most:g} MB as in {least:g}", 1.25,
              round(cost[most] / cost[least], 3), cost[most] <= 1.25 * cost[least]),
        Claim(f"peak memory at most 600 MiB with {most:g} MB", 600, round(memory, 1), memory <= 600),
    ]  # fmt: skip
    benchmark.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=200, help="size of the corpus in 10^6 bytes")
    parser.add_argument("--corpus", type=Path, help="another corpus of the same form")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-data"), help="folder for corpora and outputs")
    parser.add_argument("--repeats", type=int, default=5, help="of ours; short runs vary most")
    parser.add_argument("--peer-repeats", type=int, default=1)
    parser.add_argument("--peers", default="py-data-juicer,datatrove", help="which to run; empty for none")
    parser.add_argument("--sizes", default="", help="sizes in MB, ascending: measures growth instead")
    chosen = parser.parse_args()
    if chosen.sizes:
        grow([float(size) for size in chosen.sizes.split(",")], chosen.work, chosen.repeats)
        return
    corpus = chosen.corpus or corpus_of(chosen.mb, chosen.work)
    peers = {name for name in chosen.peers.split(",") if name}
    compare(corpus, chosen.work, repeats=chosen.repeats, peer_repeats=chosen.peer_repeats, peers=peers)


if __name__ == "__main__":
    main()
