"""Makes records of one read agree on one schema, or says which record does not.

The schema is the one asked for, or else what the first batch holds; ints widen to floats and null to anything
inside that batch. Afterwards a value of another type is a bad record, not a new schema: everything downstream
may rely on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from plait.core.quarantine import Quarantine
from plait.errors import DataError

Record = Mapping[str, Any]
Place = Callable[[int], str]
"""Position of a record in its batch → ``file:line``."""


class Fitter:
    """Fits batch after batch of one read to one schema.

    Args:
        schema: Columns and types to read, or ``None`` to take those of the first batch.
        required: Columns that must be there and not null in every record.
        quarantine: Where records go that do not fit.
    """

    def __init__(self, *, schema: pa.Schema | None, required: Sequence[str], quarantine: Quarantine) -> None:
        self.schema = schema
        self.required = tuple(required)
        self.asked = schema
        self._quarantine = quarantine

    def records(self, records: Sequence[Record], place: Place) -> pa.RecordBatch | None:
        """Records as one batch, without those that do not fit; ``None`` if none is left."""
        schema = self.schema or _infer_schema(records)
        arrays = self._convert(records, schema) if schema else None
        if arrays is not None:
            self.schema = schema
            return pa.record_batch(arrays, schema=schema)
        good = self._one_by_one(records, place)
        if not good:
            return None
        assert self.schema is not None
        return pa.record_batch(
            [pa.array([r.get(f.name) for r in good], f.type) for f in self.schema], schema=self.schema
        )

    def batch(self, batch: pa.RecordBatch, place: Place, *, where: str) -> pa.RecordBatch | None:
        """A batch of a file that has a schema of its own, cast to the schema of this read.

        Raises:
            DataError: A required column is missing, or a column has another type or is not known.
        """
        for name in self.required:
            if name not in batch.schema.names:
                raise DataError(
                    f'there is no column "{name}"; columns: {", ".join(batch.schema.names)}',
                    code="data.missing-field",
                    where=where,
                )
        schema = self.schema = self.schema or batch.schema.remove_metadata()
        if self.asked is None and (extra := set(batch.schema.names) ^ set(schema.names)):
            raise DataError(
                f"columns differ from those of the first file: {', '.join(sorted(extra))}",
                code="data.schema-drift",
                where=where,
                hint="name the columns to read, so that others do not matter",
            )
        arrays = [_cast(batch, field, where) for field in schema]
        fitted = pa.record_batch(arrays, schema=schema)
        if any(fitted.column(name).null_count for name in self.required):
            good = pa.array(np.logical_and.reduce([fitted.column(n).is_valid().to_numpy(False) for n in self.required]))
            for index, (keep, *values) in enumerate(
                zip(good.to_pylist(), *(fitted.column(n) for n in self.required), strict=True)
            ):
                if not keep:
                    name = next(n for n, v in zip(self.required, values, strict=True) if not v.is_valid)
                    record = fitted.slice(index, 1).to_pylist()[0]
                    self._quarantine.add(where=place(index), reason=f'field "{name}" is null', record=record)
            fitted = fitted.filter(good)
        return fitted if fitted.num_rows else None

    def _convert(self, records: Sequence[Record], schema: pa.Schema) -> list[pa.Array] | None:
        """All records at once, or ``None`` if any of them needs a closer look."""
        if self.asked is None:
            known = set(schema.names)
            if any(not known.issuperset(record) for record in records):
                return None
        arrays = list[pa.Array]()
        for field in schema:
            values = [record.get(field.name) for record in records]
            array = _array(values, field.type)
            if array is None or (array.null_count and field.name in self.required):
                return None
            arrays.append(array)
        return arrays if set(self.required) <= set(schema.names) else None

    def _one_by_one(self, records: Sequence[Record], place: Place) -> list[Record]:
        if self.schema is None:
            self.schema = self._merged_schema(records)
        good = list[Record]()
        for index, record in enumerate(records):
            reason = self._problem(record, self.schema)
            if reason is None:
                good.append(record)
            else:
                self._quarantine.add(where=place(index), reason=reason, record=record)
        return good

    def _merged_schema(self, records: Sequence[Record]) -> pa.Schema:
        """The types that the first records agree on; a later value that contradicts them changes nothing."""
        types = dict[str, pa.DataType]()
        for record in records:
            if any(record.get(name) is None for name in self.required):
                continue
            for name, value in record.items():
                before = types.get(name, pa.null())
                types[name] = _widened(before, [value]) or before
        return pa.schema(list(types.items()))

    def _problem(self, record: Record, schema: pa.Schema) -> str | None:
        for name in self.required:
            if name not in record:
                return f'missing field "{name}"'
            if record[name] is None:
                return f'field "{name}" is null'
        for name, value in record.items():
            index = schema.get_field_index(name)
            if index < 0:
                if self.asked is None:
                    return "field that the first records do not have"
            elif _array([value], schema.field(index).type) is None:
                return f'field "{name}" is not {schema.field(index).type}'
        return None


def _infer_schema(records: Sequence[Record]) -> pa.Schema | None:
    names = dict[str, None]()
    for record in records:
        names.update(dict.fromkeys(record))
    fields = list[tuple[str, pa.DataType]]()
    for name in names:
        kind = _widened(pa.null(), [record.get(name) for record in records])
        if kind is None:
            return None
        fields.append((name, kind))
    return pa.schema(fields) if fields else None


def _widened(kind: pa.DataType, values: Sequence[Any]) -> pa.DataType | None:
    """The narrowest type that holds ``kind`` and the values, or ``None`` if there is none."""
    try:
        found = pa.infer_type(values)
        merged = pa.unify_schemas([pa.schema([("x", kind)]), pa.schema([("x", found)])], promote_options="permissive")
        # Inference alone takes [1, "a"] for strings; building the array is what tells.
        pa.array(values, merged.field(0).type)
    except (pa.ArrowException, OverflowError):
        return None
    return merged.field(0).type


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array | None:
    """The values as an array of that type, or ``None`` if one of them is of another type."""
    try:
        if pa.types.is_nested(kind):
            # Arrow would silently leave out struct fields that the type does not have.
            if _widened(kind, values) != kind:
                return None
        elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            found = pa.infer_type(values)
            if not _same_family(found, kind):
                return None
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError):
        return None


def _same_family(found: pa.DataType, kind: pa.DataType) -> bool:
    types = pa.types
    if found == kind or types.is_null(found):
        return True
    if types.is_floating(kind):
        return types.is_integer(found) or types.is_floating(found)
    if types.is_integer(kind):
        return types.is_integer(found)
    textual = (types.is_string, types.is_large_string, types.is_string_view)
    return any(t(found) for t in textual) and any(t(kind) for t in textual)


def _cast(batch: pa.RecordBatch, field: pa.Field, where: str) -> pa.Array:
    index = batch.schema.get_field_index(field.name)
    if index < 0:
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(index)
    if column.type == field.type:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        if not (_same_family(column.type, field.type) or pa.types.is_nested(field.type)):
            raise pa.ArrowTypeError("another kind of value")
        return column.cast(field.type)
    except (pa.ArrowException, OverflowError) as error:
        raise DataError(
            f'column "{field.name}" is {column.type}, not {field.type}', code="data.wrong-type", where=where
        ) from error
