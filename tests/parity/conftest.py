from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from parity import corpus
from parity.peer import Peer, peer_python
from parity.settings import FLAGGED, STOPWORDS


@pytest.fixture(scope="session")
def rows() -> list[dict[str, Any]]:
    return corpus.rows(corpus.texts())


@pytest.fixture(scope="session")
def words_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("words")
    (folder / "stopwords.json").write_text(json.dumps(STOPWORDS))
    (folder / "flagged_words.json").write_text(json.dumps(FLAGGED))
    return str(folder)


@pytest.fixture(scope="session")
def data_juicer(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    python = peer_python("data-juicer")
    if python is None:
        pytest.skip("needs Data-Juicer in an environment of its own: make peers")
    home = tmp_path_factory.mktemp("data-juicer")
    path = home / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    peer = Peer(python, home)
    peer.load(path)
    yield peer
    peer.close()
