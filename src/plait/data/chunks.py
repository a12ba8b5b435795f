"""What is kept on disk of each chunk a pass has visited: a folder named by all that decides its content.

    KEY/rows.arrow      the rows kept, as the mappers left them
    KEY/fates.arrow     what became of every row that came in
    KEY/samples.arrow   some rows that were dropped or changed
    KEY/12.bands.npy    what barrier 12 decides by
    KEY/rejects.jsonl   records that could not be read
    KEY/about.json      counts, and what making it took
    used.json           which of them the last runs were made of

A folder appears by one rename when it is whole, so finding it is enough to use it again.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from plait.core.folder import write_json
from plait.data.visit import Spent, Visit
from plait.errors import DataError, nearest

REMEMBERED = 2
"""Runs of unequal settings whose results are kept: going to and fro between two costs nothing, disk stays bounded."""

_ROWS, _FATES, _SAMPLES = "rows.arrow", "fates.arrow", "samples.arrow"
_ABOUT, _REJECTS = "about.json", "rejects.jsonl"
_USED = "used.json"  # beside the results, the names that each remembered run used, the latest run last


@dataclass(frozen=True)
class Chunk:
    """The result of one pass over one chunk.

    Args:
        folder: Where it lies.
        read: Rows that came in.
        count: Rows kept.
        rejects: Records that could not be read, by reason.
        spent: By index of the operation, what making it took.
    """

    folder: Path
    read: int
    count: int
    rejects: Mapping[str, int]
    spent: Mapping[int, Spent]

    @classmethod
    def open(cls, folder: Path) -> Chunk:
        """A finished result."""
        about = json.loads((folder / _ABOUT).read_bytes())
        spent = {int(index): Spent(**facts) for index, facts in about["spent"].items()}
        return cls(folder, about["read"], about["count"], about["rejects"], spent)

    def rows(self) -> pl.DataFrame:
        """The rows kept."""
        return _read(self.folder / _ROWS)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of the rows kept, mapped from the file; the others are not read. A dot leads into a struct.

        Raises:
            DataError: There is no such field.
        """
        with pa.memory_map(str(self.folder / _ROWS)) as source, pa.ipc.open_file(source) as file:
            fields = file.schema.names
            first, *rest = [name] if name in fields else name.split(".")
            if first not in fields:
                known = [field for field in fields if not field.startswith("__")]
                raise DataError(f'there is no field "{name}"', code="data.missing-field", hint=nearest(first, known))
            at = fields.index(first)
            arrays = [file.get_batch(i).column(at) for i in range(file.num_record_batches)]
            column = pa.chunked_array(arrays, file.schema.field(at).type)
        for part in rest:
            import pyarrow.compute as pc

            if not pa.types.is_struct(column.type) or column.type.get_field_index(part) < 0:
                raise DataError(f'there is no field "{name}"', code="data.missing-field")
            column = pc.call_function("struct_field", [column], pc.StructFieldOptions([part]))
        return column

    def fates(self) -> pl.DataFrame:
        """What became of every row that came in; see `plait.data.visit.Visit`."""
        return _read(self.folder / _FATES)

    def samples(self) -> pl.DataFrame:
        """Some rows that were dropped or changed; see `plait.data.visit.Visit`."""
        return _read(self.folder / _SAMPLES)

    def key(self, barrier: int, name: str, columns: slice | None = None) -> np.ndarray:
        """What a barrier decides by, ``[rows]`` or ``[rows, n]``, or some of its columns; texts as objects.

        Read, not mapped: a barrier looks at one column of all chunks after the other, and mapped pages would add up.
        """
        stem = f"{barrier}.{name}"
        if (self.folder / f"{stem}.arrow").exists():
            return _read(self.folder / f"{stem}.arrow")[name].to_numpy()
        dtype, shape, offset = _header(self.folder / f"{stem}.npy")
        with (self.folder / f"{stem}.npy").open("rb") as stored:
            if len(shape) == 1:
                stored.seek(offset)
                return np.fromfile(stored, dtype, shape[0])
            first, last, _ = (columns or slice(None)).indices(shape[0])
            stored.seek(offset + first * shape[1] * dtype.itemsize)
            return np.fromfile(stored, dtype, (last - first) * shape[1]).reshape(last - first, shape[1]).T

    def rejected(self) -> Iterator[Mapping[str, Any]]:
        """Records that could not be read: where, reason, record."""
        if self.rejects:
            with (self.folder / _REJECTS).open("rb") as lines:
                yield from map(json.loads, lines)


def finished(folder: Path) -> Chunk | None:
    """The result, if an earlier run left it."""
    return Chunk.open(folder) if (folder / _ABOUT).exists() else None


def store(visited: Visit, rejects: Path, counts: Mapping[str, int], target: Path) -> Chunk:
    """Keep what a visit gave.

    Args:
        visited: The result of a pass.
        rejects: A quarantine file, if any record was set aside.
        counts: How many, by reason.
        target: The folder to make.
    """
    part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{target.name[:8]}-", suffix=".partial"))
    _write(visited.batch.frame, part / _ROWS)
    _write(visited.fates, part / _FATES)
    _write(visited.samples, part / _SAMPLES)
    for barrier, keys in visited.keys.items():
        for name, values in keys.items():
            if isinstance(values, pl.Series) and not values.dtype.is_numeric():
                _write(values.alias(name).to_frame(), part / f"{barrier}.{name}.arrow")
                continue
            array = np.asarray(values)
            # By column, so that a barrier that looks at one column after the other reads each in one go.
            np.save(part / f"{barrier}.{name}.npy", np.ascontiguousarray(array.T), allow_pickle=False)
    if counts:
        shutil.copyfile(rejects, part / _REJECTS)
    spent = {index: asdict(one) for index, one in visited.spent.items()}
    about = {"read": visited.fates.height, "count": len(visited.batch), "rejects": dict(counts), "spent": spent}
    (part / _ABOUT).write_text(json.dumps(about, sort_keys=True))
    for file in part.iterdir():
        _sync(file)
    try:
        part.rename(target)
    except OSError:
        # Another worker finished the same chunk: its content is equal.
        if not (target / _ABOUT).exists():
            raise
        shutil.rmtree(part)
    _sync(target.parent)
    return Chunk.open(target)


def prune(folder: Path, used: Collection[str]) -> None:
    """Remove what neither this run nor the one before it used, as far as that had other settings or another input.

    Args:
        folder: Where results lie; no other process may work in it.
        used: Names of the results that a finished run was made of.
    """
    names, record = sorted(used), folder / _USED
    runs: list[list[str]] = json.loads(record.read_bytes()) if record.exists() else []
    runs = [*(run for run in runs if run != names), names][-REMEMBERED:]
    write_json(record, runs)
    kept = set(chain.from_iterable(runs))
    for result in folder.iterdir():
        if result.is_dir() and result.name not in kept:
            # By a new name first: a result that is half gone must not be found.
            gone = result.rename(result.with_suffix(".partial"))
            shutil.rmtree(gone)


@lru_cache(maxsize=65_536)
def _header(path: Path) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """Type, shape and start of an array file."""
    with path.open("rb") as stored:
        np.lib.format.read_magic(stored)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stored)
        return dtype, shape, stored.tell()


def _write(frame: pl.DataFrame, path: Path) -> None:
    frame.write_ipc(path, compression="uncompressed", compat_level=pl.CompatLevel.oldest())


def _read(path: Path) -> pl.DataFrame:
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        return cast("pl.DataFrame", pl.from_arrow(file.read_all()))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
