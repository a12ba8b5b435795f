"""Several processes, one batch: what each takes, and how what they found is put back in order.

Work is dealt like cards: of ``items``, rank r of n takes ``items[r::n]``, so that every rank gets its share of
long and short ones where they are sorted. `gather` puts the results of dealt work back in the order of the items, on
every rank. Without ``torch.distributed`` there is one rank, and nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


def count() -> int:
    """How many processes train together."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    import torch.distributed as dist

    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def deal(items: Sequence[T]) -> Sequence[T]:
    """This rank's share of the items.

    Example:
        >>> deal([1, 2, 3])  # one process takes all
        [1, 2, 3]
    """
    return items[rank() :: count()]


def gather(values: Tensor) -> Tensor:
    """What all ranks found for the items that `deal` gave them, in the order of the items.

    Args:
        values: One entry per item of this rank, ``[share, …]``; shares may differ by one between ranks, and be empty.
            On a device that the process group works on. No gradient flows through.

    Returns:
        ``[items, …]``, equal on every rank.
    """
    import torch
    import torch.distributed as dist

    ranks = count()
    if ranks == 1:
        return values.detach()
    share = torch.tensor([len(values)], device=values.device)
    shares = [torch.empty_like(share) for _ in range(ranks)]
    dist.all_gather(shares, share)
    sizes = [int(size) for size in shares]
    # Collectives want equal shapes; a share that is one short is filled up, and what fills it comes out last.
    padded = values.new_zeros((max(sizes), *values.shape[1:]))
    padded[: len(values)] = values.detach()
    found = [torch.empty_like(padded) for _ in range(ranks)]
    dist.all_gather(found, padded)
    return torch.stack(found, dim=1).flatten(0, 1)[: sum(sizes)]


def wait() -> None:
    """Return once every rank has come here."""
    import torch.distributed as dist

    if count() > 1:
        dist.barrier()
