from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from plait.core.draw import draw_svg
from plait.core.figures import Bars, Example, Graph, HeatMap, Histogram, Lines, StageReport, Table
from plait.core.folder import RunFolder
from plait.core.recipe import load_recipe
from plait.core.report import write_page
from plait.core.run import run
from plait.core.stage import Stage, StageContext

FIGURES = {
    "lines": Lines(
        title="Loss & <margin>",
        x="step",
        y="nats",
        series={"policy": [(0, 1.5), (1, 1.0)], "other": [(0, 2), (1, 1)]},
        bands={"policy": [(0, 1.0, 2.0), (1, 0.5, 1.5)]},
    ),
    "bars": Bars(title="Accuracy", y="share", groups=["before", "after training"], series={"a": [0.5, 0.75]}),
    "funnel": Bars(title="Kept", y="documents", groups=["read", "kept"], series={"n": [8000, 5000]}, horizontal=True),
    "histogram": Histogram(title="Length", x="characters", edges=[0, 1, 2], counts={"before": [3, 4], "after": [1, 2]}),
    "heat map": HeatMap(
        title="Overlap",
        x="also dropped by, %",
        y="dropped by",
        columns=["a", "b & c"],
        rows=["a", "b & c"],
        values=[[None, 12.4], [100, None]],
    ),
    "graph": Graph(
        title="Plan",
        nodes=[("a", "look up", "find it"), ("b", "calculate", "times 12"), ("c", "answer", "")],
        edges=[("a", "b"), ("b", "c"), ("a", "c")],
    ),
    "empty": Lines(title="Nothing", x="x", y="y", series={}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_valid_svg_the_same_each_time_and_follow_the_page(name):
    svg = draw_svg(FIGURES[name])
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert root.get("width") is None
    assert draw_svg(FIGURES[name]) == svg
    assert "currentColor" in svg
    assert "font-family" not in svg
    assert FIGURES[name].title.split()[0] in "".join(root.itertext())


@pytest.mark.parametrize(
    ("edges", "powers"),
    [([0, 1, 2, 3], False), ([0, 63, 900, 14_000, 60_000], True), ([-1, 1, 1000], False), ([5, 500], False)],
)
def test_bins_that_grow_have_an_axis_that_does(edges, powers):
    counts = {"read": [1.0] * (len(edges) - 1)}
    svg = draw_svg(Histogram(title="Length", x="characters", edges=edges, counts=counts))
    labels = {text.strip() for text in ElementTree.fromstring(svg).itertext()}
    assert ({"1,000", "10,000"} <= labels and "20,000" not in labels) == powers


def test_dropped_ranges_are_shaded_and_one_tall_bar_hides_nothing():
    plain = Histogram(title="x", x="x", y="texts", edges=[0, 1, 2, 3, 4], counts={"texts": [900, 3, 1, 2]})
    shaded = draw_svg(plain.model_copy(update={"dropped": [(None, 1.0), (2.5, None)]}))
    assert shaded.count("#c2544d") >= 4 > draw_svg(plain).count("#c2544d")
    labels = {text.strip() for text in ElementTree.fromstring(shaded).itertext()}
    assert {"texts (log scale)", "100"} <= labels


def test_headings_stand_above_their_numbers(tmp_path):
    table = Table(title="t", columns=["name", "n", "mixed"], rows=[["a", 1, None], ["b", None, "c"], ["d" * 50, 2, 3]])
    report = StageReport(tables=[table], next=["plait data suggest a.run"])
    write_page(tmp_path / "page.html", report, title="t", meta="")
    page = (tmp_path / "page.html").read_text()
    assert '<th>name</th><th class="num">n</th><th>mixed</th>' in page
    assert page.count('class="long"') == 1
    assert "<code>plait data suggest a.run</code>" in page


def test_values_are_in_the_drawing():
    text = "".join(ElementTree.fromstring(draw_svg(FIGURES["funnel"])).itertext())
    assert "8,000" in text
    assert "5,000" in text


def test_a_heat_map_says_its_values_and_leaves_cells_empty():
    root = ElementTree.fromstring(draw_svg(FIGURES["heat map"]))
    text = "".join(root.itertext())
    assert "12" in text
    assert "100" in text
    shaded = [e for e in root.iter() if "3b6fb6" in e.get("style", "")]
    assert len(shaded) == 2


def test_graph_with_a_cycle_is_refused():
    with pytest.raises(ValueError, match="cycle"):
        draw_svg(Graph(title="x", nodes=[("a", "a", ""), ("b", "b", "")], edges=[("a", "b"), ("b", "a")]))


class Everything(Stage):
    """Reports one of everything."""

    def run(self, context: StageContext) -> None:
        context.report.headline = "kept 3 of 4 <documents>"
        context.report.facts = {"documents": 12345, "share": 0.123456, "name": "x"}
        context.report.figures += list(FIGURES.values())
        context.report.tables.append(Table(title="T|able", columns=["a", "b"], rows=[["x|y\nz", 1.5], [None, 2]]))
        context.report.examples.append(Example(title="One", text="<b>raw</b> ``` text"))
        context.warn("the model is weak")
        context.quarantine.add(where="a:1", reason="bad", record="{")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f'next: [plait ls]\nstages:\n  - {{name: all, use: "{__name__}:Everything"}}\n')
    import sys

    sys.modules.setdefault(__name__, sys.modules[Everything.__module__])

    class NoEngine:
        def close(self) -> None: ...

    return run(load_recipe(recipe), folder=RunFolder(tmp_path / "run"), open_engine=NoEngine).folder


def test_report_tells_everything_in_both_forms(folder):
    markdown = (folder.path / "report.md").read_text()
    html = (folder.path / "report.html").read_text()
    for words in ("12,345", "0.1235", "the model is weak", "plait ls", "quarantine/01-all.jsonl"):
        assert words in markdown
        assert words in html
    assert "kept 3 of 4 &lt;documents&gt;" in html
    assert "&lt;b&gt;raw&lt;/b&gt;" in html
    assert r"x\|y z" in markdown
    assert html.count("<svg") == len(FIGURES)
    for line in markdown.splitlines():
        if line.startswith("!["):
            assert (folder.path / line.split("(")[1].rstrip(")")).exists()


def test_report_json_holds_no_time(folder):
    report = StageReport.model_validate_json((folder.stage(1, "all") / "report.json").read_bytes())
    assert report.headline == "kept 3 of 4 <documents>"
    assert "seconds" not in report.model_dump_json()
