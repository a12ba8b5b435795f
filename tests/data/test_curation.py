"""A curation from files to files: what it says of what it read."""

from __future__ import annotations

from pathlib import Path

from plait.data.curation import CurationJob, Summary, curate
from plait.data.read import Source
from plait.engines import LocalEngine


def test_files_of_a_folder_are_read_set_aside_or_counted_as_left_out(tmp_path: Path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, data in {"a.txt": b"one", "b.png": b"x", "c.png": b"x", ".d": b"x", "e.txt": b"caf\xe9"}.items():
        (folder / name).write_bytes(data)
    ops = ["whitespace_normalization_mapper"]
    job = CurationJob(ops, [Source(str(folder))], tmp_path / "clean.jsonl", max_bad_fraction=1)
    _, summary = curate(job, engine=LocalEngine())
    assert (summary.read, summary.quarantined) == (1, {"not UTF-8": 1})
    assert summary.skipped == {"binary": 2, "hidden or version control": 1}
    assert Summary.open(tmp_path / "clean.jsonl").skipped == summary.skipped
