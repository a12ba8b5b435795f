"""Every way an input can be bad: set aside with its place, or refused by name; nothing else is lost; counts add up."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from plait.core.io import read_batches, read_table, write_table
from plait.core.quarantine import Quarantine
from plait.errors import DataError, PlaitError, UsageError


def read(path: Path | list[Path], folder: Path, **options) -> tuple[list[dict], Quarantine]:
    quarantine = Quarantine(folder / "bad" / "quarantine.jsonl")
    rows = [row for batch in read_batches(path, quarantine=quarantine, **options) for row in batch.to_pylist()]
    return rows, quarantine


def set_aside(quarantine: Quarantine) -> list[dict]:
    return [json.loads(line) for line in quarantine.path.read_text().splitlines()]


GOOD = b'{"text": "one"}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "broken', "not JSON"),
        (b'{"text": "one"} trailing', "not JSON"),
        (b'{"text": "one"}, {"text": "two"}', "not JSON"),
        (b'{"text": NaN}', "not JSON: NaN or Infinity"),
        (b'{"text": ' + b"[" * 100_000, "not JSON: nested too deep"),
        (b'{"text": ' + b"9" * 5000 + b"}", "not JSON: a number too large for 64 bits"),
        (b'{"text": "caf\xe9"}', "not UTF-8"),
        (b'{"text": "a\x00b"}', "NUL byte"),
        (b'{"text": "one", "text": "two"}', "a key stands twice"),
        (b'{"text": "one", "te\\u0078t" : "two"}', "a key stands twice"),
        (b'["text"]', "not a JSON object"),
        (b"3", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"other": "x"}', 'missing field "text"'),
        (b"{}", 'missing field "text"'),
        (b'{"text": null}', 'field "text" is null'),
        (b'{"text": 7}', 'field "text" is not string'),
        (b'{"text": ["x"]}', 'field "text" is not string'),
        (b'{"text": {"x": 1}}', 'field "text" is not string'),
        (b'{"text": "\\ud800"}', "not JSON: half of a surrogate pair"),
    ],
)
@pytest.mark.parametrize("schema", [None, pa.schema([("text", pa.string())])])
def test_a_bad_json_line_is_set_aside_alone(tmp_path: Path, line: bytes, reason: str, schema: pa.Schema | None) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join([GOOD, GOOD, line, b'{"text": "last"}']) + b"\n")
    rows, quarantine = read(path, tmp_path, required=["text"], schema=schema)
    assert [r["text"] for r in rows] == ["one", "one", "last"]
    assert quarantine.counts == {reason: 1}
    [bad] = set_aside(quarantine)
    assert bad["where"] == f"{path}:3"


def test_integers_of_more_than_64_bits_are_not_rounded(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"text": "one", "n": [0.5]}\n{"text": "9999999999999999999999", "n": [1180591620717411303424]}\n'
    )
    rows, quarantine = read(path, tmp_path)
    assert (rows, quarantine.counts) == ([{"text": "one", "n": [0.5]}], {"an integer of more than 64 bits": 1})
    rows, quarantine = read(path, tmp_path, schema=pa.schema([("text", pa.string())]))
    assert (len(rows), quarantine.counts) == (2, {})


def test_bom_crlf_blank_lines_and_a_last_line_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\r\n  \n{"text": "two"}\r\n{oops\r\n{"text": "three"}')
    rows, quarantine = read(path, tmp_path)
    assert [r["text"] for r in rows] == ["one", "two", "three"]
    assert [bad["where"] for bad in set_aside(quarantine)] == [f"{path}:5"]


def test_line_numbers_are_right_across_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"n": i}) if i % 7 else "{" for i in range(1, 200)]
    path.write_text("\n".join(lines))
    rows, quarantine = read(path, tmp_path, batch_bytes=100)
    assert [r["n"] for r in rows] == [i for i in range(1, 200) if i % 7]
    assert [bad["where"] for bad in set_aside(quarantine)] == [f"{path}:{i}" for i in range(7, 200, 7)]


def test_a_line_of_200_mb_is_never_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("wb") as out:
        out.write(b'{"text": "one"}\n{"text": "')
        for _ in range(200):
            out.write(b"x" * 1_000_000)
        out.write(b'"}\n{"text": "two"}\n')
    script = f"""
import resource, sys
from pathlib import Path
from plait.core.io import read_batches
from plait.core.quarantine import Quarantine
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
q = Quarantine(Path({str(tmp_path / "q.jsonl")!r}))
rows = [r for b in read_batches(Path({str(path)!r}), quarantine=q, max_line_bytes=1 << 20) for r in b.to_pylist()]
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(rows, q.counts, grown // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    head, _, grown_mb = done.stdout.strip().rpartition(" ")
    assert head == "[{'text': 'one'}, {'text': 'two'}] {'line longer than 1048576 bytes': 1}"
    assert int(grown_mb) < 60
    [bad] = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert bad["where"] == f"{path}:2"
    assert "(200000012 bytes in all)" in bad["record"]


def test_a_long_last_line_without_end_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + b"\n" + b'{"text": "' + b"x" * 3_000_000)
    rows, quarantine = read(path, tmp_path, max_line_bytes=2_000_000)
    assert len(rows) == 1
    assert quarantine.counts == {"line longer than 2000000 bytes": 1}


def test_a_line_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(GOOD + b"\n" + GOOD[:-2] + b'!"}\n')
    rows, quarantine = read(path, tmp_path, max_line_bytes=len(GOOD))
    assert rows == [{"text": "one"}]
    assert quarantine.total == 1


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz", "a.jsonl.zst"])
def test_an_empty_input_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes({".gz": gzip.compress(b""), ".zst": zstandard.compress(b"")}.get(path.suffix, b""))
    with pytest.raises(DataError, match=r"no record to read.*data.empty") as caught:
        read(path, tmp_path)
    assert str(path) in str(caught.value)


def test_an_empty_parquet_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(pa.table({"text": pa.array([], pa.string())}), path)
    (tmp_path / "folder").mkdir()
    for one in (path, tmp_path / "folder"):
        with pytest.raises(DataError, match=r"data\.empty"):
            read(one, tmp_path)


def test_only_bad_lines_is_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{\n{\n")
    rows, quarantine = read(path, tmp_path)
    assert (rows, quarantine.total) == ([], 2)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.arrow"])
@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_file_cut_off_is_refused_by_name(tmp_path: Path, name: str, keep: float) -> None:
    path = tmp_path / name
    write_table(pa.table({"text": [f"{i} {hash(str(i))}" for i in range(5_000)]}), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match=r"data\.damaged") as caught:
        read(path, tmp_path)
    assert str(path) in str(caught.value)


def test_damage_inside_a_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_table(pa.table({"text": [f"{i} {hash(str(i))}" for i in range(5_000)]}), path)
    data = bytearray(path.read_bytes())
    data[1_000:3_000] = bytes(2_000)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"data\.damaged"):
        read(path, tmp_path)


def test_missing_files_unknown_formats_and_utf16(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.not-found"):
        read(tmp_path / "none.jsonl", tmp_path)
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"data\.unknown-format"):
        read(tmp_path / "a.xlsx", tmp_path)
    (tmp_path / "b.jsonl").write_bytes('{"text": "x"}\n'.encode("utf-16"))
    with pytest.raises(DataError, match="UTF-16"):
        read(tmp_path / "b.jsonl", tmp_path)


def test_schema_drift_between_json_files_is_set_aside_by_line(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    a.write_text('{"text": "one", "n": 1}\n{"text": "two", "n": 2.5}\n')
    b.write_text('{"text": "three", "n": "3"}\n{"text": "four", "new": 1}\n{"text": "five"}\n')
    rows, quarantine = read([a, b], tmp_path)
    assert [(r["text"], r["n"]) for r in rows] == [("one", 1.0), ("two", 2.5), ("five", None)]
    assert quarantine.counts == {'field "n" is not double': 1, "field that the first records do not have": 1}


def test_a_field_of_two_types_in_one_chunk_keeps_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"n": 1}\n{"n": "1"}\n{"n": true}\n{"n": 2.5}\n{"n": null}\n')
    rows, quarantine = read(path, tmp_path)
    assert [r["n"] for r in rows] == [1.0, 2.5, None]
    assert quarantine.counts == {'field "n" is not double': 2}


def test_struct_fields_are_never_left_out_in_silence(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    a.write_text('{"m": {"x": 1}}\n')
    b.write_text('{"m": {"x": 1, "y": 2}}\n{"m": {"x": 2}}\n')
    rows, quarantine = read([a, b], tmp_path)
    assert rows == [{"m": {"x": 1}}, {"m": {"x": 2}}]
    assert quarantine.total == 1


def test_schema_drift_between_parquet_files_is_refused_by_name(tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{n}.parquet" for n in "abc")
    pq.write_table(pa.table({"text": ["x"]}), a)
    pq.write_table(pa.table({"text": ["x"], "more": [1]}), b)
    pq.write_table(pa.table({"text": [1]}), c)
    with pytest.raises(DataError, match=r"b\.parquet.*more.*data.schema-drift"):
        read([a, b], tmp_path)
    with pytest.raises(DataError, match=r"c\.parquet.*data.wrong-type"):
        read([a, c], tmp_path)
    rows, _ = read([a, b], tmp_path, schema=pa.schema([("text", pa.string())]))
    assert len(rows) == 2


def test_nulls_and_missing_columns_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None, "c"], "n": [1, 2, 3]}), path)
    rows, quarantine = read(path, tmp_path, required=["text"])
    assert [r["text"] for r in rows] == ["a", "c"]
    assert set_aside(quarantine)[0]["where"] == f"{path}:row 2"
    with pytest.raises(DataError, match=r'"body".*data.missing-field'):
        read(path, tmp_path, required=["body"])
    rows, _ = read(path, tmp_path, schema=pa.schema([("n", pa.int64()), ("lang", pa.string())]))
    assert rows[0] == {"n": 1, "lang": None}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,2,3", "not 2 columns"),
        (b"1", "not 2 columns"),
        (b"1,caf\xe9", "not UTF-8"),
        (b"1,a\x00b", "NUL byte"),
        (b"x,y", "value of another type"),
        (b'2,"open', "quote not closed"),
    ],
)
def test_a_bad_csv_line_is_set_aside_alone(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"n,text\r\n" + b"1,one\r\n" * 50 + line + b"\r\n" + b'2,"two\nlines"\r\n3,last\r\n')
    schema = pa.schema([("n", pa.int64()), ("text", pa.string())])
    rows, quarantine = read(path, tmp_path, schema=schema)
    assert rows == [{"n": 1, "text": "one"}] * 50 + [{"n": 2, "text": "two\nlines"}, {"n": 3, "text": "last"}]
    assert quarantine.counts == {reason: 1}
    assert set_aside(quarantine)[0]["where"] == f"{path}:52"


def test_a_stray_quote_does_not_swallow_the_rest_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\n1,5" pipe\n2,x\n3,6" pipe\n4,"fine,\nreally"\n5,"open\n6,y\n')
    rows, quarantine = read(path, tmp_path)
    assert [(r["a"], r["b"]) for r in rows] == [
        ("1", '5" pipe'),
        ("2", "x"),
        ("3", '6" pipe'),
        ("4", "fine,\nreally"),
        ("6", "y"),
    ]
    assert [bad["where"] for bad in set_aside(quarantine)] == [f"{path}:7"]


def test_a_long_line_inside_a_quoted_value_takes_only_its_record(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\n1,x\n2,"start\n' + b"y" * 500 + b'\nend"\n3,z\n4,"w"\n')
    rows, quarantine = read(path, tmp_path, max_line_bytes=100)
    assert [r["a"] for r in rows] == ["1", "3", "4"]
    assert quarantine.counts["line longer than 100 bytes"] == 1
    assert [bad["where"] for bad in set_aside(quarantine)] == [f"{path}:{n}" for n in (4, 3, 5)]


def test_csv_headers_that_repeat_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match=r"data\.header"):
        read(path, tmp_path)


def test_text_folders(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.txt").write_bytes(b"\xef\xbb\xbfhello\r\nworld")
    (folder / "sub" / "a.md").write_text("# Title")
    (folder / "bad.txt").write_bytes(b"caf\xe9")
    (folder / "image.bin").write_bytes(b"\x00\x01")
    (folder / "long.txt").write_text("x" * 200)
    (folder / ".hidden").write_text("no")
    rows, quarantine = read(folder, tmp_path, max_line_bytes=100)
    assert rows == [
        {"id": "b.txt", "text": "hello\nworld", "source": "texts"},
        {"id": "sub/a.md", "text": "# Title", "source": "texts"},
    ]
    assert quarantine.counts == {"not UTF-8": 1, "NUL byte": 1, "file longer than 100 bytes": 1}


def test_a_folder_of_shards_and_a_mixed_folder(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    for name in ("b", "a"):
        write_table(pa.table({"text": [name]}), folder / f"{name}.parquet")
    rows, _ = read(folder, tmp_path)
    assert [r["text"] for r in rows] == ["a", "b"]
    (folder / "README.md").write_text("about")
    with pytest.raises(DataError, match=r"data\.mixed-folder"):
        read(folder, tmp_path)


def test_read_table_is_strict_without_a_quarantine(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "1", "text": "x"}\n{oops\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: bad record: not JSON"):
        read_table(path)
    assert read_table(path, columns=["text"], quarantine=Quarantine(tmp_path / "q")).to_pylist() == [{"text": "x"}]
    with pytest.raises(DataError, match='did you mean "text"'):
        read_table(path, columns=["texts"], quarantine=Quarantine(tmp_path / "q"))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        line = json.dumps({"text": "word " * 200}).encode() + b"\n"
        for _ in range(100):
            out.write(line * 1_000)  # 100 MB in all
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    quarantine = Quarantine(tmp_path / "q")
    total = sum(b.num_rows for b in read_batches(path, quarantine=quarantine, batch_bytes=1 << 20))
    assert total == 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 80_000  # KiB


def test_every_refusal_is_an_error_of_ours(tmp_path: Path) -> None:
    for name, data in {
        "a.parquet": b"PAR1",
        "b.arrow": b"",
        "c.jsonl.gz": b"\x1f\x8bxx",
        "d.jsonl.zst": b"junk",
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PlaitError):
            read(tmp_path / name, tmp_path)
