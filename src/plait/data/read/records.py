"""Parsed records as Arrow columns, strictly: a value of another type makes a bad record, never another value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from plait.core.quarantine import Quarantine
from plait.errors import DataError

Record = dict[str, Any]
MOST_NESTED = 48
"""How deep the values of a field may be nested; what deals with columns gives up a little beyond that."""

TOO_DEEP = f"lists and objects nested more than {MOST_NESTED} deep"
_NESTED = (dict, list)
_LISTS = frozenset({list, type(None)})
_STRUCTS = frozenset({dict, type(None)})
Refuse = Callable[[int, str], None]
"""Told the position of a bad record and the reason."""


def as_batch(records: Sequence[Record], schema: pa.Schema, required: Sequence[str]) -> pa.RecordBatch | None:
    """All records at once, or ``None`` if any of them does not fit."""
    if not schema.names or not set[str]().union(*records) <= set(schema.names):
        return None
    arrays = list[pa.Array]()
    for field in schema:
        values = [record.get(field.name) for record in records]
        array = column_of(values, field.type)
        if array is None or (array.null_count and field.name in required):
            return None
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def fitting(records: Sequence[Record], schema: pa.Schema, required: Sequence[str], refuse: Refuse) -> pa.RecordBatch:
    """The records that fit; ``refuse`` is told of the others."""
    batch = as_batch(records, schema, required)
    if batch is not None:
        return batch
    kinds = {field.name: field.type for field in schema}
    if not kinds:
        for position in range(len(records)):
            refuse(position, "record without fields")
        records = []
    good = list[Record]()
    for position, record in enumerate(records):
        reason = _problem(record, kinds, required)
        if reason is None:
            good.append(record)
        else:
            refuse(position, reason)
    arrays = [pa.array([record.get(name) for record in good], kind) for name, kind in kinds.items()]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def select(records: Sequence[Record], names: Sequence[str]) -> list[Record]:
    """The records without fields that were not asked for."""
    wanted = frozenset(names)
    return [{name: value for name, value in record.items() if name in wanted} for record in records]


def _problem(record: Record, kinds: dict[str, pa.DataType], required: Sequence[str]) -> str | None:
    for name in required:
        if record.get(name) is None:
            return f'field "{name}" is null' if name in record else f'missing field "{name}"'
    for name, value in record.items():
        if name not in kinds:
            return TOO_DEEP if too_deep(value) else "field that the sampled records do not have"
        if value is not None and column_of([value], kinds[name]) is None:
            if too_deep(value):
                return TOO_DEEP
            return _misfit(value, kinds[name], name) or f'field "{name}" is not {_told(kinds[name])}'
    return None


def too_deep(value: Any) -> bool:
    """Whether lists and objects are nested more than `MOST_NESTED` deep."""
    level = [value] if type(value) in _NESTED else []
    for _ in range(MOST_NESTED):
        inside = (one.values() if type(one) is dict else one for one in level)
        level = [inner for values in inside for inner in values if type(inner) in _NESTED]
        if not level:
            return False
    return True


def _misfit(value: Any, kind: pa.DataType, name: str) -> str | None:
    """What does not fit, at the innermost place; names only what the schema has, as records are counted by it."""
    if value is None:
        return None
    if pa.types.is_list(kind) and type(value) is list:
        found = (_misfit(item, kind.value_type, f"{name}[]") for item in value)
        return next(filter(None, found), None)
    if pa.types.is_struct(kind) and type(value) is dict:
        kinds = {kind.field(index).name: kind.field(index).type for index in range(kind.num_fields)}
        if not value.keys() <= kinds.keys():
            return f'field "{name}" has a key that the sampled records do not have'
        found = (_misfit(inner, kinds[key], f"{name}.{key}") for key, inner in value.items())
        return next(filter(None, found), None)
    if column_of([value], kind) is not None:
        return None
    if type(value) is int and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return f'field "{name}" is an integer that {kind} cannot hold'
    return f'field "{name}" is not {_told(kind)}'


def _told(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind):
        return "an object"
    return "a list" if pa.types.is_list(kind) else str(kind)


def column_of(values: list[Any], kind: pa.DataType) -> pa.Array | None:
    """The values as an array of that type, or ``None`` if one of them is of another type."""
    if not _fits(values, kind):
        return None
    if pa.types.is_string(kind):
        # pa.array would import pandas, wherever it is installed, to ask whether a list is one of its own.
        return pl.Series(values, dtype=pl.String).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(kind)
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError):
        return None


def _fits(values: list[Any], kind: pa.DataType) -> bool:
    """Whether all values are of the type: Arrow would take ``True`` for 1.0, and leave out fields it does not know."""
    allowed = _python_types(kind)
    if allowed is not None:
        return allowed.issuperset(map(type, values))
    if pa.types.is_list(kind):
        if not _LISTS.issuperset(map(type, values)):
            return False
        return _fits([item for value in values if value for item in value], kind.value_type)
    if not pa.types.is_struct(kind) or not _STRUCTS.issuperset(map(type, values)):
        return pa.types.is_null(kind) and not any(value is not None for value in values)
    present = [value for value in values if value is not None]
    fields = [kind.field(index) for index in range(kind.num_fields)]
    if not set[str]().union(*present) <= {field.name for field in fields}:
        return False
    return all(_fits([value.get(field.name) for value in present], field.type) for field in fields)


def _python_types(kind: pa.DataType) -> frozenset[type] | None:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return frozenset({str, type(None)})
    if pa.types.is_boolean(kind):
        return frozenset({bool, type(None)})
    if pa.types.is_integer(kind):
        return frozenset({int, type(None)})
    if pa.types.is_floating(kind):
        return frozenset({float, int, type(None)})
    return None


def schema_of(records: Sequence[Record]) -> pa.Schema:
    """The columns and types most of the records agree on.

    A whole number among fractions is a number, null is nothing; of two kinds that exclude each other the more
    frequent one is taken, and the records of the other are found bad when they are read.

    Example:
        >>> [str(f.type) for f in schema_of([{"n": 1, "t": "a"}, {"n": 0.5, "t": "b"}, {"t": 3}])]
        ['double', 'string']
    """
    columns = dict[str, list[Any]]()
    for record in records:
        for name, value in record.items():
            columns.setdefault(name, []).append(value)
    return pa.schema([(name, _kind(values)) for name, values in columns.items()])


def _kind(values: list[Any]) -> pa.DataType:
    families = dict[str, int]()
    for value in values:
        if value is not None:
            family = _family(value)
            families[family] = families.get(family, 0) + 1
    if not families:
        return pa.null()
    chosen = max(families, key=lambda name: families[name])
    match chosen:
        case "text":
            return pa.string()
        case "truth":
            return pa.bool_()
        case "number":
            numbers = [value for value in values if type(value) in (int, float)]
            if any(type(value) is float for value in numbers):
                return pa.float64()
            # Hashes of 64 bits have no sign; of what exclude each other, the more frequent.
            large, negative = sum(value >= 2**63 for value in numbers), sum(value < 0 for value in numbers)
            return pa.uint64() if large > negative else pa.int64()
        case "list":
            return pa.list_(_kind([item for value in values if isinstance(value, list) for item in value]))
        case _:
            return pa.struct(list(schema_of([value for value in values if isinstance(value, dict)])))


def _family(value: Any) -> str:
    match value:
        case bool():
            return "truth"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "list"
        case _:
            return "struct"


def unified(first: pa.Schema, second: pa.Schema) -> pa.Schema:
    """Columns of both; where types differ, one that holds both, or else that of the first.

    Example:
        >>> one, other = pa.schema([("n", pa.int64())]), pa.schema([("n", pa.float64()), ("lang", pa.string())])
        >>> unified(one, other).names, str(unified(one, other).field("n").type)
        (['n', 'lang'], 'double')
    """
    kinds = {field.name: plain(field.type) for field in first}
    for field in second:
        before = kinds.get(field.name, pa.null())
        both = _widened(before, plain(field.type))
        # Not `or`: an object without any key has a type that counts as false.
        kinds[field.name] = before if both is None else both
    return pa.schema(list(kinds.items()))


def settled(schema: pa.Schema) -> pa.Schema:
    """The schema with texts where nothing but null was seen."""
    return pa.schema([(field.name, _settled(field.type)) for field in schema])


def _settled(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_settled(kind.value_type))
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return pa.struct([(field.name, _settled(field.type)) for field in fields])
    return kind


def plain(kind: pa.DataType) -> pa.DataType:
    """The type without what only says how it is laid out: 64-bit offsets, views, dictionaries.

    Example:
        >>> str(plain(pa.large_list(pa.struct([("role", pa.large_string())]))))
        'list<item: struct<role: string>>'
    """
    types = pa.types
    if types.is_dictionary(kind):
        return plain(kind.value_type)
    if types.is_large_string(kind) or types.is_string_view(kind):
        return pa.string()
    if types.is_large_binary(kind) or types.is_binary_view(kind):
        return pa.binary()
    if types.is_struct(kind):
        return pa.struct([(kind.field(i).name, plain(kind.field(i).type)) for i in range(kind.num_fields)])
    if types.is_map(kind):
        return pa.map_(plain(kind.key_type), plain(kind.item_type))
    if types.is_fixed_size_list(kind):
        return pa.list_(plain(kind.value_type), kind.list_size)
    if any(told(kind) for told in (types.is_list, types.is_large_list, types.is_list_view, types.is_large_list_view)):
        return pa.list_(plain(kind.value_type))
    return kind


def _widened(kind: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The narrowest type that holds both, or ``None`` if there is none."""
    if kind == other or pa.types.is_null(other):
        return kind
    try:
        pair = [pa.schema([("x", kind)]), pa.schema([("x", other)])]
        return cast("pa.DataType", pa.unify_schemas(pair, promote_options="permissive").field(0).type)
    except pa.ArrowException:
        return None


def cast_batch(
    table: pa.Table, schema: pa.Schema, required: Sequence[str], *, place: Callable[[int], str], quarantine: Quarantine
) -> tuple[pa.RecordBatch, np.ndarray]:
    """Typed rows in the columns of a read: what is missing is null, integers widen to floats.

    Returns:
        The rows that have all required fields, and their places among all.

    Raises:
        DataError: A column is of a type that cannot be turned into that of the read without loss.
    """
    arrays = list[pa.Array]()
    for field in schema:
        if field.name not in table.column_names:
            arrays.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table[field.name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if column.type != field.type:
            column = _cast(column, field, place)
        arrays.append(pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], field.type))
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    valid = np.ones(batch.num_rows, np.bool_)
    for name in required:
        column = batch.column(name)
        if column.null_count:
            null = column.is_null().to_numpy(zero_copy_only=False) & valid
            valid &= ~null
            for row in np.flatnonzero(null).tolist():
                record = batch.slice(row, 1).to_pylist()[0]
                quarantine.add(where=place(row), reason=f'field "{name}" is null', record=record)
    return (batch if valid.all() else batch.filter(pa.array(valid))), np.flatnonzero(valid)


def _cast(column: pa.ChunkedArray, field: pa.Field, place: Callable[[int], str]) -> pa.ChunkedArray:
    problem = f'column "{field.name}" is {column.type} here and {field.type} in other files'
    try:
        if _widened(plain(column.type), field.type) == field.type:
            return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        problem += f", which cannot hold all of it: {str(error).splitlines()[0]}"
    raise DataError(
        problem,
        code="data.wrong-type",
        where=place(0),
        hint="give it one type in all files, or read them apart; in Python, columns= leaves it out",
    )
