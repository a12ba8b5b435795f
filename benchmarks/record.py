"""What every benchmark here shares: repeats, medians, ratios, claims, and the two files it leaves.

results/NAME.json   everything measured
results/NAME.md     the same as a table
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from plait.core.environment import describe_environment

RESULTS = Path(__file__).parent / "results"


@dataclass
class Claim:
    """A sentence that the numbers must carry. ``target`` is the least ratio asked for."""

    text: str
    target: float
    measured: float = 0.0
    holds: bool = False


@dataclass
class Benchmark:
    """One benchmark: ours against peers, on the same work in the same run.

    Args:
        name: Of the result files.
        ours: Metric → one value per repeat.
        peers: Peer with its version → metric → one value per repeat.
    """

    name: str
    ours: dict[str, list[float]] = field(default_factory=dict)
    peers: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def repeat(self, times: int, ours: Callable[[], dict[str, float]], **peers: Callable[[], dict[str, float]]) -> None:
        """Measure in turns, ours and each peer, so that a slow minute of the machine hits all of them."""
        for turn in range(times):
            _collect(self.ours, ours())
            for peer, run in peers.items():
                _collect(self.peers.setdefault(peer, {}), run())
            sys.stderr.write(f"{self.name}: {turn + 1}/{times}\n")

    def ratios(self) -> dict[str, dict[str, float]]:
        """Peer's median over ours, per metric both have."""
        return {
            peer: {m: median(values) / median(self.ours[m]) for m, values in metrics.items() if m in self.ours}
            for peer, metrics in self.peers.items()
        }

    def claim(self, text: str, *, peer: str, metric: str, target: float) -> None:
        """State what the ratio of a metric must be at least, and whether it is."""
        measured = self.ratios()[peer][metric]
        self.claims.append(Claim(text, target, round(measured, 3), measured >= target))

    def write(self, *tables: str) -> None:
        """Leave the result files and print the page.

        Args:
            tables: In place of the one with a column for each metric, where those are too many.
        """
        RESULTS.mkdir(exist_ok=True)
        environment = describe_environment()
        record = {
            "name": self.name,
            "command": f"make bench-{self.name.replace('_', '-')}",
            "commit": environment.pop("commit"),
            "machine": environment,
            "seeds": self.seeds,
            "repeats": len(next(iter(self.ours.values()))),
            "facts": self.facts,
            "ours": self.ours,
            "peers": self.peers,
            "ratios": self.ratios(),
            "claims": [asdict(claim) for claim in self.claims],
        }
        (RESULTS / f"{self.name}.json").write_text(json.dumps(record, indent=1) + "\n")
        page = self._page(tables or (self._table(),))
        (RESULTS / f"{self.name}.md").write_text(page)
        sys.stdout.write(page)

    def _page(self, tables: Sequence[str]) -> str:
        claims = [
            f"- {c.text}: target {c.target:g}, measured {c.measured:g}: {'holds' if c.holds else 'does not hold'}"
            for c in self.claims
        ]
        facts = "; ".join(f"{key}: {value}" for key, value in self.facts.items())
        return "\n".join([f"# {self.name}", "", facts, "", *tables, "", *claims, ""])

    def _table(self) -> str:
        metrics = list(self.ours)
        rows: list[Sequence[str]] = [["", *metrics]]
        rows.append(["plait", *(f"{median(self.ours[m]):.4g}" for m in metrics)])
        for peer, values in self.peers.items():
            rows.append([peer, *(f"{median(values[m]):.4g}" if m in values else "" for m in metrics)])
            ratios = self.ratios()[peer]
            rows.append([f"ratio to {peer}", *(f"{ratios[m]:.2f}" if m in ratios else "" for m in metrics)])
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines.insert(1, "|---|" + "--:|" * len(metrics))
        return "\n".join(lines)


def _collect(into: dict[str, list[float]], values: dict[str, float]) -> None:
    for metric, value in values.items():
        into.setdefault(metric, []).append(value)
