"""Planning as a stage: a question over documents is split, checked, carried out and answered with its sources.

- {name: plan, use: plan.answer, documents: "${curate.documents}", question: "What is …, and what is 12 times that?"}
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from plait.core.figures import Example, Graph, Table
from plait.core.io import read_table
from plait.core.stage import InputPath, Stage, StageContext
from plait.errors import StrandError
from plait.llm.base import ChatModel
from plait.llm.local import LocalModel
from plait.llm.opening import ChatSetting
from plait.plan.execute import TaskResult, execute
from plait.plan.experts import Calculator, Lookup, Writer
from plait.plan.plan import Plan, SubTask
from plait.plan.refine import Attempt, Planning, plan_question
from plait.plan.search import Library

if TYPE_CHECKING:
    from plait.plan.experts import Expert

QUESTION = "What is the default width of textwrap.TextWrapper, and how many characters are 12 lines of that width?"
"""One look-up and one calculation over the documentation of Python's standard library."""

ExpertName = Literal["lookup", "calculator", "writer"]


class Answer(Stage):
    """Answers a question that needs several steps: a model plans, code checks the plan, experts carry it out.

    Example:
        - {name: plan, use: plan.answer, documents: "${curate.documents}"}
    """

    outputs: ClassVar[Mapping[str, str]] = {"plan": "plan.json", "answer": "answer.json"}

    documents: InputPath
    """Where look-ups search: records with ``id`` and ``text``."""
    question: str = Field(default=QUESTION, min_length=1)
    """What to answer. Numbers and names in it must reach the sub-tasks."""
    experts: tuple[ExpertName, ...] = Field(default=("lookup", "calculator", "writer"), min_length=1)
    """Who is there: ``lookup`` (facts, with source), ``calculator`` (exact arithmetic), ``writer`` (one sentence)."""
    llm: ChatSetting = LocalModel()
    """Plans, and helps the experts: a chat model's name, or ``{use: name, …}``."""
    attempts: int = Field(default=3, ge=1)
    """Most plans asked for; each after the first is told what was wrong."""
    passages: int = Field(default=3, ge=1)
    """Passages a look-up considers."""
    on_plan_failure: Literal["template", "fail"] = "template"
    """If every plan is rejected: ``template`` carries out a fixed plan of two steps (look up, calculate) and says so
    in the headline; ``fail`` stops the stage."""

    def fingerprint(self) -> Mapping[str, str]:
        """The answers depend on the model."""
        return {"llm": self.llm.identity()}

    def run(self, context: StageContext) -> None:
        """Plan, carry out, write down who did what."""
        context.progress("steps", 0, 3)
        library = self._library(context)
        asyncio.run(self._run(library, context))

    def _library(self, context: StageContext) -> Library:
        table = read_table(self.documents, columns=["id", "text"], quarantine=context.quarantine)
        library = Library(table.to_pylist())
        if not library.passages:
            raise StrandError(
                "the documents hold no text to look anything up in", code="plan.no-text", where=str(self.documents)
            )
        context.report.facts |= {"documents": table.num_rows, "passages": len(library.passages)}
        return library

    async def _run(self, library: Library, context: StageContext) -> None:
        model = self.llm.open()
        try:
            experts = make_experts(self.experts, library, model, passages=self.passages)
            planning = await plan_question(
                self.question,
                experts,
                model,
                tries=self.attempts,
                seeds=context.seeds.child("planner"),
                on_attempt=lambda number, attempt: context.progress(
                    "plans", number, self.attempts, problems=len(attempt.problems)
                ),
            )
            context.progress("steps", 1, 3)
            plan = planning.plan or self._without_a_plan(planning)
            made_by = "model" if planning.plan is not None else "template"
            _write(context.output("plan"), _plan_record(plan, planning, made_by))
            done = 0

            def count(_: TaskResult) -> None:
                nonlocal done
                done += 1
                context.progress("sub-tasks", done, len(plan.tasks))

            results = await execute(plan, experts, on_done=count)
            context.progress("steps", 2, 3)
        finally:
            await model.aclose()
        self._describe(plan, planning, results, made_by, context)
        _write(context.output("answer"), _answer_record(plan, results, made_by))
        _raise_if_unanswered(plan, results)
        context.progress("steps", 3, 3)

    def _without_a_plan(self, planning: Planning) -> Plan:
        if self.on_plan_failure == "template" and {"lookup", "calculator"} <= set(self.experts):
            return template(self.question)
        reasons = "; ".join(problem.reason for problem in planning.attempts[-1].problems)
        raise StrandError(
            f"all {len(planning.attempts)} plans of the model were rejected, the last because: {reasons}",
            code="plan.rejected",
            hint='put the question more simply, use a larger llm, or set on_plan_failure to "template"',
        )

    def _describe(
        self, plan: Plan, planning: Planning, results: Sequence[TaskResult], made_by: str, context: StageContext
    ) -> None:
        report = context.report
        final = results[-1]
        said = final.answer.value or final.answer.text if final.answer else "no answer"
        by = (
            f"a plan the model made in {len(planning.attempts)} attempt{'s' * (len(planning.attempts) > 1)}"
            if made_by == "model"
            else "a template, not a plan of the model"
        )
        report.headline = f"{said}: by {len(plan.tasks)} sub-tasks of {by}"
        report.facts |= {
            "question": self.question,
            "answer": said,
            "plan made by": made_by,
            "plans asked for": len(planning.attempts),
            "problems found in plans": sum(len(attempt.problems) for attempt in planning.attempts),
        }
        report.figures = [_graph(plan, results)]
        report.tables = [_who_did_what(results), _attempts(planning.attempts)]
        report.examples = [
            Example(title=f"Sub-task {r.task.id} rests on {r.answer.source}", text=r.answer.working)
            for r in results
            if r.answer is not None and r.answer.source
        ]
        if made_by == "template":
            report.notes.append(
                f"The model made no acceptable plan in {len(planning.attempts)} attempts ({planning.stopped}). The "
                'plan was filled in from a template (on_plan_failure: "template"): it says nothing about the planner.'
            )
        for result in results:
            if result.status != "done":
                report.notes.append(f"Sub-task {result.task.id} {result.status}: {result.problem}")
            elif result.answer is not None and result.answer.alternatives:
                others = ", ".join(result.answer.alternatives)
                report.notes.append(
                    f"Sub-task {result.task.id} took {result.answer.value} from a sentence that also holds {others}: "
                    "the choice is the model's and is not proved; read the quote."
                )


def make_experts(
    chosen: Sequence[ExpertName], library: Library, model: ChatModel, *, passages: int = 3
) -> dict[str, Expert]:
    """The named experts over one library and model.

    Example:
        >>> sorted(make_experts(["lookup", "writer"], Library([]), None))
        ['lookup', 'writer']
    """
    every: dict[str, Expert] = {
        "lookup": Lookup(library, model, passages),
        "calculator": Calculator(model),
        "writer": Writer(model),
    }
    return {name: every[name] for name in chosen}


def template(question: str) -> Plan:
    """The fixed plan: look up what the question asks for, then calculate with it."""
    return Plan(
        question=question,
        tasks=(
            SubTask(id=1, task=question, expert="lookup", reason="template"),
            SubTask(id=2, task=question, expert="calculator", reason="template", dep=(1,)),
        ),
    )


def _raise_if_unanswered(plan: Plan, results: Sequence[TaskResult]) -> None:
    final = results[-1]
    if final.status == "done":
        return
    first = next(result for result in results if result.status == "failed")
    raise StrandError(
        f"the question was not answered: sub-task {first.task.id} ({first.task.expert}) failed: {first.problem}",
        code="plan.not-answered",
        where=f"question {plan.question!r}",
        hint="see plan.json for the plan; a larger llm, or a question nearer to the documents' words, may help",
    )


def _plan_record(plan: Plan, planning: Planning, made_by: str) -> dict[str, Any]:
    return plan.model_dump(mode="json") | {
        "made_by": made_by,
        "stopped": planning.stopped,
        "attempts": [
            {
                "tasks": None if a.plan is None else [task.model_dump(mode="json") for task in a.plan.tasks],
                "problems": [{"kind": p.kind, "tasks": list(p.tasks), "reason": p.reason} for p in a.problems],
            }
            for a in planning.attempts
        ],
    }


def _answer_record(plan: Plan, results: Sequence[TaskResult], made_by: str) -> dict[str, Any]:
    final = results[-1].answer
    return {
        "question": plan.question,
        "answer": None if final is None else final.text,
        "value": None if final is None else final.value,
        "plan_made_by": made_by,
        "sources": [r.answer.source for r in results if r.answer is not None and r.answer.source],
        "results": [
            {
                "id": r.task.id,
                "expert": r.task.expert,
                "task": r.task.task,
                "status": r.status,
                "answer": None if r.answer is None else r.answer.text,
                "value": None if r.answer is None else r.answer.value,
                "source": None if r.answer is None else r.answer.source,
                "working": None if r.answer is None else r.answer.working,
                "alternatives": [] if r.answer is None else list(r.answer.alternatives),
                "problem": r.problem,
            }
            for r in results
        ],
    }


def _graph(plan: Plan, results: Sequence[TaskResult]) -> Graph:
    by_id = {result.task.id: result for result in results}
    nodes = [("question", "question", plan.question)]
    for task in plan.tasks:
        answer = by_id[task.id].answer
        outcome = f" = {answer.value}" if answer and answer.value else f" ({by_id[task.id].status})"
        nodes.append((str(task.id), f"{task.id}. {task.expert}{outcome}", task.task))
    first = [("question", str(task.id)) for task in plan.tasks if not task.dep]
    return Graph(
        title="The plan",
        nodes=nodes,
        edges=first + [(str(needed), str(needing)) for needed, needing in plan.edges()],
        note="An arrow says whose answer a sub-task is given; sub-tasks without a path between them run together.",
    )


def _who_did_what(results: Sequence[TaskResult]) -> Table:
    rows: list[list[str | int | float | None]] = []
    for result in results:
        answer = result.answer
        given = ", ".join(f"sub-task {d}" for d in result.task.dep) or "the question"
        shown = answer.value or answer.text if answer else f"{result.status}: {result.problem}"
        working = answer.working if answer else None
        source = answer.source or None if answer else None
        rows.append([result.task.id, result.task.task, result.task.expert, given, shown, working, source])
    return Table(
        title="Who did what",
        columns=["id", "sub-task", "expert", "given", "answer", "how", "source document"],
        rows=rows,
    )


def _attempts(attempts: Sequence[Attempt]) -> Table:
    rows: list[list[str | int | float | None]] = []
    for number, attempt in enumerate(attempts, start=1):
        size = len(attempt.plan.tasks) if attempt.plan else None
        if not attempt.problems:
            rows.append([number, size, "accepted", ""])
        for problem in attempt.problems:
            rows.append([number, size, problem.kind, problem.reason])  # noqa: PERF401 - rows hold mixed types
    return Table(
        title="Plans of the model",
        columns=["attempt", "sub-tasks", "verdict", "reason"],
        rows=rows,
        note="Verdicts are found by code alone: graph, numbers, names, duplicates, and what an expert refuses.",
    )


def _write(path: Any, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
