"""Sixty-four bytes at a time in compiled loops: a bit for each, the first in the lowest.

    newlines = among(data, i, 10, 10)
    while newlines:
        place = i + lowest(newlines)
        newlines &= newlines - ONE

All are compared by one instruction where the processor has vectors of 64 bytes, by a few where they are shorter. A bit
is looked at only where there is one, so what is rare costs nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from plait.data.loops import compiled, inlined, instructions

ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
ONE = np.uint64(1)
NONE = np.uint64(0)
LAST = np.uint64(63)
"""To move the bit of the last byte to the place of the first."""


def runs_of(chosen: np.ndarray) -> np.ndarray:
    """First and last byte of each run of those chosen, bool ``[bytes]``, as `among` takes them: int64 ``[runs, 2]``.

    Example:
        >>> runs_of(np.array([False, True, True, False, True])).tolist()
        [[1, 2], [4, 4]]
    """
    edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False)).reshape(-1, 2)
    return edges - np.array([0, 1])


def _counting(count: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A function of compiled loops that is one instruction on 64 bits."""

    def function(typing: Any, bits: Any) -> Any:
        del typing, bits
        generate = lambda context, builder, signature, args: count(builder, args[0])  # noqa: E731, ARG005
        return types.uint64(types.uint64), generate

    return instructions(function)


_ALSO_OF_ZERO = ir.Constant(ir.IntType(1), 0)

zeros_below = _counting(lambda builder, bits: builder.cttz(bits, _ALSO_OF_ZERO))
"""How many bits are zero before the lowest that is one."""

_zeros_above = _counting(lambda builder, bits: builder.ctlz(bits, _ALSO_OF_ZERO))

ones = _counting(lambda builder, bits: builder.ctpop(bits))
"""How many bits are one."""


@instructions
def _compared(typing: Any, data: Any, i: Any, low: Any, high: Any) -> Any:
    """Which of the 64 bytes from ``i`` on are from ``low`` to ``high``; all must be there."""
    del typing, i, low, high
    byte = ir.IntType(8)
    vector, places = ir.VectorType(byte, 64), ir.VectorType(ir.IntType(32), 64)

    def compare(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def all_of(value: Any) -> Any:
            one = builder.insert_element(vector(ir.Undefined), builder.trunc(value, byte), ir.IntType(32)(0))
            return builder.shuffle_vector(one, vector(ir.Undefined), places([0] * 64))

        array = context.make_array(signature.args[0])(context, builder, args[0])
        value = builder.load(builder.bitcast(builder.gep(array.data, [args[1]]), vector.as_pointer()))
        value.align = 1
        beyond_low, span = builder.sub(value, all_of(args[2])), builder.sub(args[3], args[2])
        bits = builder.bitcast(builder.icmp_unsigned("<=", beyond_low, all_of(span)), ir.IntType(64))
        return bits if sys.byteorder == "little" else builder.bitreverse(bits)

    return types.uint64(data, types.int64, types.int64, types.int64), compare


@compiled
def _among_the_last(data: np.ndarray, i: int, low: int, high: int) -> Any:
    bits = NONE
    for place in range(len(data) - i):
        bits |= np.uint64(low <= data[i + place] <= high) << np.uint64(place)
    return bits


@inlined
def among(data: np.ndarray, i: int, low: int, high: int) -> Any:
    """Which of the 64 bytes from ``i`` on are from ``low`` to ``high``; what lies past the end of the data is not."""
    return _compared(data, i, low, high) if i + 64 <= len(data) else _among_the_last(data, i, low, high)


@inlined
def lowest(bits: Any) -> Any:
    """Place of the first byte that has a bit, 0 to 63; 64 where none has."""
    return np.int64(zeros_below(bits))


@inlined
def end_of(bits: Any) -> Any:
    """Place after the last byte that has a bit, 1 to 64; 0 where none has."""
    return 64 - np.int64(_zeros_above(bits))


@inlined
def past(stop: int, i: int) -> Any:
    """Which of the 64 bytes from ``i`` on stand at ``stop`` or after it."""
    return ALL << np.uint64(stop - i) if stop - i < 64 else NONE
