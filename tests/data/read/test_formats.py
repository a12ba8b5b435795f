"""Every kind of input: documents of a folder, arrays, addresses, datasets; what holds no text is counted."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from collections import Counter
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from plait.core.quarantine import Quarantine
from plait.data.read import Source, blocks
from plait.data.read.extract import Unreadable, text_of
from plait.errors import DataError, MissingExtra


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / ".q" / "quarantine.jsonl")


def rows_of(spec, quarantine: Quarantine, **how) -> list[dict]:
    return [row for block in blocks(spec, **how) for row in block.load(quarantine).to_pylist()]


def pdf(text: str, *, more: bytes = b"") -> bytes:
    """A PDF of one page, written by hand."""
    content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return (
        out
        + b"xref\n0 6\n0000000000 65535 f \n"
        + table
        + b"trailer<</Size 6/Root 1 0 R%s>>\n" % more
        + b"startxref\n%d\n%%%%EOF" % len(out)
    )


def word() -> bytes:
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.add_paragraph("First paragraph.")
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "left", "right"
    document.add_paragraph("Last paragraph.")
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def test_a_folder_of_code(tmp_path, quarantine):
    root = tmp_path / "project"
    (root / ".git").mkdir(parents=True)
    (root / "src" / "__pycache__").mkdir(parents=True)
    (root / ".git" / "config").write_text("[core]")
    (root / "src" / "a.py").write_bytes(b"print(1)\r\n")
    (root / "src" / "__pycache__" / "a.pyc").write_bytes(b"\0")
    (root / "src" / "lib.rs").write_text("fn main() {}")
    (root / "logo.png").write_bytes(b"\x89PNG\0")
    (root / "data").write_bytes(b"a\0b")
    (root / "latin.txt").write_bytes(b"sch\xf6n")
    (root / "package.json").write_text("{}")
    (root / "Makefile").write_text("all:")
    skipped = Counter[str]()
    rows = rows_of(root, quarantine, skipped=skipped)
    assert [(row["id"], row["language"], row["__dj__suffix__"]) for row in rows] == [
        ("Makefile", "makefile", ""),
        ("package.json", "json", ".json"),
        ("src/a.py", "python", ".py"),
        ("src/lib.rs", "rust", ".rs"),
    ]
    assert rows[2]["text"] == "print(1)\n"
    assert {row["source"] for row in rows} == {"project"}
    assert skipped == {"hidden or version control": 1, "cache or installed packages": 1, "binary": 1}
    assert quarantine.counts == {"binary file": 1, "not UTF-8": 1}
    assert len(rows_of(root, quarantine, suffixes=["py", ".rs"])) == 2


def test_names_that_are_no_utf8(tmp_path, quarantine):
    folder = tmp_path / "texts"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("one")
    [block] = blocks(folder)
    assert [row["id"] for row in block.load(quarantine).to_pylist()] == [r"caf\xe9.txt"]
    assert block.key == next(blocks(folder)).key
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jsonl")).write_text('{"text": "one"}')
    with pytest.raises(DataError, match="the name is not UTF-8") as caught:
        list(blocks(folder / "*.jsonl"))
    assert caught.value.where == rf"{folder}/caf\xe9.jsonl"


def test_texts_with_a_byte_order_mark():
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert text_of("hallo 汉".encode(encoding), ".txt") == "hallo 汉"
        assert text_of("<p>hallo 汉".encode(encoding), ".html") == "hallo 汉"


def test_documents_make_blocks_of_about_one_size_with_keys_of_their_content(tmp_path, quarantine):
    for place in ("one", "two"):
        (tmp_path / place / "texts").mkdir(parents=True)
        for name in "abcd":
            (tmp_path / place / "texts" / f"{name}.txt").write_text(name * 100)
    one, two = (list(blocks(tmp_path / place / "texts", block_bytes=200)) for place in ("one", "two"))
    assert [block.count() for block in one] == [2, 2]
    assert [block.key for block in one] == [block.key for block in two]
    (tmp_path / "two" / "texts" / "d.txt").write_text("x" * 100)
    with pytest.raises(DataError, match="changed while it was read"):
        two[1].load(quarantine)
    [same, other] = blocks(tmp_path / "two" / "texts", block_bytes=200)
    assert same.key == one[0].key
    assert other.key != one[1].key
    assert len(rows_of(tmp_path / "two" / "texts", quarantine, max_line_bytes=99)) == 0
    assert quarantine.counts == {"file longer than 99 bytes": 4}


def test_records_and_documents_are_not_mixed_unless_said(tmp_path, quarantine):
    root = tmp_path / "mixed"
    root.mkdir()
    (root / "a.jsonl").write_text('{"id": "1", "text": "a"}\n')
    (root / "b.md").write_text("b")
    with pytest.raises(DataError, match="both records"):
        list(blocks(root))
    assert len(rows_of(root, quarantine, folders="records")) == 1
    assert len(rows_of(root, quarantine, folders="documents")) == 2
    assert [row["id"] for row in rows_of(root, quarantine, suffixes=[".jsonl"])] == ["1"]
    assert [row["id"] for row in rows_of([root / "b.md", root / "a.jsonl"], quarantine)] == ["b.md", "1"]


def test_html_as_a_reader_sees_it():
    page = b"""<html><head><title>T</title><style>p {}</style></head><body><script>x()</script>
      <h1>Head</h1><p>One <b>bold</b>
        word.</p><p>Two<br>lines</p><ul><li>a</li><li>b</li></ul>
      <pre>\n  kept\n  as it is</pre><table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table></body></html>"""
    seen = "Head\n\nOne bold word.\n\nTwo\nlines\n\na\nb\n\n  kept\n  as it is\n\n1 2\n3"
    assert text_of(page, ".html") == seen
    assert text_of('<meta charset="latin-1"><p>schön'.encode("latin-1"), ".htm") == "schön"
    for bad, reason in ((b"<p>sch\xf6n", "not UTF-8"), (b'<meta charset="none-such">', "unknown declared encoding")):
        with pytest.raises(Unreadable, match=reason):
            text_of(bad, ".html")
    assert text_of(b"", ".html") == ""


def test_html_of_any_nesting_reads_as_what_is_less_deep():
    page, deep = "<p>one <b>two</b><ul><li>3<li>4</ul>" * 2_000, "<div><i>" * 400
    assert text_of((deep + page).encode(), ".html") == text_of(page.encode(), ".html")
    # Half a minute by a parser that looks through all open elements at every tag.
    assert text_of(b"<div><b>x" * 200_000, ".html") == "\n".join("x" * 200_000)


def test_pdf():
    pytest.importorskip("pypdf")
    assert text_of(pdf("Hello there"), ".pdf") == "Hello there"
    with pytest.raises(Unreadable, match="PDF without text"):
        text_of(pdf(""), ".pdf")
    with pytest.raises(Unreadable, match="damaged PDF"):
        text_of(b"%PDF-1.4 nothing more", ".pdf")


def test_word_documents():
    data = word()
    assert text_of(data, ".docx") == "First paragraph.\nleft\tright\nLast paragraph."
    for bad in (data[:500], b"", b"PK\x03\x04"):
        with pytest.raises(Unreadable, match="damaged Word document"):
            text_of(bad, ".docx")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(300 << 20))
    with pytest.raises(Unreadable, match="unpacks to too much"):
        text_of(bomb.getvalue(), ".docx")


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pypdf", None)
    with pytest.raises(MissingExtra, match="reading PDF"):
        text_of(pdf("a"), ".pdf")


RECORDS = [{"id": str(i), "text": f'te"x\\t\n[{i}] ,}} ä', "meta": {"n": i}} for i in range(300)]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=2, ensure_ascii=False),
        "".join(json.dumps(row) + "\n" for row in RECORDS),
        "\n".join(json.dumps(row, indent=1) for row in RECORDS),
        "\ufeff" + json.dumps(RECORDS, indent=2),
    ],
    ids=["array", "indented array", "lines", "indented records", "byte order mark"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_json_files_of_every_shape(tmp_path, quarantine, text, packed):
    path = tmp_path / ("a.json.gz" if packed else "a.json")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert rows_of(path, quarantine, block_bytes=5000) == RECORDS
    assert quarantine.total == 0


def test_bad_elements_of_an_array_are_set_aside(tmp_path, quarantine):
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"text": "a"}, 5, {"text": "sch\xf6n"}, {"text": "b", "text": "c"}, {"text": "d"}]')
    assert [row["text"] for row in rows_of(path, quarantine)] == ["a", "d"]
    assert quarantine.counts == {"not a JSON object": 1, "not UTF-8": 1, "a key stands twice": 1}
    assert json.loads(quarantine.path.read_text().splitlines()[0])["where"] == f"{path}:record 2"


@pytest.mark.parametrize("text", ['[{"text": "a"}, {"te', '[{"text": "a"}', "[1, oops]"])
def test_an_array_that_is_cut_off_is_damaged(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match="is not JSON"):
        list(blocks(path))


def test_addresses(tmp_path, quarantine):
    lines = b"".join(b'{"id": "%d", "text": "a"}\n' % i for i in range(100))
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/part/a.jsonl", lines)
    memory.pipe("/bucket/part/b.jsonl.gz", gzip.compress(lines))
    memory.pipe("/bucket/part/c.csv", b"id,text\nx,y\n")
    for spec, count in (
        ("memory://bucket/part/a.jsonl", 100),
        ("memory://bucket/part/*.gz", 100),
        ("memory://bucket/part", 201),
    ):
        assert len(rows_of(spec, quarantine, block_bytes=1000)) == count
    assert quarantine.total == 0
    (tmp_path / "a.jsonl").write_bytes(lines)
    assert len(rows_of(f"file://{tmp_path}/a.jsonl", quarantine)) == 100
    with pytest.raises(DataError, match="no such file"):
        list(blocks("memory://bucket/none.jsonl"))
    memory.pipe("/bucket/x.pdf", b"")
    with pytest.raises(DataError, match="no reader"):
        list(blocks("memory://bucket/x.pdf"))
    with pytest.raises(DataError, match="cannot be read"):
        list(blocks("nosuch://bucket/a.jsonl"))
    memory.rm("/bucket", recursive=True)


class Breaking(MemoryFileSystem):
    """A place whose connections break when they are read from."""

    protocol = "breaking"
    error: Exception

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).replace("breaking://", "memory://"))

    def open(self, path, mode="rb", **more):
        opened = super().open(path, mode, **more)

        def read(_size=-1):
            raise self.error

        opened.read = read
        return opened


@pytest.mark.parametrize("error", [ConnectionResetError("reset by peer"), RuntimeError("reset by peer")])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet", "a.json"])
def test_a_connection_that_breaks_is_no_damaged_file(monkeypatch, name, error):
    fsspec.register_implementation("breaking", Breaking, clobber=True)
    monkeypatch.setattr(Breaking, "error", error, raising=False)
    fsspec.filesystem("memory").pipe(f"/breaks/{name}", b'{"text": "a"}\n')
    with pytest.raises(DataError, match="cannot be read on: reset by peer") as caught:
        list(blocks(f"breaking://breaks/{name}"))
    assert (caught.value.code, caught.value.where) == ("data.unreachable", f"breaking://breaks/{name}")


def test_a_place_with_errors_of_its_own(monkeypatch):
    class NoCredentialsError(Exception):
        """As that of botocore."""

    def info(self, path, **more):
        raise NoCredentialsError("Unable to locate credentials")

    fsspec.register_implementation("breaking", Breaking, clobber=True)
    monkeypatch.setattr(Breaking, "info", info)
    with pytest.raises(DataError, match="cannot be reached: Unable to locate credentials"):
        list(blocks("breaking://bucket/a.jsonl"))


def test_what_a_web_server_is_asked_is_no_part_of_the_name(tmp_path, quarantine, monkeypatch):
    for name, data in (("a.jsonl.gz", gzip.compress(b'{"text": "a"}')), ("a.csv", b"text\na\n")):
        path = tmp_path / name
        path.write_bytes(data)
        monkeypatch.setattr("plait.data.read.parts.urls_below", lambda url: [url])
        monkeypatch.setattr("plait.data.read.file.stat_url", lambda url: (1, ""))
        for module in ("file", "remote"):
            monkeypatch.setattr(f"plait.data.read.{module}.open_url", lambda url, path=path: path.open("rb"))
        [row] = rows_of(f"https://host/{name}?download=true", quarantine)
        assert row["text"] == "a"


def test_the_hub_that_cannot_be_reached(monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(DataError) as caught:
        list(blocks("plait-tests/there-is-none"))
    assert caught.value.code in ("data.unreachable", "data.hub")
    assert caught.value.where == "hf://datasets/plait-tests/there-is-none"


def test_a_dataset_that_needs_no_hub(monkeypatch, tmp_path, quarantine):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "dataset").mkdir()
    rows = [{"id": str(i), "text": "a", "tags": ["x", "y"]} for i in range(10)]
    (tmp_path / "dataset" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    address = f"hf://datasets/{tmp_path}/dataset"
    assert rows_of(address, quarantine) == rows
    assert rows_of(Source(address, limit=3), quarantine) == rows[:3]
    with pytest.raises(DataError, match="cannot be read"):
        list(blocks(Source(address, split="validation")))


def test_saved_datasets(tmp_path, quarantine):
    datasets = pytest.importorskip("datasets")
    rows = [{"id": str(i), "text": "a"} for i in range(10)]
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "plain")
    datasets.DatasetDict(train=datasets.Dataset.from_list(rows)).save_to_disk(tmp_path / "with_splits")
    assert rows_of(tmp_path / "plain", quarantine) == rows
    assert rows_of(tmp_path / "with_splits", quarantine) == rows
