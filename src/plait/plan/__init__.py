"""Agent-oriented planning: a question becomes checked sub-tasks, done by experts in parallel.

Read in this order: `plan` (what a plan is), `decompose` (one model call makes it), `facts` and `detect` (what is wrong
with it, proved without a model), `refine` (again with the reasons), `experts`, `search` and `arithmetic` (who does the
work), `execute` (on the agents' runtime).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plait.plan.arithmetic import evaluate
    from plait.plan.detect import Problem
    from plait.plan.execute import TaskResult
    from plait.plan.experts import Answer, Calculator, Expert, Lookup, Writer
    from plait.plan.plan import Plan, SubTask
    from plait.plan.refine import Attempt, Planning, plan_question
    from plait.plan.search import BM25, Library, Passage

__all__ = [
    "BM25",
    "Answer",
    "Attempt",
    "Calculator",
    "Expert",
    "Library",
    "Lookup",
    "Passage",
    "Plan",
    "Planning",
    "Problem",
    "SubTask",
    "TaskResult",
    "Writer",
    "evaluate",
    "plan_question",
]

_HOME = {
    "Answer": "experts",
    "Attempt": "refine",
    "BM25": "search",
    "Calculator": "experts",
    "Expert": "experts",
    "Library": "search",
    "Lookup": "experts",
    "Passage": "search",
    "Plan": "plan",
    "Planning": "refine",
    "Problem": "detect",
    "SubTask": "plan",
    "TaskResult": "execute",
    "Writer": "experts",
    "evaluate": "arithmetic",
    "plan_question": "refine",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
