"""The manifest of an index: how it compares, and which runs count."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from plait.data.dedup.runs import damaged, sync
from plait.data.dedup.signatures import band_keys
from plait.data.dedup.tokens import Shingling
from plait.errors import DataError

if TYPE_CHECKING:
    import polars as pl

MANIFEST = "manifest.json"
_VERSION = 4
_ALIKE = 16
"""Runs of about the same size, at most; and how much larger those of the next size are."""


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


@dataclass(frozen=True)
class Manifest:
    """What counts of an index.

    Args:
        settings: How it compares.
        runs: Names of its runs, and how many documents each has.
        added: Names of the runs that were added, also of those that are merged by now.
    """

    settings: IndexSettings
    runs: Mapping[str, int]
    added: Sequence[str]

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of an index.

        Raises:
            DataError: There is none, it is of another version, or it is damaged.
        """
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
            version = manifest["version"]
        except FileNotFoundError as error:
            raise DataError(
                f"there is no index in {folder}",
                code="data.no-index",
                hint="make one with `plait data index add FOLDER FILES`, or Index.create",
            ) from error
        except (ValueError, LookupError, TypeError) as error:
            raise damaged(folder / MANIFEST, str(error)) from error
        if version != _VERSION:
            raise DataError(
                f"the index in {folder} has version {version}, this release reads {_VERSION}",
                code="data.index-version",
                hint="build it again from the documents",
            )
        try:
            settings = dict(manifest["settings"])
            shingling = Shingling(**settings.pop("shingling"))
            return cls(IndexSettings(shingling, **settings), manifest["runs"], manifest["added"])
        except (ValueError, LookupError, TypeError) as error:
            raise damaged(folder / MANIFEST, str(error)) from error

    def write(self, folder: Path) -> None:
        """Replace the manifest of an index, which is locked."""
        part = folder / f"{MANIFEST}.partial"
        what = {"version": _VERSION, "settings": asdict(self.settings), "runs": self.runs, "added": self.added}
        part.write_text(json.dumps(what, indent=1))
        sync(part)
        part.replace(folder / MANIFEST)
        sync(folder)

    def grown(self, run: str, documents: int) -> Manifest:
        """With a run more."""
        return replace(self, runs={**self.runs, run: documents}, added=[*self.added, run])

    def merged(self, names: Sequence[str], into: str) -> Manifest:
        """With some runs in one, in the place of the first."""
        total = sum(self.runs[name] for name in names)
        runs = dict[str, int]()
        for name, documents in self.runs.items():
            if name not in names:
                runs[name] = documents
            elif into not in runs:
                runs[into] = total
        return replace(self, runs=runs)

    def alike(self) -> tuple[str, ...]:
        """Names of so many runs of about the same size that they had better be one, and of smaller ones."""
        sizes = {name: (max(documents, 1).bit_length() - 1) // 4 for name, documents in self.runs.items()}
        for size in sorted(set(sizes.values()), reverse=True):
            if sum(own == size for own in sizes.values()) > _ALIKE:
                return tuple(name for name, own in sizes.items() if own <= size)
        return ()
