"""A small corpus of pages and a recipe for it, for tests of the command line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

WORDS = [
    "river", "mountain", "harvest", "letter", "window", "garden", "morning", "station", "village", "paper", "winter",
    "answer", "silver", "bridge", "market", "story", "music", "kitchen", "island", "captain", "forest", "signal",
    "method", "reason", "number", "office", "teacher", "student", "doctor", "engine",
]  # fmt: skip
RECIPE = """dataset_path: pages.jsonl
export_path: clean.jsonl
np: 1
process:
  - whitespace_normalization_mapper:
  - text_length_filter: {min_len: 50}
  - words_num_filter: {min_num: 10}
  - alphanumeric_filter: {min_ratio: 0.5}
  - document_deduplicator:
  - document_minhash_deduplicator: {jaccard_threshold: 0.7}
"""
ROWS, KEPT = 65, 61


class Shown(NamedTuple):
    """What a command printed."""

    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def table(self) -> list[dict[str, str]]:
        """The first table, by the names in its header."""
        lines = [line.split("\t") for line in self.out.splitlines() if "\t" in line]
        return [dict(zip(lines[0], line, strict=True)) for line in lines[1:] if len(line) == len(lines[0])]


Plait = Callable[..., Shown]


def sentences(seed: int, count: int) -> str:
    chosen = random.Random(seed)
    return " ".join(" ".join(chosen.choices(WORDS, k=9)).capitalize() + "." for _ in range(count))


def corpus() -> list[dict[str, str]]:
    """60 different texts, and five rows that are short, oddly spaced, copies, or symbols."""
    rows = [
        {"id": f"d{n:02}", "text": sentences(n, 3 + n % 7), "source": "web" if n % 2 else "books"} for n in range(60)
    ]
    return [
        *rows,
        {"id": "short", "text": "Too short.", "source": "web"},
        {"id": "spaces", "text": f"An\u00a0odd {sentences(99, 4)}", "source": "web"},
        {"id": "copy", "text": rows[5]["text"], "source": "web"},
        {"id": "near", "text": rows[6]["text"] + " Again.", "source": "books"},
        {"id": "symbols", "text": "#$%& " * 60, "source": "web"},
    ]


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
