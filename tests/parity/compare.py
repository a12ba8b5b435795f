"""Run one operation here and there, and collect the rows on which the answers part."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from parity.exceptions import Difference, What
from parity.peer import Peer
from plait.data.batch import Batch, RowsInMemory
from plait.data.names import ROW
from plait.data.op import Barrier, Filter, Mapper, Op, RangeFilter, Reducer

Row = dict[str, Any]
Settings = dict[str, Any]
Answer = dict[str, Any]

TOLERANCE = 1e-9


@dataclass(frozen=True)
class Mismatch:
    """A row on which the two do not answer alike, and how each of them answers."""

    what: What
    settings: Settings
    row: Row
    ours: Any
    theirs: Any

    def __str__(self) -> str:
        text = self.row["text"]
        shown = repr(text) if len(text) < 300 else f"{text[:150]!r} ... {text[-100:]!r} ({len(text)} characters)"
        sides = f"  here  {self.ours!r:.400}\n  there {self.theirs!r:.400}"
        return f"{self.what} with {self.settings}\n  text  {shown}\n{sides}"


def ours(kind: type[Op], settings: Sequence[Settings], rows: Sequence[Row]) -> list[Answer]:
    """What our operation does to each row, as `parity.driver` tells it."""
    ops = [kind.model_validate(chosen) for chosen in settings]
    first, batch = ops[0], Batch.of(pl.DataFrame(list(rows), infer_schema_length=None))
    if isinstance(first, Filter):
        measured = first.measure(batch)
        stats = {name: _listed(column) for name, column in measured.items()}
        kept = [_listed(op.keeps(batch, measured)) for op in ops if isinstance(op, Filter)]
        return [
            {"stats": {name: values[i] for name, values in stats.items()}, "kept": [k[i] for k in kept]}
            for i in range(len(rows))
        ]
    if isinstance(first, Mapper):
        made = defaultdict[int, list[Row]](list)
        for new in first.apply(batch).frame.to_dicts():
            number = new.pop(ROW)
            made[number].append(_changes(rows[number], new))
        return [{"made": made[i]} for i in range(len(rows))]
    if isinstance(first, Barrier):
        decided = [_decided(op, batch) for op in ops if isinstance(op, Barrier)]
        return [{"kept": [k[i] for k, _ in decided], "texts": [t[i] for _, t in decided]} for i in range(len(rows))]
    assert isinstance(first, Reducer)
    return [{"made": [row for frame in first.reduce([batch]) for row in frame.drop(ROW, strict=False).to_dicts()]}]


def theirs(peer: Peer, name: str, settings: Sequence[Settings], rows: Sequence[Row] | None, count: int) -> list[Answer]:
    """What the peer's operation does to each row; to those it has been given if ``rows`` are not."""
    answer = peer.run(name, settings, rows)
    if answer["kind"] == "barrier":
        kept = [set(one["kept"]) for one in answer["settings"]]
        texts = [one["texts"] for one in answer["settings"]]
        numbers = range(count) if rows is None else [row["number"] for row in rows]
        return [{"kept": [n in k for k in kept], "texts": [t.get(str(n)) for t in texts]} for n in numbers]
    return [{"made": answer["made"]}] if answer["kind"] == "reducer" else answer["rows"]


def mismatches(
    rows: Sequence[Row], here: Sequence[Answer], there: Sequence[Answer], settings: Sequence[Settings]
) -> list[Mismatch]:
    """Rows that part: by a number, a decision, or what is made of them."""
    found = list[Mismatch]()
    # A reducer gives one answer for all rows.
    for row, a, b in zip(rows[: len(there)], here, there, strict=True):
        if "error" in b:
            if b["error"] != "too long":
                found.append(Mismatch("error", settings[0], row, a, b["error"]))
            continue
        if not _equal(a.get("stats"), b.get("stats")):
            found.append(Mismatch("stats", settings[0], row, a["stats"], b["stats"]))
        if "made" in b and not _equal(a["made"], b["made"]):
            found.append(Mismatch("output", settings[0], row, a["made"], b["made"]))
        if "texts" in b and all(a["kept"]) and all(b["kept"]) and a["texts"] != b["texts"]:
            found.append(Mismatch("output", settings[0], row, a["texts"], b["texts"]))
        for chosen, x, y in zip(settings if "kept" in b else [], a.get("kept", []), b.get("kept", []), strict=True):
            if x != y:
                found.append(Mismatch("kept", chosen, row, (x, a.get("stats")), (y, b.get("stats"))))
    return found


def unexplained(
    name: str, found: Sequence[Mismatch], known: Sequence[Difference], used: set[Difference], *, compat: bool
) -> list[Mismatch]:
    """Those that no known difference explains; what explains one is added to ``used``.

    Args:
        compat: The peer's bugs were asked for, so that only differences which say so count.
    """
    left = list[Mismatch]()
    for mismatch in found:
        explaining = [
            d
            for d in known
            if ("compat" in d.settings) == compat and d.explains(name, mismatch.what, mismatch.settings, mismatch.row)
        ]
        used.update(explaining)
        if not explaining:
            left.append(mismatch)
    return left


def bounds_to_try(kind: type[Op], settings: Settings, rows: Sequence[Row]) -> list[Settings]:
    """The settings with bounds at numbers that some rows have, closed and open, inside and outside."""
    if not issubclass(kind, RangeFilter) or any(key.startswith(("min_", "max_")) for key in settings):
        return [settings]
    values = np.asarray(kind.model_validate(settings).value(Batch.of(pl.DataFrame(list(rows)))), np.float64)
    if not np.isfinite(values).all():
        return [settings]
    low, high = np.quantile(values, [0.3, 0.7], method="nearest").tolist()
    bounds = {
        name: type(field.default)(low if name.startswith("min_") else high)
        for name, field in kind.model_fields.items()
        if name.startswith(("min_", "max_")) and not name.endswith("_closed_interval")
    }
    opened = {"min_closed_interval": False, "max_closed_interval": False}
    tried = [{}, bounds, {**bounds, **opened}, {**bounds, "reversed_range": True},
             {**bounds, **opened, "reversed_range": True}]  # fmt: skip
    return [{**settings, **more} for more in tried]


def shrunk(mismatch: Mismatch, differs: Callable[[list[Row]], list[bool]], rounds: int = 25) -> Row:
    """The row with the shortest text found that still differs: pieces are cut out while it does."""
    row = mismatch.row
    for _ in range(rounds):
        text = row["text"]
        size = max(1, len(text) // 8)
        tried = [{**row, "text": text[:i] + text[i + size :]} for i in range(0, len(text), size)]
        if len(text) > 1:
            tried += [{**row, "text": text[: len(text) // 2]}, {**row, "text": text[len(text) // 2 :]}]
        still = [candidate for candidate, yes in zip(tried, differs(tried), strict=True) if yes] if tried else []
        if not still:
            break
        row = min(still, key=lambda candidate: len(candidate["text"]))
    return row


def _decided(op: Barrier, batch: Batch) -> tuple[list[bool], list[str | None]]:
    """Whether each row stays, and its text if that changed."""
    decision = op.decide(RowsInMemory(op, batch))
    kept = np.ones(len(batch), np.bool_)
    kept[decision.position] = False
    before = batch.text(op.text_key).to_list()
    rewrite: Any = getattr(op, "rewrite", None)
    after = rewrite(batch, decision.state).to_list() if decision.state is not None else before
    return kept.tolist(), [new if new != old else None for old, new in zip(before, after, strict=True)]


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        a, b = ({k: v for k, v in d.items() if v is not None} for d in (a, b))
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, float | int) and isinstance(b, float | int):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return a == b


def _changes(row: Row, new: Row) -> Row:
    return {key: value for key, value in new.items() if key not in row or row[key] != value}


def _listed(column: Any) -> list[Any]:
    return column.to_list() if isinstance(column, pl.Series) else np.asarray(column).tolist()
