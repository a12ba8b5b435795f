"""Docs that cannot fall behind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_generated_pages_are_what_the_source_says():
    result = subprocess.run([sys.executable, "docs/build.py", "--check"], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_makefile_targets_in_the_docs_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"^\s*make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(named) <= targets


def test_every_name_the_readme_points_at_exists():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:data|align|federate|agents|plan|flows)/\w+\.py)`", readme):
        assert (ROOT / "src" / "plait" / path).exists(), path


def test_the_readme_stage_runs_as_written(tmp_path, monkeypatch):
    """The example a newcomer copies first, in a recipe, on real documents."""
    pl = pytest.importorskip("polars")
    from plait.core.folder import RunFolder
    from plait.core.recipe import load_recipe
    from plait.core.run import run

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1]
    (tmp_path / "readme_stages.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    documents = pl.DataFrame({"id": ["a", "b", "c"], "text": ["long text", "x", "mid"]})
    documents.write_parquet(tmp_path / "documents.parquet")
    (tmp_path / "r.yaml").write_text(
        'stages:\n  - {name: shortest, use: "readme_stages:Shortest", documents: documents.parquet, count: 2}\n'
    )

    class NoEngine:
        def close(self):
            pass

    result = run(load_recipe(tmp_path / "r.yaml"), folder=RunFolder(tmp_path / "run"), open_engine=NoEngine)
    kept = pl.read_parquet(result.folder.stage(1, "shortest") / "documents.parquet")
    assert kept["id"].to_list() == ["b", "c"]
