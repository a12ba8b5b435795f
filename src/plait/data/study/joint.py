"""Owners find the texts that several of them have, and who keeps each, by exchanging keyed hashes only.

    keys = owner_keys(batches, owner="clinic", secret=shared)       # at each owner's; keys.write(path)
    plan = plan_dedup([keys, *theirs])                              # anywhere
    plan.owners["clinic"].drop                                      # positions of the rows that clinic drops

A row is known by its place with its owner. Its keys are those of MinHash bands over keyed hashes of its runs of words:
rows that agree on a band are alike with a probability that rises steeply at the similarity chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from plait.data import kernels
from plait.data.batch import Batch
from plait.data.dedup.signatures import band_keys
from plait.data.study.facts import Fact
from plait.data.study.keyed import check_secret, key_of, sip_hash
from plait.data.study.tally import WORDS, text_hashes
from plait.errors import DataError, StrandError, UsageError

BANDS, ROWS = 25, 10
"""Bands and rows per band: the choice of least error at a similarity of 0.7 where nobody verifies, see
`plait.data.dedup.signatures.bands_of_least_error`."""


@dataclass(frozen=True)
class OwnerKeys:
    """The keys of an owner's rows.

    Args:
        owner: Name of the owner.
        documents: Keyed hashes of the whole texts, uint64 ``[rows]``.
        bands: One key per band, uint64 ``[rows, bands]``; zeros for a text shorter than a run of words.
        key_check: Tells whether two owners used the same secret.
    """

    owner: str
    documents: np.ndarray
    bands: np.ndarray
    key_check: str

    def write(self, path: Path) -> None:
        """Write them to a Parquet file."""
        columns = {"document": self.documents} | {f"band_{b}": self.bands[:, b] for b in range(self.bands.shape[1])}
        table = pa.table({name: pa.array(values, pa.uint64()) for name, values in columns.items()})
        notes = {"plait.owner": self.owner, "plait.key_check": self.key_check}
        pq.write_table(table.replace_schema_metadata(notes), path)

    @classmethod
    def read(cls, path: Path) -> OwnerKeys:
        """Keys from a file.

        Raises:
            DataError: There is no such file, or it holds no keys.
        """
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"cannot read keys: {error}", code="study.bad-keys", where=str(path)) from error
        notes = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        names = [name for name in table.column_names if name.startswith("band_")]
        right = all(t == pa.uint64() for t in table.schema.types) and not any(c.null_count for c in table.columns)
        if "plait.owner" not in notes or "document" not in table.column_names or not names or not right:
            raise DataError("this file holds no keys of rows", code="study.bad-keys", where=str(path))
        bands = np.column_stack([table.column(f"band_{b}").to_numpy() for b in range(len(names))])
        documents = table.column("document").to_numpy()
        return cls(notes["plait.owner"], documents, bands, notes.get("plait.key_check", ""))


class OwnerPart(Fact):
    """What one owner does."""

    rows: int
    """Rows it has."""
    drop: list[int]
    """Positions of the rows it drops, ascending."""
    kept_by: list[str]
    """For each of these, the owner that keeps the text."""
    kept_at: list[int]
    """And the position of the row there."""


class JointPlan(Fact):
    """Who keeps which text."""

    owners: dict[str, OwnerPart]
    """By owner."""
    clusters: int
    """Sets of alike rows."""
    across: int
    """Those of them that several owners have."""
    keep: str
    """How the owner that keeps a text was chosen."""


def owner_keys(batches: Iterable[Batch], *, owner: str, secret: str, text_key: str = "text") -> OwnerKeys:
    """The keys of an owner's rows, to be exchanged instead of texts.

    Args:
        batches: Rows, in the order in which positions count.
        owner: Name of the owner.
        secret: Shared by the owners and by nobody else; who plans without it learns only which rows are alike.
        text_key: Field of the text.

    Raises:
        UsageError: The secret is empty, so anybody could test texts.
    """
    check_secret(secret)
    key = key_of(secret)
    documents, bands = [np.zeros(0, np.uint64)], [np.zeros((0, BANDS), np.uint64)]
    for batch in batches:
        documents.append(sip_hash(text_hashes(batch.text(text_key)), key))
        shingles, starts = kernels.shingles(batch.words(text_key), WORDS)
        bands.append(_bands(sip_hash(shingles, key), starts, key))
    return OwnerKeys(owner, np.concatenate(documents), np.concatenate(bands), key_of(key.hex()).hex())


def plan_dedup(owners: Sequence[OwnerKeys], *, keep: Literal["first", "spread"] = "spread") -> JointPlan:
    """Who keeps which text.

    Rows that share the whole text or a band are alike, and so are those alike to the same row. Near duplicates are
    candidates: nobody compares the texts, as no owner may see another's.

    Args:
        owners: Keys of each; the order of owners does not matter.
        keep: ``spread`` shares the kept texts out evenly among the owners that have them; ``first`` leaves
            them with the first owner by name, the others lose theirs.

    Raises:
        UsageError: Fewer than two owners, or two of one name.
        StrandError: They used other secrets or numbers of bands.
    """
    ordered = sorted(owners, key=lambda o: o.owner)
    if len({o.owner for o in ordered}) < max(len(ordered), 2):
        raise UsageError("a joint plan needs two owners with different names", code="study.one-owner")
    if len({(o.key_check, o.bands.shape[1]) for o in ordered}) > 1:
        raise StrandError("the keys were made with different secrets or bands", code="study.unlike-sketches",
                          hint="give all owners the same secret")  # fmt: skip
    of = np.repeat(np.arange(len(ordered)), [len(o.documents) for o in ordered])
    at = np.concatenate([np.arange(len(o.documents)) for o in ordered])
    documents = np.concatenate([o.documents for o in ordered])
    cluster = _connected(np.column_stack([documents, np.concatenate([o.bands for o in ordered])]))
    order = _order_of_keeping(cluster, documents, of, at, keep)
    first = (
        np.concatenate([[True], cluster[order][1:] != cluster[order][:-1]]) if len(order) else order.astype(np.bool_)
    )
    keeper = np.empty(len(of), np.int64)
    keeper[order] = order[np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))] if len(order) else order
    sizes = np.bincount(cluster, minlength=1)
    pairs = np.unique(np.column_stack([cluster, of]), axis=0)[:, 0]
    parts = dict[str, OwnerPart]()
    for number, owner in enumerate(ordered):
        gone = np.flatnonzero((of == number) & (keeper != np.arange(len(of))))
        parts[owner.owner] = OwnerPart(
            rows=len(owner.documents),
            drop=at[gone].tolist(),
            kept_by=[ordered[o].owner for o in of[keeper[gone]].tolist()],
            kept_at=at[keeper[gone]].tolist(),
        )
    across = int(np.count_nonzero(np.bincount(pairs, minlength=1) > 1))
    return JointPlan(owners=parts, clusters=int(np.count_nonzero(sizes > 1)), across=across, keep=keep)


def _bands(shingles: np.ndarray, starts: np.ndarray, key: bytes) -> np.ndarray:
    bands = band_keys(shingles, starts, bands=BANDS, rows=ROWS)
    # Keyed again: what a band is made of are few bits of hashes, which could be tried out.
    keyed = sip_hash((bands + np.arange(BANDS, dtype=np.uint64)).ravel(), key).reshape(bands.shape)
    return np.where(bands == 0, np.uint64(0), keyed)


def _connected(keys: np.ndarray) -> np.ndarray:
    """The cluster of each row, int64 ``[rows]``: its lowest row. Rows with an equal key in a column are connected."""
    label = np.arange(len(keys))
    groups = list[tuple[np.ndarray, np.ndarray]]()
    for column in keys.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        equal = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
        if equal.any():
            groups.append((order[:-1][equal], order[1:][equal]))
    while True:
        before = label.copy()
        for first, second in groups:
            least = np.minimum(label[first], label[second])
            np.minimum.at(label, first, least)
            np.minimum.at(label, second, least)
            np.minimum.at(label, before[first], least)
            np.minimum.at(label, before[second], least)
        label = label[label]
        if (label == before).all():
            return label


def _order_of_keeping(
    cluster: np.ndarray, documents: np.ndarray, of: np.ndarray, at: np.ndarray, keep: str
) -> np.ndarray:
    """Rows cluster by cluster, each cluster's keeper first."""
    if keep == "first":
        return np.lexsort((at, of, cluster))
    # The owner whose name follows the cluster's lowest hash keeps: nobody can choose that, and all compute the same.
    lowest = np.full(len(cluster), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(lowest, cluster, documents)
    pairs, which = np.unique(np.column_stack([cluster, of]), axis=0, return_inverse=True)
    start = np.searchsorted(pairs[:, 0], pairs[:, 0])
    many = np.searchsorted(pairs[:, 0], pairs[:, 0], side="right") - start
    place = np.arange(len(pairs)) - start
    chosen = place == (lowest[pairs[:, 0]] % np.maximum(many, 1).astype(np.uint64)).astype(np.int64)
    return np.lexsort((at, of, ~chosen[which.reshape(-1)], cluster))
