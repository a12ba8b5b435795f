"""What a plan will do, before it runs: order, share of rows each operation keeps, and seconds, from a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from plait.data.batch import Batch
from plait.data.execute import pass_rates
from plait.data.op import Barrier, Op
from plait.data.plan import OpSetting, Plan, Rewrite, Step, compile_plan, read_ops
from plait.data.visit import Spent, visit


@dataclass(frozen=True)
class Expected:
    """One operation in the order it runs.

    Args:
        number: Which pass, counting from 1.
        name: The operation.
        cost: What it spends per row; see `plait.data.op.Cost`.
        needs: What it looks at.
        keeps: Share of the rows reaching it that it keeps, 0 to 1; ``None`` for barriers, which must see all rows.
        seconds: Processor seconds on the whole input; for barriers those of their keys.
        actual_seconds: Processor seconds of a finished run.
        actual_keeps: Share kept by a finished run.
    """

    number: int
    name: str
    cost: str
    needs: Sequence[str]
    keeps: float | None
    seconds: float
    actual_seconds: float | None = None
    actual_keeps: float | None = None


def explain(
    settings: Sequence[OpSetting], sample: pl.DataFrame, *, scale: float, told: Sequence[Mapping[str, Any]] = ()
) -> tuple[Plan, list[Expected]]:
    """Run a sample and foretell the whole.

    Args:
        settings: The operations.
        sample: Some rows of the input.
        scale: How many times larger the input is.
        told: The operations of a finished run's summary, to stand beside the forecast.

    Returns:
        The plan in the order it would run, and a forecast per operation. Operations that ask a model or an endpoint
        are not tried, and neither is anything after them: their seconds are the constant of their kind.
    """
    plan = compile_plan(read_ops(settings))
    plan = plan.ordered(pass_rates(plan, sample))
    expected, batch = list[Expected](), Batch.of(sample)
    for number, one in enumerate(plan.passes, 1):
        steps = [*one.steps, *one.ends]
        rewrites = any(isinstance(part, Rewrite) for part in one.parts)
        if rewrites or any(step.op.cost in ("model", "llm") for step in steps) or not len(batch):
            expected += [_expected(number, step, Spent(), scale, told) for step in steps]
            continue
        # Once to compile and to load tables, so that these seconds are not multiplied.
        visit(one, Batch.of(batch.frame.drop("__row").head(64)))
        visited = visit(one, Batch.of(batch.frame.drop("__row")))
        expected += [_expected(number, step, visited.spent.get(step.index, Spent()), scale, told) for step in steps]
        batch = visited.batch
    return plan, expected


def _expected(number: int, step: Step, spent: Spent, scale: float, told: Sequence[Mapping[str, Any]]) -> Expected:
    op: Op = step.op
    actual = told[step.index] if step.index < len(told) and told[step.index]["name"] == step.name else None
    return Expected(
        number,
        step.name,
        op.cost,
        sorted(op.needs),
        None if isinstance(op, Barrier) or not spent.read else spent.kept / spent.read,
        spent.cpu_seconds * scale,
        actual["cpu_seconds"] if actual else None,
        actual["kept"] / actual["read"] if actual and actual["read"] else None,
    )
