"""Keyed hashes: who does not hold the key cannot tell which text a hash is of, nor try texts out.

Source: Aumasson and Bernstein 2012, "SipHash: a fast short-input PRF" (SipHash-2-4, for inputs of eight bytes).
"""

from __future__ import annotations

import hashlib

import numpy as np
from numba import njit

from plait.errors import UsageError


def sip_hash(values: np.ndarray, key: bytes) -> np.ndarray:
    """SipHash-2-4 of 64-bit values, uint64 ``[values]``.

    Args:
        values: uint64 ``[values]``; each is hashed as its eight bytes, the lowest first.
        key: 16 bytes; see `key_of`.

    Example:
        >>> value = np.frombuffer(bytes(range(8)), np.uint64)
        >>> hex(sip_hash(value, bytes(range(16)))[0])
        '0x93f5f5799a932462'
    """
    low, high = np.frombuffer(key, np.uint64)
    return _sip(np.ascontiguousarray(values, np.uint64), low, high)


def key_of(secret: str) -> bytes:
    """The 16-byte key that a shared secret stands for; the empty secret is nobody's, so its hashes are public."""
    return hashlib.blake2b(secret.encode(), digest_size=16, person=b"plait-study").digest()


def check_secret(secret: str) -> None:
    """Whether a secret is one.

    Raises:
        UsageError: It is empty, so anybody could test whether a text they guess is there.
    """
    if not secret:
        raise UsageError(
            "hashes without a secret show texts that can be guessed",
            code="study.no-secret",
            hint="agree on a long random one with the other owners",
        )


@njit(cache=True, nogil=True, inline="always")
def _rotated(value: np.uint64, by: np.uint64) -> np.uint64:
    return (value << by) | (value >> (np.uint64(64) - by))


@njit(cache=True, nogil=True, inline="always")
def _round(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    a += b
    b = _rotated(b, np.uint64(13)) ^ a
    a = _rotated(a, np.uint64(32))
    c += d
    d = _rotated(d, np.uint64(16)) ^ c
    a += d
    d = _rotated(d, np.uint64(21)) ^ a
    c += b
    b = _rotated(b, np.uint64(17)) ^ c
    c = _rotated(c, np.uint64(32))
    return a, b, c, d


@njit(cache=True, nogil=True)
def _sip(values: np.ndarray, low: np.uint64, high: np.uint64) -> np.ndarray:
    out = np.empty(len(values), np.uint64)
    ending = np.uint64(8) << np.uint64(56)
    for i in range(len(values)):
        a = low ^ np.uint64(0x736F6D6570736575)
        b = high ^ np.uint64(0x646F72616E646F6D)
        c = low ^ np.uint64(0x6C7967656E657261)
        d = high ^ np.uint64(0x7465646279746573)
        for word in (values[i], ending):
            d ^= word
            a, b, c, d = _round(a, b, c, d)
            a, b, c, d = _round(a, b, c, d)
            a ^= word
        c ^= np.uint64(0xFF)
        for _ in range(4):
            a, b, c, d = _round(a, b, c, d)
        out[i] = a ^ b ^ c ^ d
    return out
