"""One pass over batches: what filters measure becomes sketches and counts, and the rows are forgotten.

Memory does not grow with the data: a few batches are in work at a time, and what is kept of them is merged in the
order of the input, so that the result does not depend on the number of threads.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from plait.data import kernels
from plait.data.batch import Batch
from plait.data.study.criteria import Criterion
from plait.data.study.drops import Drops
from plait.data.study.keyed import sip_hash
from plait.data.study.sketch import Sketch
from plait.data.study.table import MOST_SOURCES, OTHER, StatsTable

WORDS = 5
"""Words in a run whose hash is kept."""

SAMPLE = 500
"""Texts kept to look at their language, by smallest hash: the same ones however the data is cut."""


@dataclass(frozen=True)
class Hashing:
    """How texts are hashed.

    Args:
        key: 16 bytes; see `plait.data.study.keyed.key_of`.
        text_key: Field of the text.
        sample: Texts to keep.
    """

    key: bytes
    text_key: str = "text"
    sample: int = SAMPLE


@dataclass(frozen=True)
class Tally:
    """What is kept of rows.

    Args:
        sources: Sketches by source.
        drops: What the filters drop, as they are set.
        sample: Hash and text of some rows, ascending by hash.
        sample_size: Texts kept at most.
    """

    sources: dict[str, Sketch]
    drops: Drops
    sample: tuple[tuple[int, str], ...] = ()
    sample_size: int = SAMPLE

    def merge(self, other: Tally) -> Tally:
        """What is kept of both."""
        sources = dict(self.sources)
        for name, sketch in other.sources.items():
            sources[name] = sources[name].merge(sketch) if name in sources else sketch
        sample = tuple(sorted({*self.sample, *other.sample})[: self.sample_size])
        return replace(self, sources=sources, drops=self.drops.merge(other.drops), sample=sample)


def tally(
    batches: Iterable[Batch], filters: Sequence[Criterion], *, hashing: Hashing, workers: int | None = None
) -> Tally | None:
    """Measure all rows with all filters, without dropping any; ``None`` without batches.

    Args:
        batches: Rows, some megabytes at a time.
        filters: What to measure.
        hashing: How texts are hashed.
        workers: Threads; as many as there are processors if not given.
    """
    total: Tally | None = None
    told_apart = dict[str, None]()
    workers = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque[Future[Tally]]()
        for batch in batches:
            # Before the batches part: which sources have a name does not depend on who is done first.
            _tell_apart(told_apart, batch)
            waiting.append(pool.submit(tally_batch, batch, filters, hashing, frozenset(told_apart)))
            if len(waiting) > 2 * workers:
                total = _merged(total, waiting.popleft().result())
        while waiting:
            total = _merged(total, waiting.popleft().result())
    return total


def tally_batch(
    batch: Batch, filters: Sequence[Criterion], hashing: Hashing, told_apart: frozenset[str] | None = None
) -> Tally:
    """What is kept of one batch.

    Args:
        batch: The rows.
        filters: What to measure.
        hashing: How texts are hashed.
        told_apart: Sources with a sketch of their own, the others are put together; all if not given.
    """
    columns, fails = dict[str, pl.Series](), dict[str, np.ndarray]()
    for criterion in filters:
        measured = criterion.op.measure(batch)
        fails[criterion.name] = ~np.asarray(criterion.op.keeps(batch, measured), np.bool_)
        for plain, stat in zip(criterion.op.stats, criterion.stats, strict=True):
            columns[stat] = pl.Series(stat, measured[plain])
    texts, words = batch.text(hashing.text_key), batch.words(hashing.text_key)
    documents = sip_hash(text_hashes(texts), hashing.key)
    hashes, starts = kernels.shingles(words, WORDS)
    shingles = sip_hash(hashes, hashing.key)
    chars = batch.scan(hashing.text_key).chars
    names, codes = _sources(batch, told_apart)
    sources = dict[str, Sketch]()
    for code, name in enumerate(names):
        chosen = codes == code
        sources[name] = _sketch(
            {stat: series.filter(pl.Series(chosen)) for stat, series in columns.items()},
            rows=int(np.count_nonzero(chosen)),
            chars=int(chars[chosen].sum()),
            documents=documents[chosen],
            shingles=shingles if len(names) == 1 else shingles[np.repeat(chosen, np.diff(starts))],
        )
    smallest = np.argsort(documents)[: hashing.sample]
    sample = zip(documents[smallest].tolist(), texts.gather(smallest).to_list(), strict=True)
    return Tally(sources, Drops.of(fails, chars), tuple(sorted(set(sample))), hashing.sample)


def tally_table(table: StatsTable, filters: Sequence[Criterion]) -> Tally:
    """The same from a stats table: no hashes, as the texts are not there."""
    from plait.data.study.what_if import WhatIf

    what_if = WhatIf(table, filters)
    chars = table.chars()
    chars = np.zeros(table.rows, np.int64) if chars is None else chars
    found = table.sources()
    sources = dict[str, Sketch]()
    for code, name in enumerate(found.names):
        chosen = found.codes == code
        columns = {stat: table.column(stat).filter(pl.Series(chosen)) for stat in table.stats}
        sources[name] = _sketch(columns, rows=int(np.count_nonzero(chosen)), chars=int(chars[chosen].sum()))
    return Tally(sources, Drops.of({c.name: ~what_if.passes(c) for c in filters}, chars))


def text_hashes(texts: pl.Series) -> np.ndarray:
    """Hashes of texts without the blanks around them; the same for every owner, whatever the versions installed."""
    import xxhash

    stripped: Iterator[str] = iter(texts.str.strip_chars())
    return np.fromiter((xxhash.xxh3_64_intdigest(t.encode()) for t in stripped), np.uint64, len(texts))


def _merged(total: Tally | None, found: Tally) -> Tally:
    return found if total is None else total.merge(found)


def _sketch(
    columns: Mapping[str, pl.Series],
    *,
    rows: int,
    chars: int,
    documents: np.ndarray | None = None,
    shingles: np.ndarray | None = None,
) -> Sketch:
    numbers = dict[str, np.ndarray]()
    words = dict[str, dict[str, int]]()
    for stat, series in columns.items():
        if series.dtype.is_numeric():
            numbers[stat] = series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        else:
            words[stat] = dict(Counter(series.cast(pl.String).drop_nulls().to_list()).most_common())
    return Sketch.of(numbers, words=words, rows=rows, chars=chars, documents=documents, shingles=shingles)


def _tell_apart(names: dict[str, None], batch: Batch) -> None:
    if len(names) >= MOST_SOURCES or "source" not in batch.frame.columns:
        return
    for name in _source(batch).unique(maintain_order=True).to_list():
        if len(names) < MOST_SOURCES:
            names[name] = None


def _sources(batch: Batch, told_apart: frozenset[str] | None) -> tuple[list[str], np.ndarray]:
    if "source" not in batch.frame.columns:
        return [""], np.zeros(len(batch), np.int64)
    column = _source(batch)
    if told_apart is not None:
        column = column.set(~column.is_in(list(told_apart)), OTHER)
    names, codes = np.unique(column.to_numpy(), return_inverse=True)
    return [str(name) for name in names], codes


def _source(batch: Batch) -> pl.Series:
    return batch.frame["source"].cast(pl.String).fill_null("")
