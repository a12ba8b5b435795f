"""Draw a `plait.core.figures` description to SVG.

Text stays text and takes the page's font; ink follows the page's colour, so one drawing serves light and dark pages.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from typing import TYPE_CHECKING, Any, cast

from plait.core.figures import Bars, Figure, Graph, HeatMap, Histogram, Lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

PALETTE = ("#3b6fb6", "#d9822b", "#4c9a6a", "#b4518f", "#7a68b8", "#8a8f3c", "#c2544d", "#4797a8")
_INK = "#010203"  # replaced by currentColor
_FAINT = "#8a929c"
_DROPPED = "#c2544d"
_WIDTH = 5.6  # inches: of this width, labels are readable on a phone and not large in a column of a page

_TOWER = 20  # times as high as all other bins

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "plait",
    "font.size": 10,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.alpha": 0.22,
    "grid.linewidth": 0.8,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "text.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def draw_svg(figure: Figure) -> str:
    """One figure as an ``<svg>`` element; equal descriptions give equal bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    size = _size(figure)
    with mpl.rc_context(cast("Any", _STYLE)):
        canvas = Canvas(figsize=size, layout="constrained")
        axes: Axes = canvas.add_subplot()
        # At the edge of the drawing: beside long labels, a title above the axes would be cut off.
        title = "\n".join(textwrap.wrap(figure.title, int(10 * size[0])))
        canvas.suptitle(title, x=0.012, ha="left", fontsize=11, fontweight="bold")
        match figure:
            case Lines():
                _lines(axes, figure)
            case Bars():
                _bars(axes, figure)
            case Histogram():
                _histogram(axes, figure)
            case HeatMap():
                _heat_map(axes, figure)
            case Graph():
                _graph(axes, figure)
        out = io.StringIO()
        canvas.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    # The page decides on width and font; the view box keeps the proportions.
    svg = re.sub(r'<svg height="[^"]*"', "<svg", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(r"font-family: [^;\"]*;?", "", svg)


def _size(figure: Figure) -> tuple[float, float]:
    if isinstance(figure, Bars) and figure.horizontal:
        return _WIDTH, 1.3 + 0.3 * len(figure.groups) * max(1, len(figure.series) * 0.7)
    if isinstance(figure, HeatMap):
        return _WIDTH, 2.2 + 0.3 * len(figure.rows)
    if isinstance(figure, Graph):
        layers = _layers(figure)
        tallest = max((list(layers.values()).count(depth) for depth in layers.values()), default=1)
        return 6.4, 0.9 + 1.15 * tallest
    if isinstance(figure, Bars):
        return 6.4, 3.3
    return _WIDTH, 3.0


def _lines(axes: Axes, figure: Lines) -> None:
    for color, (name, points) in zip(_colors(len(figure.series)), figure.series.items(), strict=True):
        xs, ys = [p[0] for p in points], [p[1] for p in points]
        axes.plot(
            xs,
            ys,
            color=color,
            label=name,
            linewidth=2,
            marker="o" if len(xs) <= 20 else None,
            markersize=4.5,
        )
        if name in figure.bands:
            band = figure.bands[name]
            axes.fill_between(
                [b[0] for b in band],
                [b[1] for b in band],
                [b[2] for b in band],
                color=color,
                alpha=0.16,
                linewidth=0,
            )
    xs = sorted({p[0] for points in figure.series.values() for p in points})
    if xs and len(xs) <= 12 and all(float(x).is_integer() for x in xs):
        axes.set_xticks(xs)
    axes.set_xlabel(figure.x)
    axes.set_ylabel(figure.y)
    _legend(axes, len(figure.series))


def _bars(axes: Axes, figure: Bars) -> None:
    from matplotlib.ticker import MaxNLocator

    count = len(figure.series)
    width = 0.8 / count
    for index, (color, (name, heights)) in enumerate(zip(_colors(count), figure.series.items(), strict=True)):
        places = [g + (index - (count - 1) / 2) * width for g in range(len(figure.groups))]
        draw = axes.barh if figure.horizontal else axes.bar
        bars = draw(places, heights, width * 0.94, color=color, label=name)
        crowded = not figure.horizontal and count * len(figure.groups) > 12
        labels = [_number(height) for height in heights]
        axes.bar_label(bars, labels=labels, padding=3, fontsize=7.5 if crowded else 8.5, rotation=90 if crowded else 0)
    ticks = range(len(figure.groups))
    if figure.horizontal:
        axes.set_yticks(ticks, figure.groups)
        axes.invert_yaxis()
        axes.set_xlabel(figure.y)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: _tick(value))
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.14)
    else:
        axes.set_xticks(ticks, ["\n".join(textwrap.wrap(g, 14)) for g in figure.groups])
        axes.set_ylabel(figure.y)
        axes.grid(visible=False, axis="x")
        axes.margins(y=0.22 if count * len(figure.groups) > 12 else 0.14)
    _legend(axes, count)


def _histogram(axes: Axes, figure: Histogram) -> None:
    for color, (name, counts) in zip(_colors(len(figure.counts)), figure.counts.items(), strict=True):
        axes.stairs(counts, figure.edges, color=color, fill=True, alpha=0.35, label=name)
        axes.stairs(counts, figure.edges, color=color, linewidth=1.6)
    axes.margins(x=0.02)
    _growing_axis(axes, figure.edges)
    _shade_dropped(axes, figure)
    heights = sorted(max(counts[i] for counts in figure.counts.values()) for i in range(len(figure.edges) - 1))
    axes.set_ylabel(figure.y)
    if len(heights) > 2 and heights[-1] > _TOWER * heights[-2] > 0:
        # One bin holds nearly everything: equal steps would show nothing else.
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_ylabel(f"{figure.y} (log scale)")
    axes.yaxis.set_major_formatter(lambda value, _: _tick(value))
    axes.set_xlabel(figure.x)
    _legend(axes, len(figure.counts))


def _growing_axis(axes: Axes, edges: Sequence[float]) -> None:
    """Bins that grow need an axis that does; a first bin from zero is as wide on it as the others."""
    positive = [edge for edge in edges if edge > 0]
    if edges[0] < 0 or len(positive) < 4 or positive[-1] - positive[-2] <= 3 * (positive[1] - positive[0]):
        axes.xaxis.set_major_formatter(lambda value, _: _tick(value))
        return
    if edges[0] > 0:
        axes.set_xscale("log")
        ticks = list[float]()
    else:
        middle = len(positive) // 2
        step = math.log10(positive[middle + 1] / positive[middle])
        axes.set_xscale("symlog", linthresh=positive[0], linscale=step)
        ticks = [0.0]
    # A power next to the first edge would be written over the zero.
    clear = positive[0] * (4 if ticks else 1)
    powers = range(math.ceil(math.log10(clear) - 1e-9), math.floor(math.log10(positive[-1]) + 1e-9) + 1)
    ticks += [10.0**power for power in powers]
    if len(ticks) < 3:
        ticks += [k * 10.0**power for power in range(powers.start - 1, powers.stop) for k in (2, 5)]
        ticks = [tick for tick in sorted(ticks) if tick == 0 or clear <= tick <= positive[-1]]
    axes.set_xticks(ticks, [_tick(tick) for tick in ticks])
    axes.minorticks_off()


def _shade_dropped(axes: Axes, figure: Histogram) -> None:
    first, last = axes.get_xlim()
    for low, high in figure.dropped:
        start, end = first if low is None else max(low, first), last if high is None else min(high, last)
        if start >= end:
            continue
        axes.axvspan(start, end, color=_DROPPED, alpha=0.13, linewidth=0)
        for bound in (low, high):
            if bound is not None and first < bound < last:
                axes.axvline(bound, color=_DROPPED, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_xlim(first, last)


def _heat_map(axes: Axes, figure: HeatMap) -> None:
    from matplotlib.patches import Rectangle

    for row, values in enumerate(figure.values):
        for column, value in enumerate(values):
            if value is None:
                continue
            # Shades by opacity, and never full: the ink reads on light and on dark pages.
            cell = Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=PALETTE[0], linewidth=0)
            cell.set_alpha(0.7 * value / 100)
            axes.add_patch(cell)
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8.5 if len(values) <= 12 else 7)
    axes.set_xlim(-0.5, len(figure.columns) - 0.5)
    axes.set_ylim(len(figure.rows) - 0.5, -0.5)
    axes.set_xticks(range(len(figure.columns)), figure.columns, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(figure.rows)), figure.rows)
    axes.tick_params(length=0, labelsize=9)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel(figure.x)
    axes.set_ylabel(figure.y)


def _graph(axes: Axes, figure: Graph) -> None:
    layers = _layers(figure)
    rows: dict[int, int] = {}
    places: dict[str, tuple[float, float]] = {}
    for node, _, _ in figure.nodes:
        depth = layers[node]
        total = list(layers.values()).count(depth)
        places[node] = (depth, (total - 1) / 2 - rows.get(depth, 0))
        rows[depth] = rows.get(depth, 0) + 1
    boxes: dict[str, Any] = {}
    for color, (node, label, detail) in zip(_colors(len(figure.nodes)), figure.nodes, strict=True):
        x, y = places[node]
        text = "\n".join([label, *textwrap.wrap(detail, 30)[:4]])
        box = {"boxstyle": "round,pad=0.5", "facecolor": color + "22", "edgecolor": color, "linewidth": 1.3}
        boxes[node] = axes.text(x, y, text, ha="center", va="center", fontsize=8.5, bbox=box)
    for start, end in figure.edges:
        # An arrow that skips a layer bends around what stands between.
        bend = 0.0 if layers[end] - layers[start] == 1 else -0.35
        axes.annotate(
            "",
            xy=places[end],
            xytext=places[start],
            arrowprops={
                "arrowstyle": "-|>",
                "color": _FAINT,
                "linewidth": 1.4,
                "patchA": boxes[start].get_bbox_patch(),
                "patchB": boxes[end].get_bbox_patch(),
                "shrinkA": 3,
                "shrinkB": 3,
                "connectionstyle": f"arc3,rad={bend}",
            },
        )
    axes.set_xlim(-0.6, max(layers.values(), default=0) + 0.6)
    heights = [y for _, y in places.values()]
    axes.set_ylim(min(heights, default=0) - 0.6, max(heights, default=0) + 0.6)
    axes.set_axis_off()


def _layers(figure: Graph) -> dict[str, int]:
    """Longest path from a source, so every arrow points right."""
    before: dict[str, list[str]] = {node: [] for node, _, _ in figure.nodes}
    for start, end in figure.edges:
        before[end].append(start)
    depth: dict[str, int] = {}

    def place(node: str, seen: tuple[str, ...]) -> int:
        if node in seen:
            raise ValueError(f"the graph has a cycle through {node}")
        if node not in depth:
            depth[node] = max((place(b, (*seen, node)) + 1 for b in before[node]), default=0)
        return depth[node]

    for node in before:
        place(node, ())
    return depth


def _colors(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _legend(axes: Axes, count: int) -> None:
    """Below the plot, where it hides nothing."""
    if count > 1:
        handles, labels = axes.get_legend_handles_labels()
        fitting = max(1, int(12 * _WIDTH) // (max(map(len, labels)) + 7))
        axes.figure.legend(handles, labels, loc="outside lower left", ncols=min(count, fitting))


def _tick(value: float) -> str:
    """A number along an axis.

    Example:
        >>> _tick(0.25), _tick(1200), _tick(2_000_000), _tick(3e9)
        ('0.25', '1,200', '2 M', '3 G')
    """
    for size, unit in ((1e9, " G"), (1e6, " M")):
        if abs(value) >= size:
            return f"{value / size:,.4g}{unit}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _number(value: float) -> str:
    """Three significant digits, whole numbers with thousands separators."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
