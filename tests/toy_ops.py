"""Operations small enough to check by eye, one of each kind."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa

from plait.core.quarantine import Quarantine
from plait.data.batch import Batch
from plait.data.names import ROW
from plait.data.op import (
    Bounds,
    Cost,
    Decision,
    Deduplicator,
    Filter,
    Mapper,
    Need,
    RangeFilter,
    Reducer,
    RewritingBarrier,
    Rows,
)
from plait.errors import DataError


@dataclass(frozen=True)
class ListBlock:
    rows: tuple[tuple[str, str], ...]
    bad: int = 0

    @property
    def key(self) -> str:
        return hashlib.sha256(repr((self.rows, self.bad)).encode()).hexdigest()

    def load(self, quarantine: Quarantine) -> pa.Table:
        for n in range(self.bad):
            quarantine.add(where=f"block:{n}", reason="bad", record="{")
        ids, texts = zip(*self.rows, strict=True) if self.rows else ((), ())
        return pa.table({"id": pa.array(ids, pa.string()), "text": pa.array(texts, pa.string())})


def blocks_of(texts: list[str], size: int) -> list[ListBlock]:
    rows = [(f"d{i}", text) for i, text in enumerate(texts)]
    return [ListBlock(tuple(rows[i : i + size])) for i in range(0, len(rows), size)]


class Strip(Mapper):
    def rewrite(self, batch: Batch) -> pl.Series:
        return batch.text(self.text_key).str.strip_chars()


class WithoutWord(Filter):
    path: str

    def measure(self, batch: Batch) -> dict[str, pl.Series]:
        return {}

    def keeps(self, batch: Batch, stats: object) -> np.ndarray:
        return (~batch.text(self.text_key).str.contains(Path(self.path).read_text(), literal=True)).to_numpy()


class Halves(Mapper):
    """Makes two rows of a text with a bar in it, and none of an empty one."""

    def apply(self, batch: Batch) -> Batch:
        parts = pl.col(self.text_key).str.split("|")
        return Batch(batch.frame.with_columns(parts).explode(self.text_key).filter(pl.col(self.text_key) != ""))


class LongEnough(RangeFilter):
    stat = "length"
    cost: ClassVar[Cost] = "words"
    least: int = 3

    def value(self, batch: Batch) -> np.ndarray:
        return batch.text(self.text_key).str.len_chars().to_numpy().astype(np.int64)

    def bounds(self) -> Bounds:
        return self.least, None

    def bracket(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        size = batch.text(self.text_key).str.len_bytes().to_numpy()
        return size / 4, size


class LongEnoughByModel(LongEnough):
    """The same, as if it took a neural network."""

    cost: ClassVar[Cost] = "model"


class FewDigits(RangeFilter):
    stat = "digits"
    most: int = 2

    def value(self, batch: Batch) -> np.ndarray:
        return batch.text(self.text_key).str.count_matches(r"\d").to_numpy()

    def bounds(self) -> Bounds:
        return None, self.most


class NotLanguage(Filter):
    stats = ("first",)

    def measure(self, batch: Batch) -> dict[str, pl.Series]:
        return {"first": batch.text(self.text_key).str.slice(0, 1)}

    def keeps(self, batch: Batch, stats: object) -> np.ndarray:
        return (stats["first"] != "x").to_numpy()


class FieldFilter(Filter):
    needs: ClassVar[frozenset[Need]] = frozenset({"fields"})
    field_key: str = "size"

    def measure(self, batch: Batch) -> dict[str, pl.Series]:
        return {}

    def keeps(self, batch: Batch, stats: object) -> np.ndarray:
        return batch.column(self.field_key).is_not_null().to_numpy()


class Same(Deduplicator):
    stat = "same"

    def keys(self, batch: Batch) -> dict[str, np.ndarray]:
        return {"hash": batch.text(self.text_key).hash().to_numpy()}

    def decide(self, rows: Rows) -> Decision:
        found = rows.key("hash")
        _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
        position = np.setdiff1d(np.arange(len(found)), first)
        return Decision(position, first[inverse[position]], np.ones(len(position)), {"groups": len(first)})


class CommonWord(RewritingBarrier):
    """Takes the text that occurs most often out of every text."""

    def keys(self, batch: Batch) -> dict[str, pl.Series]:
        return {"text": batch.text(self.text_key)}

    def decide(self, rows: Rows) -> Decision:
        found = pl.Series("text", rows.key("text").tolist(), dtype=pl.String)
        counts = found.filter(found != "").value_counts().sort(["count", "text"], descending=[True, False])
        state = rows.scratch / "word.txt"
        state.write_text(counts["text"][0] if counts.height else "nothing")
        nobody = np.zeros(0, np.int64)
        return Decision(nobody, nobody, np.zeros(0), {}, state)

    def rewrite(self, batch: Batch, state: Path) -> pl.Series:
        return batch.text(self.text_key).str.replace_all(state.read_text(), "", literal=True)


class Joined(Reducer):
    """One row of all texts that start alike."""

    def reduce(self, batches: Iterable[Batch]) -> Iterator[pl.DataFrame]:
        frame = pl.concat([batch.frame for batch in batches]).drop(ROW)
        first = pl.col(self.text_key).str.slice(0, 1)
        yield frame.group_by(first.alias("id"), maintain_order=True).agg(pl.col(self.text_key).str.join("+"))


class Refuses(Mapper):
    def rewrite(self, batch: Batch) -> pl.Series:
        raise DataError("refused", code="toy.refused")
