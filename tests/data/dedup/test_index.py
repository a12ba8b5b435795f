"""The index: what is found is verified, growing step by step is growing at once, a killed writer changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.batch import Batch
from plait.data.dedup.index import Index
from plait.data.dedup.tokens import Shingling
from plait.data.ops.duplicates.index import IndexDeduplicator
from plait.errors import DataError

texts = st.lists(st.lists(st.sampled_from([f"w{i}" for i in range(5)]), max_size=10).map(" ".join), max_size=8)


def batch(texts: list[str], ids: list[str] | None = None) -> Batch:
    named = ids or [f"id-{i}" for i in range(len(texts))]
    return Batch.of(pl.DataFrame({"text": texts, "id": named}, schema={"text": pl.String, "id": pl.String}))


def shingles(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + 2]) for i in range(len(words) - 1)}


@settings(deadline=None, max_examples=20)
@given(known=texts, asked=texts, cut=st.integers(0, 8))
def test_step_by_step_is_all_at_once_and_as_by_comparing_everybody(
    known: list[str], asked: list[str], cut: int
) -> None:
    with TemporaryDirectory() as folder:
        whole = Index.create(Path(folder, "a"), shingling=Shingling(window=2), threshold=0.5)
        whole = whole.add(batch(known), release="1")
        parts = Index.create(Path(folder, "b"), shingling=Shingling(window=2), threshold=0.5)
        ids = [f"id-{i}" for i in range(len(known))]
        for some in (slice(None, cut), slice(cut, None)):
            parts = parts.add(batch(known[some], ids[some]), release="1")
        found = whole.find(batch(asked))
        assert parts.find(batch(asked)).equals(found)
        assert parts.merge().find(batch(asked)).equals(found)
        assert parts.count == whole.count == len(known)
        for row, _, name, jaccard, containment in found.iter_rows():
            a, b = shingles(asked[row]), shingles(known[int(name[3:])])
            assert jaccard == len(a & b) / len(a | b) >= 0.5
            assert containment == len(a & b) / len(a)
        same = {(i, f"id-{j}") for i, a in enumerate(asked) for j, b in enumerate(known) if a == b and shingles(a)}
        assert same <= set(found.select("row", "id").iter_rows())


TEXT = " ".join(f"word{i}" for i in range(40))


def test_adding_the_same_again_changes_nothing(tmp_path: Path) -> None:
    index = Index.create(tmp_path).add(batch([TEXT]), release="1").add(batch([TEXT]), release="1")
    assert index.count == 1
    assert index.add(batch([TEXT]), release="2").releases == ["1", "2"]


def test_runs_are_merged_before_they_are_many(tmp_path: Path) -> None:
    index = Index.create(tmp_path)
    for number in range(20):
        index = index.add(batch([f"{TEXT} {number}"], [str(number)]), release="1")
    assert index.count == 20
    manifest = json.loads((tmp_path / "manifest.json").read_bytes())
    assert len(manifest["runs"]) == 4
    assert len(list((tmp_path / "runs").iterdir())) == 21
    index.merge()
    assert len(list((tmp_path / "runs").iterdir())) == 5
    assert index.find(batch([TEXT])).height == 20


def test_what_a_killed_writer_left_is_not_seen(tmp_path: Path) -> None:
    index = Index.create(tmp_path).add(batch([TEXT]), release="1")
    (tmp_path / "runs" / "half.partial").mkdir()
    (tmp_path / "manifest.json.1.partial").write_text("{")
    assert Index.open(tmp_path).find(batch([TEXT])).equals(index.find(batch([TEXT])))


def test_what_is_not_there_or_there_already(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no index"):
        Index.open(tmp_path)
    Index.create(tmp_path)
    with pytest.raises(DataError, match="already"):
        Index.create(tmp_path)


def test_the_operation_drops_what_older_releases_hold(tmp_path: Path) -> None:
    index = Index.create(tmp_path).add(batch([TEXT], ["old"]), release="1")
    index.add(batch([TEXT.upper() + " AND MORE", "quite another text of seven words"], ["x", "y"]), release="2")
    rows = batch([TEXT, TEXT + " again", "quite another text of seven words", "short"])
    for before, threshold, kept in [
        ("2", None, [False, False, True, True]),
        (None, None, [False, False, False, True]),
        ("2", 0.99, [False, True, True, True]),
    ]:
        op = IndexDeduplicator(path=tmp_path, before=before, jaccard_threshold=threshold)
        stats = op.measure(rows)
        assert op.keeps(rows, stats).tolist() == kept
        assert stats["index_id"].to_list()[:2] == ["old", "old"]
        assert stats["index_jaccard"].tolist()[:2] == [1.0, 36 / 37]
