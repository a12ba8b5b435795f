"""The noise doctor: how many labels are wrong, which ones, and what to do about it.

    found = examine(records, seeds=Seeds(0))
    print(found.flip_rate.value, found.advice.objective)
    write_relabels(found.relabels(), Path("relabel.jsonl"))
    cleaner = apply_relabels(records, read_relabels(Path("relabel.jsonl")))

It never changes data by itself: it writes a file that says what it would do and how sure it is, for a person to read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plait.align.formats import read_record
from plait.align.noise.advice import Advice, advise
from plait.align.noise.estimate import FlipRate, estimate_flip_rate, rate_from_contradictions
from plait.align.noise.evidence import PairEvidence, collect_evidence, repeated_labels
from plait.align.noise.margins import PairTexts, Progress, TextScorer, text_margins
from plait.core.seeds import Seeds
from plait.errors import DataError, nearest

if TYPE_CHECKING:
    import numpy as np

Action = Literal["keep", "flip", "drop"]
_FLIP_FROM, _DROP_FROM = 0.8, 0.5  # probability that a label is wrong


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor found about one pair.

    Args:
        id: Of the pair.
        margin: Held-out log-odds that the label is right, by the scorer.
        probability: That the label is wrong.
        action: What the doctor would do.
        evidence: Why, in words.
    """

    id: str
    margin: float
    probability: float
    action: Action
    evidence: list[str]


@dataclass(frozen=True)
class Findings:
    """All of it.

    Args:
        diagnoses: One per readable pair, the most suspicious first.
        flip_rate: The estimates from margins.
        repeats: Agreeing and opposing labels among repeated pairs.
        advice: Settings to train with, and why.
        set_aside: Reason → records that are no pairs.
        scorer: What gave the margins.
    """

    diagnoses: list[Diagnosis]
    flip_rate: FlipRate
    repeats: tuple[int, int]
    advice: Advice
    set_aside: dict[str, int] = field(default_factory=dict[str, int])
    scorer: str = "text"

    @property
    def from_repeats(self) -> float | None:
        """ε as repeated pairs say, where there are any."""
        return rate_from_contradictions(*self.repeats)

    def relabels(self) -> list[dict[str, Any]]:
        """One line per pair: ``id``, ``action``, ``probability``, ``evidence``."""
        return [
            {
                "id": d.id,
                "action": d.action,
                "probability": round(d.probability, 6),
                "margin": round(d.margin, 6),
                "evidence": d.evidence,
            }
            for d in self.diagnoses
        ]

    def counts(self) -> dict[str, int]:
        """Pairs per action."""
        return {action: sum(d.action == action for d in self.diagnoses) for action in ("keep", "flip", "drop")}


def examine(
    records: Sequence[Mapping[str, Any]],
    *,
    margins: Mapping[str, float] | None = None,
    scorer: TextScorer | None = None,
    scorer_name: str = "text",
    seeds: Seeds,
    on_progress: Progress = lambda _what, _done, _total: None,
) -> Findings:
    """Examine preference records.

    Args:
        records: In TRL's preference formats; an ``id`` names a record, without one it is its number.
        margins: Held-out log-odds by id, from `model_margins` or `trained_margins`; by the text scorer if left out.
            Pairs without one are set aside.
        scorer: Settings of the text scorer.
        scorer_name: What gave ``margins``, for the report.
        seeds: Splits and bootstraps.
        on_progress: Called with (what, done, total).

    Raises:
        DataError: Two records have one id, or too few are pairs.

    Example:
        >>> records = [{"prompt": f"{n}?", "chosen": "yes " * 9, "rejected": "no"} for n in range(60)]
        >>> records += [{"prompt": f"{n}?", "chosen": "no", "rejected": "yes " * 9} for n in range(60, 70)]
        >>> found = examine(records, seeds=Seeds(0))
        >>> sorted(d.id for d in found.diagnoses[:10]) == [str(n) for n in range(60, 70)]
        True
    """
    import numpy as np

    pairs, set_aside = as_texts(records)
    if margins is not None:
        set_aside["no margin"] = sum(pair.id not in margins for pair in pairs)
        pairs = [pair for pair in pairs if pair.id in margins]
        values = np.array([margins[pair.id] for pair in pairs], dtype=np.float64)
    else:
        values = text_margins(pairs, scorer=scorer, seeds=seeds.child("text"), on_progress=on_progress)
    on_progress("estimating the flip rate", 0, 0)
    rate = estimate_flip_rate(values, seeds=seeds, resamples=200 if len(pairs) <= 20_000 else 40)
    on_progress("comparing pairs", 0, 0)
    evidence = collect_evidence(pairs)
    by_margin = _prior_adjusted(rate, values)
    found = [
        _diagnose(pair, float(margin), float(wrong), facts)
        for pair, margin, wrong, facts in zip(pairs, values, by_margin, evidence, strict=True)
    ]
    found.sort(key=lambda d: (-d.probability, d.margin, d.id))
    repeats = repeated_labels(evidence)
    advice = advise(rate, np.array([d.probability for d in found]), rate_from_contradictions(*repeats))
    return Findings(found, rate, repeats, advice, {k: v for k, v in set_aside.items() if v}, scorer_name)


def as_texts(records: Sequence[Mapping[str, Any]]) -> tuple[list[PairTexts], dict[str, int]]:
    """Records as plain text, and how many are no pairs for each reason; conversations as lines ``role: content``."""
    pairs: list[PairTexts] = []
    reasons: Counter[str] = Counter()
    for number, record in enumerate(records):
        name = record_id(record, number)
        texts = read_record(record)
        if isinstance(texts, str):
            reasons[texts] += 1
            continue
        pairs.append(PairTexts(name, _plain(texts.prompt), _plain(texts.chosen), _plain(texts.rejected)))
    twice = [name for name, count in Counter(pair.id for pair in pairs).items() if count > 1]
    if twice:
        raise DataError(
            f'the id "{twice[0]}" stands more than once',
            code="align.noise-id",
            hint="a relabel file names pairs by id: give every record one of its own",
        )
    if not pairs:
        raise DataError("no record is a pair", code="align.no-pairs", hint="pairs have prompt, chosen and rejected")
    return pairs, dict(reasons)


def record_id(record: Mapping[str, Any], number: int) -> str:
    """The ``id`` of a record, or its number."""
    given = record.get("id")
    return str(number) if given is None else str(given)


def write_relabels(relabels: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a relabel file: one JSON line per pair, the most suspicious first; all of it or nothing."""
    from plait.core.io.writers import atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as out:
        for entry in relabels:
            out.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")


def read_relabels(path: Path) -> dict[str, dict[str, Any]]:
    """A relabel file by id, as written or as a person has edited it.

    Raises:
        DataError: A line has no id, an unknown action or no probability; names file:line.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"not JSON: {error.msg}", code="align.relabel", where=where) from error
        action, probability = entry.get("action"), entry.get("probability")
        if action not in ("keep", "flip", "drop") or "id" not in entry:
            raise DataError(
                f'no id, or the action "{action}" is unknown',
                code="align.relabel",
                where=where,
                hint=nearest(str(action), ("keep", "flip", "drop")),
            )
        if not isinstance(probability, int | float) or not 0 <= probability <= 1:
            raise DataError(f"{probability} is not a probability", code="align.relabel", where=where)
        found[str(entry["id"])] = entry
    return found


def apply_relabels(
    records: Sequence[Mapping[str, Any]],
    relabels: Mapping[str, Mapping[str, Any]],
    *,
    how: Literal["action", "prior"] = "action",
) -> list[dict[str, Any]]:
    """Records as the relabel file says.

    Args:
        records: Those that were examined; the others stay as they are.
        relabels: From `read_relabels`.
        how: ``action`` flips and drops; ``prior`` changes no label and writes each pair's probability to be wrong as
            ``flip_prior``, at most 0.49, which the losses ``cdpo`` and ``rdpo`` read. Give it to all pairs or none.

    Raises:
        DataError: With ``prior``, some records are not in the file.
    """
    made: list[dict[str, Any]] = []
    missing = 0
    for number, record in enumerate(records):
        entry = relabels.get(record_id(record, number))
        if entry is None:
            missing += 1
            made.append(dict(record))
        elif how == "prior":
            made.append({**record, "flip_prior": min(0.49, float(entry["probability"]))})
        elif entry["action"] == "flip":
            made.append({**record, "chosen": record["rejected"], "rejected": record["chosen"]})
        elif entry["action"] == "keep":
            made.append(dict(record))
    if how == "prior" and missing:
        raise DataError(
            f"{missing} of {len(records)} records are not in the relabel file",
            code="align.relabel",
            hint="a flip_prior is needed for all pairs or for none: leave out the records that were set aside",
        )
    return made


def _prior_adjusted(rate: FlipRate, margins: np.ndarray) -> np.ndarray:
    """P(wrong) by the mixture, its share of wrong labels replaced by the estimate to act on."""
    return replace(rate.components, flip_rate=rate.value).posterior(margins)


def _diagnose(pair: PairTexts, margin: float, by_margin: float, facts: PairEvidence) -> Diagnosis:
    said = facts.words()
    if margin < 0:
        said.insert(0, f"a scorer that never saw this label prefers rejected (log-odds {margin:.2f})")
    votes = facts.agreeing + facts.opposing
    # The label itself is one vote of its own; where all votes count alike, its side holds (agreeing + 1) of them.
    opposed = facts.opposing / (votes + 1) if votes else 0.0
    probability = max(by_margin, opposed)
    action: Action = "keep"
    if facts.near_identical and probability < _FLIP_FROM and facts.opposing == 0:
        action = "drop" if probability >= 0.25 else "keep"
    elif probability >= _FLIP_FROM:
        action = "flip"
    elif probability >= _DROP_FROM:
        action = "drop"
    return Diagnosis(pair.id, margin, probability, action, said)


def _plain(text: Any) -> str:
    if isinstance(text, str):
        return text
    return "\n".join(f"{message.get('role', '')}: {message.get('content', '')}" for message in text)
