"""Stage ``align.split``: pairs of a file to train on, and pairs of other prompts to measure on.

- {name: split, use: align.split, pairs: pairs.jsonl, train: 96, heldout: 48}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from plait.core.io import write_table
from plait.core.stage import InputPath, Stage, StageContext
from plait.errors import DataError
from plait.flows.align_pairs import read_records, split_by_prompt


class Split(Stage):
    """Splits preference pairs by prompt into those to train on and those to measure on; no prompt is on both sides.

    Example:
        - {name: split, use: align.split, pairs: "${pairs.pairs}", train: 96, heldout: 48}
    """

    outputs: ClassVar[Mapping[str, str]] = {"pairs": "pairs.parquet", "heldout": "heldout.parquet"}

    pairs: InputPath
    """Records with ``prompt``, ``chosen`` and ``rejected``, in any format of `plait.core.io`."""
    heldout_share: float = Field(default=0.2, gt=0, lt=1)
    """About this part is held out."""
    train: int | None = Field(default=None, ge=1)
    """At most so many pairs to train on, drawn at random."""
    heldout: int | None = Field(default=None, ge=1)
    """At most so many pairs to measure on, drawn at random."""
    max_characters: int | None = Field(default=None, ge=1)
    """Pairs with more characters, prompt and both completions together, are left out; for runs that must be quick."""
    max_bad_fraction: float = Field(default=0.1, ge=0, le=1)
    """Stop if more than this share of the records cannot be read."""

    def run(self, context: StageContext) -> None:
        """Read, leave out what is too long, split, draw, write."""
        import pyarrow as pa

        records = read_records(self.pairs, context.quarantine)
        read = len(records) + context.quarantine.total
        context.quarantine.check(read, max_bad_fraction=self.max_bad_fraction, where=str(self.pairs))
        fitting = [r for r in records if self.max_characters is None or _characters(r) <= self.max_characters]
        if not fitting:
            raise DataError(
                f"none of the {len(records)} pairs has {self.max_characters} characters or less",
                code="align.no-pairs",
                where=str(self.pairs),
                hint="raise max_characters",
            )
        train, heldout = split_by_prompt(fitting, share=self.heldout_share, seeds=context.seeds)
        for name, rows, wanted in (("pairs", train, self.train), ("heldout", heldout, self.heldout)):
            some = _draw(rows, wanted, context, name)
            write_table(pa.Table.from_pylist(some), context.output(name))
            context.report.facts[f"{name} written"] = len(some)
        context.report.headline = (
            f"{context.report.facts['pairs written']} pairs to train on and "
            f"{context.report.facts['heldout written']} held out, of {len(records)}"
        )
        context.report.facts |= {"pairs read": len(records), "pairs too long": len(records) - len(fitting)}


def _draw(
    rows: Sequence[Mapping[str, Any]], wanted: int | None, context: StageContext, name: str
) -> list[dict[str, Any]]:
    """Some of the rows, in the order of the file."""
    if wanted is None or wanted >= len(rows):
        return [dict(row) for row in rows]
    drawn = context.seeds.child("draw", name).numpy().permutation(len(rows))[:wanted]
    return [dict(rows[int(index)]) for index in sorted(drawn)]


def _characters(record: Mapping[str, Any]) -> int:
    return sum(_length(record.get(key)) for key in ("prompt", "chosen", "rejected"))


def _length(text: Any) -> int:
    if isinstance(text, str):
        return len(text)
    return sum(len(message.get("content") or "") for message in text or ())
