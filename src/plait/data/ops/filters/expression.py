"""A filter by a condition on the fields of a row, in Python's notation."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from pydantic import field_validator

from plait.data.op import Columns
from plait.data.ops.filters.fields import FieldFilter
from plait.errors import DataError

if TYPE_CHECKING:
    from plait.data.batch import Batch

_HOLDS = "__holds"
_STAT = "general_field_filter_condition"
_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.GtE: operator.ge,
    ast.LtE: operator.le,
}
_KNOWN = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.Compare, ast.Name, ast.Load, ast.Attribute, ast.Constant),
    *(ast.UnaryOp, ast.USub, ast.UAdd, ast.Not, ast.List, ast.Tuple, ast.Set, ast.In, ast.NotIn),
    *_COMPARE,
)


class GeneralFieldFilter(FieldFilter):
    """Keeps rows for which a condition on their fields holds.

    The condition has names of fields (dots lead into structs), numbers, texts, lists, ``and``, ``or``, ``not``,
    comparisons, also chained, ``in`` and ``not in``, and nothing else. A comparison with a field that is null or
    absent is false, ``not in`` true.

    Example:
        - general_field_filter: {filter_condition: "10 < stars <= 30 and source != 'web'"}

        >>> from plait.data.batch import Batch
        >>> rows = Batch.of(pl.DataFrame({"stars": [5, 20, None], "source": ["web", "book", "book"]}))
        >>> op = GeneralFieldFilter(filter_condition="10 < stars <= 30 and source in ['book']")
        >>> op.keeps(rows, op.measure(rows)).tolist()
        [False, True, False]

    Source: Data-Juicer 1.6.1, ``general_field_filter``. Whole columns are compared instead of one row at a time, so
    fields of a wrong type are an error, not a row skipped; the stat is 1 or 0 instead of a truth value.
    """

    filter_condition: str = ""
    """The condition; empty keeps all."""

    @property
    def stats(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the condition holds; nothing without a condition."""
        return (_STAT,) if self.filter_condition.strip() else ()

    @field_validator("filter_condition")
    @classmethod
    def _can_be_read(cls, value: str) -> str:
        _parse(value)
        return value

    def measure(self, batch: Batch) -> Columns:
        """1 where the condition holds, else 0."""
        tree = _parse(self.filter_condition)
        if tree is None:
            return {}
        try:
            found = batch.frame.select(_truth(_Reader(batch.frame).read(tree)).alias(_HOLDS))[_HOLDS]
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise DataError(
                f'the condition "{self.filter_condition}" does not fit the fields: {str(error).splitlines()[0]}',
                code="data.bad-condition",
                hint="compare numbers with numbers and texts with texts",
            ) from error
        # A condition without any field has one answer for all rows.
        return {_STAT: np.broadcast_to(found.cast(pl.Float64).to_numpy(), len(batch))}

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Whether the condition holds."""
        if not self.stats:
            return np.ones(len(batch), np.bool_)
        holds = np.asarray(stats[_STAT]) != 0
        return ~holds if self.reversed_range else holds


def _parse(condition: str) -> ast.expr | None:
    if not condition.strip():
        return None
    try:
        tree = ast.parse(condition.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ValueError(f"the condition {condition!r} cannot be read: {error}") from error
    for node in ast.walk(tree):
        if not isinstance(node, _KNOWN):
            raise ValueError(
                f"the condition {condition!r} has a {type(node).__name__}; it may have names, values, and, or, not, "
                "comparisons, in and not in"
            )
    return tree.body


class _Reader:
    """From the condition to an expression over the columns."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.schema = frame.schema

    def read(self, node: ast.expr) -> Any:
        """An expression, or a plain value."""
        match node:
            case ast.Constant():
                return node.value
            case ast.Name() | ast.Attribute():
                return self._field(node)
            case ast.List() | ast.Tuple() | ast.Set():
                return [self.read(entry) for entry in node.elts]
            case ast.UnaryOp():
                value = self.read(node.operand)
                if isinstance(node.op, ast.Not):
                    return ~_truth(value)
                return -value if isinstance(node.op, ast.USub) else value
            case ast.BoolOp():
                both = operator.and_ if isinstance(node.op, ast.And) else operator.or_
                return reduce(both, (_truth(self.read(part)) for part in node.values))
            case ast.Compare():
                return self._compare(node)
            case _:
                raise AssertionError(type(node))

    def _compare(self, node: ast.Compare) -> Any:
        left = self.read(node.left)
        parts = list[Any]()
        for sign, comparator in zip(node.ops, node.comparators, strict=True):
            right = self.read(comparator)
            parts.append(_one(sign, left, right))
            left = right
        return reduce(operator.and_, parts)

    def _field(self, node: ast.expr) -> Any:
        """A column, or null where there is none."""
        path = list[str]()
        while isinstance(node, ast.Attribute):
            path.insert(0, node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            raise TypeError("a dot follows something that is no field")
        whole = ".".join([node.id, *path])
        if whole in self.schema:
            return pl.col(whole)
        kind: Any = self.schema.get(node.id)
        found = pl.col(node.id) if kind is not None else None
        for part in path:
            names = {f.name: f.dtype for f in kind.fields} if isinstance(kind, pl.Struct) else {}
            kind = names.get(part)
            found = found.struct.field(part) if found is not None and kind is not None else None
        return found


def _one(sign: ast.cmpop, left: Any, right: Any) -> pl.Expr:
    """One comparison; with nothing on a side it is false, and ``not in`` true."""
    negative = isinstance(sign, ast.NotIn)
    if left is None or right is None:
        return pl.lit(negative)
    if isinstance(sign, (ast.In, ast.NotIn)):
        found = _among(left, right)
        return (~found if negative else found).fill_null(negative)
    if not isinstance(left, pl.Expr) and not isinstance(right, pl.Expr):
        return pl.lit(bool(_COMPARE[type(sign)](left, right)))
    a, b = (side if isinstance(side, pl.Expr) else pl.lit(side) for side in (left, right))
    return _COMPARE[type(sign)](a, b).fill_null(value=False)


def _among(left: Any, right: Any) -> pl.Expr:
    if isinstance(right, list):
        if isinstance(left, pl.Expr):
            return left.is_in([value for value in right if value is not None])
        return pl.lit(left in right)
    if isinstance(right, str):
        return pl.lit(right).str.contains(left, literal=True) if isinstance(left, pl.Expr) else pl.lit(left in right)
    if isinstance(left, str):
        # In a field: a part of a text, or an entry of a list; only the frame knows which.
        return pl.Expr.map_batches(
            right,
            lambda s: s.str.contains(left, literal=True) if s.dtype == pl.String else s.list.contains(left),
            return_dtype=pl.Boolean,
        )
    return right.list.contains(left)


def _truth(value: Any) -> pl.Expr:
    """What Python's ``bool`` says: comparisons as they are, fields if they are neither null, zero nor empty."""
    if not isinstance(value, pl.Expr):
        return pl.lit(bool(value))
    return value.map_batches(_truths, return_dtype=pl.Boolean)


def _truths(column: pl.Series) -> pl.Series:
    if column.dtype == pl.Boolean:
        return column.fill_null(value=False)
    if column.dtype == pl.String:
        return (column != "").fill_null(value=False)
    if isinstance(column.dtype, pl.List):
        return (column.list.len() > 0).fill_null(value=False)
    if column.dtype.is_numeric():
        return (column != 0).fill_null(value=False)
    return column.is_not_null()
