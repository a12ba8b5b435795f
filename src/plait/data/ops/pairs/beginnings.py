"""How far two texts, or two lists of messages, begin alike: the prompt of a pair that does not name it. Compiled.

Where one is the beginning of the other, its last character or message stays an answer.

Source: TRL, ``extract_prompt``; of texts that differ from the start TRL takes the last character off if it is a space.
"""

from __future__ import annotations

import numpy as np

from plait.data.loops import compiled, inlined


def shared_messages(
    left: np.ndarray, left_starts: np.ndarray, right: np.ndarray, right_starts: np.ndarray
) -> np.ndarray:
    """How many messages both begin with, int64 ``[rows]``.

    Args:
        left: Hashes of the messages of all rows, uint64.
        left_starts: Where each row starts, int64 ``[rows + 1]``.
        right: The same for the other side.
        right_starts: Where each row starts.
    """
    return _shared_messages(left, left_starts, right, right_starts)


def shared_characters(
    left: np.ndarray, left_starts: np.ndarray, right: np.ndarray, right_starts: np.ndarray
) -> np.ndarray:
    """How many characters both begin with, int64 ``[rows]``; a space before the first difference is not counted.

    Args:
        left: UTF-8 of the texts of all rows, uint8.
        left_starts: Where each row starts, int64 ``[rows + 1]``.
        right: The same for the other side.
        right_starts: Where each row starts.
    """
    return _shared_characters(left, left_starts, right, right_starts)


@inlined
def _in_common(left: np.ndarray, i: int, right: np.ndarray, j: int, most: int) -> int:
    n = 0
    while n < most and left[i + n] == right[j + n]:
        n += 1
    return n


@compiled
def _shared_messages(
    left: np.ndarray, left_starts: np.ndarray, right: np.ndarray, right_starts: np.ndarray
) -> np.ndarray:
    out = np.zeros(len(left_starts) - 1, np.int64)
    for row in range(len(out)):
        i, j = left_starts[row], right_starts[row]
        shorter = min(left_starts[row + 1] - i, right_starts[row + 1] - j)
        out[row] = _in_common(left, i, right, j, shorter - 1)
    return out


@compiled
def _shared_characters(
    left: np.ndarray, left_starts: np.ndarray, right: np.ndarray, right_starts: np.ndarray
) -> np.ndarray:
    out = np.zeros(len(left_starts) - 1, np.int64)
    for row in range(len(out)):
        i, j = left_starts[row], right_starts[row]
        shorter = min(left_starts[row + 1] - i, right_starts[row + 1] - j)
        n = _in_common(left, i, right, j, shorter)
        differ = n < shorter
        if not differ and n > 0:
            n -= 1
        # Back to the first byte of a character.
        while n > 0 and (left[i + n] & 0xC0) == 0x80:
            n -= 1
        if differ and n > 0 and left[i + n - 1] == 0x20:
            n -= 1
        for k in range(i, i + n):
            out[row] += (left[k] & 0xC0) != 0x80
    return out
