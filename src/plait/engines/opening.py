"""Opening an engine by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from plait.core.catalog import find
from plait.engines.base import Engine
from plait.errors import UsageError


def open_engine(name: str, *, address: str | None = None, workers: int | None = None) -> Engine:
    """Open ``local``, ``ray``, or a class of your own by its dotted path ``package.module:Class``.

    Args:
        name: Which engine.
        address: The cluster to join, for an engine that has one: ``host:6379``, ``ray://host:10001``, or
            ``auto`` for the one running on this machine. Without it, an engine starts what it needs here.
        workers: How many shards run at a time by default.

    Raises:
        UsageError: No such engine, or it joins no cluster.
        MissingExtra: Its packages are not installed.
        EngineError: It cannot be started or joined.

    Example:
        >>> with open_engine("local", workers=1) as engine:
        ...     engine.map(abs, [-1, 2])
        [1, 2]
    """
    build = cast("Callable[..., Engine]", find("engine", name))
    if address is None:
        return build(workers=workers)
    if name == "local":
        raise UsageError(
            f'the local engine joins no cluster, but an address was given: "{address}"',
            code="engine.no-address",
            hint='use the engine "ray", or leave the address out',
        )
    return build(address=address, workers=workers)
