"""What a curation writes: never over its input, in shards of about the size asked for, with the numbers beside it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from plait.data.exports import check_export, write_shards
from plait.data.read.sources import Source
from plait.errors import UsageError


def lines(paths: list[Path]) -> list[str]:
    return [line for path in paths for line in path.read_text().splitlines()]


def frames(*heights: int) -> list[pl.DataFrame]:
    ends = [sum(heights[: n + 1]) for n in range(len(heights))]
    return [
        pl.DataFrame({"n": pl.Series(range(end - height, end), dtype=pl.Int64), "text": ["x" * 88] * height})
        for height, end in zip(heights, ends, strict=True)
    ]


@pytest.mark.parametrize("heights", [(25,), (3, 0, 11, 11), (1,) * 25])
def test_shards_hold_all_rows_in_order_and_little_more_than_asked(tmp_path, heights):
    shards = write_shards(frames(*heights), tmp_path / "out.jsonl", 1_100)
    assert [path.name for path in shards] == ["out-00-of-03.jsonl", "out-01-of-03.jsonl", "out-02-of-03.jsonl"]
    assert [json.loads(line)["n"] for line in lines(shards)] == list(range(25))
    assert all(path.stat().st_size <= 1_150 for path in shards)
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in shards]


def test_a_row_longer_than_a_shard_has_one_of_its_own(tmp_path):
    assert len(write_shards(frames(3), tmp_path / "out.jsonl", 10)) == 3


def test_nothing_kept_is_one_shard_with_no_row(tmp_path):
    for name in ("out.jsonl", "out.parquet"):
        [shard] = write_shards(frames(0, 0), tmp_path / name, 1_000)
        assert shard.name == f"out-00-of-01.{name[4:]}"
    assert pl.read_parquet(tmp_path / "out-00-of-01.parquet").columns == ["n", "text"]


def test_shards_of_an_earlier_run_are_gone_and_nothing_else(tmp_path):
    others = ["out-note.jsonl", "out-00-of-02.parquet", "about-00-of-02.jsonl"]
    for name in [*others, "out-000-of-007.jsonl", ".out-9.partial.jsonl", ".out-0.partial.jsonl"]:
        (tmp_path / name).touch()
    write_shards(frames(5), tmp_path / "out.jsonl", 10_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "out-00-of-01.jsonl"])


def test_parquet_and_compressed_shards(tmp_path):
    shards = write_shards(frames(25), tmp_path / "out.parquet", 1_100)
    assert len(shards) > 1
    assert pl.concat([pl.read_parquet(path) for path in shards])["n"].to_list() == list(range(25))
    assert [p.name for p in write_shards(frames(2), tmp_path / "z.jsonl.zst", 10_000)] == ["z-00-of-01.jsonl.zst"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "in.jsonl").touch()
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "data" / "in.jsonl")
    (tmp_path / "file").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("export", "source", "suffixes", "said"),
    [
        ("data/in.jsonl", "data/in.jsonl", (), "the file to write is the one to read"),
        ("data/../data/in.jsonl", "file://{here}/data/in.jsonl", (), "the file to write is the one to read"),
        ("data/in.jsonl", "link.jsonl", (), "the file to write is the one to read"),
        ("data/out.jsonl", "data", (), "lies in what is read: data"),
        ("data/deep/out.jsonl", "data", ("jsonl",), "lies in what is read: data"),
        ("data/out.jsonl", "data/*.jsonl", (), "lies in what is read"),
        ("out.jsonl", "out.run/lineage.parquet", (), "the file to write is the one to read"),
        ("data", "link.jsonl", (), "no writer"),
        ("s3://bucket/out.jsonl", "link.jsonl", (), "an address is read, but not written to"),
        ("file/out.jsonl", "link.jsonl", (), "file/out.run cannot be made: Not a directory"),
    ],
)  # fmt: skip
def test_what_must_not_be_written_is_refused(here, export, source, suffixes, said):
    (here / "out.run").mkdir()
    (here / "out.run" / "lineage.parquet").touch()
    path = Path(export)
    with pytest.raises(UsageError, match=said):
        check_export(path, path.with_name("out.run"), [Source(source.format(here=here))], suffixes)
    assert not (here / "data" / "deep").exists()


def test_a_folder_in_the_way_is_refused(here):
    (here / "x.jsonl").mkdir()
    with pytest.raises(UsageError, match="there is a folder of that name"):
        check_export(Path("x.jsonl"), Path("x.run"), [Source("data")], ())


@pytest.mark.parametrize(
    ("export", "source", "suffixes"),
    [
        ("out.jsonl", "data", ()),
        ("data/out.jsonl", "data/in.jsonl", ()),
        ("data/out.jsonl", "data", (".txt",)),
        ("data/out.jsonl", "data/*.txt", ()),
        ("data/.out/out.jsonl", "data", ()),
        ("data/out.jsonl", "hf://datasets/owner/name", ()),
        ("data/out.jsonl", "gone.jsonl", ()),
    ],
)
def test_what_is_apart_may_be_written(here, export, source, suffixes):
    folder = Path(export).with_name("out.run")
    check_export(Path(export), folder, [Source(source)], suffixes)
    assert folder.is_dir()
