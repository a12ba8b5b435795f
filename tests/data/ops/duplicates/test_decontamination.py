"""Contamination: the share of an evaluation text's n-grams in a document, as by comparing everybody."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data.batch import Batch
from plait.data.ops.duplicates.decontamination import DecontaminationFilter
from plait.errors import DataError

words = st.lists(st.sampled_from(["a", "B", "c", "D!"]), max_size=9).map(" ".join)


def write(folder: Path, texts: list[str], name: str = "set.jsonl", key: str = "text") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps({key: text}) + "\n" for text in texts))
    return path


def grams(text: str, size: int) -> set[tuple[str, ...]]:
    split = text.lower().replace("!", " ").split()
    return {tuple(split[i : i + size]) for i in range(len(split) - size + 1)}


@settings(deadline=None, max_examples=60)
@given(evaluated=st.lists(words, min_size=1, max_size=5), documents=st.lists(words, max_size=6))
def test_as_by_comparing_everybody(evaluated: list[str], documents: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder), evaluated)
        op = DecontaminationFilter(path=(path,), ngram=4, min_words=2)
        stats = op.measure(Batch.of_texts(documents))
    for row, document in enumerate(documents):
        shares = list[float]()
        for text in evaluated:
            size = min(4, len(text.split()))
            own = grams(text, size) if size >= 2 else set()
            shares.append(len(own & grams(document, size)) / len(own) if own else 0.0)
        most = max(shares)
        assert stats["contamination"][row] == most
        assert stats["contaminated_by"][row] == (f"set.jsonl:{shares.index(most) + 1}" if most else None)


def test_one_passage_of_13_words_is_enough_and_12_are_not(tmp_path: Path) -> None:
    question = "If a train leaves the station at nine and another at ten, when do they meet each other?"
    split = question.split()
    path = write(tmp_path, [question, "too short"], key="question")
    documents = [
        f"Before. {question.upper()} After.",
        " ".join(["x", *split[:13], "y"]),
        " ".join(["x", *split[:12], "y"]),
        "too short",
    ]
    op = DecontaminationFilter(path=(path,), eval_keys=("question",))
    batch = Batch.of_texts(documents)
    stats = op.measure(batch)
    assert stats["contamination"].tolist() == [1.0, 1 / (len(split) - 12), 0.0, 0.0]
    assert op.keeps(batch, stats).tolist() == [False, False, True, True]
    assert op.passages().too_short == 1
    loose = DecontaminationFilter(path=(path,), eval_keys=("question",), max_contamination=0.5)
    assert loose.keeps(batch, stats).tolist() == [False, True, True, True]
    flag = DecontaminationFilter(path=(path,), eval_keys=("question",), action="flag")
    assert flag.keeps(batch, stats).all()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no evaluation set"):
        DecontaminationFilter(path=(tmp_path / "none.jsonl",)).passages()
    with pytest.raises(DataError, match="no record"):
        DecontaminationFilter(path=(write(tmp_path, ["a"], key="question"),)).passages()


@pytest.mark.parametrize("line", [b'{"text": "cut', b"[1]", b'{"text": "\xff"}'])
def test_a_bad_line_is_told_with_its_place(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "set.jsonl"
    path.write_bytes(b'{"text": "one two three four five six seven eight"}\n' + line + b"\n")
    with pytest.raises(DataError, match="not") as error:
        DecontaminationFilter(path=(path,)).ready()
    assert error.value.where == f"{path}:2"


def test_a_set_that_has_changed_is_read_again(tmp_path: Path) -> None:
    passage = "a passage of eight words and some more words"
    op = DecontaminationFilter(path=(write(tmp_path, [passage]),))
    documents = Batch.of_texts([passage])
    assert op.measure(documents)["contamination"].tolist() == [1.0]
    write(tmp_path, ["another passage that has eight words or a few more"])
    assert op.measure(documents)["contamination"].tolist() == [0.0]


def test_a_prompt_in_every_text_and_document_is_counted_some_documents_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = "answer the following question with one of the letters a b c or d and nothing else"
    path = write(tmp_path, [f"{prompt} number {i} is {i * i}" for i in range(40)])
    documents = Batch.of_texts([f"{prompt} number {i} is {i * i} and so on" for i in range(0, 60, 2)] + ["other"])
    whole = DecontaminationFilter(path=(path,)).measure(documents)
    assert whole["contamination"].tolist()[:20] == [1.0] * 20
    assert whole["contaminated_by"].to_list()[:2] == ["set.jsonl:1", "set.jsonl:3"]
    for at_once in (1, 500):
        monkeypatch.setattr("plait.data.dedup.contamination._PAIRS_AT_ONCE", at_once)
        parts = DecontaminationFilter(path=(path,)).measure(documents)
        assert parts["contamination"].tolist() == whole["contamination"].tolist()
        assert parts["contaminated_by"].equals(whole["contaminated_by"])
