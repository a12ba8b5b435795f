"""Lines of JSON by compiled loops: they take what they can, and give what the general parser gives."""

from __future__ import annotations

import json
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.quarantine import Quarantine
from plait.data.read.flat import parse_flat
from plait.data.read.jsonl import parse_any, parse_lines

SCHEMA = pa.schema(
    [("id", pa.string()), ('té"xt', pa.string()), ("n", pa.int64()), ("x", pa.float64()), ("ok", pa.bool_())]
)
LIMIT = 400
JUNK = [
    b'"', b"\\", b"\\u", b"\\ud83d", b"{", b"}", b",", b":", b"\x00", b"\x80", b"\xc3", b"\xed\xa0\x80", b"1", b" ",
    b"\xf4\x90\x80\x80", b"null", b'"n":1,',
]  # fmt: skip

values = {
    "id": st.one_of(st.none(), st.text()),
    'té"xt': st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    "n": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    "x": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-9, 9)),
    "ok": st.one_of(st.none(), st.booleans()),
}
records = st.fixed_dictionaries({}, optional=values)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Records as JSON in several styles, some of them damaged."""
    out = list[bytes]()
    for record in draw(st.lists(records, max_size=6)):
        record = dict(draw(st.permutations(list(record.items()))))
        separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " : ")]))
        text = json.dumps(record, ensure_ascii=draw(st.booleans()), separators=separators)
        line = bytearray((draw(st.sampled_from(["", " ", "\t"])) + text).encode())
        if draw(st.integers(0, 2)) == 0:
            at = draw(st.integers(0, len(line) - 1))
            junk = draw(st.sampled_from(JUNK))
            line[at : at + draw(st.integers(0, 3))] = junk
        out.append(bytes(line))
        out += draw(st.sampled_from([[], [], [b""], [b"  \x0b\r"]]))
    return draw(st.sampled_from([b"\n", b"\r\n"])).join(out) + draw(st.sampled_from([b"", b"\n"]))


@settings(deadline=None)
@given(lines(), st.booleans(), st.sampled_from([(), ("id",), ("id", "n")]), st.randoms())
def test_lines_are_read_as_the_general_parser_reads_them(tmp_path_factory, data, exclusive, required, random):
    folder = tmp_path_factory.mktemp("flat")
    filled = sum(bool(line.strip(b" \t\r\x0b\x0c")) for line in data.split(b"\n"))
    wanted = None if random.random() < 0.5 else np.array([random.random() < 0.7 for _ in range(filled)], bool)
    found = list[tuple[list[object], list[int], list[str]]]()
    for number, parse in enumerate((parse_lines, parse_any)):
        rejects = Quarantine(folder / f"{number}.jsonl")
        given = np.ones(filled, bool) if wanted is None and parse is parse_any else wanted
        batch, rows = parse(
            data, SCHEMA, required=required, exclusive=exclusive, max_line_bytes=LIMIT,
            place=lambda line, offset: f"{line}:{offset}", quarantine=rejects, wanted=given,
        )  # fmt: skip
        batch.validate(full=True)
        set_aside = rejects.path.read_text().splitlines() if rejects.path.exists() else []
        found.append((batch.to_pylist(), rows.tolist(), set_aside))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "text",
    [
        "plain", "", "a \"quote\" and a \\ and / and \b\f\n\r\t", "é ü ß",
        "日本語", "\U0001f600 and \U0010ffff", "\x7f\0",
        *("x" * n + "\n" + "y" * (9 - n) for n in range(9)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ascii", [True, False])
def test_every_kind_of_text_is_taken(text, ascii):
    lines = [json.dumps({"id": text, "n": 3, "x": -1.5e3, "ok": True}, ensure_ascii=ascii) for _ in range(3)]
    flat = parse_flat("\n".join(lines).encode(), SCHEMA, ["id"], 4_000)
    assert flat is not None
    assert not flat.left.any()
    assert flat.batch.to_pylist() == [{"id": text, 'té"xt': None, "n": 3, "x": -1500.0, "ok": True}] * 3


def test_columns_of_lists_are_left_to_the_general_parser():
    assert parse_flat(b'{"a": [1]}', pa.schema([("a", pa.list_(pa.int64()))]), [], LIMIT) is None


def test_lines_that_are_not_right_are_left():
    good = b'{"id": "a"}'
    bad = [
        b'{"id": "a", "id": "b"}', b'{"id": 1}', b'{"id": "a"} x', b'{"id": "a",}', b'{"id" "a"}',
        b'["a"]', b'{"id": "\\ud800"}',
        b'{"id": "\\x"}', b'{"id": "\t"}', b'{"id": "\xff"}',
        b'{"other": "a"}', b'{"id": "a"', b'{"id": "a', b'{"n": "1"}',
        b'{"n": 1234567890123456789}', b"{" + b" " * LIMIT + b"}",
    ]  # fmt: skip
    flat = parse_flat(b"\n".join([good, *bad, good]), SCHEMA, [], LIMIT)
    assert flat is not None
    assert flat.left.tolist() == [False, *[True] * len(bad), False]
    assert flat.rows.tolist() == [0, len(bad) + 1]


def test_all_code_points_as_escapes_and_as_they_are():
    random.seed(1)
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    texts = ["".join(map(chr, points[i : i + 997])) for i in range(0, len(points), 997)]
    for ascii in (True, False):
        data = "\n".join(json.dumps({"id": text}, ensure_ascii=ascii) for text in texts).encode()
        flat = parse_flat(data, SCHEMA, [], 1 << 20)
        assert flat is not None
        assert flat.batch.column("id").to_pylist() == texts
