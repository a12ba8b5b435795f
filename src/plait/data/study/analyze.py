"""What is in a corpus: distributions, correlations, filters that overlap, languages, diversity, source by source.

    analysis = analyze(batches, read_ops(settings))
    analysis.stats["text_len"].percentiles["95"]

Like Data-Juicer's analyzer it measures every row and drops none, and leaves mappers out; unlike it, it never holds a
table of all rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from plait.data.batch import Batch
from plait.data.op import Mapper, Op, RangeFilter
from plait.data.study.bins import Bins
from plait.data.study.criteria import Criterion, criteria, thresholds
from plait.data.study.diversity import Diversity, diversity
from plait.data.study.facts import Fact
from plait.data.study.keyed import check_secret, key_of
from plait.data.study.sketch import CorpusSketch, Sketch
from plait.data.study.table import StatsTable
from plait.data.study.tally import Hashing, Tally, tally, tally_table
from plait.data.study.what_if import Overlap
from plait.errors import DataError

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)

_BARS = 40
_GROWS = 50  # bins of a histogram grow with the value if its high percentiles are this many times its low ones


class StatSummary(Fact):
    """The distribution of one stat."""

    known: int
    """Rows where it is known."""
    mean: float | None
    """Mean; ``None`` without rows."""
    std: float | None
    """Standard deviation with n - 1 below; ``None`` below two rows."""
    low: float | None
    """Lowest value."""
    high: float | None
    """Highest value."""
    percentiles: dict[str, float]
    """By percent, within 0.1 % of the value."""
    edges: list[float]
    """Edges of the histogram's bins."""
    counts: list[float]
    """Rows in each bin."""


class SourceSummary(Fact):
    """One source, or all together."""

    rows: int
    """Rows."""
    chars: int
    """Characters."""
    stats: dict[str, StatSummary]
    """By stat."""
    words: dict[str, dict[str, int]]
    """By stat that is a word, rows by word, the most frequent first: ``lang`` is the mix of languages."""
    distinct_texts: float | None
    """Estimated number of different texts, to about 2 %."""
    distinct_runs: float | None
    """Estimated share of runs of five words that are different from all before; low where text repeats."""


class KeptRange(Fact):
    """What a filter keeps as it is set."""

    name: str
    """The filter."""
    stat: str
    """What it measures."""
    low: float | None
    """Lowest value kept, ``None`` if nothing is too low."""
    high: float | None
    """Highest value kept, ``None`` if nothing is too high."""
    reversed: bool
    """Whether it keeps what lies outside instead."""


class Redundancy(Fact):
    """A filter whose work another does as well."""

    name: str
    """The filter."""
    by: str
    """The other."""
    share: float
    """Share of the rows it drops that the other drops too."""


class Analysis(Fact):
    """What is in a corpus."""

    overall: SourceSummary
    """All rows."""
    sources: dict[str, SourceSummary]
    """By source, if there is more than one."""
    numbers: list[str]
    """Stats in the order of the correlations."""
    correlations: list[list[float | None]]
    """Pearson's correlation of two stats; ``None`` where one never varies."""
    overlap: Overlap
    """Which rows the filters, as they are set, drop together."""
    ranges: list[KeptRange]
    """What the filters keep that keep a range."""
    kept: int
    """Rows that no filter drops."""
    redundant: list[Redundancy]
    """Filters of which another drops at least nine tenths of the same rows."""
    diversity: Diversity | None
    """Verbs and their objects, if a spaCy model is there."""
    notes: list[str]
    """What was not looked at, and why."""


def analyze(
    batches: Iterable[Batch],
    ops: Sequence[tuple[str, Op]],
    *,
    text_key: str = "text",
    workers: int | None = None,
    spacy_model: str | None = None,
) -> Analysis:
    """Analyze texts in one pass, in memory that does not grow with them.

    Args:
        batches: Rows, some megabytes at a time; a column ``source`` tells sources apart.
        ops: A recipe; its filters measure.
        text_key: Field of the text.
        workers: Threads.
        spacy_model: Model for the diversity of verbs and objects; an installed English one if not given.

    Raises:
        DataError: There are no rows.
    """
    filters = criteria(ops)
    found = tally(batches, filters, hashing=Hashing(key_of(""), text_key), workers=workers)
    if found is None:
        raise DataError("there are no rows to analyze", code="study.no-rows")
    verbs, note = diversity([text for _, text in found.sample], spacy_model)
    notes = [note] if note else []
    if mappers := sum(isinstance(op, Mapper) for _, op in ops):
        notes.append(
            f"measured as the texts are, without the {mappers} operations of the recipe that change them; "
            "`plait data run --study` measures after these"
        )
    return _analysis(found, filters, verbs, notes)


def analyze_table(table: StatsTable, ops: Sequence[tuple[str, Op]]) -> Analysis:
    """Analyze a stats table that a study left; the texts are not looked at again."""
    filters = criteria(ops)
    note = "the stats table has no texts, so distinct texts and diversity are not known"
    return _analysis(tally_table(table, filters), filters, None, [note])


def sketch(
    batches: Iterable[Batch],
    ops: Sequence[tuple[str, Op]],
    *,
    owner: str,
    secret: str,
    text_key: str = "text",
    workers: int | None = None,
) -> CorpusSketch:
    """An owner's sketch, to be exchanged instead of texts.

    Args:
        batches: Rows, some megabytes at a time.
        ops: A recipe, the same for all owners; its filters measure.
        owner: Name of the owner.
        secret: Shared by the owners and by nobody else: who knows it can test whether a text they guess is there.
        text_key: Field of the text.
        workers: Threads.

    Raises:
        UsageError: The secret is empty, so anybody could test texts.
        DataError: There are no rows.
    """
    check_secret(secret)
    key = key_of(secret)
    found = tally(batches, criteria(ops), hashing=Hashing(key, text_key, sample=0), workers=workers)
    if found is None:
        raise DataError("there are no rows to sketch", code="study.no-rows")
    # Languages alone: what other operations write of a text may quote it.
    sources = {
        name: replace(part, words={stat: part.words[stat] for stat in part.words if stat.split("@")[0] == "lang"})
        for name, part in found.sources.items()
    }
    return CorpusSketch(owner, sources, key_check=key_of(key.hex()).hex())


def _analysis(found: Tally, filters: Sequence[Criterion], verbs: Diversity | None, notes: list[str]) -> Analysis:
    whole = CorpusSketch("", found.sources, "").overall
    drops = found.drops
    return Analysis(
        overall=_summary(whole),
        sources={name: _summary(found.sources[name]) for name in sorted(found.sources)}
        if len(found.sources) > 1
        else {},
        numbers=list(whole.moments.names),
        correlations=[[_or_none(v) for v in row] for row in whole.moments.correlation().tolist()],
        overlap=Overlap(
            names=[c.name for c in filters],
            dropped=np.diag(drops.both).tolist(),
            alone=drops.alone.tolist(),
            both=drops.both.tolist(),
        ),
        ranges=kept_ranges(filters),
        kept=drops.kept,
        redundant=[Redundancy(name=a, by=b, share=share) for a, b, share in drops.redundant()],
        diversity=verbs,
        notes=notes,
    )


def kept_ranges(filters: Sequence[Criterion]) -> list[KeptRange]:
    """What those of some filters keep that keep a range."""
    found = list[KeptRange]()
    for criterion in filters:
        if isinstance(op := criterion.op, RangeFilter):
            place = thresholds(op)
            found.append(
                KeptRange(
                    name=criterion.name,
                    stat=criterion.number,
                    low=place.low,
                    high=place.high,
                    reversed=op.reversed_range,
                )
            )
    return found


def _summary(sketch: Sketch) -> SourceSummary:
    hashed = len(sketch.documents.hashes) > 0
    return SourceSummary(
        rows=sketch.rows,
        chars=sketch.chars,
        stats={name: _stat(sketch, name) for name in sketch.bins},
        words={
            stat: dict(sorted(counts.items(), key=lambda c: (-c[1], c[0]))) for stat, counts in sketch.words.items()
        },
        distinct_texts=sketch.documents.distinct() if hashed else None,
        distinct_runs=min(1.0, sketch.shingles.distinct() / sketch.shingle_count) if sketch.shingle_count else None,
    )


def _stat(sketch: Sketch, name: str) -> StatSummary:
    bins = sketch.bins[name]
    at = sketch.moments.names.index(name) if name in sketch.moments.names else None
    low, high = sketch.extremes.get(name, (None, None))
    quantiles = sketch.quantiles(name, np.array(PERCENTILES) / 100)
    edges = histogram_edges(bins, whole=name in sketch.whole)
    known = bins.total > 0
    return StatSummary(
        known=bins.total,
        mean=_or_none(float(sketch.moments.mean()[at])) if at is not None else None,
        std=_or_none(float(sketch.moments.std()[at])) if at is not None else None,
        low=low,
        high=high,
        percentiles=dict(zip(map(str, PERCENTILES), quantiles.tolist(), strict=True)) if known else {},
        edges=edges.tolist(),
        counts=bins.histogram(edges).tolist(),
    )


def histogram_edges(bins: Bins, bars: int = _BARS, *, whole: bool = False) -> np.ndarray:
    """Edges that show a distribution well: equal steps, or steps that grow where values span orders of magnitude.

    Args:
        bins: The distribution.
        bars: Bars, about.
        whole: Whether all values are whole numbers: then each bar stands for as many of them.
    """
    if not bins.total:
        return np.array([0.0, 1.0])
    low, few, three_quarters, most, high = bins.quantiles(np.array([0.0, 0.05, 0.75, 0.99, 1.0]))
    spans_orders = most >= _GROWS * max(few, 1.0) or three_quarters - low < 2 * (high - low) / bars
    if low >= 0 and most >= _GROWS and spans_orders:
        grown = np.geomspace(max(low * 0.999, 1.0), high * 1.01, bars)
        # Between whole numbers: where a bin has its middle is not where its values are.
        grown = np.unique(np.floor(grown)) - 0.5 if whole else grown
        grown[-1] = max(grown[-1], high * 1.01)
        return grown if low >= grown[0] else np.concatenate([[0.0], grown])
    if whole:
        step = max(1.0, np.ceil((high - low) / bars))
        first = np.rint(low) - 0.5
        return first + step * np.arange(np.ceil((high - first) / step) + 1)
    if low == high:
        return np.array([low - 0.5, high + 0.5])
    slack = (high - low) * 1e-3
    return np.linspace(low, high + slack, bars + 1)


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None
