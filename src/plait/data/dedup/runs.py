"""Runs of an index: band keys in order, and the shingle sets behind them, in a folder that never changes.

    RUN/documents.arrow    release and id of each document
    RUN/keys.npy           keys of each band in ascending order, uint64 [bands, documents]
    RUN/places.npy         whose they are, uint32 [bands, documents]
    RUN/values.npy         shingle sets one after the other, uint64
    RUN/starts.npy         where each starts, int64 [documents + 1]

A run is named by its content, so the same documents written twice are the same run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from xxhash import xxh3_128

from plait.data.dedup.groups import ascending
from plait.data.dedup.sets import SetStore
from plait.data.utf8 import starts_of

_ARRAYS = ("keys", "places", "values", "starts")


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
    def open(cls, folder: Path) -> Run:
        """A run on disk; its arrays are mapped."""
        keys, places, values, starts = (_mapped(folder / f"{name}.npy") for name in _ARRAYS)
        documents = pl.read_ipc(folder / "documents.arrow")
        return cls(documents, keys, places, SetStore.of(values, np.asarray(starts)))

    @classmethod
    def merged(cls, runs: Sequence[Run]) -> Run:
        """All documents of some runs as one."""
        keys = np.concatenate([run.by_document() for run in runs])
        starts = starts_of(np.concatenate([run.sets.size for run in runs]))
        values = np.concatenate([run.sets.values[: int(run.sets.size.sum())] for run in runs])
        return cls.of(pl.concat([run.documents for run in runs]), keys, values, starts)

    def by_document(self) -> np.ndarray:
        """The keys as they were given, uint64 ``[documents, bands]``."""
        keys = np.empty(self.keys.shape, np.uint64)
        np.put_along_axis(keys, self.places.astype(np.int64), np.asarray(self.keys), axis=1)
        return keys.T

    def write(self, folder: Path) -> str:
        """Keep it as a folder of its own, whole or not at all; its name is returned."""
        starts = starts_of(self.sets.size)
        arrays = dict(zip(_ARRAYS, (self.keys, self.places, self.sets.values, starts), strict=True))
        digest = xxh3_128()
        for column in ("release", "id"):
            digest.update("\0".join(self.documents[column].to_list()).encode())
        for array in arrays.values():
            digest.update(np.ascontiguousarray(array).tobytes())
        target = folder / digest.hexdigest()
        if target.exists():
            return target.name
        part = Path(tempfile.mkdtemp(dir=folder, suffix=".partial"))
        for name, array in arrays.items():
            np.save(part / f"{name}.npy", array, allow_pickle=False)
        self.documents.write_ipc(part / "documents.arrow")
        for file in part.iterdir():
            sync(file)
        try:
            part.rename(target)
        except OSError:
            # Somebody else wrote the same run meanwhile.
            if not target.exists():
                raise
            shutil.rmtree(part)
        sync(folder)
        return target.name

    def candidates(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pairs that share the key of a band: rows asked for, in order, and documents, int64 ``[pairs]``.

        Args:
            keys: Of the rows asked for, uint64 ``[rows, bands]``.
        """
        found = [np.zeros(0, np.int64)]
        for band in range(keys.shape[1]):
            own = np.flatnonzero(keys[:, band])
            first = np.searchsorted(self.keys[band], keys[own, band], side="left")
            last = np.searchsorted(self.keys[band], keys[own, band], side="right")
            counts = last - first
            at = np.repeat(first - starts_of(counts)[:-1], counts) + np.arange(counts.sum())
            found.append(np.repeat(own, counts) << 32 | self.places[band][at].astype(np.int64))
        pairs = ascending(np.concatenate(found))
        return pairs >> 32, pairs & 0xFFFFFFFF


def sync(path: Path) -> None:
    """Make sure that a file, or what a folder holds, is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _mapped(path: Path) -> np.ndarray:
    whole = np.load(path, allow_pickle=False, mmap_mode="r") if path.stat().st_size > 4_096 else np.load(path)
    return np.asarray(whole)
