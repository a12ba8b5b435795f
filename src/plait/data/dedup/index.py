"""An index of near duplicates on disk: what earlier releases hold, found again without reading them.

    index = Index.create(folder)
    index.add(batch, release="2026-05")
    index.find(other)          # row, release, id, jaccard, containment

    FOLDER/manifest.json       settings, and the names of the runs that count
    FOLDER/runs/RUN/           see `plait.data.dedup.runs`

Growing writes a new run and then replaces the manifest by one rename: a reader sees the index before or after, and a
writer killed half way leaves it as it was. A document takes 12 bytes per band (444 with the defaults) and 8 per
distinct shingle.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from plait.data.dedup.runs import Run, sync
from plait.data.dedup.sets import SetStore, shared_counts
from plait.data.dedup.signatures import band_keys, bands_for_recall
from plait.data.dedup.tokens import Shingling
from plait.errors import DataError

if TYPE_CHECKING:
    from plait.data.batch import Batch

_MANIFEST, _RUNS = "manifest.json", "runs"
_MOST_RUNS = 16
_VERSION = 3
MATCHES = {"row": pl.Int64, "release": pl.String, "id": pl.String, "jaccard": pl.Float64, "containment": pl.Float64}
"""Columns of what `Index.find` gives: position in the batch, whose document it is like, the share of all shingles that
both have, and the share of its own shingles that the document has."""


@dataclass(frozen=True)
class IndexSettings:
    """What must stay the same as long as an index grows.

    Args:
        shingling: How texts become shingles.
        threshold: Least Jaccard similarity that is found.
        bands: Bands of the signature.
        rows: Entries per band.
    """

    shingling: Shingling
    threshold: float
    bands: int
    rows: int

    def keys_and_sets(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Band keys ``[texts, bands]``, shingle sets, and where each starts."""
        values, starts = self.shingling.sets(texts)
        return band_keys(values, starts, bands=self.bands, rows=self.rows), values, starts


class Index:
    """See the top of this file. Make one by `create` or `open`."""

    def __init__(self, folder: Path, settings: IndexSettings, runs: tuple[str, ...]) -> None:
        self.folder = folder
        self.settings = settings
        self._names = runs
        self._runs = [Run.open(folder / _RUNS / name) for name in runs]

    @classmethod
    def create(
        cls, folder: Path, *, shingling: Shingling | None = None, threshold: float = 0.7, permutations: int = 256
    ) -> Index:
        """An empty index.

        Raises:
            DataError: There is one already.
        """
        if (folder / _MANIFEST).exists():
            raise DataError(f"{folder} holds an index already", code="data.index-exists", hint="open it, or remove it")
        bands, rows = bands_for_recall(threshold, permutations)
        settings = IndexSettings(shingling or Shingling(), threshold, bands, rows)
        (folder / _RUNS).mkdir(parents=True, exist_ok=True)
        _write_manifest(folder, settings, ())
        return cls(folder, settings, ())

    @classmethod
    def open(cls, folder: Path) -> Index:
        """An index as it is now; it does not change when others add to the folder.

        Raises:
            DataError: There is none.
        """
        return cls(folder, *_read_manifest(folder))

    @property
    def count(self) -> int:
        """Number of documents."""
        return sum(run.documents.height for run in self._runs)

    @property
    def releases(self) -> list[str]:
        """All releases, in order of their names."""
        return sorted({release for run in self._runs for release in run.documents["release"].unique()})

    def add(self, batch: Batch, *, release: str, text_key: str = "text", id_key: str = "id") -> Index:
        """The index with some documents more. Adding the same batch again changes nothing."""
        ids = batch.column(id_key).cast(pl.String)
        documents = pl.DataFrame({"release": pl.Series([release] * len(batch), dtype=pl.String), "id": ids})
        run = Run.of(documents, *self.settings.keys_and_sets(batch.text(text_key)))
        with _locked(self.folder):
            name = run.write(self.folder / _RUNS)
            settings, names = _read_manifest(self.folder)
            if name not in names:
                _write_manifest(self.folder, settings, (*names, name))
        grown = Index.open(self.folder)
        return grown.merge() if len(grown._names) > _MOST_RUNS else grown

    def merge(self) -> Index:
        """The same documents in one run, which is quicker to search; what is found stays the same."""
        with _locked(self.folder):
            settings, names = _read_manifest(self.folder)
            if len(names) < 2:
                return Index.open(self.folder)
            runs = self.folder / _RUNS
            merged = Run.merged([Run.open(runs / name) for name in names]).write(runs)
            _write_manifest(self.folder, settings, (merged,))
            # Readers may be opening what was merged just now; what no manifest named before goes.
            for folder in runs.iterdir():
                if folder.name not in (*names, merged):
                    shutil.rmtree(folder)
        return Index.open(self.folder)

    def find(self, batch: Batch, *, text_key: str = "text", before: str | None = None) -> pl.DataFrame:
        """Documents at least as similar as the threshold asks, by exact Jaccard similarity; see `MATCHES`.

        Args:
            batch: Rows to look up.
            text_key: Field of their text.
            before: Look at releases named lower than this only.
        """
        keys, values, starts = self.settings.keys_and_sets(batch.text(text_key))
        own = SetStore.of(values, starts)
        found = [pl.DataFrame(schema=MATCHES)]
        for run in self._runs:
            rows, places = run.candidates(keys)
            shared = shared_counts(own, run.sets, rows, places)
            sizes, others = own.size[rows], run.sets.size[places]
            similarity = shared / np.maximum(sizes + others - shared, 1)
            near = similarity >= self.settings.threshold
            found.append(
                pl.DataFrame(
                    {
                        "row": rows[near],
                        **run.documents[places[near]].to_dict(),
                        "jaccard": similarity[near],
                        "containment": shared[near] / sizes[near],
                    },
                    schema=MATCHES,
                )
            )
        matches = pl.concat(found)
        if before is not None:
            matches = matches.filter(pl.col("release") < before)
        # Documents added twice are found once.
        return matches.unique().sort("row", "release", "id")


def _read_manifest(folder: Path) -> tuple[IndexSettings, tuple[str, ...]]:
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"there is no index in {folder}",
            code="data.no-index",
            hint="make one with `plait data index add FOLDER FILES`, or Index.create",
        ) from error
    if manifest["version"] != _VERSION:
        raise DataError(
            f"the index in {folder} has version {manifest['version']}, this release reads {_VERSION}",
            code="data.index-version",
            hint="build it again from the documents",
        )
    settings = manifest["settings"]
    shingling = Shingling(**settings.pop("shingling"))
    return IndexSettings(shingling, **settings), tuple(manifest["runs"])


def _write_manifest(folder: Path, settings: IndexSettings, runs: tuple[str, ...]) -> None:
    part = folder / f"{_MANIFEST}.{os.getpid()}.partial"
    manifest = {"version": _VERSION, "settings": asdict(settings), "runs": runs}
    part.write_text(json.dumps(manifest, indent=1, sort_keys=True))
    sync(part)
    part.replace(folder / _MANIFEST)
    sync(folder)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
