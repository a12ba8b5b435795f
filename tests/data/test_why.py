"""What became of a row, also when what was read is another file by now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plait.data.curation import CurationJob, curate
from plait.data.read import Source
from plait.data.why import Change, why
from plait.engines import LocalEngine

ROWS = [{"id": f"r{i}", "text": f"row  {i}"} for i in range(5)]


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    path = tmp_path / "pages.jsonl"
    write(path, ROWS)
    ops = [{"replace_content_mapper": {"pattern": "  ", "repl": " "}}]
    curate(CurationJob(ops, [Source(str(path))], tmp_path / "clean.jsonl"), engine=LocalEngine())
    return path


def test_what_a_mapper_changed(pages: Path, tmp_path: Path):
    [one] = why(tmp_path / "clean.run", "r3")
    assert one.changes == (Change("replace_content_mapper", "row  3", "row 3"),)
    assert one.unseen is None
    assert not (tmp_path / "clean.run" / "why.rejects.jsonl").exists()


@pytest.mark.parametrize("rows", [[{"id": "new", "text": "first"}, *ROWS], ROWS[:2]])
def test_another_row_is_never_shown_for_it(pages: Path, tmp_path: Path, rows: list[dict]):
    write(pages, rows)
    [one] = why(tmp_path / "clean.run", "r3")
    assert (one.fate["changed_by"], one.changes) == ("replace_content_mapper", ())
    assert one.unseen == f"{pages} has changed since"


def test_the_fate_outlives_the_input(pages: Path, tmp_path: Path):
    pages.unlink()
    [one] = why(tmp_path / "clean.jsonl", "r3")
    assert one.fate["kept"]
    assert one.unseen == f"{pages}: no such file or folder"
