"""A mapper that fetches the files that rows name."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from plait.data.op import Cost, Mapper, Need
from plait.data.ops.llm.meta import failures, with_meta
from plait.data.ops.rewrite.fetch import Fetcher
from plait.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plait.data.batch import Batch

_STATUS = "download_file_status"


@dataclass(frozen=True)
class _Fetched:
    path: str
    content: bytes | None
    problem: str | None


class DownloadFileMapper(Mapper):
    """Fetches the files whose addresses a field holds, one or a list of them, to disk or into another field.

    What went wrong stands in ``__dj__meta__.download_file_status`` (``ok`` otherwise); a file that failed keeps
    its address and has no content.

    Example:
        - download_file_mapper: {download_field: image_url, save_dir: images, allow_network: true}

    Source: Data-Juicer 1.6.1, ``download_file_mapper``. Differs: it needs ``allow_network``, and ``allow_local``
    for paths; equal file names of unequal addresses do not overwrite each other (`compat`); files end at
    `max_bytes`; what failed is a field, not a line in a log.
    """

    cost: ClassVar[Cost] = "model"
    needs: ClassVar[frozenset[Need]] = frozenset({"fields"})
    deterministic: ClassVar[bool] = False

    download_field: str
    """Field with an ``http://`` or ``https://`` address, or a list of them."""
    save_dir: str | None = None
    """Folder for the files; the field then holds their paths."""
    save_field: str | None = None
    """Field for the content; ``image_bytes`` if there is no `save_dir` either."""
    resume_download: bool = False
    """Keep content that `save_field` holds already."""
    timeout: Annotated[int, Field(ge=1)] = 30
    """Seconds a server may take to answer, and between two pieces of an answer."""
    max_concurrent: Annotated[int, Field(ge=1)] = 10
    """Files fetched at a time."""
    allow_network: bool = False
    """Connect to whatever address the data names."""
    allow_local: bool = False
    """Read whatever path the data names instead of an address."""
    max_bytes: Annotated[int, Field(ge=1)] = 100 << 20
    """Largest file."""
    compat: Literal["plait", "data-juicer"] = "plait"
    """Reproduce Data-Juicer's known bugs: files are named by the end of their address alone, and of two with the
    same name the second one is never fetched."""

    @model_validator(mode="after")
    def _allowed(self) -> Self:
        if not (self.allow_network or self.allow_local):
            raise UsageError(
                "download_file_mapper would connect to the addresses that the data names",
                code="data.network",
                hint="set allow_network: true if the data may say where to connect to",
            )
        return self

    def apply(self, batch: Batch) -> Batch:
        """Fetches the files of a batch, some at a time."""
        column = batch.column(self.download_field)
        nested = isinstance(column.dtype, pl.List)
        addresses: list[list[str | None]] = column.to_list() if nested else [[one] for one in column.to_list()]
        addresses = [row or [] for row in addresses]
        field = self.save_field or (None if self.save_dir else "image_bytes")
        known = self._known(batch, field, addresses, nested=nested)
        with Fetcher(self, keep=field is not None) as fetcher, ThreadPoolExecutor(self.max_concurrent) as pool:
            jobs = [
                [pool.submit(self._one, fetcher, url, content) for url, content in zip(urls, contents, strict=True)]
                for urls, contents in zip(addresses, known, strict=True)
            ]
            fetched = [[job.result() for job in row] for row in jobs]
        if self.save_dir:
            paths = [[one.path for one in row] for row in fetched]
            batch = batch.with_text(self.download_field, _column(paths, pl.String(), nested=nested))
        if field is not None:
            contents = [[one.content for one in row] for row in fetched]
            batch = batch.with_column(field, _column(contents, pl.Binary(), nested=nested))
        problems = ["; ".join(one.problem for one in row if one.problem) or "ok" for row in fetched]
        return with_meta(batch, {_STATUS: problems}, {_STATUS: pl.String})

    def failures(self, after: Batch) -> int:
        """Rows whose files were not all fetched."""
        return failures(after, _STATUS)

    def _one(self, fetcher: Fetcher, url: str | None, content: bytes | None) -> _Fetched:
        if not url:
            return _Fetched("", content, "no address")
        if content and not self.save_dir:
            return _Fetched(url, content, None)
        path, fresh, problem = fetcher.fetch(url)
        return _Fetched(path or url, content or fresh, problem)

    def _known(
        self, batch: Batch, field: str | None, addresses: Sequence[Sequence[Any]], *, nested: bool
    ) -> list[list[bytes | None]]:
        """Content that is there already, in the shape of the addresses."""
        empty: list[list[bytes | None]] = [[None] * len(row) for row in addresses]
        if field is None or field not in batch.frame.columns:
            return empty
        if not self.resume_download:
            raise DataError(
                f'there is a field "{field}" already',
                code="data.field-exists",
                hint="set resume_download: true to fetch what it lacks",
            )
        held = batch.column(field).to_list()
        rows = [row or [] for row in held] if nested else [[one] for one in held]
        return [row if len(row) == len(none) else none for row, none in zip(rows, empty, strict=True)]


def _column(rows: Sequence[Sequence[Any]], kind: pl.DataType, *, nested: bool) -> pl.Series:
    if nested:
        return pl.Series([list(row) for row in rows], dtype=pl.List(kind))
    return pl.Series([row[0] if row else None for row in rows], dtype=kind)
