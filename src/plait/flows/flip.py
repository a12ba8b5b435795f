"""Stage ``align.flip``: wrong labels put into pairs on purpose, and marked, to see what a method makes of them.

- {name: flip, use: align.flip, pairs: ${split.pairs}, rate: 0.3}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from plait.core.io import write_table
from plait.core.stage import InputPath, Stage, StageContext
from plait.flows.align_pairs import read_records


class Flip(Stage):
    """Exchanges chosen and rejected in some pairs, each with the same probability, and marks them ``flipped``.

    The flips are drawn once: every method that reads the file, and every epoch, sees the same.

    Example:
        - {name: flip, use: align.flip, pairs: "${split.pairs}", rate: 0.3}

    Source: Wu et al. 2024, Dr. DPO (arXiv 2407.07880), the pairwise noise of its experiments.
    """

    outputs: ClassVar[Mapping[str, str]] = {"pairs": "pairs.parquet"}

    pairs: InputPath
    """Records with ``prompt``, ``chosen`` and ``rejected``; keep the held-out ones clean."""
    rate: float = Field(default=0.3, ge=0, le=1)
    """Probability that a pair is flipped."""

    def run(self, context: StageContext) -> None:
        """Draw, exchange, mark, write; and say how many it became."""
        import pyarrow as pa

        records = read_records(self.pairs, context.quarantine)
        flipped = context.seeds.child("flip").numpy().random(len(records)) < self.rate
        for record, flip in zip(records, flipped, strict=True):
            if flip:
                record["chosen"], record["rejected"] = record["rejected"], record["chosen"]
            record["flipped"] = bool(flip)
        write_table(pa.Table.from_pylist(records), context.output("pairs"))
        share = float(flipped.mean())
        context.report.headline = f"{int(flipped.sum())} of {len(records)} pairs flipped ({share:.0%})"
        context.report.facts |= {"pairs": len(records), "pairs flipped": int(flipped.sum()), "rate asked": self.rate}
