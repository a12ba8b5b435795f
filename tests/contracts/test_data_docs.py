"""docs/data.md is kept true: its commands run on real text, its recipes and operations exist."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import polars as pl
import pytest

from plait.data.catalog import OPS
from plait.data.sources import python_documents

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
DOCUMENTS = 400


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's files, and some documents."""
    folder = tmp_path_factory.mktemp("page")
    lines = [json.dumps(document) for _, document in zip(range(DOCUMENTS), python_documents(), strict=False)]
    copy = json.dumps(json.loads(max(lines, key=len)) | {"id": "copy"})
    short = json.dumps({"id": "short", "text": "a few words only", "source": "test"})
    wordless = json.dumps({"id": "wordless", "text": "0123456789 " * 12, "source": "test"})
    (folder / "pages.jsonl").write_text("\n".join([*lines, copy, short, wordless]) + "\n")
    (folder / "more.jsonl").write_text("\n".join(lines[: DOCUMENTS // 2]) + "\n")
    (folder / "key").write_text("0123456789abcdef" * 4)
    for _, name, text in BLOCKS:
        if name.strip().endswith((".yaml", ".py")):
            (folder / name.strip()).write_text(text)
    return folder


def plait(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    from plait.cli.main import main

    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code, command


def test_commands_of_the_page_run(here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setenv("PLAIT_CACHE", str(tmp_path))
    for text in [text for language, _, text in BLOCKS if language == "console"]:
        for command in text.splitlines():
            if "FIRST_DROPPED" in command:
                fates = pl.read_parquet("clean.run/lineage.parquet")
                command = command.replace("FIRST_DROPPED", fates.filter(~pl.col("kept"))["id"][0])
            plait(monkeypatch, command)
    kept = (here / "clean.jsonl").read_text().splitlines()
    assert 0 < len(kept) < DOCUMENTS
    for made in ("strict.jsonl", "better.jsonl", "mine.jsonl", "analysis.html", "agreed.yaml"):
        assert (here / made).stat().st_size > 0


def test_operations_of_the_page_exist() -> None:
    named = set(re.findall(r"`(\w+_(?:mapper|filter|deduplicator|selector))`", PAGE))
    assert len(named) > 10
    assert named - OPS.keys() == set()


def test_every_block_is_of_a_known_kind() -> None:
    kinds = {(language, name.strip() if not name.strip().endswith((".yaml", ".py")) else "file") for language, name, _ in BLOCKS}  # fmt: skip # noqa: E501
    assert kinds == {("yaml", "file"), ("python", "file"), ("console", ""), ("text", "measured")}
