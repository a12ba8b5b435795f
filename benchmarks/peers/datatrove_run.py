"""datatrove's own filters, or its MinHash deduplication, over JSON-lines shards; run with its own Python.

python datatrove_run.py {filters,minhash} SHARDS OUT --workers 2
"""

from __future__ import annotations

import argparse
from pathlib import Path

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig


def filters(shards: str, out: str) -> list[tuple[str, int | None, list]]:
    """Formatters and filters as for web text; two rules of C4 are off, because braces are normal in this text."""
    steps = [
        FTFYFormatter(), PIIFormatter(), GopherRepetitionFilter(), GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False, filter_curly_bracket=False), FineWebQualityFilter(),
    ]  # fmt: skip
    return [("filters", None, [JsonlReader(shards), *steps, _writer(out)])]


def minhash(shards: str, out: str) -> list[tuple[str, int | None, list]]:
    """The four stages with the default 14 buckets of 8 hashes over runs of 5 words."""
    config = MinhashConfig(hash_config=HashConfig(precision=64))
    return [
        ("signature", None, [JsonlReader(shards), MinhashDedupSignature(f"{out}/signatures", config=config)]),
        ("buckets", config.num_buckets, [MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets", config=config)]),
        ("cluster", 1, [MinhashDedupCluster(f"{out}/buckets", f"{out}/remove", config=config)]),
        ("filter", None, [JsonlReader(shards), MinhashDedupFilter(f"{out}/remove"), _writer(out)]),
    ]


def _writer(out: str) -> JsonlWriter:
    return JsonlWriter(f"{out}/data", output_filename="${rank}.jsonl", compression=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("filters", "minhash"))
    parser.add_argument("shards")
    parser.add_argument("out")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    tasks = len(list(Path(chosen.shards).iterdir()))
    for name, count, pipeline in (filters if chosen.what == "filters" else minhash)(chosen.shards, chosen.out):
        LocalPipelineExecutor(
            pipeline=pipeline,
            tasks=count or tasks,
            workers=min(count or tasks, chosen.workers),
            logging_dir=f"{chosen.out}/logs/{name}",
            skip_completed=False,
        ).run()


if __name__ == "__main__":
    main()
