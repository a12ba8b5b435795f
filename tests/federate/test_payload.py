from __future__ import annotations

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from plait.errors import DataError, PlaitError, StrandError
from plait.federate.payload import Payload

DTYPES = ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint32", "uint64"]
ARRAYS = st.dictionaries(
    st.text(max_size=8),
    st.sampled_from(DTYPES).flatmap(
        lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    ),
    max_size=5,
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(ARRAYS, st.dictionaries(st.text(max_size=4), PLAIN, max_size=3))
def test_round_trip_keeps_every_bit(arrays, meta):
    sent = Payload.pack(arrays, meta=meta)
    wire = sent.to_bytes()
    got = Payload.from_bytes(wire)
    assert len(wire) == sent.wire_bytes == got.wire_bytes
    assert got.meta == meta
    assert [spec.name for spec in got.manifest] == list(arrays)
    for name, array in arrays.items():
        assert got[name].dtype == array.dtype
        assert got[name].shape == array.shape
        assert got[name].tobytes() == array.tobytes()  # also NaN and −0
    assert got.to_bytes() == wire
    assert got.digest() == sent.digest()


@given(ARRAYS, st.data())
def test_damaged_bytes_never_pass_for_another_payload(arrays, data):
    """A changed header is refused or read as what it says; nothing but a PlaitError ever comes out."""
    wire = bytearray(Payload.pack(arrays, meta={"a": 1}).to_bytes())
    place = data.draw(st.integers(0, len(wire) - 1))
    wire[place] ^= data.draw(st.integers(1, 255))
    try:
        got = Payload.from_bytes(bytes(wire))
    except PlaitError:
        return
    assert got.to_bytes() == bytes(wire)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_name(noise):
    with pytest.raises(DataError, match="not a payload"):
        Payload.from_bytes(b"PLAITFL1" + noise[:8].ljust(8, b"\0") + noise[8:])


def test_wire_format_by_hand():
    wire = Payload.pack({"w": np.array([1.0, 2.0], np.float32)}, meta={"b": 1, "a": 2}).to_bytes()
    assert wire[:8] == b"PLAITFL1"
    length = int.from_bytes(wire[8:16], "little")
    assert (16 + length) % 64 == 0
    header = msgpack.unpackb(wire[16 : 16 + length].rstrip(b" "))
    assert header == {"manifest": [["w", [2], "float32", 0]], "meta": {"a": 2, "b": 1}}
    assert list(header["meta"]) == ["a", "b"]
    assert wire[16 + length :] == b"\x00\x00\x80\x3f\x00\x00\x00\x40"


def test_digest_is_sha256_of_the_message_and_ignores_key_order():
    import hashlib

    one = Payload.pack({"w": np.zeros(3, np.float32)}, meta={"a": 1, "b": [2]})
    two = Payload.pack({"w": np.zeros(3, np.float32)}, meta={"b": (2,), "a": 1})
    assert one.digest() == two.digest() == hashlib.sha256(one.to_bytes()).hexdigest()
    assert one.digest() != Payload.pack({"v": np.zeros(3, np.float32)}, meta={"a": 1, "b": [2]}).digest()


def _message(header: object, body: bytes) -> bytes:
    packed = msgpack.packb(header)
    packed += b" " * (-(16 + len(packed)) % 64)
    return b"PLAITFL1" + len(packed).to_bytes(8, "little") + packed + body


@pytest.mark.parametrize(
    ("header", "body", "says"),
    [
        ({"manifest": [["a", [1], "float32", 0]], "meta": {}}, b"1234extra", "lists 4 bytes, the buffer holds 9"),
        ({"manifest": [["a", [2], "float32", 0]], "meta": {}}, b"1234", "lists 8 bytes, the buffer holds 4"),
        ({"manifest": [["a", [1], "float32", 4]], "meta": {}}, b"12345678", "line 0 is malformed"),
        ({"manifest": [["a", [-1], "float32", 0]], "meta": {}}, b"1234", "line 0 is malformed"),
        ({"manifest": [["a", [True], "float32", 0]], "meta": {}}, b"1234", "line 0 is malformed"),
        ({"manifest": [["a", [1], "object", 0]], "meta": {}}, b"12345678", "line 0 is malformed"),
        ({"manifest": [["a", [0, 2**60], "float32", 0]], "meta": {}}, b"", "line 0 is malformed"),
        ({"manifest": [["a", [1], "uint8", 0], ["a", [1], "uint8", 1]], "meta": {}}, b"12", "share a name"),
        ({"manifest": [], "meta": {}, "code": "x"}, b"", "does not hold a manifest and meta"),
        ({"manifest": {}, "meta": {}}, b"", "not a list"),
        ({"manifest": [], "meta": {b"k": 1}}, b"", "key of its facts is not text"),
        ({"manifest": [], "meta": {"t": msgpack.ExtType(1, b"x")}}, b"", "canonical"),
        ({"manifest": [], "meta": {"b": 1, "a": 1}}, b"", "canonical"),
    ],
)
def test_a_message_that_hides_something_is_refused(header, body, says):
    with pytest.raises(DataError, match=says):
        Payload.from_bytes(_message(header, body))


def test_deep_nesting_is_refused_before_it_exhausts_the_stack():
    nested: object = 0
    for _ in range(400):
        nested = [nested]
    with pytest.raises(DataError, match="nested more than"):
        Payload.from_bytes(_message({"manifest": [], "meta": {"x": nested}}, b""))


def test_a_vector_is_carried_without_a_copy_and_named_by_its_layout():
    vector = np.arange(6, dtype=np.float32)
    payload = Payload.of_vector(vector, layout=[("a", (2, 2)), ("b", (2,))])
    assert np.shares_memory(payload.vector(), vector)
    assert payload["a"].tolist() == [[0, 1], [2, 3]]
    assert payload["b"].tolist() == [4, 5]
    with pytest.raises(StrandError, match="a layout of 4 numbers"):
        Payload.of_vector(vector, layout=[("a", (2, 2))])


def test_what_cannot_travel_is_named():
    with pytest.raises(StrandError, match="'w' of dtype object"):
        Payload.pack({"w": np.array([object()])})
    with pytest.raises(StrandError, match="not all arrays are float32"):
        Payload.pack({"n": np.zeros(1, np.int64)}).vector()
