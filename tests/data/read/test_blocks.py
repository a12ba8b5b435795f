"""Blocks: cut anywhere, they give the same records; whatever is bad is set aside, with its place."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plait.core.quarantine import Quarantine
from plait.data.read import blocks, open_dataset, split
from plait.data.read.lines import LineBytes, LineRange
from plait.data.read.tables import RowGroups
from plait.errors import DataError

TEXTS = ["one", 'say "two": 2', "three\nlines\n", "vier äöü 中文 😀", "", ": colon first", "back\\slash", "x" * 300]


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "q" / "quarantine.jsonl")


def records(count: int) -> list[dict]:
    return [{"id": str(i), "text": TEXTS[i % len(TEXTS)], "n": i} for i in range(count)]


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(rows)), "utf-8")
    return path


def rows_of(spec, quarantine: Quarantine, **how) -> list[dict]:
    return [row for block in blocks(spec, **how) for row in block.load(quarantine).to_pylist()]


@pytest.mark.parametrize("block_bytes", [1, 100, 1000, 1 << 20])
def test_plain_lines_cut_anywhere_give_the_same_records(tmp_path, quarantine, block_bytes):
    path = write(tmp_path / "a.jsonl", records(100))
    cut = split(path, block_bytes)
    assert all(isinstance(block, LineRange) for block in cut)
    assert (len(cut) == 1) == (block_bytes == 1 << 20)
    assert [row for block in cut for row in block.load(quarantine).to_pylist()] == records(100)
    assert quarantine.total == 0


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
def test_compressed_lines_come_in_pieces(tmp_path, quarantine, suffix):
    import bz2

    plain = write(tmp_path / "plain.jsonl", records(30_000)).read_bytes()
    pack = {".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress, ".bz2": bz2.compress}[suffix]
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(pack(plain))
    cut = split(path, 1 << 20)
    assert len(cut) > 1
    assert all(isinstance(block, LineBytes) for block in cut)
    assert [row for block in cut for row in block.load(quarantine).to_pylist()] == records(30_000)


def test_parquet_is_cut_between_row_groups(tmp_path, quarantine):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(records(1000)), path, row_group_size=100)
    cut = split(path, 1000)
    assert len(cut) == 10
    assert all(isinstance(block, RowGroups) for block in cut)
    assert [row for block in cut for row in block.load(quarantine).to_pylist()] == records(1000)
    assert len(split(path)) == 1


def test_a_row_group_much_larger_than_a_block_is_read_in_order(tmp_path, quarantine):
    path = tmp_path / "a.parquet"
    rows = [{"id": str(i), "text": f"{i} " * 100} for i in range(1000)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    cut = list(blocks(path, block_bytes=10_000))
    assert len(cut) > 8
    assert [row for block in cut for row in block.load(quarantine).to_pylist()] == rows


def test_many_bad_lines_are_each_named(tmp_path, quarantine):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(["{oops", "", '{"text": "a"}'] * 300))
    assert len(rows_of(path, quarantine, block_bytes=500)) == 300
    places = [json.loads(line)["where"] for line in quarantine.path.read_text().splitlines()]
    assert places == [f"{path}:{3 * i + 1}" for i in range(300)]


def test_a_key_follows_the_version_of_the_readers(tmp_path, monkeypatch):
    path = write(tmp_path / "a.jsonl", records(9))
    [before] = split(path)
    assert before.key == split(path)[0].key
    monkeypatch.setattr("plait.data.read.settings.hash_code", lambda module: f"newer {module}")
    assert split(path)[0].key != before.key


def test_a_key_follows_the_content_and_the_settings_alone(tmp_path):
    rows = records(50)
    one = split(write(tmp_path / "a.jsonl", rows), 1000)
    two = split(write(tmp_path / "elsewhere.jsonl", rows), 1000)
    assert [b.key for b in one] == [b.key for b in two]
    assert len({b.key for b in one}) == len(one)
    rows[-1]["text"] = "changed"
    changed = split(write(tmp_path / "c.jsonl", rows), 1000)
    assert [b.key for b in one[:-1]] == [b.key for b in changed[:-1]]
    assert one[-1].key != changed[-1].key
    other = list(blocks(tmp_path / "a.jsonl", block_bytes=1000, required=["text"]))
    assert other[0].key != one[0].key


def test_blocks_travel(tmp_path, quarantine):
    for path in (write(tmp_path / "a.jsonl", records(9)), tmp_path / "a.csv"):
        if path.suffix == ".csv":
            path.write_text("id,text\n1,a\n")
        for block in split(path):
            copy = pickle.loads(pickle.dumps(block))
            assert (copy.key, copy.where, copy.load(quarantine)) == (block.key, block.where, block.load(quarantine))


BAD = {
    "{oops": "not JSON",
    "[1]": "not a JSON object",
    '{"text": 5, "id": "x"}': 'field "text" is not string',
    '{"id": "x"}': 'missing field "text"',
    '{"id": "x", "text": null}': 'field "text" is null',
    '{"id": "x", "text": "a", "text": "b"}': "a key stands twice",
    '{"id": "x", "text" : "a", "text"  :"b"}': "a key stands twice",
    '{"id": "x", "text" \t\t    \t : "a", "text": "b"}': "a key stands twice",
    '{"id": "x", "te\\u0078t": "a", "text": "b"}': "a key stands twice",
    '{"id": "x", "text": "a", "score": 123456789012345678901234567890}': "an integer of more than 64 bits",
    '{"id": "x", "text": "a", "n": true}': 'field "n" is not int64',
    '{"id": "x", "text": "a", "n": 9223372036854775808}': 'field "n" is an integer that int64 cannot hold',
    '{"id": "x", "text": "a", "score": 9007199254740993}': 'field "score" is an integer that double cannot hold',
    '{"id": "x", "text": "\\ud800"}': "not JSON: half of a surrogate pair",
    '{"id": "x", "text": "a", "score": NaN}': "not JSON: NaN or Infinity",
    '{"id": "x", "text": "a", "score": 1e400}': "not JSON: a number too large for 64 bits",
    '\ufeff{"id": "x", "text": "a", "n": 1}': "not JSON: a byte order mark inside the file",
    '{"id": "x", "text": "a", "meta": {"deep": 1, "deep": 2}}': "a key stands twice",
    '{"id": "x", "text": "a", "meta": {"deep": "text"}}': 'field "meta.deep" is not int64',
    '{"id": "x", "text": "a", "meta": [1]}': 'field "meta" is not an object',
    '{"id": "x", "text": "a", "parts": [[1], ["one"]]}': 'field "parts[][]" is not double',
    '{"id": "x", "text": "a", "parts": [[123456789012345678901234567890]]}': "an integer of more than 64 bits",
    '{"id": "x", "text": "a", "n": ' + "[" * 49 + "]" * 49 + "}": "lists and objects nested more than 48 deep",
    '{"id": "x", "text": "a", "n": ' + "[" * 1500 + "]" * 1500 + "}": "not JSON: nested too deep",
    '{"id": "x", "text": "' + "long" * 1000 + '"}': "line longer than 4000 bytes",
}


@pytest.mark.parametrize("where", ["first", "middle"])
@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_is_set_aside_and_nothing_else(tmp_path, quarantine, line, where):
    if where == "first" and line.startswith("\ufeff"):
        return  # there it is the mark of the file
    more = {"score": 0.5, "meta": {"deep": 1}, "parts": [[0.5]]}
    good = [{"id": str(i), "text": "fine", "n": -i, **more} for i in range(9)]
    lines = [json.dumps(row) for row in good]
    lines.insert(0 if where == "first" else 4, line)
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert rows_of(tmp_path / "a.jsonl", quarantine, required=["text"], max_line_bytes=4000) == good
    assert quarantine.counts == {BAD[line]: 1}
    place = json.loads(quarantine.path.read_text().splitlines()[0])["where"]
    assert place == f"{tmp_path}/a.jsonl:{1 if where == 'first' else 5}"


NESTED_DEEPER = '{"id": "x", "n": ' + '{"a": ' * 1010 + "1" + "}" * 1011


@pytest.mark.parametrize("line", [NESTED_DEEPER, NESTED_DEEPER.replace('{"a": ', "[").replace("}", "]")[:-1] + "}"])
def test_nesting_beyond_the_stack_is_set_aside(tmp_path, quarantine, line):
    (tmp_path / "a.jsonl").write_text('{"id": "y", "n": {"a": 1}}\n' + line)
    assert rows_of(tmp_path / "a.jsonl", quarantine) == [{"id": "y", "n": {"a": 1}}]
    assert quarantine.counts == {"lists and objects nested more than 48 deep": 1}


def test_nothing_but_deep_records(tmp_path, quarantine):
    (tmp_path / "a.jsonl").write_text(NESTED_DEEPER)
    assert rows_of(tmp_path / "a.jsonl", quarantine) == []
    assert quarantine.counts == {"lists and objects nested more than 48 deep": 1}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines_longer_than_all_that_is_sampled_of_others(tmp_path, quarantine, name):
    """Of a book on one line the columns are learned as of any other line."""
    rows = [{"id": str(i), "text": "x" * 5_000_000} for i in range(3)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / name).write_bytes(gzip.compress(data, 1) if name.endswith(".gz") else data)
    assert rows_of(tmp_path / name, quarantine) == rows
    assert quarantine.total == 0


def test_columns_of_compressed_lines_are_learned_whatever_the_longest_line_is(tmp_path, quarantine):
    rows = records(40)
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(data))
    shorter = [row for row in rows if len(json.dumps(row)) <= 60]
    assert rows_of(tmp_path / "a.jsonl.gz", quarantine, max_line_bytes=60) == shorter
    assert quarantine.counts == {"line longer than 60 bytes": len(rows) - len(shorter)}


def test_objects_without_keys_are_values_like_others(tmp_path, quarantine):
    rows = [{"id": "1", "meta": {}}, {"id": "2", "meta": None}, {"id": "3", "meta": {}}]
    assert rows_of(write(tmp_path / "a.jsonl", rows), quarantine) == rows
    assert quarantine.total == 0


def test_hashes_of_64_bits(tmp_path, quarantine):
    rows = [{"id": str(i), "hash": 2**64 - 1 - i} for i in range(8)]
    assert rows_of(write(tmp_path / "a.jsonl", rows), quarantine) == rows
    with (tmp_path / "a.jsonl").open("a") as out:
        out.write('{"id": "x", "hash": -1}')
    assert rows_of(tmp_path / "a.jsonl", quarantine) == rows
    assert quarantine.counts == {'field "hash" is an integer that uint64 cannot hold': 1}


def test_digits_in_a_text_are_no_rounded_integer(tmp_path, quarantine):
    rows = [{"text": "12345678901234567890", "n": 1e30}, {"text": "", "n": 0.5}]
    assert [row["n"] for row in rows_of(write(tmp_path / "a.jsonl", rows), quarantine)] == [1e30, 0.5]
    assert quarantine.total == 0


def test_records_of_which_none_is_good_are_set_aside_by_reason(tmp_path, quarantine):
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(b'{"text": "a"}\n'))
    assert rows_of(tmp_path / "a.jsonl", quarantine, required=["text"]) == []
    assert quarantine.counts == {"NUL byte": 1}


def test_an_empty_shard_among_others_is_no_fault(tmp_path, quarantine):
    for name, text in {"a.csv": "text\none\n", "b.csv": "text\n", "c.csv": "", "d.jsonl": "", "e.json": "[]"}.items():
        (tmp_path / name).write_text(text)
    assert [row["text"] for row in rows_of(tmp_path, quarantine)] == ["one"]


def test_layouts_of_columns_do_not_matter(tmp_path, quarantine):
    rows = [{"id": "1", "turns": [{"role": "user", "tags": ["a", None]}]}]
    write(tmp_path / "a.jsonl", rows)
    large = pa.large_list(pa.struct([("role", pa.large_string()), ("tags", pa.large_list(pa.string_view()))]))
    pq.write_table(pa.table({"id": ["2"], "turns": pa.array([rows[0]["turns"]], large)}), tmp_path / "b.parquet")
    assert rows_of(tmp_path, quarantine) == [*rows, {**rows[0], "id": "2"}]
    assert rows_of([tmp_path / "b.parquet", tmp_path / "a.jsonl"], quarantine) == [{**rows[0], "id": "2"}, *rows]


def test_a_column_that_cannot_hold_what_another_file_has_is_named(tmp_path, quarantine):
    a = write(tmp_path / "a.jsonl", [{"text": "a", "n": 0.5}])
    pq.write_table(pa.table({"text": ["b"], "n": [2**53 + 1]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match='column "n" is int64 here and double in other files, which cannot hold'):
        rows_of([a, tmp_path / "b.parquet"], quarantine)


def test_a_field_nobody_sampled_makes_a_record_bad_unless_columns_are_named(tmp_path, quarantine):
    path = tmp_path / "a.jsonl"
    rows = [{"id": str(i), "text": "filler " * 200, "meta": {"n": 1}} for i in range(5000)]
    rows[1234]["more"] = "unseen"
    rows[2345]["meta"]["more"] = "unseen"
    write(path, rows)
    assert len(rows_of(path, quarantine)) == 4998
    assert quarantine.counts == {
        "field that the sampled records do not have": 1,
        'field "meta" has a key that the sampled records do not have': 1,
    }
    assert len(rows_of(path, quarantine, columns=["id", "text"])) == 5000


def test_fields_of_every_part_of_a_file_are_seen(tmp_path, quarantine):
    rows = [{"id": str(i), "text": "filler " * 200} for i in range(5000)]
    for row in rows[2000:]:
        row["late"] = 1.5
    assert len(rows_of(write(tmp_path / "a.jsonl", rows), quarantine)) == 5000
    assert quarantine.total == 0


def test_files_that_drift_compatibly_are_read_as_one(tmp_path, quarantine):
    a = write(tmp_path / "a.jsonl", [{"id": "1", "text": "a", "score": 1}])
    b = write(tmp_path / "b.jsonl", [{"id": "2", "text": "b", "score": 0.5, "lang": "en"}])
    pq.write_table(pa.table({"id": ["3"], "text": pa.array(["c"]).dictionary_encode()}), tmp_path / "c.parquet")
    rows = rows_of([a, b, tmp_path / "c.parquet"], quarantine)
    assert [(r["id"], r["score"], r["lang"]) for r in rows] == [("1", 1.0, None), ("2", 0.5, "en"), ("3", None, None)]


def test_files_whose_types_exclude_each_other(tmp_path, quarantine):
    a = write(tmp_path / "a.jsonl", [{"id": "1", "text": "a"}])
    b = write(tmp_path / "b.jsonl", [{"id": "2", "text": 5}])
    assert [row["id"] for row in rows_of([a, b], quarantine)] == ["1"]
    assert quarantine.counts == {'field "text" is not string': 1}
    pq.write_table(pa.table({"text": [1]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match='column "text" is int64 here and string in other files'):
        rows_of([a, tmp_path / "c.parquet"], quarantine)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_gigantic_line_is_never_held(tmp_path, quarantine, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    lines = [b'{"text": "a"}', b'{"text": "%s"}' % (b"x" * 5_000_000), b'{"text": "b"}', b"{oops"]
    data = b"\n".join(lines)
    path.write_bytes(gzip.compress(data) if suffix else data)
    rows = rows_of(path, quarantine, max_line_bytes=100_000, block_bytes=50_000)
    assert [row["text"] for row in rows] == ["a", "b"]
    assert quarantine.counts == {"line longer than 100000 bytes": 1, "not JSON": 1}
    places = [json.loads(line)["where"] for line in quarantine.path.read_text().splitlines()]
    assert places == [f"{path}:2", f"{path}:4"]


def test_a_file_that_changes_or_goes_is_an_error_that_names_it(tmp_path, quarantine):
    path = write(tmp_path / "a.jsonl", records(9))
    [block] = split(path)
    write(path, records(10))
    with pytest.raises(DataError, match="changed while it was read") as caught:
        block.load(quarantine)
    assert caught.value.where == str(path)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        block.load(quarantine)


def test_byte_order_marks(tmp_path, quarantine):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b'{"id": "1", "text": "a"}\n{oops\n')
    assert rows_of(path, quarantine) == [{"id": "1", "text": "a"}]
    for encoding, name in {"utf-16": "UTF-16", "utf-32": "UTF-32"}.items():
        path.write_bytes('{"id": "1"}\n'.encode(encoding))
        with pytest.raises(DataError, match=f"iconv -f {name}"):
            split(path)


def test_other_encodings_are_set_aside(tmp_path, quarantine):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "gut"}\n{"text": "sch\xf6n"}\n{"text": "a\x00b"}\n')
    assert [row["text"] for row in rows_of(path, quarantine)] == ["gut"]
    assert quarantine.counts == {"not UTF-8": 1, "NUL byte": 1}


def test_nothing_to_read_is_an_error(tmp_path, quarantine):
    (tmp_path / "a.jsonl").touch()
    with pytest.raises(DataError, match="no record"):
        split(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="no such file"):
        split(tmp_path / "b.jsonl")
    write(tmp_path / "c.jsonl", records(2))
    assert len(rows_of(tmp_path, quarantine)) == 2


def test_patterns_and_folders_give_files_in_order(tmp_path, quarantine):
    for name in ("b", "a", "c"):
        write(tmp_path / f"{name}.jsonl", [{"id": name, "text": name}])
    for spec in (tmp_path, str(tmp_path / "*.jsonl"), str(tmp_path / "[abc].jsonl")):
        assert [row["id"] for row in rows_of(spec, quarantine)] == ["a", "b", "c"]
    with pytest.raises(DataError, match="no such file"):
        split(str(tmp_path / "*.parquet"))


def test_csv_and_its_bad_rows(tmp_path, quarantine):
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,"one\n1"\n2\n3,three\n')
    assert [row["text"] for row in rows_of(path, quarantine)] == ["one\n1", "three"]
    assert quarantine.counts == {"not 2 columns": 1}


def test_ids_are_stable_and_distinct(tmp_path, quarantine):
    path = write(tmp_path / "a.jsonl", [{"text": "same"}, {"text": "same"}, {"text": "other"}] * 20)
    ids = [row["id"] for row in rows_of(path, quarantine, block_bytes=100)]
    assert len(set(ids)) == 60
    assert ids == [row["id"] for row in rows_of(path, quarantine, block_bytes=100)]
    assert ids[0].split("-")[0] == ids[1].split("-")[0] != ids[2].split("-")[0]
    write(path, [{"id": "own", "text": "a"}, {"id": None, "text": "b"}])
    first, second = (row["id"] for row in rows_of(path, quarantine))
    assert first == "own"
    assert second.endswith("-0.0.1")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(["a", "b", 'q"', "s\\"]), JSON, max_size=3), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.integers(1, 200))
def test_every_record_is_given_as_it_was_or_set_aside(tmp_path, rows, block_bytes):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    quarantine = Quarantine(tmp_path / "quarantine.jsonl")
    given_rows = [
        row for block in blocks(path, block_bytes=block_bytes, id_key="") for row in block.load(quarantine).to_pylist()
    ]
    assert len(given_rows) + quarantine.total == len(rows)
    assert "a key stands twice" not in quarantine.counts
    waiting = iter(rows)
    for row in given_rows:
        assert any(_same(row, original) for original in waiting)


def _same(row, original) -> bool:
    if isinstance(original, dict) and isinstance(row, dict):
        return all(_same(value, original.get(name)) for name, value in row.items()) and original.keys() <= row.keys()
    if isinstance(original, list) and isinstance(row, list):
        return len(row) == len(original) and all(map(_same, row, original))
    if isinstance(original, bool) or isinstance(row, bool):
        return row is original
    return row == original


def test_open_dataset_gives_batches_that_are_never_empty(tmp_path, quarantine):
    path = tmp_path / "a.jsonl"
    path.write_text("{oops\n" * 50 + '{"text": "a"}\n')
    batches = list(open_dataset(path, quarantine=quarantine, block_bytes=20))
    assert [batch.num_rows for batch in batches] == [1]
    assert quarantine.total == 50
