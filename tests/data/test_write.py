"""Curated rows on disk: JSON lines, one JSON array, and formats that others write."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from plait.data.write import check_writable, write_rows
from plait.errors import DataError, UsageError

FRAMES = [
    pl.DataFrame({"id": ["a", "b"], "text": ["one\ntwo", 'say "hi",\n'], "meta": [{"n": 1}, {"n": 2}]}),
    pl.DataFrame({"id": [], "text": [], "meta": []}, schema={"id": str, "text": str, "meta": pl.Struct({"n": int})}),
    pl.DataFrame({"id": ["c"], "text": ["汉字"], "meta": [{"n": None}]}),
]
ROWS = [row for frame in FRAMES for row in frame.to_dicts()]


def test_an_array_and_lines_hold_the_same_rows(tmp_path: Path):
    assert write_rows(FRAMES, tmp_path / "out.json") == 3
    assert write_rows(FRAMES, tmp_path / "out.jsonl") == 3
    assert json.loads((tmp_path / "out.json").read_text()) == ROWS
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == ROWS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.jsonl"]


def test_nothing_kept_is_an_empty_array(tmp_path: Path):
    assert write_rows(FRAMES[1:2], tmp_path / "out.json") == 0
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_a_suffix_without_a_writer_is_told_before_the_work(tmp_path: Path):
    for name in ("a.json", "a.jsonl.zst", "a.parquet"):
        check_writable(tmp_path / name)
    with pytest.raises(UsageError, match=r"data\.unknown-format"):
        check_writable(tmp_path / "a.xml")


def test_compressed_lines_are_the_plain_ones(tmp_path: Path):
    """Also for values that JSON knows only as texts."""
    more = {
        "at": [datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)],
        "took": [timedelta(seconds=5)],
        "cost": [Decimal("1.50")],
    }
    frames = [frame.join(pl.DataFrame(more), how="cross") for frame in FRAMES]
    for suffix in ("", ".gz", ".zst"):
        assert write_rows(frames, tmp_path / f"out.jsonl{suffix}") == 3
    plain = (tmp_path / "out.jsonl").read_bytes()
    assert gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()) == plain
    with zstandard.open(tmp_path / "out.jsonl.zst") as packed:
        assert packed.read() == plain
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"]


@pytest.mark.parametrize(
    ("name", "column", "problem"),
    [
        ("a.jsonl", pl.Series([b"x"]), "JSON cannot hold bytes: column"),
        ("a.jsonl.gz", pl.Series([{"image": [b"x"]}]), "JSON cannot hold bytes: column"),
        ("a.json", pl.Series([b"x"]), "JSON cannot hold bytes: column"),
        ("a.csv", pl.Series([b"\xff"]), "CSV cannot hold bytes: column"),
        ("a.tsv", pl.Series([["x"]]), "TSV cannot hold lists or structs: column"),
        ("a.parquet", pl.Series([[{}]]), "Parquet cannot hold objects without any key: column"),
    ],
)
def test_what_a_format_cannot_hold_is_told_by_column(tmp_path: Path, name: str, column: pl.Series, problem: str):
    with pytest.raises(DataError, match=problem):
        write_rows([pl.DataFrame({"id": ["a"], "column": column})], tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path: Path):
    def broken() -> Iterator[pl.DataFrame]:
        yield FRAMES[0]
        raise OSError("no space left")

    (tmp_path / "out.jsonl").write_text("old")
    with pytest.raises(OSError, match="no space left"):
        write_rows(broken(), tmp_path / "out.jsonl")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.jsonl", "old")]


def test_types_are_those_that_others_write(tmp_path: Path):
    turns = pa.list_(pa.struct([("role", pa.string()), ("tags", pa.list_(pa.string()))]))
    table = pa.table({"id": ["a"], "turns": pa.array([[{"role": "user", "tags": ["x", None]}]], turns), "raw": [b"x"]})
    for suffix, read in ((".parquet", pq.read_table), (".arrow", lambda path: pa.ipc.open_file(path).read_all())):
        write_rows([pl.DataFrame(pl.from_arrow(table))], tmp_path / f"a{suffix}")
        back = read(tmp_path / f"a{suffix}")
        assert back.cast(table.schema) == table
        assert str(back.schema.field("turns").type).replace("element", "item") == str(turns)
        assert back.schema.field("raw").type == pa.binary()
