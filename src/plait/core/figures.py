"""What a stage wants a person to see: numbers, tables and figures, kept as plain data.

A stage describes its figures here; `plait.core.report` draws them to SVG, and any other view (terminal, browser) draws
the same description its own way. Nothing here holds a time of day or a duration: the description is an artifact, and
artifacts of equal runs are equal to the byte. Durations live in the event log.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Lines(_Spec):
    """One or more series over a numeric axis (loss per step, guess per round)."""

    kind: Literal["lines"] = "lines"
    title: str
    x: str
    """Axis label with its unit."""
    y: str
    series: dict[str, list[tuple[float, float]]]
    """Name → points ``(x, y)`` in order of x."""
    bands: dict[str, list[tuple[float, float, float]]] = {}
    """Name of a series → ``(x, low, high)`` shaded around it."""
    note: str = ""
    """One sentence below the figure: what to see in it."""


class Bars(_Spec):
    """Grouped bars (before and after, one group per owner)."""

    kind: Literal["bars"] = "bars"
    title: str
    y: str
    groups: list[str]
    """Labels along the axis."""
    series: dict[str, list[float]]
    """Name → one height per group."""
    horizontal: bool = False
    """Lay the bars down: for long labels, such as a funnel of filters."""
    note: str = ""


class Histogram(_Spec):
    """Counts in bins; several series share the edges."""

    kind: Literal["histogram"] = "histogram"
    title: str
    x: str
    edges: list[float]
    """``n + 1`` bin edges, ascending."""
    counts: dict[str, list[float]]
    """Name → ``n`` counts."""
    y: str = "count"
    """What is counted."""
    dropped: list[tuple[float | None, float | None]] = []
    """Ranges along x that are shaded, as a threshold drops them; ``None`` for no end."""
    note: str = ""


class HeatMap(_Spec):
    """A table of shares as shades (what two filters drop both)."""

    kind: Literal["heat map"] = "heat map"
    title: str
    x: str
    """What stands along the columns."""
    y: str
    """What stands along the rows."""
    columns: list[str]
    rows: list[str]
    values: list[list[float | None]]
    """Per cent by row and column, 0 to 100; ``None`` leaves a cell empty."""
    note: str = ""


class Graph(_Spec):
    """Boxes and arrows, laid out in layers from left to right (a plan)."""

    kind: Literal["graph"] = "graph"
    title: str
    nodes: list[tuple[str, str, str]]
    """``(id, label, detail)``."""
    edges: list[tuple[str, str]]
    """``(from id, to id)``; must not form a cycle."""
    note: str = ""


Figure = Annotated[Lines | Bars | Histogram | HeatMap | Graph, Field(discriminator="kind")]


class Table(_Spec):
    """A small table: some tens of rows at most."""

    title: str
    columns: list[str]
    rows: list[list[str | int | float | None]]
    note: str = ""

    def number_columns(self) -> list[int]:
        """Places of the columns that hold numbers alone: their headings stand on the side of the numbers.

        Example:
            >>> Table(title="", columns=["a", "b"], rows=[["x", 1], ["y", None]]).number_columns()
            [1]
        """
        cells = [[row[i] for row in self.rows if row[i] is not None] for i in range(len(self.columns))]
        return [i for i, found in enumerate(cells) if found and not any(isinstance(cell, str) for cell in found)]


class Example(_Spec):
    """A text worth reading: a sampled record, an answer, a transcript."""

    title: str
    text: str


class StageReport(_Spec):
    """All a stage tells a person, in the order it is read.

    Example:
        >>> report = StageReport(headline="kept 3 of 4 documents")
        >>> report.facts["documents kept"] = 3
        >>> report.figures.append(Bars(title="Kept", y="documents", groups=["all"], series={"kept": [3]}))
        >>> StageReport.model_validate_json(report.model_dump_json()) == report
        True
    """

    headline: str = ""
    """The one sentence a person should remember, with its number."""
    facts: dict[str, str | int | float] = {}
    """Label (with unit) → value."""
    tables: list[Table] = []
    figures: list[Figure] = []
    examples: list[Example] = []
    notes: list[str] = []
    """Remarks in plain words: how to read the numbers, what they do not say."""
    warnings: list[str] = []
    """What did not work out as it should, and what to try; `StageContext.warn` adds to it."""
    next: list[str] = []
    """Commands worth running now."""
