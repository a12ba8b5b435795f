"""What a person wants to see of a study: distributions, correlations, overlaps, and suggested thresholds."""

from __future__ import annotations

import numpy as np

from plait.core.figures import Bars, HeatMap, Histogram, Lines, StageReport, Table
from plait.data.study.agree import Agreement
from plait.data.study.analyze import Analysis, KeptRange, SourceSummary, StatSummary, histogram_edges, kept_ranges
from plait.data.study.bins import Bins
from plait.data.study.criteria import pick
from plait.data.study.suggest import Suggestions
from plait.data.study.tune import Tuned
from plait.data.study.what_if import WhatIf

_SOURCES = 8  # shown in a figure; the table has up to `_ROWS`
_ROWS = 40
_STRONG = 0.3
_WORDS = 12


def describe_analysis(analysis: Analysis, report: StageReport) -> None:
    """Fill a report from an analysis."""
    whole = analysis.overall
    share = 100 * analysis.kept / max(whole.rows, 1)
    report.headline = (
        f"{whole.rows:,} texts, {whole.chars:,} characters; the filters as set keep {analysis.kept:,} ({share:.1f} %)"
    )
    report.facts |= {"texts": whole.rows, "characters": whole.chars, "kept by the filters": analysis.kept}
    if whole.distinct_texts is not None:
        report.facts["different texts (estimate)"] = round(whole.distinct_texts)
    if whole.distinct_runs is not None:
        report.facts["runs of five words that do not repeat, %"] = round(100 * whole.distinct_runs, 1)
    report.tables += [_stats_table(whole), *_sources_table(analysis), *_overlap_tables(analysis)]
    report.figures += _overlap_map(analysis)
    report.figures += [_histogram(name, stat, analysis) for name, stat in whole.stats.items() if stat.known]
    report.figures += [_words(stat, counts) for stat, counts in whole.words.items() if len(counts) > 1]
    report.tables += _correlations(analysis)
    if analysis.diversity is not None:
        verbs = analysis.diversity
        report.tables.append(
            Table(
                title="Verbs and their objects",
                columns=["verb", "object", "texts"],
                rows=[[v.verb, v.noun, v.count] for v in verbs.most[:_ROWS]],
                note=f"{verbs.distinct:,} different pairs in {verbs.found:,} of {verbs.texts:,} texts looked at; "
                f"{verbs.entropy_bits:.1f} bits of entropy.",
            )
        )
    report.notes += analysis.notes
    report.warnings += [
        f"{r.by} drops {100 * r.share:.0f} % of what {r.name} drops: {r.name} may be redundant"
        for r in analysis.redundant
    ]


def describe_suggestions(suggestions: Suggestions, report: StageReport, what_if: WhatIf | None = None) -> None:
    """Fill a report from suggested thresholds.

    Args:
        suggestions: What was found.
        report: Gets headline, tables and figures.
        what_if: What it was found in, to draw where the thresholds lie.
    """
    before, after = suggestions.before.overall, suggestions.after.overall
    report.headline = (
        f"{suggestions.method}: would keep {after.kept:,} of {after.rows:,} rows ({100 * after.rate:.1f} %), "
        f"now {before.kept:,}"
    )
    report.facts |= {"rows": after.rows, "kept now": before.kept, "kept as suggested": after.kept}
    report.tables.append(
        Table(
            title="Suggested thresholds",
            columns=["filter", "setting", "now", "suggested", "evidence"],
            rows=[[c.filter, c.field, c.before, c.after, c.evidence] for c in suggestions.changes],
        )
    )
    if suggestions.dropped:
        report.figures.append(
            Bars(
                title="What each filter would drop if it were alone",
                y="rows",
                groups=list(suggestions.dropped),
                series={"rows": [float(n) for n in suggestions.dropped.values()]},
                horizontal=True,
            )
        )
    if what_if is not None:
        report.figures += _suggested_histograms(suggestions, what_if)
    if suggestions.after.sources:
        names = sorted(suggestions.after.sources, key=lambda s: -suggestions.after.sources[s].rows)[:_SOURCES]
        report.figures.append(
            Bars(
                title="Share kept of each source",
                y="% of rows",
                groups=[name or "(no source)" for name in names],
                series={
                    "now": [100 * suggestions.before.sources[n].rate for n in names],
                    "as suggested": [100 * suggestions.after.sources[n].rate for n in names],
                },
            )
        )
    report.warnings += suggestions.warnings


def _suggested_histograms(suggestions: Suggestions, what_if: WhatIf) -> list[Histogram]:
    """Each number with the range that would be kept."""
    after = what_if.with_settings(suggestions.settings)
    found = list[Histogram]()
    for kept in kept_ranges(after.filters):
        evidence = {c.field: c.evidence for c in suggestions.changes if c.filter == kept.name}
        if not evidence:
            continue
        values = what_if.values(pick(what_if.filters, kept.name))
        values = values[np.isfinite(values)]
        bins = Bins.of(values)
        edges = histogram_edges(bins, whole=bool((values == np.rint(values)).all()))
        now = ", ".join(f"{c.field} {c.after:.6g}" for c in suggestions.changes if c.filter == kept.name)
        dropped = suggestions.dropped[kept.name]
        found.append(
            Histogram(
                title=f"{kept.stat}: {now}",
                x=kept.stat,
                y="rows",
                edges=edges.tolist(),
                counts={"rows": bins.histogram(edges).tolist()},
                dropped=_outside(kept, float(values.min()), float(values.max())) if len(values) else [],
                note=f"Would drop {dropped:,} rows by itself; {'; '.join(dict.fromkeys(evidence.values()))}.",
            )
        )
    return found


def describe_tuning(tuned: Tuned, report: StageReport) -> None:
    """Fill a report from a search."""
    report.headline = (
        f"{tuned.objective}: {tuned.best.value:.4g} after {len(tuned.trials)} trials, "
        f"{tuned.start.value:.4g} to start with"
    )
    report.facts |= {
        "trials": len(tuned.trials),
        "share kept, %": round(100 * tuned.best.volume, 2),
        "mean quality": round(tuned.best.quality, 4),
    }
    rows: list[list[str | int | float | None]] = [
        [name, field, value] for name, fields in tuned.settings.items() for field, value in fields.items()
    ]
    for name, weight in tuned.mixture.items():
        rows.append([f"source {name}", "weight", round(weight, 4)])
    report.tables.append(Table(title="The best point", columns=["of", "setting", "value"], rows=rows))
    best, points = tuned.trials[0].value if tuned.trials else 0.0, list[tuple[float, float]]()
    for number, trial in enumerate(tuned.trials, 1):
        best = max(best, trial.value)
        points.append((float(number), best))
    front = [(100 * tuned.trials[i].volume, tuned.trials[i].quality) for i in tuned.front]
    report.figures += [
        Lines(title="Best so far", x="trial", y=tuned.objective, series={"best so far": points}),
        Lines(
            title="Volume against quality",
            x="rows kept, %",
            y="mean quality",
            series={"no trial beats these": front},
            note="Further right keeps more, further up keeps better.",
        ),
    ]


def describe_agreement(agreement: Agreement, report: StageReport) -> None:
    """Fill a report from what owners agreed on."""
    report.headline = f"{len(agreement.owners)} owners agree on {len(agreement.filters)} filters; no text moved"
    report.facts |= {f"rows of {owner}": rows for owner, rows in agreement.owners.items()}
    report.facts |= {f"ε of {owner}": e for owner, e in agreement.epsilon.items() if e is not None}
    owners = list(agreement.owners)
    report.tables.append(
        Table(
            title="Agreed thresholds",
            columns=["filter", "settings", *(f"drops of {o}, %" for o in owners)],
            rows=[
                [
                    f.filter,
                    ", ".join(f"{k}: {v:.6g}" for k, v in f.settings.items()),
                    *(round(100 * f.drops[o], 2) for o in owners),
                ]
                for f in agreement.filters
            ],
            note=f"By {agreement.rule}.",
        )
    )
    if agreement.shared:
        report.tables.append(
            Table(
                title="What owners have in common (estimates)",
                columns=["owner", "and", "same texts", "same texts, % of both", "same runs of words, % of both", "± %"],
                rows=[
                    [s.first, s.second, round(s.texts), round(100 * s.texts_jaccard, 2),
                     round(100 * s.runs_jaccard, 2), round(100 * s.error, 2)]
                    for s in agreement.shared
                ],
            )
        )  # fmt: skip
    report.warnings += agreement.warnings


def _stats_table(whole: SourceSummary) -> Table:
    def row(name: str, stat: StatSummary) -> list[str | int | float | None]:
        percentiles = [_short(stat.percentiles.get(p)) for p in ("1", "25", "50", "75", "99")]
        return [
            name,
            stat.known,
            _short(stat.mean),
            _short(stat.std),
            _short(stat.low),
            *percentiles,
            _short(stat.high),
        ]

    return Table(
        title="What was measured",
        columns=["stat", "known", "mean", "std", "lowest", "1 %", "25 %", "50 %", "75 %", "99 %", "highest"],
        rows=[row(name, stat) for name, stat in whole.stats.items()],
        note="Percentiles are within 0.1 % of the value.",
    )


def _sources_table(analysis: Analysis) -> list[Table]:
    if not analysis.sources:
        return []
    largest = sorted(analysis.sources, key=lambda s: -analysis.sources[s].rows)[:_ROWS]
    stats = list(analysis.overall.stats)[:6]
    rows: list[list[str | int | float | None]] = [
        [name or "(no source)", found.rows, found.chars, *(_short(found.stats[s].percentiles.get("50")) for s in stats)]
        for name, found in ((name, analysis.sources[name]) for name in largest)
    ]
    columns = ["source", "texts", "characters", *(f"median {s}" for s in stats)]
    return [Table(title="Sources", columns=columns, rows=rows)]


def _overlap_tables(analysis: Analysis) -> list[Table]:
    found = analysis.overlap
    if len(found.names) < 2:
        return []
    drops: list[list[str | int | float | None]] = [
        [name, found.dropped[i], found.alone[i]] for i, name in enumerate(found.names)
    ]
    shares: list[list[str | int | float | None]] = [
        [first, *(round(100 * found.share(first, second)) for second in found.names)] for first in found.names
    ]
    return [
        Table(
            title="What each filter drops",
            columns=["filter", "rows", "that no other drops"],
            rows=drops,
            note="As the recipe sets them, each looking at all rows.",
        ),
        Table(
            title="Overlap of drops",
            columns=["% of the rows dropped by … are dropped by", *found.names],
            rows=shares,
        ),
    ]


def _overlap_map(analysis: Analysis) -> list[HeatMap]:
    """The same as shades, of the filters that drop something."""
    found = analysis.overlap
    names = [name for name, count in zip(found.names, found.dropped, strict=True) if count]
    if len(names) < 2:
        return []
    return [
        HeatMap(
            title="What two filters drop both",
            x="of these rows, this filter drops too, %",
            y="of the rows this filter drops",
            columns=names,
            rows=names,
            values=[[None if a == b else round(100 * found.share(a, b), 1) for b in names] for a in names],
            note="A dark cell: the filter of its row may be redundant beside that of its column.",
        )
    ]


def _histogram(name: str, stat: StatSummary, analysis: Analysis) -> Histogram:
    ranges = [kept for kept in analysis.ranges if kept.stat == name]
    notes = list[str]()
    for kept in ranges:
        at = analysis.overlap.names.index(kept.name)
        dropped, alone = analysis.overlap.dropped[at], analysis.overlap.alone[at]
        if not dropped:
            notes.append(f"{kept.name} drops none.")
            continue
        share = 100 * dropped / analysis.overall.rows
        also = f"no other filter drops {alone:,} of them" if alone else "other filters drop all of them too"
        notes.append(f"{kept.name} drops {dropped:,} ({share:.1f} %); {also}.")
    return Histogram(
        title=name,
        x=name,
        y="texts",
        edges=stat.edges,
        counts={"texts": stat.counts},
        dropped=[side for kept in ranges for side in _outside(kept, stat.low, stat.high)],
        note=" ".join(notes),
    )


def _outside(kept: KeptRange, lowest: float | None, highest: float | None) -> list[tuple[float | None, float | None]]:
    """What a range drops, as ranges; a bound that no value lies beyond is left out."""
    if kept.reversed:
        return [(kept.low, kept.high)]
    low = kept.low is not None and (lowest is None or lowest < kept.low)
    high = kept.high is not None and (highest is None or highest > kept.high)
    return [*([(None, kept.low)] if low else []), *([(kept.high, None)] if high else [])]


def _words(stat: str, counts: dict[str, int]) -> Bars:
    shown = list(counts.items())[:_WORDS]
    rest = sum(counts.values()) - sum(n for _, n in shown)
    shown += [("others", rest)] if rest else []
    return Bars(
        title=f"Mix of {stat}",
        y="texts",
        groups=[word for word, _ in shown],
        series={"texts": [float(n) for _, n in shown]},
        horizontal=True,
    )


def _correlations(analysis: Analysis) -> list[Table]:
    pairs = [
        (abs(value), a, b, value)
        for i, a in enumerate(analysis.numbers)
        for b, value in list(zip(analysis.numbers, analysis.correlations[i], strict=True))[i + 1 :]
        if value is not None and abs(value) >= _STRONG
    ]
    if not pairs:
        return []
    rows: list[list[str | int | float | None]] = [
        [a, b, round(v, 3)] for _, a, b, v in sorted(pairs, reverse=True)[:_ROWS]
    ]
    return [Table(title="Strong correlations", columns=["stat", "and", "Pearson's r"], rows=rows)]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
