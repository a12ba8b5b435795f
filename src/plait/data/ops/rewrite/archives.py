"""A mapper that reads the LaTeX sources in an archive."""

from __future__ import annotations

import tarfile
import zipfile
from typing import TYPE_CHECKING, ClassVar

import polars as pl

from plait.data.op import Cost, Mapper, Need
from plait.data.ops.llm.meta import failures, with_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from plait.data.batch import Batch

_MEBIBYTE = 1 << 20
_STATUS = "latex_merge_tex_status"


class LatexMergeTexMapper(Mapper):
    """Reads all ``.tex`` files of an archive into the text, in the archive's order; nothing is unpacked to disk.

    Archives are ``.zip``, ``.tar``, ``.tar.gz`` and ``.tgz``. What went wrong stands in the field
    ``__dj__meta__.latex_merge_tex_status`` (``ok`` otherwise): an archive that cannot be read gives an empty text,
    files beyond the limits are left out.

    Example:
        - latex_merge_tex_mapper: {compressed_file_key: compressed_file}

    Source: Data-Juicer 1.6.1, ``latex_merge_tex_mapper``. Differs: the status is a field, not a line in a log.
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"fields"})

    compressed_file_key: str = "compressed_file"
    """Field with the archive's path."""
    separator: str = "\n\n"
    """What stands between two files."""
    max_file_size: int | None = 50 * _MEBIBYTE
    """Largest file read, in bytes; 0 or ``null`` for any."""
    max_total_size: int | None = 100 * _MEBIBYTE
    """Most bytes read from one archive; 0 or ``null`` for any number."""

    def apply(self, batch: Batch) -> Batch:
        """Reads archive by archive."""
        texts, statuses = list[str](), list[str]()
        for path in batch.text(self.compressed_file_key).to_list():
            text, status = self._read(path)
            texts.append(text)
            statuses.append(status)
        merged = batch.with_text(self.text_key, pl.Series(texts, dtype=pl.String))
        return with_meta(merged, {_STATUS: statuses}, {_STATUS: pl.String})

    def failures(self, after: Batch) -> int:
        """Archives that were not read, or not wholly."""
        return failures(after, _STATUS)

    def _read(self, path: str) -> tuple[str, str]:
        lowered = path.lower()
        if not lowered.endswith((".zip", ".tar.gz", ".tgz", ".tar")):
            return "", f"{path} is no .zip, .tar, .tar.gz or .tgz"
        found = list[str]()
        left_out = list[str]()
        try:
            members = _zipped(path) if lowered.endswith(".zip") else _tarred(path)
            total = 0
            for name, size, read in members:
                if self.max_file_size and size > self.max_file_size:
                    left_out.append(f"{name} has {size} bytes")
                    continue
                if self.max_total_size and total + size > self.max_total_size:
                    left_out.append(f"{name} and what follows go beyond {self.max_total_size} bytes")
                    break
                total += size
                found.append(read().decode("utf-8", errors="replace"))
        except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            # RuntimeError is how zipfile says that a file is encrypted.
            return "", f"{path} cannot be read: {error}"
        return self.separator.join(found), "; ".join(left_out) or "ok"


def _zipped(path: str) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.endswith(".tex"):
                yield info.filename, info.file_size, lambda info=info: archive.read(info)


def _tarred(path: str) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() and member.name.endswith(".tex") else None
            if file is not None:
                yield member.name, member.size, file.read
