"""Results of chunks on disk: kept for the last settings, gone for those before."""

from __future__ import annotations

from pathlib import Path

from plait.core.quarantine import Quarantine
from plait.data.chunks import prune
from plait.data.execute import Curated, execute
from plait.engines import LocalEngine
from toy_ops import blocks_of

TEXTS = ["abc", " abc ", "x1", "1234", "hello"]
SAME = "toy_ops:Same"


def run(digits: int, folder: Path) -> Curated:
    ops = ["toy_ops:Strip", SAME, {"toy_ops:FewDigits": {"most": digits}}]
    with LocalEngine(workers=1) as engine:
        return execute(ops, blocks_of(TEXTS, 2), folder=folder, engine=engine, quarantine=Quarantine(folder / "q"))


def results(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir()}


def test_disk_holds_what_the_last_two_settings_need_however_many_were_tried(tmp_path):
    used = list[set[str]]()
    for digits in (0, 1, 2, 3, 3, 3):
        curated = run(digits, tmp_path)
        prune(tmp_path, curated.results)
        used.append(curated.results)
        earlier = [names for names in used if names != used[-1]]
        assert results(tmp_path) == used[-1] | (earlier[-1] if earlier else set())
    assert len({frozenset(names) for names in used}) == 4
    kept, gone = run(2, tmp_path), run(0, tmp_path)
    assert kept.reused[2] == kept.spent[2].read > 0
    assert (gone.reused[0], gone.reused[2]) == (len(TEXTS), 0)


def test_a_result_that_is_half_gone_is_not_found(tmp_path, monkeypatch):
    before = run(0, tmp_path)
    kept = [frame.rows() for frame in before.frames()]

    def killed(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("plait.data.chunks.shutil.rmtree", killed)
    try:
        prune(tmp_path, {"another"})
    except KeyboardInterrupt:
        monkeypatch.undo()
    assert [path.suffix for path in tmp_path.iterdir() if path.is_dir()].count(".partial") == 1
    assert [frame.rows() for frame in run(0, tmp_path).frames()] == kept
