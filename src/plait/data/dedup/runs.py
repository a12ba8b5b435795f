"""Runs of an index: band keys in order, and the shingle sets behind them, in a folder that never changes.

    RUN/documents.arrow    release and id of each document
    RUN/keys.npy           keys of each band in ascending order, uint64 [bands, documents]
    RUN/places.npy         whose they are, uint32 [bands, documents]
    RUN/values.npy         shingle sets one after the other, uint64
    RUN/starts.npy         where each starts, int64 [documents + 1]

A run is named by its content, so the same documents written twice are the same run; one of several merged, by theirs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from xxhash import xxh3_128

from plait.data.dedup.groups import ascending
from plait.data.dedup.sets import SetStore
from plait.data.utf8 import starts_of
from plait.errors import DataError

_ARRAYS = {"keys": np.uint64, "places": np.uint32, "values": np.uint64, "starts": np.int64}
_COPIED = 1 << 20
"""Values copied at a time when runs are merged."""
PAIRS_AT_ONCE = 1 << 20
"""Candidates looked up at a time, or those of one row."""


@dataclass(frozen=True)
class Run:
    """Some documents of an index.

    Args:
        documents: Columns ``release`` and ``id``.
        keys: Ascending per band, uint64 ``[bands, documents]``; 0 for a text without shingles.
        places: Whose they are, uint32 ``[bands, documents]``.
        sets: The documents' shingles.
    """

    documents: pl.DataFrame
    keys: np.ndarray
    places: np.ndarray
    sets: SetStore

    @classmethod
    def of(cls, documents: pl.DataFrame, keys: np.ndarray, values: np.ndarray, starts: np.ndarray) -> Run:
        """A run of documents.

        Args:
            documents: Columns ``release`` and ``id``.
            keys: As `plait.data.dedup.signatures.band_keys` gives them, uint64 ``[documents, bands]``.
            values: Their shingle sets, uint64.
            starts: Where each starts, int64 ``[documents + 1]``.
        """
        places = np.argsort(keys.T, axis=1, kind="stable").astype(np.uint32)
        ordered = np.take_along_axis(keys.T, places.astype(np.int64), axis=1)
        return cls(documents, ordered, places, SetStore.of(values, starts))

    @classmethod
    def open(cls, folder: Path, bands: int) -> Run:
        """A run on disk; its arrays are mapped.

        Raises:
            DataError: It is damaged: a file is missing, cut short, or of another run.
        """
        try:
            keys, places, values, starts = (_mapped(folder / f"{name}.npy", kind) for name, kind in _ARRAYS.items())
            documents = pl.read_ipc(folder / "documents.arrow")
        except FileNotFoundError:
            raise  # by a reader's own fault, perhaps: see `plait.data.dedup.index.Index.open`
        except (OSError, ValueError, EOFError, pl.exceptions.PolarsError) as error:
            raise damaged(folder, str(error)) from error
        n = documents.height
        if not keys.shape == places.shape == (bands, n) or starts.shape != (n + 1,):
            raise damaged(folder, f"{n} documents, but keys {keys.shape} and sets {starts.shape}")
        sizes = np.diff(starts)
        if starts[0] != 0 or starts[-1] != len(values) or (sizes < 0).any():
            raise damaged(folder, f"sets of {starts[-1]} values, but there are {len(values)}")
        return cls(documents, keys, places, SetStore(values, starts[:-1], sizes))

    @cached_property
    def name(self) -> str:
        """A hash of all it holds."""
        digest = xxh3_128()
        for column in ("release", "id"):
            digest.update("\0".join(self.documents[column].fill_null("").to_list()).encode())
        for array in self._arrays:
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.keys, self.places, self.sets.values, starts_of(self.sets.size)

    def write(self, folder: Path) -> None:
        """Keep it as a folder of its own, whole or not at all."""
        if not (folder / self.name).exists():
            with _whole(folder / self.name) as part:
                for name, array in zip(_ARRAYS, self._arrays, strict=True):
                    _save(part / f"{name}.npy", array.shape, [array])
                self.documents.write_ipc(part / "documents.arrow")

    def candidates(self, keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs that share the key of a band: rows asked for, in order, and documents, int64 ``[pairs]``.

        They come some rows at a time, because a page that is everywhere has as many candidates as copies.

        Args:
            keys: Of the rows asked for, uint64 ``[rows, bands]``.

        Raises:
            DataError: A candidate is no document: the run is damaged.
        """
        first = np.stack([np.searchsorted(own, keys[:, band], side="left") for band, own in enumerate(self.keys)])
        last = np.stack([np.searchsorted(own, keys[:, band], side="right") for band, own in enumerate(self.keys)])
        last[keys.T == 0] = first[keys.T == 0]
        total = starts_of((last - first).sum(axis=0))
        begin = 0
        while begin < len(keys):
            end = int(np.searchsorted(total, total[begin] + PAIRS_AT_ONCE, side="right")) - 1
            end = min(max(end, begin + 1), len(keys))
            if total[begin] < total[end]:
                yield self._pairs(begin, first[:, begin:end], last[:, begin:end])
            begin = end

    def _pairs(self, begin: int, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = list[np.ndarray]()
        for band, places in enumerate(self.places):
            counts = last[band] - first[band]
            at = np.repeat(first[band] - starts_of(counts)[:-1], counts) + np.arange(counts.sum())
            row = np.repeat(np.arange(begin, begin + len(counts)), counts)
            found.append(row << 32 | places[at].astype(np.int64))
        pairs = ascending(np.concatenate(found))
        rows, places = pairs >> 32, pairs & 0xFFFFFFFF
        if places.max(initial=0) >= self.documents.height:
            raise DataError(
                f"an index names document {places.max()} of a run of {self.documents.height}",
                code="data.index-damaged",
                hint="copy the index again from where it is whole, or build it again from the documents",
            )
        return rows, places


def damaged(what: Path, why: str) -> DataError:
    """The error for an index that cannot be read."""
    return DataError(
        f"the index is damaged: {why}",
        code="data.index-damaged",
        where=str(what),
        hint="copy the index again from where it is whole, or build it again from the documents",
    )


def merge(runs: Sequence[Run], names: Sequence[str], folder: Path) -> str:
    """Write all documents of some runs as one; its name is returned.

    One band of all runs is in memory at a time, and of the sets a few megabytes.

    Args:
        runs: The runs.
        names: Their names.
        folder: Where runs are.
    """
    target = folder / xxh3_128("\0".join(names).encode()).hexdigest()
    if target.exists():
        return target.name
    sizes = np.concatenate([run.sets.size for run in runs])
    before = starts_of(np.array([run.documents.height for run in runs]))
    shape = (len(runs[0].keys), len(sizes))
    with _whole(target) as part:
        _save(part / "keys.npy", shape, (_merged(runs, before, band)[0] for band in range(shape[0])))
        _save(part / "places.npy", shape, (_merged(runs, before, band)[1] for band in range(shape[0])))
        _save(part / "values.npy", (int(sizes.sum()),), (some for run in runs for some in _pieces(run.sets.values)))
        _save(part / "starts.npy", (len(sizes) + 1,), [starts_of(sizes)])
        pl.concat([run.documents for run in runs]).write_ipc(part / "documents.arrow")
    return target.name


def _merged(runs: Sequence[Run], before: np.ndarray, band: int) -> tuple[np.ndarray, np.ndarray]:
    keys = np.concatenate([run.keys[band] for run in runs])
    order = np.argsort(keys, kind="stable")
    places = np.concatenate(
        [run.places[band] + np.uint32(first) for run, first in zip(runs, before[:-1].tolist(), strict=True)]
    )
    return keys[order], places[order]


def _pieces(values: np.ndarray) -> Iterator[np.ndarray]:
    for begin in range(0, len(values), _COPIED):
        yield values[begin : begin + _COPIED]


@contextmanager
def _whole(target: Path) -> Generator[Path]:
    """A folder to write to, that gets its name when all is on disk."""
    part = Path(tempfile.mkdtemp(dir=target.parent, suffix=".partial"))
    yield part
    for file in [*part.iterdir(), part]:
        sync(file)
    try:
        part.rename(target)
    except OSError:
        # Somebody else wrote the same run meanwhile.
        if not target.exists():
            raise
        shutil.rmtree(part)
    sync(target.parent)


def _save(path: Path, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    """Parts of an array, one after the other, as a file of NumPy's."""
    described = {"descr": np.dtype(_ARRAYS[path.stem]).str, "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, described)
        for part in parts:
            part.tofile(file)


def sync(path: Path) -> None:
    """Make sure that a file, or what a folder holds, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _mapped(path: Path, kind: type) -> np.ndarray:
    whole = np.load(path, allow_pickle=False, mmap_mode="r") if path.stat().st_size > 4_096 else np.load(path)
    if whole.dtype != kind:
        raise ValueError(f"{path.name} holds {whole.dtype}")
    return np.asarray(whole)
