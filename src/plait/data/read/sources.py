"""Where records come from, and how many of them are taken."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Self

from plait.errors import UsageError


@dataclass(frozen=True, repr=False)
class Source:
    """One input.

    Args:
        path: A file, folder, pattern or address; ``hf://datasets/owner/name`` for one on the Hugging Face hub.
        weight: Share of its rows that is taken: ``ceil(weight * rows)``; above 1 rows are repeated.
        split: Which split of a dataset on the hub, or of a saved one.
        name: Which configuration of a dataset on the hub.
        limit: At most so many rows, from the start.
    """

    path: str
    weight: float = field(default=1.0, kw_only=True)
    split: str = field(default="train", kw_only=True)
    name: str | None = field(default=None, kw_only=True)
    limit: int | None = field(default=None, kw_only=True)

    def with_weight(self, weight: float) -> Self:
        """The same input with another weight."""
        return replace(self, weight=weight)

    def __repr__(self) -> str:
        shown = [f"path={self.path!r}"]
        shown += [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self)[1:] if getattr(self, f.name) != f.default]
        return f"Source({', '.join(shown)})"


def parse_paths(text: str) -> tuple[Source, ...]:
    """``[weight] path [weight] path …``; a path that exists as a whole is taken whole, blanks and all.

    Raises:
        UsageError: A weight without a path, or a quote that is not closed.

    Example:
        >>> parse_paths("0.3 a.jsonl 0.7 b.jsonl")
        (Source(path='a.jsonl', weight=0.3), Source(path='b.jsonl', weight=0.7))
        >>> parse_paths("a.jsonl b.jsonl")
        (Source(path='a.jsonl'), Source(path='b.jsonl'))
    """
    if not text.strip():
        raise UsageError(
            "the path of what to read is empty", code="data.no-input", hint="name a file, a folder or an address"
        )
    if Path(text.strip()).expanduser().exists():
        return (Source(text.strip()),)
    try:
        tokens = shlex.split(text)
    except ValueError as error:
        raise _malformed(text, str(error)) from error
    sources = list[Source]()
    weight: float | None = None
    for token in tokens:
        number = _number(token)
        if number is None:
            sources.append(Source(token, weight=1.0 if weight is None else weight))
            weight = None
        elif weight is not None or number < 0:
            raise _malformed(text, f"{token} is no path and no weight")
        else:
            weight = number
    if weight is not None:
        raise _malformed(text, f"the weight {weight:g} has no path after it")
    return tuple(sources)


def _malformed(text: str, problem: str) -> UsageError:
    return UsageError(f"{text!r}: {problem}", code="data.weights", hint="write: 0.3 first.jsonl 0.7 second.jsonl")


def _number(token: str) -> float | None:
    try:
        return float(token)
    except ValueError:
        return None
