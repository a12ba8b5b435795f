"""Ids for records that have none: they depend on the content and the place in the input, and on nothing else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from xxhash import xxh3_64_hexdigest


def with_ids(table: pa.Table, id_key: str, text_key: str, position: str) -> pa.Table:
    """The rows with an id each, in the first column or in place of nulls; ids that are there stay.

    An id is ``HASH-FILE.OFFSET.ROW``: XXH3 of the text (of the whole record if there is no such field), the number
    of the file among those of the input, the offset of its block, and the row in that. So it stays the same
    however often the input is read, and two records never share one, also if their texts are equal.

    Example:
        >>> rows = with_ids(pa.table({"text": ["one", "one"]}), "id", "text", "0.0")
        >>> rows["id"].to_pylist()
        ['911faba7321fe1a0-0.0.0', '911faba7321fe1a0-0.0.1']
    """
    there = table[id_key] if id_key in table.column_names else None
    if there is not None and (there.null_count == 0 or not pa.types.is_string(there.type)):
        return table
    if text_key in table.column_names and pa.types.is_string(table.schema.field(text_key).type):
        contents = [value or "" for value in table[text_key].to_pylist()]
    else:
        contents = [repr(record) for record in table.to_pylist()]
    ids = [f"{xxh3_64_hexdigest(content.encode())}-{position}.{row}" for row, content in enumerate(contents)]
    if there is None:
        return table.add_column(0, id_key, pa.array(ids, pa.string()))
    filled = [given or own for given, own in zip(there.to_pylist(), ids, strict=True)]
    return table.set_column(table.column_names.index(id_key), id_key, pa.array(filled, pa.string()))


def repeated(table: pa.Table, times: np.ndarray, id_key: str) -> pa.Table:
    """Each row as often as asked; the second one of an id gets ``#2``, the third ``#3``.

    Args:
        table: The rows.
        times: How often each is taken, ``[rows]``.
        id_key: Column of ids, if there is one.

    Example:
        >>> repeated(pa.table({"id": ["a", "b", "c"]}), np.array([2, 0, 1]), "id")["id"].to_pylist()
        ['a', 'a#2', 'c']
    """
    if (times == 1).all():
        return table
    rows = np.repeat(np.arange(table.num_rows), times)
    taken = table.take(pa.array(rows))
    if id_key not in table.column_names or times.max(initial=0) < 2 or not pa.types.is_string(taken[id_key].type):
        return taken
    first = np.concatenate(([0], np.cumsum(times)))[:-1]
    copy = np.arange(len(rows)) - first[rows] + 1
    names = [
        f"{name}#{number}" if number > 1 else name
        for name, number in zip(taken[id_key].to_pylist(), copy.tolist(), strict=True)
    ]
    return taken.set_column(taken.column_names.index(id_key), id_key, pa.array(names, pa.string()))
