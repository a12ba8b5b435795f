"""An owner's texts as token blocks of one length, some of them held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from plait.core.seeds import Seeds

Blocks = npt.NDArray[np.int32]
"""Token ids, ``[blocks, tokens]``."""


def shard(
    texts: Sequence[str],
    *,
    encode: Callable[[str], Sequence[int]],
    separator: int,
    length: int,
    heldout_blocks: int,
    seeds: Seeds,
) -> tuple[Blocks, Blocks]:
    """Shuffle texts, hold some out, and pack both parts into blocks.

    No text is in both parts: held-out texts are taken whole, until they fill their blocks.

    Args:
        texts: One owner's texts.
        encode: A text's token ids.
        separator: Token id between texts.
        length: Tokens per block.
        heldout_blocks: Blocks to hold out; fewer come back where the texts do not fill them.
        seeds: Orders the texts.

    Returns:
        Training blocks and held-out blocks, each ``[blocks, length]``; the rest of a last block is dropped.

    Example:
        >>> how = dict(encode=lambda t: [ord(c) for c in t], separator=0, length=3, seeds=Seeds(0))
        >>> train, heldout = shard(["aa", "b", "ccc"], heldout_blocks=1, **how)
        >>> train.shape[1], heldout.shape
        (3, (1, 3))
    """
    order = [int(i) for i in seeds.numpy().permutation(len(texts))]
    ids = (np.array([*encode(texts[i]), separator], dtype=np.int32) for i in order)
    heldout = pack(ids, length=length, at_most=heldout_blocks)
    return pack(ids, length=length), heldout


def pack(pieces: Iterable[npt.NDArray[np.int32]], *, length: int, at_most: int | None = None) -> Blocks:
    """Join token ids and cut them into blocks; takes no more pieces than ``at_most`` blocks need.

    Example:
        >>> pack([np.array([1, 2], np.int32), np.array([3, 4, 5], np.int32)], length=2).tolist()
        [[1, 2], [3, 4]]
    """
    taken: list[npt.NDArray[np.int32]] = []
    tokens = 0
    source = iter(pieces)
    while at_most is None or tokens < at_most * length:
        piece = next(source, None)
        if piece is None:
            break
        taken.append(piece)
        tokens += len(piece)
    flat = np.concatenate(taken) if taken else np.empty(0, dtype=np.int32)
    blocks = len(flat) // length if at_most is None else min(len(flat) // length, at_most)
    return flat[: blocks * length].reshape(blocks, length)
