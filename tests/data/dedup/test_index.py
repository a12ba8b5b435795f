"""The index: what is found is verified, growing step by step is growing at once, a killed writer changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.batch import Batch
from plait.data.dedup.index import Index
from plait.data.dedup.runs import Run, merge
from plait.data.dedup.tokens import Shingling
from plait.data.ops.duplicates.index import IndexDeduplicator
from plait.errors import DataError, UsageError

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
        best = found.sort("row", -pl.col("jaccard"), "release", "id").unique("row", keep="first", maintain_order=True)
        assert parts.nearest(batch(asked)).equals(best)
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


def test_adding_again_what_has_been_merged_changes_nothing(tmp_path: Path) -> None:
    index = Index.create(tmp_path)
    some = [batch([f"{TEXT} {number}"], [str(number)]) for number in range(20)]
    for one in [*some, *some]:
        index = index.add(one, release="1")
    assert index.count == 20
    assert index.merge().add(some[3], release="1").count == 20


def test_runs_are_merged_with_those_of_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred documents one by one: each is written twice, not once for every seventeen that follow."""
    merged = list[int]()

    def counted(runs: Sequence[Run], names: Sequence[str], folder: Path) -> str:
        merged.append(sum(run.documents.height for run in runs))
        return merge(runs, names, folder)

    monkeypatch.setattr("plait.data.dedup.index.merge", counted)
    index = Index.create(tmp_path)
    for number in range(100):
        index = index.add(batch([f"{TEXT} {number}"], [str(number)]), release="1")
    assert merged == [17] * 5
    assert index.count == index.merge().count == 100


def test_a_page_that_is_everywhere_is_looked_up_some_rows_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.create(tmp_path).add(batch([TEXT] * 30 + [TEXT + " x"] * 9), release="1")
    asked = batch([f"{TEXT} x", "short", TEXT, "another text of six words", TEXT])
    whole, best = index.find(asked), index.nearest(asked)
    assert whole.height == 3 * 39
    monkeypatch.setattr("plait.data.dedup.runs.PAIRS_AT_ONCE", 50)
    parts = list(index._runs[0].candidates(index.settings.keys_and_sets(asked.text())[0]))
    assert [len(np.unique(rows)) for rows, _ in parts] == [1, 1, 1]
    assert index.find(asked).equals(whole)
    assert index.nearest(asked).equals(best)
    assert best.select("row", "id").rows() == [(0, "id-30"), (2, "id-0"), (4, "id-0")]


@pytest.mark.parametrize(
    "name", ["manifest.json", "documents.arrow", "keys.npy", "places.npy", "values.npy", "starts.npy"]
)
@pytest.mark.parametrize("left", [None, 0, 0.5, 0.99])
def test_what_is_missing_or_cut_short_is_told(tmp_path: Path, name: str, left: float | None) -> None:
    Index.create(tmp_path).add(batch([f"{TEXT} {number}" for number in range(40)]), release="1")
    [path] = tmp_path.rglob(name)
    whole = path.read_bytes()
    path.unlink()
    if left is not None:
        path.write_bytes(whole[: int(left * len(whole))])
    with pytest.raises(DataError) as error:
        Index.open(tmp_path)
    assert error.value.code == ("data.no-index" if left is None and name == "manifest.json" else "data.index-damaged")


def test_sets_and_places_of_another_run_are_told(tmp_path: Path) -> None:
    for name, count in (("a", 40), ("b", 30)):
        texts = [f"{name} {TEXT} {number}" for number in range(count)]
        Index.create(tmp_path / name).add(batch(texts), release="1")
    for file in ("starts.npy", "places.npy", "values.npy"):
        [mine], [other] = (tmp_path / "a").rglob(file), (tmp_path / "b").rglob(file)
        whole = mine.read_bytes()
        mine.write_bytes(other.read_bytes())
        with pytest.raises(DataError, match="damaged"):
            Index.open(tmp_path / "a")
        mine.write_bytes(whole)
    [places] = (tmp_path / "a").rglob("places.npy")
    np.save(places, np.load(places) + np.uint32(40), allow_pickle=False)
    with pytest.raises(DataError, match="document 79 of a run of 40"):
        Index.open(tmp_path / "a").find(batch([f"a {TEXT} 39"]))


def test_documents_without_an_id(tmp_path: Path) -> None:
    rows = Batch.of(pl.DataFrame({"text": [TEXT, TEXT], "id": pl.Series([None, "x"], dtype=pl.String)}))
    found = Index.create(tmp_path).add(rows, release="1").find(batch([TEXT]))
    assert found["id"].to_list() == [None, "x"]


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


def test_the_operation_sees_an_index_that_has_grown(tmp_path: Path) -> None:
    op = IndexDeduplicator(path=tmp_path)
    index = Index.create(tmp_path)
    assert op.measure(batch([TEXT]))["index_jaccard"].tolist() == [0.0]
    index.add(batch([TEXT]), release="1")
    assert op.measure(batch([TEXT]))["index_jaccard"].tolist() == [1.0]


def test_the_operation_cannot_find_what_the_index_does_not(tmp_path: Path) -> None:
    Index.create(tmp_path, threshold=0.7)
    with pytest.raises(UsageError, match="nothing below"):
        IndexDeduplicator(path=tmp_path, jaccard_threshold=0.5).ready()
    IndexDeduplicator(path=tmp_path, jaccard_threshold=0.7).ready()
    with pytest.raises(DataError, match="no index"):
        IndexDeduplicator(path=tmp_path / "none").ready()


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
