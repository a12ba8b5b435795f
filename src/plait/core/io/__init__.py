"""Reading and writing records: any common format in, Arrow batches out, bad records set aside.

    for batch in read_batches(Path("web.jsonl.gz"), required=["text"], quarantine=quarantine):
        ...
    write_table(table, Path("documents.parquet"))

A file is read in pieces, so its size does not matter. A record that cannot be used is quarantined with its
reason and ``file:line`` and nothing else is lost: records read = rows given + records quarantined. A file that
cannot be used as a whole (missing, empty, cut off, of another schema) is a `plait.errors.DataError` that names it.
"""

from __future__ import annotations

from plait.core.io.readers import read_batches, read_table
from plait.core.io.writers import writable, write_table

__all__ = ["read_batches", "read_table", "writable", "write_table"]
