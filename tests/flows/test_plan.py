from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plait.core.figures import Graph
from plait.core.seeds import Seeds
from plait.core.stage import StageContext
from plait.errors import StrandError
from plait.flows.plan import Answer
from plait.llm.base import ChatComponent, ChatModel
from plan_scripts import Talker, sub

DOCUMENTS = [
    {
        "id": "textwrap.TextWrapper",
        "text": "For wrapping text.\n\n  width (default: 70)\n    the maximum width of lines\n  tabsize (default: 8)",
    },
    {"id": "smtplib.SMTP", "text": "The default port is 25."},
]
FIND = sub(1, "Find the default width of textwrap.TextWrapper.", "lookup")
GOOD = [FIND, sub(2, "Compute 12 lines of that width.", "calculator", 1)]
BAD = [FIND, sub(2, "Compute 3 times that port.", "calculator", 1)]


class Planner(ChatComponent):
    """Makes these plans, one after the other; points at this sentence."""

    plans: tuple[Any, ...] = ()
    sentence: int = 1

    def open(self) -> ChatModel:
        return Talker(self.plans, sentence=self.sentence)


def run(folder: Path, plans: Sequence[object], *, sentence: int = 1, **settings: Any) -> StageContext:
    folder.mkdir(exist_ok=True)
    documents = folder / "documents.parquet"
    pq.write_table(pa.Table.from_pylist(DOCUMENTS), documents)
    stage = Answer.model_validate(
        {"documents": documents, "llm": Planner(plans=tuple(plans), sentence=sentence)} | settings
    )
    context = StageContext(folder=folder, seeds=Seeds(7), engine=None, name="plan", outputs=stage.outputs)
    stage.run(context)
    return context


def read(context: StageContext, name: str) -> dict[str, Any]:
    return json.loads(context.output(name).read_text())


def test_the_models_plan_is_carried_out_and_told(tmp_path: Path) -> None:
    context = run(tmp_path, [GOOD])
    answer, plan = read(context, "answer"), read(context, "plan")
    assert (answer["value"], answer["answer"], answer["plan_made_by"]) == ("840", "70 * 12 = 840", "model")
    assert answer["sources"] == ["textwrap.TextWrapper"]
    assert [r["status"] for r in answer["results"]] == ["done", "done"]
    assert [t["dep"] for t in plan["tasks"]] == [[], [1]]
    report = context.report
    assert report.headline == "840: by 2 sub-tasks of a plan the model made in 1 attempt"
    assert report.notes == []
    [graph] = report.figures
    assert isinstance(graph, Graph)
    assert graph.edges == [("question", "1"), ("1", "2")]
    assert report.tables[0].rows[0][4:] == [
        "70",
        "“width (default: 70) the maximum width of lines”",
        "textwrap.TextWrapper",
    ]


def test_a_value_among_several_is_flagged(tmp_path: Path) -> None:
    path = tmp_path / "several.parquet"
    text = "The default width is 70 (7 more than 63)."
    pq.write_table(pa.table({"id": ["textwrap.TextWrapper"], "text": [text]}), path)
    context = run(tmp_path, [GOOD], documents=path)
    assert "took 70 from a sentence that also holds 7, 63" in context.report.notes[0]
    assert read(context, "answer")["results"][0]["alternatives"] == ["7", "63"]


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    one, other = run(tmp_path / "a", [BAD, GOOD]), run(tmp_path / "b", [BAD, GOOD])
    for name in ("plan", "answer"):
        assert one.output(name).read_bytes() == other.output(name).read_bytes()
    assert one.report == other.report


def test_a_rejected_plan_is_counted_with_its_reasons(tmp_path: Path) -> None:
    context = run(tmp_path, [BAD, GOOD])
    assert context.report.headline.endswith("in 2 attempts")
    verdicts = [row[2] for row in context.report.tables[1].rows]
    assert verdicts == ["missing-number", "invented-number", "accepted"]
    assert len(read(context, "plan")["attempts"][0]["problems"]) == 2


def test_the_template_is_announced_and_never_the_models(tmp_path: Path) -> None:
    context = run(tmp_path, [BAD, BAD, BAD])
    assert read(context, "plan")["made_by"] == read(context, "answer")["plan_made_by"] == "template"
    assert read(context, "answer")["value"] == "840"
    assert "a template, not a plan of the model" in context.report.headline
    assert "made no acceptable plan in 2 attempts (no fewer problems)" in context.report.notes[0]


@pytest.mark.parametrize("settings", [{"on_plan_failure": "fail"}, {"experts": ["lookup"]}])
def test_without_a_template_a_rejected_plan_fails_with_its_reasons(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(StrandError, match=r"No sub-task has the number 12|the experts are lookup") as caught:
        run(tmp_path, [BAD, BAD], **settings)
    assert caught.value.code == "plan.rejected"
    assert not (tmp_path / "answer.json").exists()


def test_a_failed_expert_fails_the_stage_and_leaves_the_record(tmp_path: Path) -> None:
    path = tmp_path / "words.parquet"
    pq.write_table(
        pa.Table.from_pylist([{"id": "textwrap.TextWrapper", "text": "The default width is seventy."}]), path
    )
    with pytest.raises(StrandError, match=r"sub-task 1 \(lookup\) failed"):
        run(tmp_path, [GOOD], documents=path)
    record = json.loads((tmp_path / "answer.json").read_text())
    assert [r["status"] for r in record["results"]] == ["failed", "skipped"]
    assert record["answer"] is None


def test_documents_without_text_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "none.parquet"
    pq.write_table(pa.table({"id": ["empty"], "text": ["  "]}), path)
    with pytest.raises(StrandError, match="no text"):
        run(tmp_path, [GOOD], documents=path)


@pytest.mark.model
def test_the_default_question_is_planned_and_answered_by_the_default_model(tmp_path: Path) -> None:
    from plait.data.sources import python_documents

    path = tmp_path / "documents.parquet"
    pq.write_table(pa.Table.from_pylist([dict(d) for d in python_documents()]), path)
    context = run(tmp_path, [], documents=path, llm="local", on_plan_failure="fail")
    answer = read(context, "answer")
    assert (answer["value"], answer["plan_made_by"]) == ("840", "model")
    assert answer["sources"] == ["textwrap.TextWrapper"]
