"""The compiled loops of `plait.data` against the same loops in Rust, on one core.

The Rust program (``limit/limit.rs``, the standard library alone, compiled here for this processor) says what one pass
over the bytes can cost; where there is no ``rustc``, the table is without it. Both use the same tables of characters,
and must count the same. Times are per gigabyte of text, without reading files; the ratio is Rust's over ours, so that
1 means as fast as Rust.

    make bench-data-kernels
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from data_corpus import build
from record import Benchmark

from plait.data import characters, kernels
from plait.data.dedup.exact import digests
from plait.data.dedup.signatures import signatures
from plait.data.ngrams import character_repetition, repetition
from plait.data.op import Mapper
from plait.data.plan import read_ops

HERE = Path(__file__).parent
PEER = "Rust, one pass"
MAPPERS = (
    "whitespace_normalization_mapper", "fix_unicode_mapper", "clean_email_mapper", "clean_links_mapper",
)  # fmt: skip


def loops(texts: pl.Series) -> dict[str, Callable[[], float]]:
    """What is timed; each gives a number that the peer must give too, where it has the same loop."""

    def scan() -> float:
        found = kernels.scan(texts)
        return float(sum(int(values.sum()) for values in vars(found).values()))

    def repeated_words() -> float:
        words = kernels.words(texts)
        return float(repetition(words.hashes, words.starts, 10, top=False).sum())

    def minhash() -> float:
        signatures(*kernels.shingles(kernels.words(texts), 5), 256)
        return float("nan")

    def digest() -> float:
        digests(texts)
        return float("nan")

    return {
        "characters and lines": scan,
        "words": lambda: float(kernels.words(texts).counts.sum()),
        "repeated characters": lambda: float(character_repetition(texts, 10).sum()),
        "repeated words": repeated_words,
        "minhash": minhash,
        "digest": digest,
    }


def seconds(work: Callable[[], float]) -> tuple[float, float]:
    """Processor seconds of one call, and what it gave."""
    start = time.process_time()
    value = work()
    return time.process_time() - start, value


def rust(texts: pl.Series, work: Path) -> dict[str, tuple[float, float]] | None:
    """Seconds and checksum by loop; nothing without a compiler."""
    compiler = shutil.which("rustc")
    if compiler is None:
        return None
    program = work / "limit"
    flags = ["--edition", "2021", "-O", "-C", "target-cpu=native"]
    subprocess.run([compiler, *flags, str(HERE / "limit" / "limit.rs"), "-o", str(program)], check=True)
    with (work / "texts.bin").open("wb") as file:
        for text in texts:
            data = text.encode()
            file.write(len(data).to_bytes(4, "little") + data)
    (work / "classes.bin").write_bytes(characters.classes().astype(np.uint8).tobytes())
    (work / "lower.bin").write_bytes(characters.lower().astype("<i4").tobytes())
    inputs = [str(work / name) for name in ("texts.bin", "classes.bin", "lower.bin")]
    printed = subprocess.run([str(program), *inputs], check=True, capture_output=True, text=True).stdout
    rows = (line.split("\t") for line in printed.splitlines())
    return {name: (float(spent), float(sum_)) for name, spent, sum_ in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=50, help="size of the corpus in 10^6 bytes")
    parser.add_argument("--corpus", type=Path, help="another corpus")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-data"))
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    corpus = chosen.corpus or chosen.work / f"corpus-{chosen.mb:g}.jsonl"
    if not corpus.exists():
        build(corpus, mb=chosen.mb, seed=7)
    texts = pl.read_ndjson(corpus, schema={"text": pl.String})["text"].rechunk()
    # Words with these two take the exact way through Python, which Rust does not have.
    texts = texts.filter(~texts.str.contains("[\u0130\u03a3]")).rechunk()
    gigabytes = int(texts.str.len_bytes().sum()) / 1e9
    work = loops(texts)
    counted = {name: loop() for name, loop in work.items()}  # compiles the loops

    benchmark = Benchmark("data_kernels", seeds=[7])
    benchmark.facts = {"text MB": round(gigabytes * 1_000, 1), "texts": len(texts), "unit": "processor s per GB"}
    benchmark.repeat(chosen.repeats, lambda: {name: seconds(loop)[0] / gigabytes for name, loop in work.items()})
    limit = rust(texts, chosen.work)
    if limit is None:
        benchmark.facts[PEER] = "not measured: no rustc on this machine"
    else:
        for name, (_, value) in limit.items():
            if counted[name] == counted[name] and abs(counted[name] - value) > 1e-6 * abs(value):
                sys.exit(f"{name}: {counted[name]} here, {value} in Rust: not the same work")
        benchmark.peers[PEER] = {name: [spent / gigabytes] for name, (spent, _) in limit.items()}
        for name in limit:
            benchmark.claim(f"{name}: at least half as fast as Rust", peer=PEER, metric=name, target=0.5)
    mappers = dict[str, float]()
    for name, op in read_ops(MAPPERS):
        assert isinstance(op, Mapper)
        spent, _ = seconds(lambda op=op: float(len(op.rewrite_texts(texts.to_list()))))
        mappers[name] = round(spent / gigabytes, 2)
    benchmark.facts["mappers, texts to Python and back included"] = mappers
    benchmark.write()


if __name__ == "__main__":
    main()
