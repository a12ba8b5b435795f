"""What travels between server and client: named arrays in one buffer, and a few plain facts. Never pickle.

On the wire, all numbers little-endian:

    8 bytes   magic ``PLAITFL1``
    8 bytes   length of the header
    header    msgpack {"manifest": [[name, shape, dtype, offset], …], "meta": {…}}, keys sorted, padded with
              spaces so that the buffer starts at a multiple of 64
    buffer    the arrays back to back, C order

safetensors would carry the arrays but only text as facts, and it sorts arrays by its own rule; the adapter
order matters here, because one flat vector is what rules, privacy and digests see. The manifest covers the
buffer exactly, so a message cannot carry bytes that are not listed, and the server can compare what arrived
with what it asked for before it looks at a single number.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, cast

import msgpack
import numpy as np
import numpy.typing as npt

from plait.errors import DataError, StrandError

Vector = npt.NDArray[np.float32]
"""A flat float32 vector, ``[parameters]``."""

_MAGIC = b"PLAITFL1"
_PREFIX = struct.Struct("<8sQ")
_ALIGN = 64
_MAX_DEPTH = 16
_MAX_DIMENSIONS = 32
_MAX_LENGTH = 1 << 48
_DTYPES = {
    name: np.dtype(code)
    for name, code in {
        "float16": "<f2",
        "float32": "<f4",
        "float64": "<f8",
        "int8": "|i1",
        "int32": "<i4",
        "int64": "<i8",
        "uint8": "|u1",
        "uint32": "<u4",
        "uint64": "<u8",
    }.items()
}


class TensorSpec(NamedTuple):
    """One line of a manifest: where an array lies in the buffer. ``offset`` is in bytes."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes the array takes in the buffer."""
        return math.prod(self.shape) * _DTYPES[self.dtype].itemsize


@dataclass(frozen=True, eq=False)
class Payload:
    """Named arrays in one contiguous buffer, and plain facts beside them.

    Args:
        manifest: Which arrays there are, in the order they lie in the buffer.
        buffer: Their bytes, uint8 ``[bytes]``, read-only.
        meta: Facts msgpack can hold: text, numbers, booleans, bytes, lists and mappings with text keys.

    Example:
        >>> sent = Payload.pack({"bias": np.ones(2, np.float32)}, meta={"steps": 3})
        >>> got = Payload.from_bytes(sent.to_bytes())
        >>> got["bias"], got.meta["steps"], got.digest() == sent.digest()
        (array([1., 1.], dtype=float32), 3, True)
    """

    manifest: tuple[TensorSpec, ...]
    buffer: npt.NDArray[np.uint8]
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def pack(cls, arrays: Mapping[str, npt.NDArray[Any]], *, meta: Mapping[str, Any] | None = None) -> Payload:
        """Copy arrays into one buffer, in the order given.

        Raises:
            StrandError: An array's dtype cannot travel.
        """
        specs: list[TensorSpec] = []
        offset = 0
        for name, array in arrays.items():
            if array.dtype.name not in _DTYPES:
                raise StrandError(
                    f"array {name!r} of dtype {array.dtype} cannot travel",
                    code="federate.dtype",
                    hint=f"use one of {', '.join(_DTYPES)}",
                )
            specs.append(TensorSpec(name, tuple(array.shape), array.dtype.name, offset))
            offset += specs[-1].nbytes
        buffer = np.empty(offset, dtype=np.uint8)
        for spec, array in zip(specs, arrays.values(), strict=True):
            _view(buffer, spec)[...] = array
        buffer.flags.writeable = False
        return cls(tuple(specs), buffer, dict(meta or {}))

    @classmethod
    def of_vector(
        cls,
        vector: Vector,
        *,
        layout: Sequence[tuple[str, tuple[int, ...]]] | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Payload:
        """Carry a flat float32 vector, optionally naming its parts; the vector is not copied.

        Args:
            vector: ``[parameters]``.
            layout: ``(name, shape)`` of each part in order; together they cover the vector. One part called
                ``vector`` when omitted.
            meta: Facts to travel beside it.

        Raises:
            StrandError: The layout does not cover the vector exactly.
        """
        flat = np.ascontiguousarray(vector, dtype="<f4")
        specs: list[TensorSpec] = []
        offset = 0
        for name, shape in layout if layout is not None else [("vector", (flat.size,))]:
            specs.append(TensorSpec(name, tuple(shape), "float32", offset))
            offset += specs[-1].nbytes
        if flat.ndim != 1 or offset != flat.nbytes:
            raise StrandError(
                f"a layout of {offset // 4} numbers does not fit an array of shape {list(flat.shape)}",
                code="federate.layout",
            )
        buffer = flat.view(np.uint8)
        buffer.flags.writeable = False
        return cls(tuple(specs), buffer, dict(meta or {}))

    def vector(self) -> Vector:
        """The whole buffer as one read-only float32 vector ``[parameters]``; no copy.

        Raises:
            StrandError: Some array is not float32.
        """
        if any(spec.dtype != "float32" for spec in self.manifest):
            raise StrandError("not all arrays are float32, so they are not one vector", code="federate.dtype")
        return self.buffer.view("<f4")

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """The array of that name: a read-only view."""
        for spec in self.manifest:
            if spec.name == name:
                return _view(self.buffer, spec)
        raise KeyError(name)

    @cached_property
    def _header(self) -> bytes:
        lines = [[s.name, list(s.shape), s.dtype, s.offset] for s in self.manifest]
        packed = cast("bytes", msgpack.packb({"manifest": lines, "meta": _canonical(self.meta)}))
        return packed + b" " * (-(_PREFIX.size + len(packed)) % _ALIGN)

    @property
    def wire_bytes(self) -> int:
        """Exact length of `to_bytes`, without making it."""
        return _PREFIX.size + len(self._header) + self.buffer.nbytes

    def to_bytes(self) -> bytes:
        """The message as it goes over a wire; equal payloads give equal bytes."""
        return b"".join((_PREFIX.pack(_MAGIC, len(self._header)), self._header, self.buffer.data))

    def digest(self) -> str:
        """SHA-256 of the message, hexadecimal."""
        sha = hashlib.sha256(_PREFIX.pack(_MAGIC, len(self._header)))
        sha.update(self._header)
        sha.update(self.buffer.data)
        return sha.hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> Payload:
        """Read a message; arrays are views of ``data``. Safe on bytes from a stranger.

        Raises:
            DataError: The bytes are not a payload, are cut short, or the manifest does not fit the buffer.
        """
        view = memoryview(data)
        if len(view) < _PREFIX.size:
            raise _bad(f"{len(view)} bytes are too few")
        magic, header_length = _PREFIX.unpack_from(view)
        if magic != _MAGIC:
            raise _bad("it does not start with PLAITFL1")
        if header_length > len(view) - _PREFIX.size:
            raise _bad(f"the header of {header_length} bytes is cut short")
        header = _read_header(bytes(view[_PREFIX.size : _PREFIX.size + header_length]))
        buffer = np.frombuffer(view, dtype=np.uint8, offset=_PREFIX.size + header_length)
        payload = cls(_read_manifest(header["manifest"], buffer.nbytes), buffer, header["meta"])
        if payload._header != bytes(view[_PREFIX.size : _PREFIX.size + header_length]):
            raise _bad("the header is not in canonical form")
        return payload


def _view(buffer: npt.NDArray[np.uint8], spec: TensorSpec) -> npt.NDArray[Any]:
    return buffer[spec.offset : spec.offset + spec.nbytes].view(_DTYPES[spec.dtype]).reshape(spec.shape)


def _canonical(value: Any, *, depth: int = 0) -> Any:
    """The same value with the keys of every mapping sorted, so equal facts give equal bytes."""
    if depth > _MAX_DEPTH:
        raise _bad(f"its facts are nested more than {_MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise _bad("a key of its facts is not text")
        return {key: _canonical(value[key], depth=depth + 1) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_canonical(item, depth=depth + 1) for item in value]
    if value is None or isinstance(value, str | bytes | bool | int | float):
        return value
    raise _bad(f"its facts hold a {type(value).__name__}")


def _read_header(raw: bytes) -> dict[str, Any]:
    unpacker = msgpack.Unpacker(strict_map_key=True, max_buffer_size=len(raw) + 1)
    unpacker.feed(raw)
    try:
        header = unpacker.unpack()
    except (msgpack.UnpackException, ValueError) as error:
        raise _bad(f"the header is not msgpack ({error})") from error
    if not isinstance(header, dict) or set(header) != {"manifest", "meta"} or not isinstance(header["meta"], dict):
        raise _bad("the header does not hold a manifest and meta")
    return header


def _read_manifest(lines: Any, nbytes: int) -> tuple[TensorSpec, ...]:
    if not isinstance(lines, list):
        raise _bad("the manifest is not a list")
    specs: list[TensorSpec] = []
    offset = 0
    for line in lines:
        match line:
            case [str(name), list(shape), str(dtype), int(start)] if (
                dtype in _DTYPES
                and start == offset
                and len(shape) <= _MAX_DIMENSIONS
                and all(type(n) is int and 0 <= n <= _MAX_LENGTH for n in shape)
            ):
                specs.append(TensorSpec(name, tuple(shape), dtype, start))
                offset += specs[-1].nbytes
            case _:
                raise _bad(f"manifest line {len(specs)} is malformed")
    if offset != nbytes:
        raise _bad(f"the manifest lists {offset} bytes, the buffer holds {nbytes}")
    if len({spec.name for spec in specs}) != len(specs):
        raise _bad("two arrays share a name")
    return tuple(specs)


def _bad(what: str) -> DataError:
    return DataError(f"not a payload: {what}", code="federate.bad-payload")
