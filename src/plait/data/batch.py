"""The rows of a chunk as columns, with what operations share computed once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import polars as pl

from plait.data.names import ROW
from plait.errors import DataError, nearest

if TYPE_CHECKING:
    from plait.data.kernels import Scan, Words
    from plait.data.op import Barrier, Op

T = TypeVar("T")

_LONGEST_PATH = 1_024  # longer settings are texts


def some_rows(frame: pl.DataFrame, kept: np.ndarray) -> pl.DataFrame:
    """The rows of a mask, bool ``[rows]``.

    Column by column: `DataFrame.filter` asks Polars' own threads, and of many small questions the asking is what costs.
    """
    mask = pl.Series(kept, dtype=pl.Boolean)
    return pl.DataFrame([column.filter(mask) for column in frame.get_columns()])


def _with(frame: pl.DataFrame, column: pl.Series) -> pl.DataFrame:
    """The frame with a column, in the place of the one of its name."""
    columns = {own.name: own for own in frame.get_columns()}
    return pl.DataFrame(list((columns | {column.name: column}).values()))


@runtime_checkable
class _Rowwise(Protocol):
    """What can be cut down to some of its rows."""

    def where(self, kept: np.ndarray) -> _Rowwise: ...


class Batch:
    """Rows of one chunk.

    What several operations look at (`scan`, `words`) is computed when it is first asked for and kept until
    the text changes. A batch never changes: mappers make a new one.

    Args:
        frame: The rows: fields of the data, and `ROW`.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self._shared: dict[object, Any] = {}

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Batch:
        """A batch of rows that have no numbers yet."""
        return cls(frame.with_columns(pl.Series(ROW, np.arange(frame.height))))

    @classmethod
    def of_texts(cls, texts: Sequence[str], text_key: str = "text") -> Batch:
        """A batch of texts, to try operations out."""
        return cls.of(pl.DataFrame({text_key: pl.Series(list(texts), dtype=pl.String)}))

    def __len__(self) -> int:
        return self.frame.height

    def column(self, name: str) -> pl.Series:
        """A field; a dot leads into a struct.

        Raises:
            DataError: There is no such field.
        """
        first, *rest = [name] if name in self.frame.columns else name.split(".")
        if first not in self.frame.columns:
            fields = [c for c in self.frame.columns if not c.startswith("__")]
            raise DataError(f'there is no field "{name}"', code="data.missing-field", hint=nearest(first, fields))
        series = self.frame[first]
        for part in rest:
            series = series.struct.field(part)
        return series

    def text(self, name: str = "text") -> pl.Series:
        """A field of texts; null counts as empty.

        Raises:
            DataError: There is no such field, or it holds something else.
        """
        series = self.column(name)
        if not isinstance(series.dtype, pl.String | pl.Null):
            raise DataError(
                f'field "{name}" holds {series.dtype}, not texts',
                code="data.wrong-type",
                hint="name the field of the texts: text_keys in a recipe, text_key of an operation",
            )
        return series.fill_null("") if series.null_count() else series

    def shared(self, key: object, compute: Callable[[], T]) -> T:
        """What ``compute`` gives, computed at most once per batch."""
        if key not in self._shared:
            self._shared[key] = compute()
        return cast("T", self._shared[key])

    def scan(self, text_key: str = "text") -> Scan:
        """Counts of characters and lines, from one pass over the text."""
        from plait.data import kernels

        return self.shared(("scan", text_key), lambda: kernels.scan(self.text(text_key)))

    def words(self, text_key: str = "text") -> Words:
        """Hashes of the words, lower case and without special characters around them."""
        from plait.data import kernels

        return self.shared(("words", text_key), lambda: kernels.words(self.text(text_key)))

    def with_text(self, name: str, texts: pl.Series) -> Batch:
        """The batch with other texts in a field."""
        first, *rest = [name] if name in self.frame.columns else name.split(".")
        if not rest:
            return Batch(_with(self.frame, texts.alias(name)))
        struct = pl.col(first).struct.with_fields(texts.alias(rest[0]))
        return Batch(self.frame.with_columns(struct))

    def with_column(self, name: str, values: pl.Series) -> Batch:
        """The batch with another column, which is no text that operations have looked at."""
        batch = Batch(_with(self.frame, values.alias(name)))
        batch._shared = self._shared
        return batch

    def without(self, name: str) -> Batch:
        """The batch without a column."""
        batch = Batch(self.frame.drop(name))
        batch._shared = self._shared
        return batch

    def where(self, kept: np.ndarray) -> Batch:
        """Some of the rows, bool ``[rows]``; counts that are known already are kept for them."""
        if kept.all():
            return self
        batch = Batch(some_rows(self.frame, kept))
        batch._shared = {k: v.where(kept) for k, v in self._shared.items() if isinstance(v, _Rowwise)}
        return batch


class RowsInMemory:
    """Rows of one batch, for a barrier that is tried out; see `plait.data.op.Rows`."""

    memory_bytes = 256 << 20

    def __init__(self, op: Barrier, batch: Batch, *, scratch: Path | None = None) -> None:
        self.count = len(batch)
        self._batch = batch
        self._keys = {name: np.asarray(values) for name, values in op.keys(batch).items()}
        self._scratch = scratch

    @property
    def scratch(self) -> Path:
        """A folder for what does not fit into memory."""
        import tempfile

        self._scratch = self._scratch or Path(tempfile.mkdtemp(prefix="plait-"))
        return self._scratch

    def key(self, name: str, columns: slice | None = None) -> np.ndarray:
        """A column of keys."""
        values = self._keys[name]
        return values if columns is None else values[:, columns]

    def parts(self, name: str, columns: slice | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """The same, in one part."""
        yield 0, self.key(name, columns)

    def fetch(self, name: str, positions: np.ndarray) -> pl.Series:
        """A field of some rows."""
        return self._batch.column(name).gather(positions)


_sessions: dict[tuple[type, str], tuple[object, Any]] = {}
_lock = threading.RLock()


def session(op: Op, build: Callable[[], T]) -> T:
    """What an operation opens once per process (a model, a client), shared by all batches and threads.

    It is opened again when a file that the operation's settings name has changed.

    Args:
        op: The operation; equal operations share.
        build: Opens it.
    """
    key, changed = (type(op), op.model_dump_json()), _changed(op)
    with _lock:
        if key not in _sessions or _sessions[key][0] != changed:
            _sessions[key] = changed, build()
        return cast("T", _sessions[key][1])


def _changed(op: Op) -> list[tuple[str, int, int]]:
    """Time of change and size of each file that settings name."""
    found = list[tuple[str, int, int]]()
    for _, value in op:
        if isinstance(value, str | Path) and 0 < len(str(value)) < _LONGEST_PATH and (path := Path(value)).is_file():
            stat = path.stat()
            found.append((str(path), stat.st_mtime_ns, stat.st_size))
    return found
