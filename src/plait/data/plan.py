"""From a recipe's list of operations to one lazy Polars query per chunk.

    ops = read_ops([{"text_length_filter": {"min_len": 120}}, "document_deduplicator"])
    plan = compile_plan(ops)
    print(plan.describe())

Where it fuses. Operations between two barriers (deduplicators, which must see every text) are one **pass**
over a chunk. Inside a pass, a run of mappers is composed into one expression, so the text is rewritten once;
the filters after it form a **segment** that shares the text's length, lines and words, each computed once;
all of it is one lazy query, collected once, and the keys of the deduplicators that end the pass are computed
in the same visit. Every filter measures every text, so that each drop can be explained and any threshold
tried later without running again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from plait.core.catalog import find
from plait.data.op import (
    CHARS,
    LINES,
    WORDS,
    Deduplicator,
    Filter,
    Mapper,
    Need,
    Op,
    shared_columns,
    shared_expressions,
)
from plait.errors import UsageError, nearest

if TYPE_CHECKING:
    import polars as pl

OpSetting = str | Mapping[str, Mapping[str, Any] | None]
"""``name``, or ``{name: {setting: value}}`` as in Data-Juicer's recipes."""

DROPPED_BY = "dropped_by"
"""Column: index of the operation that dropped the row, Int16, null while it is kept."""

_TEXT = "text"


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
    if not (isinstance(kind, type) and issubclass(kind, Mapper | Filter | Deduplicator)):
        raise UsageError(
            f'"{name}" is not a data operation',
            code="data.not-an-op",
            hint="it must subclass plait.data.op.Mapper, Filter or Deduplicator",
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
        stat: Column of its number; a second use of a filter gets ``name@index``. Empty for mappers.
    """

    index: int
    name: str
    op: Op
    stat: str = ""


@dataclass
class Segment:
    """Mappers composed into one rewrite, then filters that share what is computed from the result."""

    mappers: list[Step] = field(default_factory=list[Step])
    filters: list[Step] = field(default_factory=list[Step])

    @property
    def needs(self) -> list[Need]:
        """What the filters share."""
        found = {need for step in self.filters if isinstance(step.op, Filter) for need in step.op.needs}
        return [need for need in get_args(Need) if need in found]


@dataclass
class Pass:
    """Segments that visit a chunk together, and the deduplicators that end the pass."""

    segments: list[Segment] = field(default_factory=list[Segment])
    barriers: list[Step] = field(default_factory=list[Step])

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Extend the query: rewrite ``text``, add a column per stat, note the first filter a row fails."""
        import polars as pl

        for segment in self.segments:
            text = pl.col(_TEXT)
            for step in segment.mappers:
                assert isinstance(step.op, Mapper)
                text = step.op.rewrite(text)
            frame = frame.with_columns(text.alias(_TEXT))
            if not segment.filters:
                continue
            measured = frame.with_columns(shared_columns(segment.needs))
            shared = shared_expressions()
            measures, drops = list[pl.Expr](), [pl.col(DROPPED_BY)]
            for step in segment.filters:
                assert isinstance(step.op, Filter)
                measures.append(step.op.measure(shared).cast(pl.Float64).alias(step.stat))
                kept = step.op.keeps(pl.col(step.stat))
                drops.append(pl.when(~kept).then(pl.lit(step.index, pl.Int16)))
            frame = (
                measured.with_columns(measures)
                .with_columns(pl.coalesce(drops).alias(DROPPED_BY))
                .drop(CHARS, LINES, WORDS, strict=False)
            )
        return frame


@dataclass
class Plan:
    """What `compile_plan` makes of a list of operations."""

    steps: list[Step]
    passes: list[Pass]

    @property
    def stats(self) -> list[Step]:
        """The filters, in order: one column of numbers each."""
        return [step for step in self.steps if isinstance(step.op, Filter)]

    def describe(self) -> str:
        """The plan in words, a line per pass, segment and barrier.

        Example:
            >>> ops = ["fix_unicode_mapper", "whitespace_normalization_mapper", "text_length_filter"]
            >>> print(compile_plan(read_ops([*ops, "document_deduplicator"])).describe())
            pass 1: one lazy query per chunk
              rewrite once: fix_unicode_mapper, whitespace_normalization_mapper
              measure text_len, sharing chars
              then over all chunks: document_deduplicator
        """
        lines = list[str]()
        for number, one in enumerate(self.passes, 1):
            lines.append(f"pass {number}: one lazy query per chunk")
            for segment in one.segments:
                if segment.mappers:
                    lines.append(f"  rewrite once: {', '.join(s.name for s in segment.mappers)}")
                if segment.filters:
                    shared = f", sharing {', '.join(segment.needs)}" if segment.needs else ""
                    lines.append(f"  measure {', '.join(s.stat for s in segment.filters)}{shared}")
            if one.barriers:
                lines.append(f"  then over all chunks: {', '.join(s.name for s in one.barriers)}")
        return "\n".join(lines)


def compile_plan(ops: Sequence[tuple[str, Op]]) -> Plan:
    """Group operations into passes and segments; see the top of this file."""
    plan = Plan(steps=[], passes=[])
    taken = set[str]()
    for index, (name, op) in enumerate(ops):
        stat = "" if isinstance(op, Mapper) else op.stat
        if stat and stat in taken:
            stat = f"{stat}@{index}"
        taken.add(stat)
        step = Step(index, name, op, stat)
        plan.steps.append(step)
        _place(plan.passes, step)
    return plan


def _place(passes: list[Pass], step: Step) -> None:
    if not passes or (passes[-1].barriers and not isinstance(step.op, Deduplicator)):
        passes.append(Pass())
    current = passes[-1]
    if isinstance(step.op, Deduplicator):
        current.barriers.append(step)
        return
    mapper = isinstance(step.op, Mapper)
    if not current.segments or (mapper and current.segments[-1].filters):
        current.segments.append(Segment())
    segment = current.segments[-1]
    (segment.mappers if mapper else segment.filters).append(step)
