"""One seed, named streams: the same numbers whatever the engine, the order of work or the number of workers.

A stream is the path of names from the recipe's seed down to its user (stage, shard, client, agent, step).
Philox is counter-based, so a stream is keyed by hashing its path and no stream depends on another having run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Seeds:
    """A node in the tree of random streams.

    Example:
        >>> a = Seeds(7).child("curate", 3)
        >>> a.numpy().integers(100) == Seeds(7).child("curate").child(3).numpy().integers(100)
        np.True_
        >>> a.integer() == Seeds(8).child("curate", 3).integer()
        False
    """

    seed: int
    path: tuple[str | int, ...] = ()

    def child(self, *names: str | int) -> Seeds:
        """The stream of that name below this one; independent of every other."""
        return Seeds(self.seed, (*self.path, *names))

    def digest(self) -> bytes:
        """16 bytes that name this stream: a Philox key."""
        # repr keeps 1 and "1", ("ab",) and ("a", "b") apart.
        return hashlib.blake2b(repr((self.seed, self.path)).encode(), digest_size=16).digest()

    def integer(self, bits: int = 63) -> int:
        """A non-negative integer below ``2**bits`` for libraries that want a plain seed."""
        return int.from_bytes(self.digest(), "little") >> (128 - bits)

    def numpy(self) -> np.random.Generator:
        """A NumPy generator at the start of this stream."""
        import numpy as np

        return np.random.Generator(np.random.Philox(key=int.from_bytes(self.digest(), "little")))
