"""What is written is what is read, in every format; fast and careful path agree; equal rows give equal bytes."""

from __future__ import annotations

import json
import tempfile
from contextlib import nullcontext, suppress
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.core.io import read_batches, read_table, write_table
from plait.core.quarantine import Quarantine
from plait.errors import DataError, UsageError

# Lone surrogates are not text in any of the formats.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
csv_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
number = st.integers(-(2**63), 2**63 - 1)
real = st.floats(allow_nan=False, allow_infinity=False)


def optional(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | values


NESTED = pa.schema(
    [
        ("id", pa.string()),
        ("n", pa.int64()),
        ("x", pa.float64()),
        ("ok", pa.bool_()),
        ("tags", pa.list_(pa.string())),
        ("meta", pa.struct([("a", pa.int64()), ("b", pa.string())])),
    ]
)
FLAT = pa.schema([("id", pa.string()), ("n", pa.int64()), ("x", pa.float64()), ("ok", pa.bool_())])


def rows_of(strings: st.SearchStrategy, *, nested: bool) -> st.SearchStrategy:
    fields = {"id": strings, "n": optional(number), "x": optional(real), "ok": optional(st.booleans())}
    if nested:
        fields["tags"] = optional(st.lists(strings, max_size=3))
        fields["meta"] = optional(st.fixed_dictionaries({"a": optional(number), "b": optional(strings)}))
    return st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=20)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl", ".jsonl.gz", ".jsonl.zst"])
@settings(max_examples=40, deadline=None)
@given(rows=rows_of(text, nested=True))
def test_round_trip(suffix: str, rows: list[dict]) -> None:
    table = pa.Table.from_pylist(rows, NESTED)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        assert write_table(table, path) == len(rows)
        assert read_table(path, schema=NESTED).equals(table)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".tsv.zst"])
@settings(max_examples=60, deadline=None)
@given(rows=rows_of(csv_text, nested=False))
def test_round_trip_of_flat_formats(suffix: str, rows: list[dict]) -> None:
    table = pa.Table.from_pylist(rows, FLAT)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write_table(table, path)
        assert read_table(path, schema=FLAT).equals(table)


@settings(max_examples=30, deadline=None)
@given(texts=st.dictionaries(st.from_regex(r"[a-z]{1,8}\.txt", fullmatch=True), csv_text, min_size=1, max_size=5))
def test_text_folder_round_trip(texts: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in texts.items():
            (Path(folder) / name).write_bytes(content.encode())
        found = {row["id"]: row["text"] for row in read_table(Path(folder)).to_pylist()}
    # The two things a text file says about itself rather than in its text.
    assert found == {name: content.removeprefix("\ufeff").replace("\r\n", "\n") for name, content in texts.items()}


def test_saved_hugging_face_dataset(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"id": str(i), "text": f"text {i}"} for i in range(100)]
    dataset = datasets.Dataset.from_list(rows)
    dataset.save_to_disk(str(tmp_path / "whole"))
    assert read_table(tmp_path / "whole").to_pylist() == rows
    # A selection is stored as indices over the same rows; reading the Arrow files alone would give all of them.
    dataset.select([3, 1]).save_to_disk(str(tmp_path / "some"))
    assert [r["id"] for r in read_table(tmp_path / "some").to_pylist()] == ["3", "1"]
    datasets.DatasetDict({"train": dataset, "test": dataset}).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(DataError, match=r"test, train.*data.which-split"):
        read_table(tmp_path / "splits")
    assert read_table(tmp_path / "splits" / "train").num_rows == 100


json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | real | st.sampled_from(["a", "é"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
line = (
    st.dictionaries(st.sampled_from(["text", "n"]), json_value, max_size=2).map(lambda v: json.dumps(v).encode())
    | json_value.map(lambda v: json.dumps(v).encode())
    | st.sampled_from([b"", b"  ", b"{", b'{"text": "x"},{"text": "y"}', b"\xff", b'{"text": [[1', b"2]]}", b"\x00"])
)


@settings(max_examples=200, deadline=None)
@given(lines=st.lists(line, max_size=12), chunk=st.integers(1, 200))
def test_a_chunk_at_a_time_equals_a_line_at_a_time(lines: list[bytes], chunk: int) -> None:
    """The same records are good and the same lines bad, whatever a chunk holds beside them."""
    schema = pa.schema([("text", pa.string()), ("n", pa.int64())])
    results = []
    for batch_bytes in (1, chunk, 1 << 20):
        with tempfile.TemporaryDirectory() as folder:
            path, quarantine = Path(folder) / "a.jsonl", Quarantine(Path(folder) / "q.jsonl")
            path.write_bytes(b"\n".join(lines))
            rows = list[dict]()
            with suppress(DataError) if not any(x.strip() for x in lines) else nullcontext():
                for batch in read_batches(path, quarantine=quarantine, schema=schema, batch_bytes=batch_bytes):
                    rows += batch.to_pylist()
            bad = [json.loads(x) for x in quarantine.path.read_text().splitlines()] if quarantine.total else []
            places = [(b["where"].rpartition(":")[2], b["reason"]) for b in bad]
        results.append((rows, sorted(places)))
        assert len(rows) + quarantine.total == sum(bool(x.strip()) for x in lines)
    assert results[0] == results[1] == results[2]
    assert results[0][0] == [_as_row(x) for x in lines if _is_good(x)]


def _is_good(raw: bytes) -> bool:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(value, dict):
        return False
    wanted = {"text": str, "n": int}
    return all(value.get(k) is None or type(value[k]) is kind for k, kind in wanted.items())


def _as_row(raw: bytes) -> dict:
    value = orjson.loads(raw)
    return {"text": value.get("text"), "n": value.get("n")}


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".jsonl.gz", ".jsonl.zst", ".csv"])
def test_bytes_do_not_depend_on_batching_or_time(tmp_path: Path, suffix: str) -> None:
    table = pa.table({"id": [str(i) for i in range(20_000)], "n": range(20_000)})
    written = []
    for number, size in enumerate((20_000, 7, 8_192, 3_001)):
        path = tmp_path / str(number) / f"a{suffix}"
        assert write_table(iter(table.to_batches(max_chunksize=size)), path) == 20_000
        written.append(path.read_bytes())
    assert len(set(written)) == 1


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_table(pa.table({"id": ["old"]}), path)

    def broken():
        yield pa.record_batch({"id": ["new"]})
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError):
        write_table(broken(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]
    assert read_table(path).to_pylist() == [{"id": "old"}]


def test_writers_refuse_what_they_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data\.unknown-format"):
        write_table(pa.table({"a": [1]}), tmp_path / "a.parquet.gz")
    with pytest.raises(DataError, match=r"lists or structs: m"):
        write_table(pa.table({"m": [[1]]}), tmp_path / "a.csv")
    with pytest.raises(DataError, match="CSV of one column"):
        write_table(pa.table({"a": ["x", None]}), tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"data\.empty"):
        write_table(iter([]), tmp_path / "a.parquet")
    assert write_table(iter([]), tmp_path / "a.parquet", schema=FLAT) == 0


def test_line_ends_inside_csv_values_are_kept_and_around_records_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b\r\n1,"x\r\ny\n"\r\n2,"\r\n"\r\n3,z\r\n')
    assert [r["b"] for r in read_table(path).to_pylist()] == ["x\r\ny\n", "\r\n", "z"]


def test_csv_text_is_not_guessed_into_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,zip\n1,007\n2,""\n3,\n')
    assert [r["zip"] for r in read_table(path).to_pylist()] == ["007", "", None]
