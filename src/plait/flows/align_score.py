"""Log-probabilities and margins of every pair of a file, under one model and, if asked for, its reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.align.evaluate import Interval, PairScores, accuracy, bootstrap, score_pairs
from plait.align.pairs import TokenLimits
from plait.core.quarantine import Quarantine
from plait.core.seeds import Seeds
from plait.errors import UsageError
from plait.flows.align_pairs import PairFile, read_records, tokenise_records

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Scored:
    """Pairs with their scores, and those under the reference where they were asked for."""

    file: PairFile
    scores: PairScores
    reference: PairScores | None

    def table(self) -> pa.Table:
        """One row per pair: sums in nats, tokens, margins, and with a reference the gap of the log-ratios."""
        import pyarrow as pa

        columns: dict[str, Any] = {
            "id": [pair.id for pair in self.file.pairs],
            "chosen_logp": self.scores.chosen,
            "rejected_logp": self.scores.rejected,
            "chosen_tokens": self.scores.chosen_length.astype("int64"),
            "rejected_tokens": self.scores.rejected_length.astype("int64"),
            "margin": self.scores.summed(),
            "margin_per_token": self.scores.per_token(),
        }
        if self.reference is not None:
            columns |= {
                "reference_chosen_logp": self.reference.chosen,
                "reference_rejected_logp": self.reference.rejected,
                "gap": self.scores.implicit(self.reference),
            }
        return pa.table(columns)

    def measures(self, seeds: Seeds) -> dict[str, Interval]:
        """Accuracies and mean margins with 95 % intervals, by name."""
        per_token, summed = self.scores.per_token(), self.scores.summed()
        found = {
            "chosen likelier per token, share": accuracy(per_token),
            "chosen likelier in sum, share": accuracy(summed),
            "margin per token, nats": bootstrap(per_token, seeds=seeds),
            "margin in sum, nats": bootstrap(summed, seeds=seeds),
        }
        if self.reference is not None:
            gap = self.scores.implicit(self.reference)
            found |= {
                "chosen has the higher implicit reward, share": accuracy(gap),
                "gap of the log-ratios, nats": bootstrap(gap, seeds=seeds),
            }
        return found


def score_file(
    path: Path,
    *,
    model: str,
    quarantine: Quarantine,
    adapter: Path | None = None,
    reference: bool = False,
    limits: TokenLimits | None = None,
    device: str = "cpu",
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Scored:
    """Score the pairs of a file.

    Args:
        path: Pairs in any format of `plait.core.io`.
        model: The model, by name or folder.
        quarantine: Where records go that are no pairs.
        adapter: A LoRA adapter on it.
        reference: Score the model without its adapter too.
        limits: How long a pair may be, in tokens.
        device: ``cpu``, ``cuda``, or ``auto``.
        on_progress: Called with (what, done, total).

    Raises:
        UsageError: A reference is asked for, but there is no adapter to take off.
        DataError: No record is a usable pair.
    """
    if reference and adapter is None:
        raise UsageError(
            "a model without an adapter is its own reference", code="align.no-adapter", hint="name one with --adapter"
        )
    from plait.align.shared_prefix import choose_layout
    from plait.models import load, load_adapter, without_adapter

    tell = on_progress or (lambda _what, _done, _total: None)
    lm = load(model, device=device)
    if adapter is not None:
        lm = load_adapter(lm, adapter)
    records = read_records(path, quarantine)
    file = tokenise_records(
        records, tokenizer=lm.tokenizer, limits=limits or TokenLimits(), quarantine=quarantine, name=path.name
    )
    layout, _ = choose_layout(lm.model, longest=max(pair.longest_branch for pair in file.pairs))
    scores = score_pairs(
        lm.model, file.pairs, layout=layout, on_progress=lambda done, total: tell("pairs", done, total)
    )
    base = None
    if reference:
        with without_adapter(lm):
            base = score_pairs(
                lm.model,
                file.pairs,
                layout=layout,
                on_progress=lambda done, total: tell("reference pairs", done, total),
            )
    return Scored(file, scores, base)
