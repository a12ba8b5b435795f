"""Which pairs (or texts) are trained on together, for every step of a run: shuffled, and known in advance.

Where a batch is padded, pairs of similar length meet. Without padding that would save nothing, and the batch of the
longest pairs would need the most memory: then the shuffle alone decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from plait.core.seeds import Seeds
from plait.errors import UsageError

_WINDOW = 8  # batches whose pairs are sorted by length together: little padding, and still well shuffled


@dataclass(frozen=True)
class Batches:
    """A batch sampler over all steps of a run, the epochs one after the other.

    Every batch is full and no batch holds a pair twice: what is left over at the end of an epoch opens the next one.

    Args:
        lengths: Tokens of each pair.
        batch_size: Pairs per step.
        steps: How many steps.
        seeds: Root of the shuffles.
        micro_batch_size: Pairs per forward pass; divides ``batch_size``. A step yields its micro-batches in a row.
        group_by_length: Whether pairs of similar length meet; for layouts with padding.

    Example:
        >>> list(Batches([9, 1, 8, 2], batch_size=2, steps=2, seeds=Seeds(7)))
        [[3, 1], [0, 2]]
    """

    lengths: Sequence[int]
    batch_size: int
    steps: int
    seeds: Seeds
    micro_batch_size: int | None = None
    group_by_length: bool = True

    def __post_init__(self) -> None:
        if self.batch_size > len(self.lengths):
            raise UsageError(
                f"batch_size is {self.batch_size}, but there are only {len(self.lengths)} examples",
                code="align.too-few",
                hint="give more of them, or a smaller batch_size",
            )
        if self.batch_size % self._micro:
            raise UsageError(
                f"micro_batch_size {self._micro} does not divide batch_size {self.batch_size}",
                code="align.micro-batch",
                hint="choose a divisor",
            )

    def __len__(self) -> int:
        return self.steps * (self.batch_size // self._micro)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.steps_in_order():
            for start in range(0, self.batch_size, self._micro):
                yield batch[start : start + self._micro]

    def steps_in_order(self) -> Iterator[list[int]]:
        """The pairs of each step."""
        done, epoch, left_over = 0, 0, list[int]()
        while True:
            batches, left_over = self._epoch(epoch, first=left_over)
            for batch in batches:
                if done == self.steps:
                    return
                yield batch
                done += 1
            epoch += 1

    @property
    def _micro(self) -> int:
        return self.micro_batch_size or self.batch_size

    def _epoch(self, epoch: int, *, first: list[int]) -> tuple[list[list[int]], list[int]]:
        """The batches of one pass over the pairs, and the pairs that fill no batch any more."""
        shuffle = self.seeds.child("epoch", epoch).numpy()
        order = [int(i) for i in shuffle.permutation(len(self.lengths))]
        waiting = set(first)
        # Those left over open the first batch; their own turn in this pass comes last, so no batch holds them twice.
        order = first + [i for i in order if i not in waiting] + [i for i in order if i in waiting]
        full = len(order) - len(order) % self.batch_size
        batches = [order[: self.batch_size]] if first else []
        window = _WINDOW * self.batch_size
        for start in range(len(batches) * self.batch_size, full, window):
            alike = order[start : min(start + window, full)]
            if self.group_by_length:
                alike.sort(key=lambda i: -self.lengths[i])
            batches += [alike[at : at + self.batch_size] for at in range(0, len(alike), self.batch_size)]
        return [batches[int(i)] for i in shuffle.permutation(len(batches))], order[full:]
