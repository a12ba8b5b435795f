"""Files that are one document each: source code, prose, HTML, PDF, Word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from xxhash import xxh3_128

from plait.core.quarantine import Quarantine
from plait.data.read.collect import Reject
from plait.data.read.extract import Unreadable, text_of
from plait.data.read.file import File, as_text
from plait.data.read.languages import BINARY, language_of
from plait.data.read.records import cast_batch
from plait.data.read.settings import Settings

SUFFIX = "__dj__suffix__"
"""Field with the suffix of the file a row came from, as in Data-Juicer; `suffix_filter` looks at it."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("language", pa.string()),
        (SUFFIX, pa.string()),
    ]
)
"""Columns of documents: the path below the folder, the text, the folder's name, the programming or markup language
its suffix tells, and the suffix."""

_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "CVS"})


@dataclass(frozen=True)
class Documents:
    """Some files of a folder, read when needed.

    Args:
        root: The folder.
        files: The files.
        settings: How records are read.
    """

    root: Path
    files: tuple[File, ...]
    settings: Settings

    @property
    def where(self) -> str:
        """The place in words."""
        return str(self.files[0].path)

    @cached_property
    def key(self) -> str:
        """Hash of the names below the folder, the contents, and the settings."""
        digest = xxh3_128(f"{self.settings.name}{as_text(self.root.name)}".encode())
        for file in self.files:
            digest.update(f"\0{self._name(file)}\0{file.size}\0".encode())
            with file.open() as stream:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
        return digest.hexdigest()

    def count(self) -> int:
        """How many files there are."""
        return len(self.files)

    def load(self, quarantine: Quarantine, times: np.ndarray | None = None) -> pa.Table:
        """The documents; files that hold no readable text go to the quarantine."""
        rows, places, good = list[dict[str, str | None]](), list[str](), list[int]()
        for number, file in enumerate(self.files):
            if times is not None and not times[number]:
                continue
            row, reject = self._read(file)
            if reject is not None:
                place, reason, record = reject
                quarantine.add(where=place, reason=reason, record=record)
            if row is not None:
                rows.append(row)
                places.append(str(file.path))
                good.append(number)
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        batch, kept = cast_batch(
            table, self.settings.schema, self.settings.required, place=places.__getitem__, quarantine=quarantine
        )
        return self.settings.finished(batch, np.array(good, np.int64)[kept], self.where, times)

    def _read(self, file: File) -> tuple[dict[str, str | None] | None, Reject | None]:
        limit = self.settings.max_line_bytes
        if file.size > limit:
            reason = f"file longer than {limit} bytes"
            return None, (str(file.path), reason, f"({file.size} bytes in all)")
        with file.open() as stream:
            data = stream.read()
        try:
            text = text_of(data, file.suffix)
        except Unreadable as error:
            return None, (str(file.path), error.reason, data[:200].decode("utf-8", "replace"))
        suffix = as_text(Path(str(file.path)).suffix)
        source = as_text(self.root.name)
        return {
            "id": self._name(file),
            "text": text,
            "source": source,
            "language": language_of(file.path),
            SUFFIX: suffix,
        }, None

    def _name(self, file: File) -> str:
        path = Path(file.path)
        return as_text(path.relative_to(self.root).as_posix() if path != self.root else path.name)


def document_files(root: Path, suffixes: Sequence[str], skipped: Counter[str]) -> list[Path]:
    """The files of a folder that may hold text, sorted by name.

    Folders of version control and other hidden ones, caches and installed packages are left out, and files whose
    suffix tells that they are no text; ``skipped`` counts the files.
    """
    if root.is_file():
        return [root]
    found = list[Path]()
    for path in sorted(root.rglob("*"), key=lambda p: p.relative_to(root).as_posix()):
        if not path.is_file():
            continue
        parts = path.relative_to(root).parts
        if any(part.startswith(".") for part in parts):
            skipped["hidden or version control"] += 1
        elif _SKIPPED_FOLDERS.intersection(parts[:-1]):
            skipped["cache or installed packages"] += 1
        elif suffixes and path.suffix.lower() not in suffixes:
            skipped["another suffix"] += 1
        elif path.suffix.lower() in BINARY:
            skipped["binary"] += 1
        else:
            found.append(path)
    return found


def document_blocks(root: Path, files: Sequence[File], settings: Settings, block_bytes: int) -> Iterator[Documents]:
    """The files in blocks of about one size."""
    held, size = list[File](), 0
    for file in files:
        if held and size + file.size > block_bytes:
            yield Documents(root, tuple(held), settings)
            held, size = [], 0
        held.append(file)
        size += file.size
    if held:
        yield Documents(root, tuple(held), settings)
