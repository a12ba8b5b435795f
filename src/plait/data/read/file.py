"""A file of the input, here or elsewhere, as it was when the read began."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from plait.data.read.remote import name_of, open_url, stat_url
from plait.errors import DataError

PIECE = 1 << 20
"""Bytes read at a time where not all of a file is held."""


@dataclass(frozen=True)
class File:
    """A file as it was when the read began, so that one that changes meanwhile is found out.

    Args:
        path: Where it is: a path, or an address such as ``s3://bucket/name``.
        number: Its place among the files of the read, from 0.
        size: Its bytes.
        changed: When it was last written, or another mark that changes with it.
    """

    path: Path | str
    number: int
    size: int
    changed: str

    @classmethod
    def of(cls, path: Path | str, number: int) -> File:
        """A file that is there.

        Raises:
            DataError: It is not there.
        """
        if isinstance(path, str):
            return cls(path, number, *stat_url(path))
        try:
            status = path.stat()
        except OSError as error:
            raise DataError("no such file", code="data.not-found", where=str(path)) from error
        return cls(path, number, status.st_size, str(status.st_mtime_ns))

    @property
    def name(self) -> str:
        """Its name, without folders."""
        return name_of(self.path) if isinstance(self.path, str) else self.path.name

    @property
    def suffix(self) -> str:
        """The end of its name, in lower case."""
        return PurePosixPath(self.name).suffix.lower()

    def open(self) -> IO[bytes]:
        """The file, for reading.

        Raises:
            DataError: It is gone, cannot be read, or is another one by now.
        """
        now = File.of(self.path, self.number)
        if now != self:
            raise DataError(
                f"the file changed while it was read: it had {self.size} bytes and has {now.size}",
                code="data.changed",
                where=str(self.path),
                hint="start again when it is written to no more",
            )
        if isinstance(self.path, str):
            return open_url(self.path)
        try:
            return self.path.open("rb")
        except OSError as error:
            raise DataError(
                f"the file cannot be read: {error.strerror}", code="data.unreadable", where=str(self.path)
            ) from error


def damaged(path: Path | str, what: str, error: Exception) -> DataError:
    """The error for a file that ends too early or holds something else."""
    return DataError(
        f"the {what} file cannot be read: {str(error).splitlines()[0]}",
        code="data.damaged",
        where=str(path),
        hint="the file was cut off or damaged; fetch or write it again",
    )


def pieces(stream: IO[bytes], start: int, stop: int) -> Iterator[bytes]:
    """Some of a file's bytes, a little at a time."""
    stream.seek(start)
    while start < stop and (piece := stream.read(min(PIECE, stop - start))):
        yield piece
        start += len(piece)


def as_text(name: str) -> str:
    r"""A name of a file, in which bytes that are no UTF-8 are spelled out: ``\xff``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
