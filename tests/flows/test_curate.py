"""The stage data.curate: what it writes, says and refuses; the same bytes on every engine and after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from plait.core.figures import Bars, Histogram
from plait.core.hashing import hash_path
from plait.core.io import read_table, write_table
from plait.core.seeds import Seeds
from plait.core.stage import StageContext
from plait.engines import LocalEngine
from plait.errors import DataError, UsageError
from plait.flows.curate import Curate
from plait.records import DOCUMENT

OPS = ({"text_length_filter": {"min_len": 30}}, "document_deduplicator", "document_minhash_deduplicator")
SENTENCE = "The {} jumps over the lazy dog and runs into the wood behind the house number {}."


def context_in(folder: Path, *, workers: int = 1, seed: int = 7) -> StageContext:
    return StageContext(
        folder=folder,
        seeds=Seeds(seed).child("curate"),
        engine=LocalEngine(workers=workers),
        name="curate",
        outputs=Curate.outputs,
    )


def run(stage: Curate, folder: Path, *, workers: int = 1) -> StageContext:
    context = context_in(folder, workers=workers)
    with context.engine:
        stage.run(context)
    return context


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    lines = [json.dumps({"id": f"d{i:02d}", "text": SENTENCE.format(f"fox {i}", i * 7919)}) for i in range(20)]
    lines.insert(3, "{broken")
    lines.insert(9, '{"id": "no-text"}')
    lines.insert(12, '{"id": "d01", "text": "an id that was used before, in a text that is long enough"}')
    lines.append(json.dumps({"id": "d98", "text": "short"}))
    lines.append(json.dumps({"id": "d99", "text": SENTENCE.format("fox 3", 3 * 7919)}))
    path = tmp_path / "documents.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_documents_lineage_and_counts_add_up(tmp_path: Path, documents: Path) -> None:
    context = run(Curate(input=documents, ops=OPS, max_bad_fraction=0.2), tmp_path / "stage")
    kept = read_table(context.output("documents"))
    lineage = read_table(context.output("lineage")).to_pylist()
    assert kept.schema == DOCUMENT
    assert kept["id"].to_pylist() == [f"d{i:02d}" for i in range(20)]
    assert set(kept["source"].to_pylist()) == {"documents.jsonl"}
    assert [(r["id"], r["dropped_by"], r["value"], r["duplicate_of"]) for r in lineage if not r["kept"]] == [
        ("d98", "text_length_filter", 5.0, None),
        ("d99", "document_deduplicator", 1.0, "d03"),
    ]
    assert context.quarantine.counts == {"not JSON": 1, 'missing field "text"': 1, "id was seen before": 1}
    assert len(lineage) + context.quarantine.total == 25
    assert context.report.headline == "kept 20 of 22 documents (90.9 %)"
    assert context.report.facts["records quarantined"] == 3


def test_the_report_has_a_funnel_a_histogram_and_reasons(tmp_path: Path, documents: Path) -> None:
    report = run(Curate(input=documents, ops=OPS, max_bad_fraction=0.2), tmp_path / "stage").report
    funnel, lengths = report.figures
    assert isinstance(funnel, Bars)
    assert funnel.horizontal
    assert funnel.groups[0] == "read"
    assert funnel.series["documents"] == [22, 21, 20, 20]
    assert isinstance(lengths, Histogram)
    assert sum(lengths.counts["read"]) == 22
    assert sum(lengths.counts["kept"]) == 20
    rows = {row[0]: row[1:] for row in report.tables[0].rows}
    assert rows["text_length_filter"] == ["text_len in [30, …]", 22, 1, 4.55, None]
    assert (
        report.examples[0].title == "Dropped by text_length_filter: d98 has text_len = 5, kept is text_len in [30, …]"
    )
    assert str(tmp_path) not in report.model_dump_json()


def test_near_duplicates_are_shown_with_their_survivor(tmp_path: Path) -> None:
    text = " ".join(f"word{i}" for i in range(60))
    rows = [{"id": "a", "text": text}, {"id": "b", "text": text + " more"}, {"id": "c", "text": "quite other " * 9}]
    write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    report = run(Curate(input=tmp_path / "in.parquet", ops=OPS), tmp_path / "stage").report
    [example] = [e for e in report.examples if "near duplicates" in e.title]
    assert example.title == "1 near duplicates of a"
    assert "b (0.98)" in example.text


def test_numbers_as_ids_other_text_fields_and_documents_without_ids(tmp_path: Path) -> None:
    rows = [{"id": 7, "body": "first text", "lang": "en"}, {"id": 3, "body": "second text", "lang": "de"}]
    write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    stage = Curate(input=tmp_path / "in.parquet", text_key="body", ops=("fix_unicode_mapper",))
    found = read_table(run(stage, tmp_path / "a").output("documents")).to_pylist()
    assert [(d["id"], d["text"]) for d in found] == [("7", "first text"), ("3", "second text")]
    stage = Curate(input=tmp_path / "in.parquet", text_key="body", id_key="none", ops=("fix_unicode_mapper",))
    found = read_table(run(stage, tmp_path / "b").output("documents")).to_pylist()
    assert [d["id"] for d in found] == ["000000000000", "000000000001"]


def test_refusals(tmp_path: Path, documents: Path) -> None:
    with pytest.raises(DataError, match=r"3 of 25 records are bad .*data\.too-many-bad"):
        run(Curate(input=documents, ops=OPS), tmp_path / "a")
    with pytest.raises(DataError, match=r'no field "body".*data\.missing-field'):
        run(Curate(input=documents, text_key="body"), tmp_path / "b")
    ops = ({"text_length_filter": {"min_len": 10_000}},)
    with pytest.raises(DataError, match=r"loosen .*text_length_filter.*data\.nothing-kept"):
        run(Curate(input=documents, ops=ops, max_bad_fraction=0.5), tmp_path / "c")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError, match=r"data\.empty"):
        run(Curate(input=tmp_path / "empty.jsonl"), tmp_path / "d")
    (tmp_path / "bad.jsonl").write_text("{\n{\n")
    with pytest.raises(DataError, match="not JSON"):
        run(Curate(input=tmp_path / "bad.jsonl"), tmp_path / "e")
    with pytest.raises(UsageError, match="did you mean"):
        Curate(ops=("document_dedup",)).checkable()


def test_the_fingerprint_holds_python_and_the_code_of_operations(documents: Path) -> None:
    assert Curate().fingerprint()["python"] == sys.version
    assert "python" not in Curate(input=documents).fingerprint()
    assert "text_length_filter" in Curate().fingerprint()


def test_the_fingerprint_holds_the_files_that_operations_name(tmp_path: Path, documents: Path) -> None:
    """A stage is not used again when an index or an evaluation set has grown."""
    files, folder = tmp_path / "set.jsonl", tmp_path / "seen.index"
    ops = ({"decontamination_filter": {"path": [str(files)]}}, {"index_deduplicator": {"path": str(folder)}})
    stage = Curate(input=documents, ops=ops)
    prints = [stage.fingerprint()]
    folder.mkdir()
    for path in (files, folder / "manifest.json"):
        path.write_text("{}")
        prints.append(stage.fingerprint())
        path.write_text('{"text": "more"}')
        prints.append(stage.fingerprint())
    assert all(one != other for i, one in enumerate(prints) for other in prints[:i])
    assert stage.fingerprint() == prints[-1]


def test_one_and_two_workers_give_the_same_bytes(tmp_path: Path, documents: Path) -> None:
    stage = Curate(input=documents, ops=OPS, max_bad_fraction=0.2)
    one, two = run(stage, tmp_path / "one"), run(stage, tmp_path / "two", workers=2)
    for name in Curate.outputs:
        assert hash_path(one.output(name)) == hash_path(two.output(name))
    assert one.report == two.report


KILLED = """
import sys
from pathlib import Path
from plait.core.seeds import Seeds
from plait.core.stage import StageContext
from plait.engines import LocalEngine
from plait.flows.curate import Curate

if __name__ == "__main__":
    with LocalEngine(workers=1) as engine:
        folder = Path(sys.argv[2])
        context = StageContext(
            folder=folder, seeds=Seeds(7).child("curate"), engine=engine, name="curate", outputs=Curate.outputs
        )
        ops = ("fix_unicode_mapper", "words_num_filter", "alphanumeric_filter", "document_deduplicator")
        Curate(input=Path(sys.argv[1]), ops=ops).run(context)
"""


@pytest.mark.slow
def test_a_kill_changes_nothing(tmp_path: Path) -> None:
    rows = [
        {"id": f"{i:05d}", "text": " ".join(SENTENCE.format(f"fox {i}", i + k) for k in range(40))}
        for i in range(15_000)
    ]
    write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(tmp_path / "in.parquet")]
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    process = subprocess.Popen([*command, str(tmp_path / "killed")])
    chunks = tmp_path / "killed" / "scratch" / "chunks"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if any(chunks.glob("*/about.json")):
            break
        time.sleep(0.002)
    assert process.poll() is None, "it finished before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "documents.parquet").exists()
    subprocess.run([*command, str(tmp_path / "killed")], check=True)
    for name in Curate.outputs.values():
        assert hash_path(tmp_path / "whole" / name) == hash_path(tmp_path / "killed" / name)


@pytest.mark.slow
@pytest.mark.ray
def test_pythons_documentation_on_both_engines(tmp_path: Path) -> None:
    from plait.engines import open_engine

    reports = []
    for name in ("local", "ray"):
        with open_engine(name) as engine:
            context = StageContext(
                folder=tmp_path / name, seeds=Seeds(7), engine=engine, name="curate", outputs=Curate.outputs
            )
            Curate().run(context)
        reports.append((context.report, [hash_path(context.output(n)) for n in Curate.outputs]))
    assert reports[0] == reports[1]
    kept = read_table(tmp_path / "local" / "documents.parquet")
    assert kept.num_rows > 2_500
    groups = kept["group"].value_counts().to_pylist()
    assert len(groups) == 4
    assert min(g["counts"] for g in groups) > 400


def test_operations_that_make_no_documents_are_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="naive_grouper makes rows that are no documents"):
        Curate(ops=("naive_grouper",)).checkable()
