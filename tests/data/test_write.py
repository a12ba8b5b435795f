"""Curated rows on disk: JSON lines, one JSON array, and formats that others write."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from plait.data.write import check_writable, write_rows
from plait.errors import UsageError

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
