"""Files of preference pairs for the stages and verbs of `plait.align`: read, tokenised, and split by prompt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.align.pairs import TokenLimits, TokenPair, tokenise_pairs
from plait.core.io import read_table
from plait.core.quarantine import Quarantine
from plait.core.seeds import Seeds
from plait.errors import DataError
from plait.flows.training_records import hold_out, set_aside, with_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PairFile:
    """Usable pairs with their records, how many records were given, and how many completions were cut."""

    pairs: list[TokenPair]
    records: list[dict[str, Any]]
    given: int
    cut: int

    def __len__(self) -> int:
        """How many pairs can be used."""
        return len(self.pairs)

    def take(self, rows: Iterable[int]) -> PairFile:
        """Some of the pairs, in the order asked for."""
        rows = list(rows)
        return PairFile([self.pairs[i] for i in rows], [self.records[i] for i in rows], self.given, self.cut)


def read_records(path: Path, quarantine: Quarantine) -> list[dict[str, Any]]:
    """The records of a file; one without an id gets the number of its row.

    Raises:
        DataError: The file has no ``chosen`` or no ``rejected``.
    """
    table = read_table(path, quarantine=quarantine)
    for column in ("chosen", "rejected"):
        if column not in table.column_names:
            raise DataError(
                f'there is no field "{column}"; fields: {", ".join(table.column_names)}',
                code="data.missing-field",
                where=str(path),
                hint="preference pairs have prompt, chosen and rejected",
            )
    return with_ids(table)


def tokenise_records(
    records: Sequence[Mapping[str, Any]],
    *,
    tokenizer: PreTrainedTokenizerBase,
    limits: TokenLimits,
    quarantine: Quarantine,
    name: str,
) -> PairFile:
    """Records as token pairs; those that cannot be pairs are set aside with their reason.

    Args:
        records: From `read_records`.
        tokenizer: Of the model that will read them.
        limits: How long a pair may be.
        quarantine: Where the others go.
        name: Of the file, for the place of a bad record.

    Raises:
        DataError: No record is a usable pair.
    """
    result = tokenise_pairs(records, tokenizer=tokenizer, limits=limits)
    set_aside(result.problems, records, quarantine=quarantine, name=name)
    if not result.pairs:
        raise DataError(
            f"none of the {len(records)} records is a usable pair",
            code="align.no-pairs",
            where=name,
            hint=f"see {quarantine.path.name} for the reasons",
        )
    by_id = {str(record["id"]): dict(record) for record in records}
    given = len(result.pairs) + len(result.problems)
    return PairFile(result.pairs, [by_id[p.id] for p in result.pairs], given, result.completions_cut)


def split_by_prompt(
    records: Sequence[Mapping[str, Any]], *, share: float, seeds: Seeds
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Pairs to train on and pairs held out, by `plait.flows.training_records.hold_out`.

    Args:
        records: Pairs, of at least two prompts.
        share: About this part is held out, above 0 and below 1.
        seeds: Decides which.

    Raises:
        UsageError: All records have one prompt.

    Example:
        >>> rows = [{"id": str(n), "prompt": f"p{n % 5}", "chosen": "a", "rejected": "b"} for n in range(10)]
        >>> train, heldout = split_by_prompt(rows, share=0.4, seeds=Seeds(0))
        >>> len(train), len(heldout), {r["prompt"] for r in train} & {r["prompt"] for r in heldout}
        (6, 4, set())
    """
    return hold_out(records, share=share, prompt_of=prompt_of, seeds=seeds, kind="pairs")


def prompt_of(record: Mapping[str, Any]) -> str:
    """What a pair answers; of a pair with an implicit prompt, its common beginning."""
    from plait.align.formats import read_record

    texts = read_record(record)
    # A record that is no pair is set aside later, with its reason; here it only needs a side.
    return json.dumps(record.get("prompt") if isinstance(texts, str) else texts.prompt, default=str)
