"""Which clients take part in a round: a draw keyed by seed and round, the same whoever registered first."""

from __future__ import annotations

import math
from collections.abc import Iterable

from plait.core.seeds import Seeds
from plait.errors import StrandError


def select_clients(
    clients: Iterable[str], *, fraction: float, at_least: int, round_number: int, seeds: Seeds
) -> list[str]:
    """Draw clients without replacement, uniformly.

    Each client gets a number from its own stream (seed, round, name) and the smallest are taken. So the draw
    does not depend on the order of the pool, and one client joining or leaving changes the draw by at most
    one.

    Args:
        clients: The pool.
        fraction: Share of the pool to draw, above 0 and at most 1; rounded up.
        at_least: Draw at least this many.
        round_number: From 0.
        seeds: Root of the run's random streams.

    Returns:
        The drawn clients, sorted by name.

    Raises:
        StrandError: The pool is smaller than ``at_least``.

    Example:
        >>> pool = [f"bank-{i}" for i in range(8)]
        >>> how = dict(fraction=0.5, at_least=1, round_number=0, seeds=Seeds(7))
        >>> drawn = select_clients(pool, **how)
        >>> len(drawn), drawn == select_clients(pool[::-1], **how)
        (4, True)
    """
    pool = sorted(set(clients))
    if len(pool) < max(at_least, 1):
        raise StrandError(
            f"{len(pool)} clients, {max(at_least, 1)} needed",
            code="federate.too-few-clients",
            hint="wait for more clients, or lower the number needed",
        )
    # 0.1 * 30 is 3.0000000000000004: shave the float error off before rounding up.
    number = max(at_least, math.ceil(round(fraction * len(pool), 9)), 1)
    stream = seeds.child("select", round_number)
    return sorted(sorted(pool, key=lambda name: stream.child(name).digest())[:number])
