"""What a plan will do, before it runs: order, share of rows each operation keeps, and seconds, from a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from plait.data.batch import Batch
from plait.data.execute import pass_rates
from plait.data.names import ROW
from plait.data.op import Barrier, Filter, Op
from plait.data.plan import (
    ASKING,
    SECONDS_PER_MB,
    Group,
    OpSetting,
    Part,
    Pass,
    Plan,
    Step,
    compile_plan,
    read_ops,
)
from plait.data.visit import Spent, visit

_FEW = 32  # rows that a model is tried on first
_MOMENTS = 5.0  # processor seconds


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
        The plan in the order it would run, and a forecast per operation. A filter that asks a network of this
        machine is tried on some rows, on all if that is quick; an endpoint is never asked. Nothing is tried after a
        mapper that asks a model: seconds are then the constant of a kind.
    """
    plan = compile_plan(read_ops(settings))
    plan = plan.ordered(pass_rates(plan, sample))
    expected, batch = list[Expected](), Batch.of(sample)
    for number, one in enumerate(plan.passes, 1):
        tried = _triable(one) if len(batch) else Pass()
        # Once to compile and to load tables, so that these seconds are not multiplied.
        visit(tried, _again(batch, 64))
        visited = visit(tried, _again(batch, len(batch)))
        steps = [*one.steps, *one.ends]
        whole = {step.index for step in steps} == {step.index for step in [*tried.steps, *tried.ends, *_asking(one)]}
        megabytes = (visited.batch if whole else batch).frame.estimated_size() / 1e6
        for step in steps:
            spent = visited.spent.get(step.index)
            if spent is None and whole and step.op.cost == "model":
                spent = _of_a_model(step, visited.batch)
            known = spent or Spent(cpu_seconds=SECONDS_PER_MB[step.op.cost] * megabytes)
            expected.append(_expected(number, step, known, scale, told))
        batch = visited.batch if whole else Batch.of(sample.clear())
    return plan, expected


def _triable(one: Pass) -> Pass:
    """What of a pass can be tried on a sample: neither models nor what follows a mapper that is left out."""
    parts = list[Part]()
    for part in one.parts:
        match part:
            case Group():
                parts.append(Group(tuple(step for step in part.filters if step.op.cost not in ASKING)))
            case Step() if part.op.cost not in ASKING:
                parts.append(part)
            case _:
                return Pass(parts)
    return Pass(parts, [step for step in one.ends if step.op.cost not in ASKING])


def _asking(one: Pass) -> list[Step]:
    """Filters and barriers of a pass that ask a model; what follows can be tried without them."""
    filters = [step for part in one.parts if isinstance(part, Group) for step in part.filters]
    return [step for step in [*filters, *one.ends] if step.op.cost in ASKING]


def _of_a_model(step: Step, batch: Batch) -> Spent | None:
    """What a filter takes that asks a model: on a few rows, on all of the sample if that takes moments."""
    if not isinstance(step.op, Filter) or not len(batch):
        return None
    alone = Pass([Group((step,))])
    visit(alone, _again(batch, 1))
    spent = visit(alone, _again(batch, _FEW)).spent[step.index]
    if spent.cpu_seconds * len(batch) / spent.read <= _MOMENTS:
        return visit(alone, _again(batch, len(batch))).spent[step.index]
    return replace(spent, cpu_seconds=spent.cpu_seconds * len(batch) / spent.read)


def _again(batch: Batch, rows: int) -> Batch:
    """The first rows, numbered anew."""
    return Batch.of(batch.frame.drop(ROW).head(rows))


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
