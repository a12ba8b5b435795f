"""Fetching one file, from an address or a path that data names, and never more than is allowed."""

from __future__ import annotations

import os
import tempfile
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self
from urllib.parse import unquote, urlsplit

from plait.core.optional import require

if TYPE_CHECKING:
    from types import TracebackType


class Limits(Protocol):
    """What a fetcher may do."""

    @property
    def save_dir(self) -> str | None:
        """Folder for the files."""
        ...

    @property
    def timeout(self) -> int:
        """Seconds a server may take."""
        ...

    @property
    def max_bytes(self) -> int:
        """Largest file."""
        ...

    @property
    def allow_network(self) -> bool:
        """Whether addresses are connected to."""
        ...

    @property
    def allow_local(self) -> bool:
        """Whether paths are read."""
        ...

    @property
    def compat(self) -> Literal["plait", "data-juicer"]:
        """How files are named."""
        ...


class Fetcher:
    """Fetches files over connections that it keeps open.

    Args:
        limits: What it may do.
        keep: Whether the content is wanted, not only a file on disk.
    """

    def __init__(self, limits: Limits, *, keep: bool) -> None:
        self._limits = limits
        self._keep = keep
        self._folder = Path(limits.save_dir) if limits.save_dir else None
        self._http: Any = require("httpx2", extra="llm", feature="download_file_mapper")

    def __enter__(self) -> Self:
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._client = self._http.Client(timeout=self._limits.timeout, follow_redirects=True, max_redirects=5)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def fetch(self, url: str) -> tuple[str | None, bytes | None, str | None]:
        """Path on disk if there is a folder for it, content if it is wanted, and what went wrong."""
        try:
            if not url.startswith(("http://", "https://")):
                return self._local(url)
            if not self._limits.allow_network:
                return None, None, f"{url} is not fetched: allow_network is not set"
            place = self._folder / self._name(url) if self._folder else None
            if place is not None and place.is_file():
                return str(place), place.read_bytes() if self._keep else None, None
            content = self._download(url)
            if place is not None:
                _write(place, content)
            return str(place) if place else None, content if self._keep else None, None
        except (self._http.HTTPError, self._http.InvalidURL, OSError, ValueError) as error:
            return None, None, f"{url}: {type(error).__name__}: {error}"

    def _local(self, path: str) -> tuple[str | None, bytes | None, str | None]:
        if not self._limits.allow_local:
            return None, None, f"{path} is no address, and paths are not read: allow_local is not set"
        if Path(path).stat().st_size > self._limits.max_bytes:
            return None, None, f"{path} has more than {self._limits.max_bytes} bytes"
        return path, Path(path).read_bytes() if self._keep else None, None

    def _download(self, url: str) -> bytes:
        parts = bytearray()
        with self._client.stream("GET", url) as response:
            response.raise_for_status()
            for part in response.iter_bytes():
                parts += part
                if len(parts) > self._limits.max_bytes:
                    raise ValueError(f"more than {self._limits.max_bytes} bytes")
        return bytes(parts)

    def _name(self, url: str) -> str:
        """A file name that leads nowhere else; with a hash of the address, so that no two share it."""
        last = unquote(urlsplit(url).path).replace("\\", "/").rsplit("/", 1)[-1].replace("\0", "")
        name = "file" if last in ("", ".", "..") else last[-150:]
        if self._limits.compat == "data-juicer":
            return name
        return f"{blake2b(url.encode(), digest_size=8).hexdigest()}-{name}"


def _write(place: Path, content: bytes) -> None:
    """All of it or nothing, whatever other threads write."""
    handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(place)
    except BaseException:
        Path(temporary).unlink()
        raise
