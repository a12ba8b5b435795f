"""Eight bytes at a time in compiled loops (SWAR, SIMD within a register): most text is plain ASCII.

A mark is the high bit of a byte: ``first(below(x, 32) | equal(x, 34))`` is the place of the first control character or
quote among the eight bytes ``x = eight(data, i)``.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from plait.data.bits import zeros_below
from plait.data.loops import inlined, instructions

ONES = np.uint64(0x0101010101010101)
HIGH = np.uint64(0x8080808080808080)
_THREE = np.uint64(3)


@instructions
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


@instructions
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


@inlined
def below(x: Any, limit: int) -> Any:
    """The high bit of each byte that is less than ``limit`` (at most 0x80); beyond ASCII none is."""
    return ~((x | HIGH) - ONES * np.uint64(limit)) & HIGH & ~x


@inlined
def equal(x: Any, byte: int) -> Any:
    """The high bit of each byte that is ``byte``, an ASCII one."""
    return below(x ^ (ONES * np.uint64(byte)), 1)


@inlined
def first(marks: Any) -> Any:
    """Place of the first byte that is marked by its high bit, 0 to 7; 8 where none is."""
    return np.int64(zeros_below(marks) >> _THREE)
