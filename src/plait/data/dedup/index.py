"""An index of near duplicates on disk: what earlier releases hold, found again without reading them.

    index = Index.create(folder)
    index.add(batch, release="2026-05")
    index.find(other)          # row, release, id, jaccard, containment

    FOLDER/manifest.json       settings, and the names of the runs that count
    FOLDER/runs/RUN/           see `plait.data.dedup.runs`

Growing writes a new run and then replaces the manifest by one rename: a reader sees the index before or after, and a
writer killed half way leaves it as it was. Sixteen times as many documents are one merge more: runs of about the same
size are merged when they are more than sixteen. A document takes 12 bytes per band (444 with the defaults) and 8 per
distinct shingle; until the next merge, so do those that were merged.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from plait.data.dedup.manifest import MANIFEST, IndexSettings, Manifest
from plait.data.dedup.runs import Run, damaged, merge
from plait.data.dedup.sets import SetStore, shared_counts
from plait.data.dedup.signatures import bands_for_recall
from plait.data.dedup.tokens import Shingling
from plait.errors import DataError

if TYPE_CHECKING:
    from plait.data.batch import Batch

_RUNS = "runs"
MATCHES = {"row": pl.Int64, "release": pl.String, "id": pl.String, "jaccard": pl.Float64, "containment": pl.Float64}
"""Columns of what `Index.find` gives: position in the batch, whose document it is like, the share of all shingles that
both have, and the share of its own shingles that the document has."""


class Index:
    """See the top of this file. Make one by `create` or `open`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._runs = [Run.open(folder / _RUNS / name, manifest.settings.bands) for name in manifest.runs]

    @classmethod
    def create(
        cls, folder: Path, *, shingling: Shingling | None = None, threshold: float = 0.7, permutations: int = 256
    ) -> Index:
        """An empty index.

        Raises:
            DataError: There is one already.
        """
        bands, rows = bands_for_recall(threshold, permutations)
        empty = Manifest(IndexSettings(shingling or Shingling(), threshold, bands, rows), {}, ())
        (folder / _RUNS).mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            if (folder / MANIFEST).exists():
                raise DataError(
                    f"{folder} holds an index already", code="data.index-exists", hint="open it, or remove it"
                )
            empty.write(folder)
        return cls(folder, empty)

    @classmethod
    def open(cls, folder: Path) -> Index:
        """An index as it is now; it does not change when others add to the folder.

        Raises:
            DataError: There is none, it is of another version, or it is damaged.
        """
        manifest = Manifest.read(folder)
        while True:
            try:
                return cls(folder, manifest)
            except FileNotFoundError as error:
                # Merged and removed while this reader was about to open it, or missing.
                found, manifest = manifest, Manifest.read(folder)
                if manifest == found:
                    raise damaged(folder, f"{error.filename} is missing") from error

    @property
    def settings(self) -> IndexSettings:
        """How it compares."""
        return self.manifest.settings

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
            manifest = Manifest.read(self.folder)
            if run.name not in manifest.added:
                run.write(self.folder / _RUNS)
                manifest = manifest.grown(run.name, len(batch))
                manifest.write(self.folder)
                if alike := manifest.alike():
                    self._merge(manifest, alike)
        return Index.open(self.folder)

    def merge(self) -> Index:
        """The same documents in one run, which is quicker to search; what is found stays the same."""
        with _locked(self.folder):
            manifest = Manifest.read(self.folder)
            if len(manifest.runs) > 1:
                self._merge(manifest, tuple(manifest.runs))
        return Index.open(self.folder)

    def _merge(self, manifest: Manifest, names: tuple[str, ...]) -> None:
        runs, bands = self.folder / _RUNS, self.settings.bands
        try:
            opened = [Run.open(runs / name, bands) for name in names]
        except FileNotFoundError as error:
            raise damaged(self.folder, f"{error.filename} is missing") from error
        merged = merge(opened, names, runs)
        manifest.merged(names, merged).write(self.folder)
        # Readers may be opening what was merged just now; what no manifest named before goes.
        for folder in runs.iterdir():
            if folder.name not in manifest.runs and folder.name != merged:
                shutil.rmtree(folder)

    def find(self, batch: Batch, *, text_key: str = "text", before: str | None = None) -> pl.DataFrame:
        """Documents at least as similar as the threshold asks, by exact Jaccard similarity; see `MATCHES`.

        Args:
            batch: Rows to look up.
            text_key: Field of their text.
            before: Look at releases named lower than this only.
        """
        found = [pl.DataFrame(schema=MATCHES), *self._matches(batch.text(text_key), before)]
        # Documents added twice are found once.
        return pl.concat(found).unique().sort("row", "release", "id")

    def nearest(self, batch: Batch, *, text_key: str = "text", before: str | None = None) -> pl.DataFrame:
        """Of each row that is like a document, the most similar one, the first by release and id of equally similar.

        The same rows and columns as of `find`; a page that is everywhere does not take the memory of all its copies.
        """
        found = pl.DataFrame(schema=MATCHES)
        for some in self._matches(batch.text(text_key), before):
            best = pl.concat([found, some]).sort("row", -pl.col("jaccard"), "release", "id")
            found = best.unique("row", keep="first", maintain_order=True)
        return found

    def _matches(self, texts: pl.Series, before: str | None) -> Iterator[pl.DataFrame]:
        keys, values, starts = self.settings.keys_and_sets(texts)
        own = SetStore.of(values, starts)
        for run in self._runs:
            for rows, places in run.candidates(keys):
                shared = shared_counts(own, run.sets, rows, places)
                sizes, others = own.size[rows], run.sets.size[places]
                similarity = shared / np.maximum(sizes + others - shared, 1)
                near = similarity >= self.settings.threshold
                matches = pl.DataFrame(
                    {
                        "row": rows[near],
                        **run.documents[places[near]].to_dict(),
                        "jaccard": similarity[near],
                        "containment": shared[near] / sizes[near],
                    },
                    schema=MATCHES,
                )
                yield matches if before is None else matches.filter(pl.col("release") < before)


class Latest:
    """An index that may grow: opened once, and again when it has grown."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index: Index | None = None

    def index(self) -> Index:
        """As it is now."""
        index = self._index
        if index is None or index.manifest != Manifest.read(self._folder):
            index = self._index = Index.open(self._folder)
        return index


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
