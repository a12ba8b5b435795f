"""What Ray costs on one machine: `plait data run` with its own threads, and with `--engine ray`.

    make bench-data-ray
    python benchmarks/data_ray.py --quick                    5 MB, once; writes nothing
    python benchmarks/data_ray.py --sizes 50,4000            other sizes of the corpus

Both run the recipe of `data_speed` over the same corpora on two workers, in turns, and must write the same bytes.
``work s`` is what curating takes once the engine is there; ``wall s`` is the whole command. In between lie the start of
the program and, with Ray, the start and the end of a Ray of its own. Memory and processor seconds are those of all
processes, Ray's own ones too.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median

from data_speed import RECIPE, SEED, WORKERS, corpus_of, fresh
from measure import measure
from record import Benchmark, Claim

from plait.data.curation import Summary

RAY = f"ray {version('ray')}"
TARGET = 1.5


def curate(corpus: Path, folder: Path, engine: str) -> dict[str, float]:
    """One run, from nothing."""
    fresh(folder)
    command = [
        Path(sys.executable).with_name("plait"), "data", "run", RECIPE, "-d", corpus, "-o", folder / "out.jsonl",
        "--workers", str(WORKERS), "--engine", engine,
    ]  # fmt: skip
    found = measure(command, log=folder / "log.txt", environment={"RAY_ADDRESS": ""})
    return {"work s": Summary.open(folder / "out.jsonl").seconds, **found.metrics()}


def compare(sizes: list[float], work: Path, *, repeats: int, write: bool) -> None:
    corpora = {mb: corpus_of(mb, work) for mb in sizes}

    def run(engine: str) -> dict[str, float]:
        metrics = dict[str, float]()
        for mb, corpus in corpora.items():
            found = curate(corpus, work / f"{engine}-{mb:g}", engine)
            metrics |= {f"{mb:g} MB: {name}": value for name, value in found.items()}
        return metrics

    curate(corpora[sizes[0]], work / f"local-{sizes[0]:g}", "local")  # compiles the loops, once per machine
    benchmark = Benchmark("data_ray", seeds=[SEED])
    benchmark.repeat(repeats, lambda: run("local"), **{RAY: lambda: run("ray")})
    for mb in sizes:
        local, ray = (work / f"{engine}-{mb:g}" / "out.jsonl" for engine in ("local", "ray"))
        if not filecmp.cmp(local, ray, shallow=False):
            sys.exit(f"{mb:g} MB: {ray} differs from {local}")
    most = f"{sizes[-1]:g} MB"
    benchmark.facts = {
        "sizes MB": sizes,
        "workers": WORKERS,
        "outputs": "equal, byte for byte",
        "starting and ending s": {
            "plait": round(around(benchmark.ours, most), 2),
            RAY: round(around(benchmark.peers[RAY], most), 2),
        },
    }
    ratios = benchmark.ratios()[RAY]
    for mb in sizes:
        for metric, what in (("wall s", "Ray's start included"), ("work s", "once Ray is there")):
            ratio = ratios[f"{mb:g} MB: {metric}"]
            text = f"Ray takes at most {TARGET:g} times as long for {mb:g} MB, {what}"
            benchmark.claims.append(Claim(text, TARGET, round(ratio, 3), ratio <= TARGET))
    if write:
        benchmark.write()
        return
    for metric, ratio in ratios.items():
        sides = (median(side[metric]) for side in (benchmark.ours, benchmark.peers[RAY]))
        sys.stdout.write("{}: {:.4g} local, {:.4g} with Ray: {:.2f}\n".format(metric, *sides, ratio))
    sys.stdout.write(f"{benchmark.facts}\n")


def around(side: dict[str, list[float]], size: str) -> float:
    """Seconds of the command that are not curating."""
    whole, inner = side[f"{size}: wall s"], side[f"{size}: work s"]
    return median(one - other for one, other in zip(whole, inner, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="200,1000", help="sizes in MB, ascending")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-data"), help="folder for corpora and outputs")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="5 MB, once; writes nothing")
    chosen = parser.parse_args()
    sizes = [5.0] if chosen.quick else [float(size) for size in chosen.sizes.split(",")]
    compare(sizes, chosen.work, repeats=1 if chosen.quick else chosen.repeats, write=not chosen.quick)


if __name__ == "__main__":
    main()
