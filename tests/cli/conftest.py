"""The command line in this process, in a folder with a corpus and a recipe."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from page_corpus import RECIPE, Plait, Shown, corpus, write_lines
from plait.cli.main import main


@pytest.fixture
def plait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Plait:
    """Runs a command in a folder that holds the corpus and the recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    write_lines(tmp_path / "pages.jsonl", corpus())
    (tmp_path / "r.yaml").write_text(RECIPE)

    def call(*arguments: str, ok: int = 0) -> Shown:
        monkeypatch.setattr(sys, "argv", ["plait", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        shown = Shown(*capsys.readouterr())
        assert (left.value.code or 0) == ok, shown.out + shown.err
        assert "Traceback" not in shown.err
        return shown

    return call


@pytest.fixture
def studied(plait: Plait) -> Plait:
    """The same after a run that measured everything."""
    plait("data", "run", "r.yaml", "--study")
    return plait
