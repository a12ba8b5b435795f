"""Groups and clusters: the same whatever the memory, verified, found once and for all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.dedup.clusters import Candidates, cluster
from plait.data.dedup.groups import Groups, Spill, group, groups_of, groups_of_each
from plait.data.dedup.sets import SetStore, fetch_sets, jaccard
from plait.data.dedup.tokens import Shingling


class Chunked:
    """Rows in several chunks, with little memory."""

    def __init__(self, keys: np.ndarray, texts: list[str], cut: int, scratch: Path, memory_bytes: int) -> None:
        self.count, self.scratch, self.memory_bytes = len(keys), scratch, memory_bytes
        self._keys, self._texts, self._cut = keys, pl.Series("text", texts, dtype=pl.String), cut

    def key(self, name: str, columns: slice | None = None) -> np.ndarray:
        assert name == "k"
        return self._keys if columns is None else self._keys[:, columns]

    def parts(self, name: str, columns: slice | None = None) -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, self.count, self._cut):
            yield start, self.key(name, columns)[start : start + self._cut]

    def fetch(self, name: str, positions: np.ndarray) -> pl.Series:
        assert name == "text"
        return self._texts.gather(positions)


def lists(groups: Groups) -> list[list[int]]:
    return [part.tolist() for part in np.split(groups.members, groups.starts[1:-1])] if len(groups) else []


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=30))
def test_groups_are_the_rows_that_agree(pairs: list[tuple[int, int]]) -> None:
    keys = np.array(pairs, np.uint64).reshape(-1, 2)
    expected = {p: [i for i, q in enumerate(pairs) if q == p] for p in pairs if any(p)}
    assert sorted(lists(group(keys))) == sorted(rows for rows in expected.values() if len(rows) > 1)


def test_groups_do_not_depend_on_memory(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    keys = random.integers(0, 2**64, 40, dtype=np.uint64)[random.integers(0, 40, 300)].reshape(-1, 1)
    whole = group(keys)
    parts = list(groups_of(Chunked(keys, [""] * 300, 70, tmp_path, 1_000), "k", slice(0, 1)))
    assert len(parts) == 8
    assert [rows for part in parts for rows in lists(part)] == lists(whole)


@pytest.mark.parametrize(("memory_bytes", "read_together"), [(1 << 20, 5), (40_000, 4), (12_000, 1), (1_000, 1)])
def test_columns_are_read_together_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_bytes: int, read_together: int
) -> None:
    random = np.random.default_rng(0)
    keys = random.integers(0, 2**64, 40, dtype=np.uint64)[random.integers(0, 40, (300, 5))]
    rows = Chunked(keys, [""] * 300, 70, tmp_path, memory_bytes)
    asked = list[slice | None]()
    monkeypatch.setattr(rows, "key", lambda name, columns: asked.append(columns) or keys[:, columns])
    found = [rows for groups in groups_of_each(rows, "k", 5) for rows in lists(groups)]
    assert found == [rows for column in range(5) for rows in lists(group(keys[:, column : column + 1]))]
    assert max(s.stop - s.start for s in asked) == read_together


def test_what_does_not_fit_is_mapped_from_files(tmp_path: Path) -> None:
    spill = Spill(tmp_path, 100)
    kept = [spill.keep(np.arange(n)) for n in (10, 20, 0)]
    assert [a.tolist() for a in kept] == [list(range(10)), list(range(20)), []]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("room", [0, 40, 120])
def test_sets_in_a_file_are_those_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """Also where some of them were held before the room was used up."""
    monkeypatch.setattr("plait.data.dedup.sets._ROWS_AT_ONCE", 1)
    texts = [" ".join(f"w{i * j % 17}" for j in range(9)) for i in range(30)]
    keys, positions = np.zeros((30, 1), np.uint64), np.array([7, 3, 29, 0])
    shingling = Shingling(window=2)
    small = fetch_sets(Chunked(keys, texts, 7, tmp_path, 64), "text", positions, shingling.sets, room)
    large = fetch_sets(Chunked(keys, texts, 7, tmp_path / "none", 64), "text", positions, shingling.sets, 1 << 20)
    assert (tmp_path / "sets.u64").exists()
    for i in range(4):
        own = [s.values[s.start[i] : s.start[i] + s.size[i]].tolist() for s in (small, large)]
        assert own[0] == own[1] == shingling.sets(pl.Series([texts[positions[i]]]))[0].tolist()


def test_jaccard_by_hand() -> None:
    assert jaccard(np.array([1, 2, 3, 4]), np.array([3, 4, 5])) == 2 / 5
    assert jaccard(np.array([]), np.array([])) == 0.0


def test_verification_drops_nothing_that_only_shares_a_key() -> None:
    sets = SetStore.of(np.array([1, 2, 3, 1, 2, 3, 7, 8, 7, 8], np.uint64), np.array([0, 3, 6, 8, 10]))
    candidates = Candidates(4, Spill(None, 0))
    candidates.add(Groups(np.arange(4), np.array([0, 4])))
    found = cluster(candidates, np.arange(4), sets, 0.9, {})
    assert (found.position.tolist(), found.survivor.tolist(), found.value.tolist()) == ([1, 3], [0, 2], [1.0, 1.0])
    # 0 with 1 to 3, then 2 with 3: four pairs, two of them similar.
    assert found.facts == {
        "candidate_rows": 4,
        "compared": 4,
        "verified": 2,
        "rejected": 2,
        "clusters": 2,
        "largest_cluster": 2,
        "linked_below_threshold": 0,
    }


def test_the_preferred_row_of_a_chain_stays_and_the_weak_link_is_told() -> None:
    """A ~ B ~ C with A and C unlike: one cluster, and C is dropped for A at a similarity below the threshold."""
    sets = SetStore.of(np.array([1, 2, 3, 2, 3, 4, 3, 4, 5], np.uint64), np.array([0, 3, 6, 9]))
    candidates = Candidates(3, Spill(None, 0))
    candidates.add(Groups(np.array([0, 1]), np.array([0, 2])))
    candidates.add(Groups(np.array([1, 2]), np.array([0, 2])))
    found = cluster(candidates, np.arange(3), sets, 0.5, {})
    assert found.value.tolist() == pytest.approx([0.5, 0.2])
    assert found.facts["linked_below_threshold"] == 1
    # In another order of preference: places 0, 1, 2 are rows 2, 1, 0, and row 2 stays.
    backwards = cluster(candidates, np.array([2, 1, 0]), sets, 0.5, {})
    assert (backwards.position.tolist(), backwards.survivor.tolist()) == ([0, 1], [2, 2])
