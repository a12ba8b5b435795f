"""What crosses between this process and Ray's workers, on top of `plait.engines.wire`."""

from __future__ import annotations

import sys

from plait.engines.wire import pack


def pack_for_ray(value: object, *, what: str) -> bytes:
    """Pack for a Ray worker, and only what the local engine could send as well.

    Raises:
        EngineError: It cannot be sent.
    """
    pack(value, what=what)
    return pack(value, what=what, dumps=ray_dumps)


def ray_dumps(value: object) -> bytes:
    """Ray's pickler, which also takes what the main script defines."""
    from ray.cloudpickle import cloudpickle

    return cloudpickle.dumps(value, protocol=5)


def import_from(path: list[str]) -> None:
    """Let a Ray worker find the modules that the calling program found."""
    sys.path.extend(folder for folder in path if folder not in sys.path)
