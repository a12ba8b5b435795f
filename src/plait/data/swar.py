"""Eight bytes at a time in compiled loops (SWAR, SIMD within a register): most text is plain ASCII.

A mark is the high bit of a byte: ``first(below(x, 32) | equal(x, 34))`` is the place of the first control character or
quote among the eight bytes ``x = eight(data, i)``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from plait.data.utf8 import compiled

ONES = np.uint64(0x0101010101010101)
HIGH = np.uint64(0x8080808080808080)
_ONE, _THREE, _EIGHT, _SEVEN_BYTES = np.uint64(1), np.uint64(3), np.uint64(8), np.uint64(56)


def _inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of compiled loops, given as the instructions it stands for."""
    return cast("Callable[..., Any]", intrinsic(function))


@_inline
def eight(typing: Any, data: Any, i: Any) -> Any:
    """The eight bytes from ``i`` on, the first in the lowest bits; all must be there."""
    del typing, i

    def load(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        place = builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(64).as_pointer())
        value = builder.load(place)
        value.align = 1
        return value if sys.byteorder == "little" else builder.bswap(value)

    return types.uint64(data, types.int64), load


@_inline
def put_eight(typing: Any, data: Any, i: Any, value: Any) -> Any:
    """Write eight bytes from ``i`` on, the first from the lowest bits; there must be room."""
    del typing, i, value

    def store(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        place = builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(64).as_pointer())
        value = args[2] if sys.byteorder == "little" else builder.bswap(args[2])
        builder.store(value, place).align = 1
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), store


@_inline
def _zeros_below(typing: Any, bits: Any) -> Any:
    """How many bits are zero before the lowest that is one."""
    del typing, bits

    def count(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        del context, signature
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), count


@_inline
def _ones(typing: Any, bits: Any) -> Any:
    """How many bits are one."""
    del typing, bits

    def count(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        del context, signature
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), count


@compiled
def below(x: Any, limit: int) -> Any:
    """The high bit of each byte that is less than ``limit`` (at most 0x80); beyond ASCII none is."""
    return ~((x | HIGH) - ONES * np.uint64(limit)) & HIGH & ~x


@compiled
def equal(x: Any, byte: int) -> Any:
    """The high bit of each byte that is ``byte``, an ASCII one."""
    return below(x ^ (ONES * np.uint64(byte)), 1)


@compiled
def first(marks: Any) -> Any:
    """Place of the first byte that is marked by its high bit, 0 to 7; 8 where none is."""
    return np.int64(_zeros_below(marks) >> _THREE)


@compiled
def most_words(data: np.ndarray, start: int, stop: int) -> Any:
    """No fewer than the words in some bytes of UTF-8, which end at blanks and perhaps at any character beyond ASCII."""
    count, blank_before = np.uint64(1), HIGH
    i = start
    while i + 8 <= stop:
        x = eight(data, i)
        blank = below(x, 33)
        count += _ones(~blank & (blank << _EIGHT | blank_before) & HIGH) + _ones(x & (x << _ONE) & HIGH)
        blank_before = blank >> _SEVEN_BYTES
        i += 8
    return np.int64(count) + stop - i
