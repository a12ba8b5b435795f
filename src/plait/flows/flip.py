"""Stage ``align.flip``: wrong labels put into pairs on purpose, and marked, to see what a method makes of them.

- {name: flip, use: align.flip, pairs: ${split.pairs}, noise: {name: symmetric, rate: 0.3}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from plait.align.noise.injectors import AnyInjector, Symmetric
from plait.core.io import write_table
from plait.core.stage import InputPath, Stage, StageContext
from plait.flows.align_pairs import read_records


class Flip(Stage):
    """Puts noise of a known kind into preference pairs and marks them: column ``flipped``.

    The noise is drawn once: every method that reads the file, and every epoch, sees the same.

    Example:
        - {name: flip, use: align.flip, pairs: "${split.pairs}", noise: {name: symmetric, rate: 0.3}}

    Source: Wu et al. 2024, Dr. DPO (arXiv 2407.07880), the noise of its experiments.
    """

    outputs: ClassVar[Mapping[str, str]] = {"pairs": "pairs.parquet"}

    pairs: InputPath
    """Records with ``prompt``, ``chosen`` and ``rejected``; keep the held-out ones clean."""
    noise: AnyInjector = Symmetric(rate=0.3)
    """Which labels become wrong, by ``name`` with its ``rate``."""

    def run(self, context: StageContext) -> None:
        """Draw, exchange, mark, write; and say how many it became."""
        import pyarrow as pa

        noisy = self.noise.apply(read_records(self.pairs, context.quarantine), seeds=context.seeds)
        write_table(pa.Table.from_pylist(noisy.records), context.output("pairs"))
        context.report.headline = (
            f"{sum(noisy.mask)} of {len(noisy.records)} pairs flipped ({noisy.realised:.0%}), {self.noise.kind} noise"
        )
        context.report.facts |= {
            "pairs": len(noisy.records),
            "pairs flipped": sum(noisy.mask),
            "rate asked for": noisy.asked,
            "rate found": round(noisy.realised, 4),
        }
