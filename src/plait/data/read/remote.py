"""Files elsewhere: ``s3://``, ``gs://``, ``https://`` and whatever else fsspec reaches; credentials are its own."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from plait.core.optional import require
from plait.errors import DataError, MissingExtra, PlaitError

T = TypeVar("T")
_BUFFER = 1 << 20


def is_remote(path: str | Path) -> bool:
    """Whether it is an address rather than a path.

    Example:
        >>> is_remote("s3://bucket/a.jsonl"), is_remote("a.jsonl")
        (True, False)
    """
    return isinstance(path, str) and "://" in path


def name_of(url: str) -> str:
    """The name of the file at an address, without what a web server is asked beside it.

    Example:
        >>> name_of("https://host/data/a.csv.gz?download=true"), name_of("s3://bucket/what?.jsonl")
        ('a.csv.gz', 'what?.jsonl')
    """
    asked = url.startswith(("http://", "https://"))
    return (url.split("?")[0].split("#")[0] if asked else url).rsplit("/", 1)[-1]


def stat_url(url: str) -> tuple[int, str]:
    """Size in bytes, and what tells whether the file changed: a tag or a time, as far as its place has them.

    Raises:
        DataError: It is not there, or cannot be reached.
    """
    info = _reach(url, lambda system, path: system.info(path))
    size = info.get("size")
    if size is None:
        raise DataError(
            "the server does not say how large the file is", code="data.no-size", where=url, hint="download it first"
        )
    marks = [str(info[name]) for name in ("ETag", "etag", "mtime", "LastModified", "last_modified") if info.get(name)]
    return int(size), " ".join(marks)


def open_url(url: str) -> IO[bytes]:
    """The file, for reading anywhere in it; also what goes wrong later is a `DataError`.

    Raises:
        DataError: It is not there, or cannot be reached.
    """
    return io.BufferedReader(_Reached(url, _reach(url, lambda system, path: system.open(path, "rb"))), _BUFFER)


def urls_below(url: str) -> list[str]:
    """The files of an address: itself, those a pattern matches, or those below a folder, sorted.

    Raises:
        DataError: There is none, or the place cannot be reached.
    """
    scheme = url.split("://")[0]

    def find(system: Any, path: str) -> list[str]:
        if any(mark in path for mark in "*?["):
            found = system.glob(path)
        elif scheme not in ("http", "https") and system.isdir(path):
            found = system.find(path)
        else:
            return [url]
        return sorted(system.unstrip_protocol(one) for one in found)

    found: list[str] = _reach(url, find)
    if not found:
        raise DataError("no such file or folder", code="data.not-found", where=url)
    return found


@contextmanager
def local_copy(url: str) -> Generator[Path]:
    """The file on disk, under its own name, for as long as it is read."""
    with tempfile.TemporaryDirectory(prefix="plait-") as folder:
        path = Path(folder) / name_of(url)
        with open_url(url) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
        yield path


class _Reached(io.RawIOBase):
    """An open file elsewhere: a connection that breaks is no damaged file, and no full disk."""

    def __init__(self, url: str, file: IO[bytes]) -> None:
        self._url = url
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._told(lambda: self._file.seek(offset, whence))

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._told(lambda: self._file.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _told(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except Exception as error:  # each place has errors of its own
            raise DataError(
                f"the file cannot be read on: {_words(error)}",
                code="data.unreachable",
                where=self._url,
                hint="check the network; the same command goes on where it stopped",
            ) from error


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _reach(url: str, act: Any) -> Any:
    fsspec = require("fsspec", extra="data", feature="reading from an address")
    try:
        system, path = fsspec.core.url_to_fs(url)
        return act(system, path)
    except FileNotFoundError as error:
        raise DataError("no such file", code="data.not-found", where=url) from error
    except ImportError as error:
        raise MissingExtra(
            f"reading {url.split('://')[0]}:// needs a package that is not installed: {error}",
            code="extra.missing",
            where=url,
            hint='pip install "fsspec[s3,gcs,http]", or the part you need',
        ) from error
    except ValueError as error:
        raise DataError(f"the address cannot be read: {error}", code="data.unreachable", where=url) from error
    except PlaitError:
        raise
    except Exception as error:  # each place has errors of its own, such as for missing credentials
        raise DataError(
            f"the address cannot be reached: {_words(error)}",
            code="data.unreachable",
            where=url,
            hint="check the network and the credentials in the environment",
        ) from error
