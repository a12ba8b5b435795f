"""Clusters of duplicates as a report shows them: the one that stays, and those it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from plait.data.op import Decision, Rows

_SHOWN = 300  # characters of a text


@dataclass(frozen=True)
class Member:
    """A row of a cluster.

    Args:
        id: Its id; its position where rows have none.
        text: Its beginning.
        similarity: To the row that stays, ``None`` where it was not measured; 1 for that row itself.
    """

    id: str
    text: str
    similarity: float | None


@dataclass(frozen=True)
class Cluster:
    """Rows of which one stays.

    Args:
        size: Number of rows, the one that stays included.
        lowest: Least similarity of a dropped row to the one that stays; ``None`` where it was not measured.
        survivor: The row that stays.
        members: Some of those dropped, the least similar first.
    """

    size: int
    lowest: float | None
    survivor: Member
    members: tuple[Member, ...]


def clusters(
    decision: Decision, rows: Rows, *, text_key: str = "text", id_key: str | None = "id", most: int = 20, shown: int = 5
) -> list[Cluster]:
    """The largest clusters of a decision, largest first.

    Of each, the least similar rows are shown: where they should not have been dropped, the threshold is too low.

    Args:
        decision: What a deduplicator decided.
        rows: The rows it saw.
        text_key: Field of the text.
        id_key: Field of the id, or ``None`` if rows have none.
        most: Clusters at most.
        shown: Rows shown of each, apart from the one that stays.

    Example:
        >>> from plait.data.batch import Batch, RowsInMemory
        >>> from plait.data.ops.duplicates.documents import DocumentDeduplicator
        >>> op, batch = DocumentDeduplicator(), Batch.of_texts(["a", "b", "a", "a "])
        >>> rows = RowsInMemory(op, batch)
        >>> [found] = clusters(op.decide(rows), rows, id_key=None)
        >>> found.size, found.survivor.id, [member.id for member in found.members]
        (3, '0', ['2', '3'])
    """
    with_survivor = decision.survivor >= 0
    position, survivor = decision.position[with_survivor], decision.survivor[with_survivor]
    value = decision.value[with_survivor]
    kept, sizes = np.unique(survivor, return_counts=True)
    found = list[Cluster]()
    for number in np.lexsort((kept, -sizes))[:most].tolist():
        own = np.flatnonzero(survivor == kept[number])
        least = own[np.lexsort((position[own], value[own]))][:shown]
        lowest = _measured(float(value[own].min()))
        similarity = [1.0, *(_measured(float(value[place])) for place in least)]
        first, *others = _members(rows, np.append(kept[number], position[least]), similarity, text_key, id_key)
        found.append(Cluster(int(sizes[number]) + 1, lowest, first, tuple(others)))
    return found


def size_counts(decision: Decision) -> dict[int, int]:
    """How many clusters there are of each size, sizes ascending.

    Example:
        >>> from plait.data.ops.duplicates.documents import DocumentDeduplicator
        >>> size_counts(DocumentDeduplicator().find_in(["a", "b", "a", "b", "a", "c"]))
        {2: 1, 3: 1}
    """
    sizes = np.unique(decision.survivor[decision.survivor >= 0], return_counts=True)[1] + 1
    return {int(size): int(count) for size, count in zip(*np.unique(sizes, return_counts=True), strict=True)}


def _measured(value: float) -> float | None:
    return None if np.isnan(value) else value


def _members(
    rows: Rows, positions: np.ndarray, similarity: list[float | None], text_key: str, id_key: str | None
) -> list[Member]:
    texts = rows.fetch(text_key, positions).fill_null("").str.head(_SHOWN).to_list()
    ids = positions.tolist() if id_key is None else rows.fetch(id_key, positions).to_list()
    return [Member(str(name), text, value) for name, text, value in zip(ids, texts, similarity, strict=True)]
