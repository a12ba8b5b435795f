"""`plait data run` as a person runs it: killed at any time, with other chunks, on Ray: always the same bytes."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from plait.core.hashing import hash_path

pytestmark = pytest.mark.slow

RECIPE = """
export_path: {out}
dataset_path: {data}
process:
  - whitespace_normalization_mapper
  - fix_unicode_mapper
  - clean_links_mapper
  - text_length_filter: {{min_len: 40}}
  - words_num_filter: {{min_num: 8}}
  - character_repetition_filter: {{max_ratio: 0.5}}
  - document_deduplicator
  - document_minhash_deduplicator
  - document_line_deduplicator: {{frequency_threshold: 200}}
  - text_length_filter: {{min_len: 45}}
"""
WORDS = ("river", "stone", "window", "garden", "letter", "number", "music", "engine", "paper", "summer", "winter")


def write_corpus(path: Path, rows: int) -> None:
    """Documents, some of them copies, some nearly so, some bad."""
    draw = random.Random(7)
    texts: list[str] = []
    with path.open("w") as out:
        for number in range(rows):
            kind = draw.random()
            if kind < 0.1 and texts:
                text = draw.choice(texts)
            elif kind < 0.2 and texts:
                text = draw.choice(texts) + " indeed"
            elif kind < 0.25:
                text = "too short"
            else:
                words = " ".join(draw.choice(WORDS) + str(draw.randrange(50)) for _ in range(draw.randrange(30, 300)))
                text = f"A header on many pages\n{words}\nsee https://example.org/{number} caf\u00c3\u00a9"
            texts.append(text)
            out.write(json.dumps({"id": f"d{number}", "text": text}) + "\n")
            if number % 997 == 0:
                out.write("{broken\n")


def command(recipe: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "plait", "data", "run", str(recipe), "--max-bad", "0.1", *more]


def recipe_in(folder: Path, data: Path) -> Path:
    folder.mkdir(parents=True)
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(out=folder / "clean.jsonl", data=data))
    return path


def outputs(folder: Path) -> list[str]:
    kept = [folder / "clean.jsonl", folder / "clean.run" / "lineage.parquet", folder / "clean.run" / "quarantine.jsonl"]
    return [hash_path(path) for path in kept]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "pages.jsonl"
    write_corpus(path, 12_000)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory, corpus) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(command(recipe_in(folder, corpus)), check=True, capture_output=True)
    summary = json.loads((folder / "clean.run" / "summary.json").read_bytes())
    assert summary["quarantined"] == {"not JSON": 13}
    assert summary["read"] == 12_000
    assert 8_000 < summary["kept"] < 10_500
    return folder


@pytest.mark.parametrize("workers", ["1", "3"])
def test_any_number_of_workers_gives_the_same_bytes(workers, whole, corpus, tmp_path):
    recipe = recipe_in(tmp_path / "run", corpus)
    subprocess.run(command(recipe, "--workers", workers), check=True, capture_output=True)
    assert outputs(tmp_path / "run") == outputs(whole)


@pytest.mark.ray
def test_ray_gives_the_same_bytes(whole, corpus, tmp_path):
    recipe = recipe_in(tmp_path / "run", corpus)
    subprocess.run(command(recipe, "--engine", "ray"), check=True, capture_output=True)
    assert outputs(tmp_path / "run") == outputs(whole)


@pytest.mark.ray
def test_a_lost_ray_worker_changes_nothing(whole, corpus, tmp_path):
    recipe = recipe_in(tmp_path / "run", corpus)
    with subprocess.Popen(command(recipe, "--engine", "ray"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        killed = False
        while run.poll() is None and not killed:
            killed = any((tmp_path / "run").rglob("chunks/*")) and kill_one(run.pid, "ray::MapBatches")
        _, said = run.communicate(timeout=120)
    assert killed
    assert run.returncode == 0, said
    assert outputs(tmp_path / "run") == outputs(whole)


def kill_one(ancestor: int, name: str) -> bool:
    """End one process below another; whether there was one."""
    for process in psutil.Process(ancestor).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] and process.cmdline()[0].startswith(name):
                process.kill()
                return True
    return False


@pytest.mark.timeout(900)
def test_fifty_kills_change_nothing_and_lose_nothing(whole, corpus, tmp_path):
    recipe = recipe_in(tmp_path / "run", corpus)
    started = time.monotonic()
    subprocess.run(command(recipe), check=True, capture_output=True)
    usual = time.monotonic() - started
    draw, killed = random.Random(11), 0
    for _ in range(50):
        if not (tmp_path / "run" / "clean.run" / "chunks").exists() or draw.random() < 0.2:
            subprocess.run(["rm", "-rf", str(tmp_path / "run" / "clean.run"), str(tmp_path / "run" / "clean.jsonl")])
        process = subprocess.Popen(command(recipe), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.3, usual))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    assert killed >= 25
    subprocess.run(command(recipe), check=True, capture_output=True)
    assert outputs(tmp_path / "run") == outputs(whole)
    left = [p.name for p in (tmp_path / "run").iterdir()]
    assert sorted(left) == ["clean.jsonl", "clean.run", "recipe.yaml"]
