"""Where a curation writes: never over what it reads, into one file or into shards, and the numbers beside it.

clean.jsonl                                          one file
clean-00-of-02.jsonl, clean-01-of-02.jsonl           with export_shard_bytes
clean_stats.jsonl                                    the numbers of the rows kept, as Data-Juicer writes them

The numbers are written where all of them were measured: with ``study`` or ``keep_stats``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import polars as pl

from plait.data.names import STATS
from plait.data.read.sources import Source
from plait.data.write import check_writable, lines_of, write_rows
from plait.errors import UsageError

_PACKED = (".gz", ".zst", ".bz2", ".xz")
_IN_THE_FOLDER = ("summary.json", "lineage.parquet", "recipe.yaml", "quarantine.jsonl")
_PATTERN = frozenset("*?[")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")  # what Path leaves of s3://bucket
_SHARD = re.compile(r"-\d+-of-\d+$")


def split_name(export: Path) -> tuple[str, str]:
    """The name of an export and its suffix; dots before that are the name's own.

    Example:
        >>> split_name(Path("out/wiki.en.jsonl.zst")), split_name(Path("clean.parquet"))
        (('wiki.en', '.jsonl.zst'), ('clean', '.parquet'))
    """
    count = 2 if export.suffix in _PACKED else 1
    suffix = "".join(export.suffixes[-count:])
    return export.name.removesuffix(suffix), suffix


def run_folder(export: Path) -> Path:
    """The folder that explains an export.

    Example:
        >>> run_folder(Path("wiki.en.jsonl")).name
        'wiki.en.run'
    """
    return export.with_name(f"{split_name(export)[0]}.run")


def whole_name(shard: Path) -> Path:
    """What an export was called of which this is a shard; any other name as it is.

    Example:
        >>> whole_name(Path("clean-00-of-02.jsonl")).name, whole_name(Path("clean.jsonl")).name
        ('clean.jsonl', 'clean.jsonl')
    """
    stem, suffix = split_name(shard)
    return shard.with_name(_SHARD.sub("", stem) + suffix)


def check_export(export: Path, folder: Path, sources: Sequence[Source], suffixes: Sequence[str]) -> None:
    """Whether the export and the folder beside it can be written, and are not read; before any work.

    Args:
        export: The file to write.
        folder: The folder that explains it; made here.
        sources: What is read.
        suffixes: Suffixes of the files read in a folder; all when empty.

    Raises:
        UsageError: There is no writer for the suffix, something is in the way, or this run or the next would read
            what this one writes.
    """
    if _SCHEME.fullmatch(export.parts[0] if export.parts else ""):
        raise UsageError(
            "an address is read, but not written to",
            code="data.export-refused",
            where=str(export),
            hint="export to a file here, and copy it there afterwards",
        )
    check_writable(export)
    for source in sources:
        _check_apart(export, folder, source, tuple(f".{suffix.lstrip('.')}" for suffix in suffixes))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(f"{folder} cannot be made: {error.strerror}", export) from error
    if export.is_dir():
        raise _refused("there is a folder of that name", export)
    if not os.access(export.parent, os.W_OK):
        raise _refused(f"{export.parent} may not be written to", export)


def write_shards(frames: Iterable[pl.DataFrame], export: Path, shard_bytes: int) -> list[Path]:
    """Write frames into files of about equal size, named as Data-Juicer names them: ``clean-00-of-02.jsonl``.

    Args:
        frames: All of the same columns; not held in memory together.
        export: What their names are made of.
        shard_bytes: About how large each is at most: lines of JSON before they are compressed, other formats as
            columns in memory. A longer row has one of its own.

    Returns:
        The files in order. Those of an earlier run are gone.
    """
    stem, suffix = split_name(export)
    hidden = list[Path]()
    for number, parts in groupby(_numbered(frames, shard_bytes, export), lambda part: part[0]):
        hidden.append(export.with_name(f".{stem}-{number}.partial{suffix}"))
        write_rows((frame for _, frame in parts), hidden[-1])
    earlier = re.compile(rf"{re.escape(stem)}-\d+-of-\d+{re.escape(suffix)}")
    cut_off = re.compile(rf"\.+{re.escape(stem)}-\d+\.partial{re.escape(suffix)}(\.partial)?")
    for path in export.parent.iterdir():
        if earlier.fullmatch(path.name) or (cut_off.fullmatch(path.name) and path not in hidden):
            path.unlink()
    digits = len(str(len(hidden))) + 1
    shards = list[Path]()
    for number, path in enumerate(hidden):
        shards.append(export.with_name(f"{stem}-{number:0{digits}}-of-{len(hidden):0{digits}}{suffix}"))
        path.replace(shards[-1])
    return shards


def stats_path(export: Path) -> Path:
    """The file of numbers beside an export.

    Example:
        >>> stats_path(Path("out/clean.parquet")).name
        'clean_stats.jsonl'
    """
    return export.with_name(f"{split_name(export)[0]}_stats.jsonl")


def write_stats(frames: Iterable[pl.DataFrame], export: Path) -> None:
    """Write the numbers of the rows kept beside the export: a line for each, ``{"__dj__stats__": {…}}``."""
    write_rows((frame.select(frame.to_struct(STATS)) for frame in frames), stats_path(export))


def _numbered(frames: Iterable[pl.DataFrame], shard_bytes: int, export: Path) -> Iterator[tuple[int, pl.DataFrame]]:
    """Frames cut at the ends of shards, each with the number of its shard."""
    number, room = 0, float(shard_bytes)
    for frame in frames:
        size = len(lines_of(frame, export)) if ".json" in export.name else frame.estimated_size()
        each = max(size / max(frame.height, 1), 1.0)
        at = 0
        while at < frame.height:
            take = int(room / each) or int(room == shard_bytes)
            if not take:
                number, room = number + 1, float(shard_bytes)
                continue
            part = frame.slice(at, take)
            at, room = at + part.height, room - part.height * each
            yield number, part
        if not frame.height:
            yield number, frame


def _check_apart(export: Path, folder: Path, source: Source, suffixes: tuple[str, ...]) -> None:
    given = Path(source.path.removeprefix("file://")).expanduser()
    if not given.exists() and not _PATTERN.intersection(source.path):
        return  # an address, or not there
    written = [export, *(folder / name for name in _IN_THE_FOLDER)]
    for path in written:
        if _would_be_read(path.resolve(), given, suffixes):
            if given.is_file():
                raise UsageError(
                    "the file to write is the one to read",
                    code="data.export-is-input",
                    where=str(export),
                    hint="export to another file",
                )
            raise UsageError(
                f"the file to write lies in what is read: {source.path}",
                code="data.export-is-input",
                where=str(export),
                hint="export to another folder, or the next run reads it too",
            )


def _refused(problem: str, export: Path) -> UsageError:
    return UsageError(
        f"nothing can be written here: {problem}",
        code="data.export-refused",
        where=str(export),
        hint="export to another place",
    )


def _would_be_read(path: Path, given: Path, suffixes: tuple[str, ...]) -> bool:
    if given.is_file():
        return path == given.resolve()
    if given.is_dir():
        inside = path.is_relative_to(given.resolve())
        hidden = inside and any(part.startswith(".") for part in path.relative_to(given.resolve()).parts)
        return inside and not hidden and (not suffixes or path.name.lower().endswith(suffixes))
    return path.match(str(given.absolute()))
