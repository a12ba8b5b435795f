"""Records that a model is trained on: their ids, which are set aside, and which are held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plait.core.quarantine import Quarantine
from plait.core.seeds import Seeds
from plait.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from plait.align.pairs import Problem


def with_ids(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table; one without an id gets its number.

    Example:
        >>> import pyarrow as pa
        >>> with_ids(pa.table({"text": ["a", "b"], "id": ["first", None]}))
        [{'id': 'first', 'text': 'a'}, {'id': '1', 'text': 'b'}]
    """
    return [
        {"id": str(n), **{k: v for k, v in record.items() if k != "id" or v is not None}}
        for n, record in enumerate(table.to_pylist())
    ]


def set_aside(
    problems: Sequence[Problem], records: Sequence[Mapping[str, Any]], *, quarantine: Quarantine, name: str
) -> None:
    """Put records that cannot be used where bad records go, each with its place and reason.

    Args:
        problems: What is wrong, by the ids of records.
        records: All of the file.
        quarantine: Where they go.
        name: Of the file.
    """
    by_id = {str(record["id"]): record for record in records}
    for problem in problems:
        quarantine.add(where=f"{name}:{problem.id}", reason=problem.reason, record=by_id[problem.id])


def hold_out(
    records: Sequence[Mapping[str, Any]],
    *,
    share: float,
    prompt_of: Callable[[Mapping[str, Any]], str],
    seeds: Seeds,
    kind: str = "records",
    where: str | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Divide records into those to train on and those held out, each in the order of the file.

    All records of one prompt go to the same side: what was seen in training must not be measured on.

    Args:
        records: At least two prompts among them.
        share: About this part is held out, above 0 and below 1.
        prompt_of: What a record answers.
        seeds: Decides which.
        kind: What the records are, for messages: ``pairs``.
        where: Their file, for messages.

    Raises:
        UsageError: All records have one prompt.

    Example:
        >>> rows = [{"prompt": f"p{n % 5}", "completion": str(n)} for n in range(10)]
        >>> train, heldout = hold_out(rows, share=0.4, prompt_of=lambda row: row["prompt"], seeds=Seeds(0))
        >>> len(train), len(heldout), {r["prompt"] for r in train} & {r["prompt"] for r in heldout}
        (6, 4, set())
    """
    groups: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        groups.setdefault(prompt_of(record), []).append(row)
    if len(groups) < 2:
        raise UsageError(
            f"{len(records)} {kind} of one prompt cannot be split into {kind} to train on and {kind} held out",
            code="align.one-prompt",
            where=where,
            hint=f"give the held-out {kind} as a file of their own",
        )
    held: set[int] = set()
    keys = list(groups)
    for index in seeds.child("split").numpy().permutation(len(keys))[:-1]:  # one prompt is left to train on
        if len(held) >= max(1, round(share * len(records))):
            break
        held |= set(groups[keys[int(index)]])
    rows = [dict(record) for record in records]
    return [r for n, r in enumerate(rows) if n not in held], [r for n, r in enumerate(rows) if n in held]
