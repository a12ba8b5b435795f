"""All that is known of a corpus in some hundred kilobytes: what was measured, and hashes of its texts.

A `Sketch` of two corpora together is the merge of their sketches. Counts, percentiles and hashes come out the same to
the bit however the data was cut; means and correlations up to the rounding of floating point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from plait.data.study.bins import ACCURACY, Bins
from plait.data.study.bottom import SIZE, Bottom
from plait.data.study.moments import Moments
from plait.errors import DataError, StrandError

FORMAT = "plait-sketch-1"

MOST_WORDS = 256
"""Words of a stat that are counted one by one, those of the smallest hashes; the rest are counted as `OTHER_WORDS`."""

LONGEST_WORD = 40
"""Characters of a word; what is longer is a text, of which a sketch holds none."""

OTHER_WORDS = "(others)"


@dataclass(frozen=True)
class Sketch:
    """What is known of some rows.

    Args:
        rows: Rows.
        chars: Characters.
        bins: By stat that is a number, its distribution over the rows where it is known.
        extremes: By such stat, its lowest and highest value; missing where the sketch is private.
        words: By stat that is a word (a language), how many rows have it, for up to `MOST_WORDS` words.
        moments: Means, spreads and correlations, each over the rows where the numbers are known.
        documents: Keyed hashes of whole texts.
        shingles: Keyed hashes of runs of words.
        shingle_count: Runs of words, repeated ones counted as often as they occur.
        whole: Stats whose values are all whole numbers; missing where the sketch is private.
    """

    rows: int
    chars: int
    bins: dict[str, Bins]
    extremes: dict[str, tuple[float, float]]
    words: dict[str, dict[str, int]]
    moments: Moments
    documents: Bottom
    shingles: Bottom
    shingle_count: int = 0
    whole: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        numbers: Mapping[str, np.ndarray],
        *,
        words: Mapping[str, Mapping[str, int]] | None = None,
        rows: int | None = None,
        chars: int = 0,
        documents: np.ndarray | None = None,
        shingles: np.ndarray | None = None,
        accuracy: float = ACCURACY,
        size: int = SIZE,
    ) -> Sketch:
        """The sketch of rows.

        Args:
            numbers: Stats, float64 ``[rows]``; NaN where one is not known.
            words: By stat, counts of its words.
            rows: Number of rows, if there are no numbers.
            chars: Characters of all rows.
            documents: Keyed hashes of the texts, uint64.
            shingles: Keyed hashes of their runs of words, uint64.
            accuracy: Relative error of percentiles.
            size: Hashes kept.

        Example:
            >>> sketch = Sketch.of({"text_len": np.array([3.0, 5.0, 10.0])})
            >>> sketch.rows, sketch.bins["text_len"].quantile(0.5).__round__(), sketch.moments.mean().tolist()
            (3, 5, [6.0])
        """
        numbers = dict(sorted(numbers.items()))
        known = {name: np.asarray(v, np.float64)[np.isfinite(v)] for name, v in numbers.items()}
        count = rows if rows is not None else max((len(v) for v in numbers.values()), default=0)
        table = np.column_stack([np.asarray(v, np.float64) for v in numbers.values()]) if numbers else np.zeros((0, 0))
        none = np.zeros(0, np.uint64)
        return cls(
            rows=count,
            chars=chars,
            bins={name: Bins.of(values, accuracy) for name, values in known.items()},
            extremes={name: (float(v.min()), float(v.max())) for name, v in known.items() if len(v)},
            words={name: _few(counts) for name, counts in (words or {}).items()},
            moments=Moments.of(tuple(numbers), table),
            documents=Bottom.of(none if documents is None else documents, size),
            shingles=Bottom.of(none if shingles is None else shingles, size),
            shingle_count=0 if shingles is None else len(shingles),
            whole=frozenset(name for name, v in known.items() if (v == np.rint(v)).all()),
        )

    def merge(self, other: Sketch) -> Sketch:
        """The sketch of both corpora together.

        Raises:
            StrandError: They are not of the same stats, or made with other settings.
        """
        if set(self.bins) != set(other.bins):
            mine, theirs = ", ".join(sorted(self.bins)), ", ".join(sorted(other.bins))
            raise StrandError(
                f"sketches of {mine or 'nothing'} and of {theirs or 'nothing'} do not add up",
                code="study.unlike-sketches",
                hint="make all sketches with the same filters",
            )
        low = {name: min(s.extremes[name][0] for s in (self, other) if name in s.extremes)
               for name in self.extremes | other.extremes}  # fmt: skip
        high = {name: max(s.extremes[name][1] for s in (self, other) if name in s.extremes) for name in low}
        return Sketch(
            rows=self.rows + other.rows,
            chars=self.chars + other.chars,
            bins={name: bins.merge(other.bins[name]) for name, bins in self.bins.items()},
            extremes={name: (low[name], high[name]) for name in low},
            words={name: _added(self.words.get(name, {}), other.words.get(name, {}))
                   for name in sorted(self.words | other.words)},
            moments=self.moments.merge(other.moments),
            documents=self.documents.merge(other.documents),
            shingles=self.shingles.merge(other.shingles),
            shingle_count=self.shingle_count + other.shingle_count,
            whole=self.whole & other.whole,
        )  # fmt: skip

    def quantiles(self, stat: str, shares: np.ndarray) -> np.ndarray:
        """Percentiles of a stat, within the accuracy of its bins; whole numbers are exact up to some hundreds."""
        found = self.bins[stat].quantiles(shares)
        if stat in self.whole:
            found = np.where(np.abs(found) * self.bins[stat].accuracy < 0.5, np.rint(found), found)
        return np.clip(found, *self.extremes[stat]) if stat in self.extremes else found

    def pack(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "rows": self.rows,
            "chars": self.chars,
            "bins": {name: bins.pack() for name, bins in self.bins.items()},
            "extremes": {name: list(ends) for name, ends in self.extremes.items()},
            "words": self.words,
            "moments": self.moments.pack(),
            "documents": self.documents.pack(),
            "shingles": self.shingles.pack(),
            "shingle_count": self.shingle_count,
            "whole": sorted(self.whole),
        }

    @classmethod
    def unpack(cls, data: Mapping[str, Any]) -> Sketch:
        """A sketch from `pack`.

        Raises:
            DataError: The data are no sketch.
        """
        try:
            extremes = {str(n): (float(low), float(high)) for n, (low, high) in data["extremes"].items()}
            words = {str(n): {str(w): int(c) for w, c in counts.items()} for n, counts in data["words"].items()}
            rows, chars, count = int(data["rows"]), int(data["chars"]), int(data["shingle_count"])
            bins = {str(name): Bins.unpack(packed) for name, packed in data["bins"].items()}
            moments, whole = Moments.unpack(data["moments"]), frozenset(map(str, data["whole"]))
            documents, shingles = Bottom.unpack(data["documents"]), Bottom.unpack(data["shingles"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"this is no sketch: {error!r}", code="study.bad-sketch") from error
        if min(rows, chars, count) < 0 or not set(moments.names) <= set(bins):
            raise DataError("a sketch has counts that no data gives", code="study.bad-sketch")
        return cls(rows, chars, bins, extremes, words, moments, documents, shingles, count, whole)


@dataclass(frozen=True)
class Privacy:
    """What was done so that a sketch says little about any one row; see `plait.data.study.privacy`.

    Args:
        epsilon: Bound on how much the presence of one row changes the odds of any sketch (pure differential privacy).
        mechanism: How.
        blur: By how many rows the noise moves the rank of a value, one standard deviation.
    """

    epsilon: float
    mechanism: str
    blur: float


@dataclass(frozen=True)
class CorpusSketch:
    """An owner's sketch, ready to be sent: by source, with what is needed to compare it with others'.

    Args:
        owner: Name of the owner.
        sources: By source; the empty name if there is but one.
        key_check: Tells whether two sketches were made with the same key, without telling the key.
        privacy: Noise that was added, if any.
    """

    owner: str
    sources: dict[str, Sketch]
    key_check: str
    privacy: Privacy | None = None

    @property
    def overall(self) -> Sketch:
        """All sources together, in the order of their names."""
        return reduce(Sketch.merge, (self.sources[name] for name in sorted(self.sources)))

    def to_bytes(self) -> bytes:
        """JSON; equal sketches give equal bytes."""
        data = {
            "format": FORMAT,
            "owner": self.owner,
            "key_check": self.key_check,
            "privacy": None if self.privacy is None else vars(self.privacy),
            "sources": {name: sketch.pack() for name, sketch in self.sources.items()},
        }
        return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str | None = None) -> CorpusSketch:
        """A sketch from `to_bytes`; everything in it is checked, so it may come from anybody.

        Args:
            data: The bytes.
            where: Where they come from, for errors.

        Raises:
            DataError: The data are no sketch.
        """
        try:
            found = orjson.loads(data)
            kind = found["format"]
            told = found["privacy"]
            privacy = told and Privacy(float(told["epsilon"]), str(told["mechanism"]), float(told["blur"]))
            owner, key_check = str(found["owner"]), str(found["key_check"])
            sources = {str(name): Sketch.unpack(packed) for name, packed in found["sources"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                "this is no sketch, or a damaged one",
                code="study.bad-sketch",
                where=where,
                hint="make it again with `plait data sketch`",
            ) from error
        if kind != FORMAT or not sources:
            raise DataError(f'"{kind}" is not the format "{FORMAT}"', code="study.bad-sketch", where=where)
        return cls(owner, sources, key_check, privacy)

    def write(self, path: Path) -> None:
        """Write `to_bytes` to a file."""
        path.write_bytes(self.to_bytes())

    @classmethod
    def read(cls, path: Path) -> CorpusSketch:
        """A sketch from a file.

        Raises:
            DataError: There is no such file, or it holds no sketch.
        """
        if not path.is_file():
            raise DataError("there is no such sketch", code="study.no-sketch", where=str(path))
        return cls.from_bytes(path.read_bytes(), where=str(path))


def _added(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return _few({word: first.get(word, 0) + second.get(word, 0) for word in sorted(first.keys() | second.keys())})


def _few(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts of few words, the rest together.

    Which words are told apart follows from their hashes. So one that is once left out stays left out, and the counts
    of those that stay are exact, however data is cut.
    """
    short = [word for word in counts if len(word) <= LONGEST_WORD and word != OTHER_WORDS]
    if len(short) > MOST_WORDS:
        short.sort(key=lambda word: blake2b(word.encode(), digest_size=8).digest())
        kept = set(short[:MOST_WORDS])
        short = [word for word in counts if word in kept]
    found = {word: counts[word] for word in short}
    rest = sum(counts.values()) - sum(found.values())
    return found | {OTHER_WORDS: rest} if rest else found
