"""Runs operations of the peer, one request per line; started by `parity.peer` with the peer's own Python.

Requests and answers are JSON lines on standard input and output:

    {"do": "names"}                                            -> every operation it knows
    {"do": "rows", "path": FILE}                               -> the rows that later requests are about
    {"do": "run", "op": NAME, "settings": [{...}, ...]}        -> what the operation does to each row
    {"do": "run", ..., "rows": [{...}]}                        -> the same for other rows

All settings of one request measure alike and differ in what they keep. A row on which the peer raises, or thinks
longer than the limit, has ``error`` in its answer.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
from pathlib import Path

SECONDS_PER_ROW = 2.0
STATS, META = "__dj__stats__", "__dj__meta__"


class TooLong(Exception):
    """A row took longer than the limit."""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever the peer prints must not get between the answers
    signal.signal(signal.SIGPROF, _stop)
    from data_juicer.utils.lazy_loader import LazyLoader
    from loguru import logger

    logger.remove()
    LazyLoader._install_package = _refuse
    rows = []
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "names":
                answer = _names()
            elif request["do"] == "rows":
                rows = [json.loads(row) for row in Path(request["path"]).read_text("utf-8").split("\n")[:-1]]
                answer = {"rows": len(rows)}
            else:
                answer = _run(request["op"], request["settings"], request.get("rows", rows))
        except Exception as error:  # noqa: BLE001 - the other side reports it
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer, default=_plain) + "\n")
        answers.flush()


def _names() -> dict:
    import data_juicer.ops  # noqa: F401 - registers them
    from data_juicer.ops.base_op import OPERATORS

    return {"names": sorted(OPERATORS.modules)}


def _run(name: str, settings: list, rows: list) -> dict:
    from data_juicer.ops.base_op import OPERATORS, Deduplicator, Filter, Grouper, Mapper, Selector

    ops = [OPERATORS.modules[name](**chosen, num_proc=1, auto_op_parallelism=False) for chosen in settings]
    if isinstance(ops[0], Filter):
        return {"kind": "filter", "rows": [_limited(lambda row=row: _filter(ops, row)) for row in rows]}
    if isinstance(ops[0], Mapper):
        return {"kind": "mapper", "rows": [_limited(lambda row=row: _map(ops[0], row)) for row in rows]}
    if isinstance(ops[0], (Deduplicator, Selector)):
        return {"kind": "barrier", "settings": [_barrier(op, rows) for op in ops]}
    if isinstance(ops[0], Grouper):
        from data_juicer.core.data import NestedDataset

        return {"kind": "reducer", "made": list(ops[0].process(NestedDataset.from_list(rows)))}
    raise TypeError(f"{name} is none of the kinds compared here")


def _filter(ops: list, row: dict) -> dict:
    batch = {key: [value] for key, value in row.items()}
    batch[STATS] = [{}]
    if ops[0].is_batched_op():
        batch = ops[0].compute_stats(batch)
        kept = [bool(next(iter(op.process(batch)))) for op in ops]
        return {"stats": batch[STATS][0], "kept": kept}
    sample = ops[0].compute_stats({**row, STATS: {}})
    return {"stats": sample[STATS], "kept": [bool(op.process(sample)) for op in ops]}


def _map(op: object, original: dict) -> dict:
    row = copy.deepcopy(original)  # operations write into the fields they are given
    if op.is_batched_op():
        columns = op.process({**{key: [value] for key, value in row.items()}, META: [dict(row.get(META, {}))]})
        count = len(columns[op.text_key])
        made = [{key: values[i] for key, values in columns.items()} for i in range(count)]
    else:
        made = [op.process({**row, META: dict(row.get(META, {}))})]
    return {"made": [_changes(original, dict(sample)) for sample in made]}


def _changes(row: dict, sample: dict) -> dict:
    meta = dict(sample.pop(META, {}))
    changed = {key: value for key, value in sample.items() if key not in row or row[key] != value}
    return {**changed, META: meta} if meta else changed


def _barrier(op: object, rows: list) -> dict:
    from data_juicer.core.data import NestedDataset

    # Its own `run` spends most of its time on starting processes and hashing its settings.
    hashed = [op.compute_hash(dict(row)) for row in rows] if hasattr(op, "compute_hash") else rows
    left = op.process(NestedDataset.from_list(hashed))
    left = list(left[0] if isinstance(left, tuple) else left)
    number = {row["number"]: row for row in rows}
    changed = {row["number"]: row["text"] for row in left if row["text"] != number[row["number"]]["text"]}
    return {"kept": [row["number"] for row in left], "texts": changed}


def _limited(work: object) -> dict:
    try:
        return _timed(work)
    except TooLong:
        return {"error": "too long"}


def _timed(work: object) -> dict:
    # Processor time, so that others' work on the machine changes no answer. It may be up while an error is handled.
    signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_ROW)
    try:
        return work()
    except TooLong:
        raise
    except Exception as error:  # noqa: BLE001 - part of what is compared
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _refuse(package: str, *_: object) -> None:
    # AttributeError would be taken for a missing attribute, and ImportError is what the peer itself raises.
    raise ImportError(f"{package} is not installed, and the peer shall not install it")


def _stop(*_: object) -> None:
    raise TooLong


def _plain(value: object) -> object:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return dict(value) if hasattr(value, "keys") else str(value)


if __name__ == "__main__":
    main()
