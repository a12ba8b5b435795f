"""From a recipe's list of operations to a plan: passes over chunks, with a barrier between two.

    ops = read_ops([{"text_length_filter": {"min_len": 120}}, "document_deduplicator"])
    plan = compile_plan(ops)
    print(plan.describe())

Operations between two barriers (deduplicators and selectors, which must see every row) are one **pass**: each
chunk is visited once. What asks a model ends a pass too, because its answers are worth keeping when something after
it changes. Inside a pass the mappers stand where the recipe has them, and the filters between two mappers form a
**group**. Those commute, so the plan orders them: what costs little and drops much comes first, and what looks at
fields alone comes before any text is rewritten. What several of them look at is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from plait.core.catalog import find
from plait.data.names import RESERVED, STATS
from plait.data.op import Barrier, Cost, Filter, Mapper, Op, Reducer, RewritingBarrier
from plait.errors import UsageError, nearest

OpSetting = str | Mapping[str, Mapping[str, Any] | None]
"""``name``, or ``{name: {setting: value}}`` as in Data-Juicer's recipes."""

ASKING: tuple[Cost, ...] = ("model", "llm")
"""Costs of operations that ask a neural network, here or at an endpoint."""

SECONDS_PER_MB: Mapping[Cost, float] = {
    "bytes": 0.0005,
    "scan": 0.002,
    "words": 0.006,
    "small-model": 0.2,
    "python": 0.3,
    "model": 60.0,
    "llm": 3_000.0,
}
"""What operations of each kind cost on one processor, measured by ``benchmarks/data_kernels.py`` to an order of
magnitude. Order follows these constants and measured selectivity, not a stopwatch: the same data then gives the
same order, and the same explanation of each drop, on every machine."""


def read_ops(settings: Sequence[OpSetting]) -> list[tuple[str, Op]]:
    """Operations with their names from a recipe's list.

    Raises:
        UsageError: An unknown name or setting, or a value of the wrong type.

    Example:
        >>> [(name, op)] = read_ops([{"text_length_filter": {"min_len": 120}}])
        >>> name, op.min_len
        ('text_length_filter', 120)
    """
    ops = list[tuple[str, Op]]()
    for number, setting in enumerate(settings, 1):
        named = {setting: None} if isinstance(setting, str) else dict(setting)
        if len(named) != 1:
            raise UsageError(
                f"operation {number} has {len(named)} names: {', '.join(named) or 'none'}",
                code="data.op-shape",
                hint="write one per list item: - text_length_filter: {min_len: 120}",
            )
        [(name, values)] = named.items()
        ops.append((name, _build(name, values or {})))
    return ops


def _build(name: str, values: Mapping[str, Any]) -> Op:
    kind = find("op", name)
    if not (isinstance(kind, type) and issubclass(kind, Op)):
        raise UsageError(
            f'"{name}" is not a data operation',
            code="data.not-an-op",
            hint="it must subclass plait.data.op.Mapper, Filter, Deduplicator, Selector or Reducer",
        )
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        known = nearest(key, kind.model_fields) if first["type"] == "extra_forbidden" else ""
        raise UsageError(
            f"{name}: {key}: {first['msg']}", code="data.op-settings", where=f"{name}.{key}", hint=known or None
        ) from error


@dataclass(frozen=True)
class Step:
    """One operation in its place.

    Args:
        index: Place in the recipe, counting from 0.
        name: Name in the recipe.
        op: The operation.
        stats: Columns of its numbers; a second use of a filter, or a name that means something else
            in the lineage, gets ``name@index``.
    """

    index: int
    name: str
    op: Op
    stats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Filters between two mappers; they commute.

    Args:
        filters: In the order they run.
    """

    filters: tuple[Step, ...]


@dataclass(frozen=True)
class Rewrite:
    """What a barrier rewrites after its decision, at the start of the next pass."""

    step: Step


Part = Step | Group | Rewrite
"""Mappers, groups of filters, and what a barrier left to do."""


@dataclass
class Pass:
    """What visits a chunk at one go, and the barrier or reducer that ends it.

    Args:
        parts: What is done to a chunk, in order.
        ends: Barriers after the pass, one after the other, or one reducer.
    """

    parts: list[Part] = field(default_factory=list[Part])
    ends: list[Step] = field(default_factory=list[Step])

    @property
    def steps(self) -> list[Step]:
        """The operations of its parts, in the order they run."""
        found = list[Step]()
        for part in self.parts:
            found += part.filters if isinstance(part, Group) else [part.step if isinstance(part, Rewrite) else part]
        return found

    @property
    def barriers(self) -> list[Step]:
        """The barriers that end it."""
        return [step for step in self.ends if isinstance(step.op, Barrier)]

    @property
    def reducer(self) -> Step | None:
        """The reducer that ends it."""
        return next((step for step in self.ends if isinstance(step.op, Reducer)), None)


@dataclass
class Plan:
    """What `compile_plan` makes of a list of operations."""

    steps: list[Step]
    passes: list[Pass]

    @property
    def filters(self) -> list[Step]:
        """The filters, in the order of the recipe."""
        return [step for step in self.steps if isinstance(step.op, Filter)]

    @property
    def stats(self) -> list[str]:
        """Columns of numbers, in the order of the recipe."""
        return [stat for step in self.filters for stat in step.stats]

    @property
    def carries_stats(self) -> bool:
        """Whether some operation looks at what earlier filters measured."""
        return any(STATS in step.op.model_dump_json() for step in self.steps)

    @property
    def python_rows(self) -> bool:
        """Whether some operation runs Python row by row, so that processes pay."""
        return any(step.op.cost == "python" for step in self.steps)

    def ordered(self, pass_rates: Mapping[int, float]) -> Plan:
        """The plan with each group's filters in order of cost over selectivity.

        Args:
            pass_rates: By index of the step, share of rows it keeps; as if nothing were dropped when not given.
        """
        passes = [
            Pass([_ordered(p, pass_rates) if isinstance(p, Group) else p for p in one.parts], one.ends)
            for one in self.passes
        ]
        return Plan(self.steps, passes)

    def describe(self) -> str:
        """The plan in words, a line per mapper, group and barrier.

        Example:
            >>> ops = ["fix_unicode_mapper", "whitespace_normalization_mapper", "text_length_filter"]
            >>> print(compile_plan(read_ops([*ops, "document_deduplicator"])).describe())
            pass 1, over each chunk:
              rewrite: fix_unicode_mapper
              rewrite: whitespace_normalization_mapper
              keep by: text_length_filter
              then over all rows: document_deduplicator
        """
        lines = list[str]()
        for number, one in enumerate(self.passes, 1):
            lines.append(f"pass {number}, over each chunk:")
            for part in one.parts:
                match part:
                    case Group():
                        lines.append(f"  keep by: {', '.join(step.name for step in part.filters)}")
                    case Rewrite():
                        lines.append(f"  rewrite by what was found: {part.step.name}")
                    case Step():
                        lines.append(f"  rewrite: {part.name}")
            lines += [f"  then over all rows: {step.name}" for step in one.ends]
        return "\n".join(lines)


def compile_plan(ops: Sequence[tuple[str, Op]], *, keep_answers: bool = True) -> Plan:
    """Group operations into passes; see the top of this file.

    Args:
        ops: The operations with their names.
        keep_answers: End a pass after what asks a model. Not for a study, in which rows that a pass drops are seen by
            all filters of that pass.
    """
    plan = Plan(steps=[], passes=[])
    taken = set(RESERVED)
    for index, (name, op) in enumerate(ops):
        stats = _distinct(op.stats, taken, index) if isinstance(op, Filter) else ()
        taken.update(stats)
        step = Step(index, name, op, stats)
        plan.steps.append(step)
        _place(plan.passes, step)
    if not plan.passes:
        plan.passes.append(Pass())
    if plan.passes[-1].ends and isinstance(plan.passes[-1].ends[-1].op, RewritingBarrier):
        plan.passes.append(Pass([Rewrite(plan.passes[-1].ends[-1])]))
    for one in plan.passes:
        _fields_first(one)
    if keep_answers:
        plan.passes = [part for one in plan.passes for part in _answers_kept(one)]
    return plan.ordered({})


def _distinct(stats: Sequence[str], taken: set[str], index: int) -> tuple[str, ...]:
    return tuple(f"{stat}@{index}" if stat in taken else stat for stat in stats)


def _place(passes: list[Pass], step: Step) -> None:
    barrier = isinstance(step.op, Barrier)
    if passes and passes[-1].ends and isinstance(passes[-1].ends[-1].op, RewritingBarrier):
        passes.append(Pass([Rewrite(passes[-1].ends[-1])]))
    # A reducer makes new rows, and keys that cost a model are not spent on rows that a barrier may drop.
    after = passes[-1].ends if passes else []
    if not passes or (after and (not barrier or passes[-1].reducer or step.op.cost in ASKING)):
        passes.append(Pass())
    current = passes[-1]
    if barrier or isinstance(step.op, Reducer):
        current.ends.append(step)
    elif isinstance(step.op, Filter):
        last = current.parts[-1] if current.parts else None
        if isinstance(last, Group):
            current.parts[-1] = replace(last, filters=(*last.filters, step))
        else:
            current.parts.append(Group((step,)))
    else:
        current.parts.append(step)


def _fields_first(one: Pass) -> None:
    """Move filters that look at fields alone before mappers that rewrite nothing but another field's text."""
    early = list[Step]()
    rewritten = set[str]()
    parts = list[Part]()
    opaque = False
    for part in one.parts:
        if isinstance(part, Rewrite):
            rewritten.add(part.step.op.text_key)
            parts.append(part)
            continue
        if isinstance(part, Step):
            assert isinstance(part.op, Mapper)
            # A mapper that overrides `apply` may write any field.
            opaque |= type(part.op).apply is not Mapper.apply
            rewritten.add(part.op.text_key)
            parts.append(part)
            continue
        movable = [
            s
            for s in part.filters
            if parts and not opaque and fields_of(s.op).isdisjoint(rewritten) and fields_of(s.op)
        ]
        early += movable
        left = tuple(s for s in part.filters if s not in movable)
        if left:
            parts.append(replace(part, filters=left))
    if early:
        first = parts[0] if parts and isinstance(parts[0], Group) else None
        group = Group((*(first.filters if first else ()), *early))
        parts = [group, *(parts[1:] if first else parts)]
    one.parts = parts


def _answers_kept(one: Pass) -> list[Pass]:
    """The pass, ended after each mapper or group of filters that asks a model."""
    found, parts = list[Pass](), list[Part]()
    for part in one.parts:
        parts.append(part)
        if any(step.op.cost in ASKING for step in Pass([part]).steps):
            found.append(Pass(parts))
            parts = list[Part]()
    if parts or one.ends or not found:
        found.append(Pass(parts, one.ends))
    return found


def fields_of(op: Op) -> set[str]:
    """Fields an operation looks at, if it looks at fields alone; otherwise nothing."""
    if op.needs != frozenset({"fields"}):
        return set()
    named = getattr(op, "field_key", None)
    return {named.split(".")[0]} if isinstance(named, str) and named else set()


def _ordered(group: Group, pass_rates: Mapping[int, float]) -> Group:
    def rank(step: Step) -> tuple[float, int]:
        drops = max(1 - pass_rates.get(step.index, 0.5), 1e-3)
        return SECONDS_PER_MB[step.op.cost] / drops, step.index

    return replace(group, filters=tuple(sorted(group.filters, key=rank)))
