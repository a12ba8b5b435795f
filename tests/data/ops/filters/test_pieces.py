"""Words and perplexity from a SentencePiece model, and vectors from an endpoint."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from plait.data.batch import Batch
from plait.data.op import RangeFilter
from plait.data.ops.filters.perplexity import PerplexityFilter
from plait.data.ops.filters.repetition import WordRepetitionFilter
from plait.data.ops.filters.similarity import TextEmbdSimilarityFilter
from plait.data.ops.filters.word_lists import StopWordsFilter, word_list
from plait.data.ops.filters.words import WordsNumFilter
from plait.data.special import special_points
from plait.errors import LLMError

TEXTS = ["The cat sat on the mat; the cat sat on the mat!", "", " \n", "ΟΔΟΣ İx 42 ...", "one two three the"]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[list[str]]]:
    sentencepiece = pytest.importorskip("sentencepiece", reason="an optional package")
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "text").write_text("\n".join([*TEXTS, "a quick brown fox jumps over the lazy dog"]), encoding="utf-8")
    settings = {"vocab_size": 60, "hard_vocab_limit": False, "minloglevel": 3}
    sentencepiece.SentencePieceTrainer.train(input=str(folder / "text"), model_prefix=str(folder / "m"), **settings)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "m.model"))
    return str(folder / "m.model"), [processor.encode(text, out_type=str) for text in TEXTS]


def refined(words: list[str], *, lower: bool) -> list[str]:
    special = "".join(map(chr, special_points()))
    stripped = [(w.lower() if lower else w).strip(special) for w in words]
    return [w for w in stripped if w]


def test_pieces_are_words(pieces: tuple[str, list[list[str]]]) -> None:
    path, split = pieces

    def measured(kind: type[RangeFilter], **settings: object) -> list[float]:
        return kind.model_validate({"tokenization": True, "sentencepiece_model": path, **settings}).measure_texts(TEXTS)

    words = [refined(text, lower=True) for text in split]
    assert measured(WordsNumFilter) == [len(refined(text, lower=False)) for text in split]
    listed = word_list("stopwords", "en")
    shares = [sum(w in listed for w in text) / len(text) if text else 0.0 for text in words]
    assert measured(StopWordsFilter) == pytest.approx(shares)
    runs = [Counter(tuple(text[i : i + 3]) for i in range(len(text) - 2)) for text in words]
    repeated = [sum(n for n in c.values() if n > 1) / c.total() if c else 0.0 for c in runs]
    assert repeated[0] > 0
    assert measured(WordRepetitionFilter, rep_len=3) == pytest.approx(repeated)


def test_perplexity_of_an_ngram_model(pieces: tuple[str, list[list[str]]], tmp_path: Path) -> None:
    pytest.importorskip("kenlm", reason="built from source, so not installed everywhere")
    path, split = pieces
    ones = "-2\t<unk>\t0\n0\t<s>\t0\n-1\t</s>\t0\n"
    arpa = f"\\data\\\nngram 1=3\nngram 2=1\n\n\\1-grams:\n{ones}\n\\2-grams:\n-1\t<s> </s>\n\n\\end\\\n"
    (tmp_path / "m.arpa").write_text(arpa, encoding="utf-8")
    op = PerplexityFilter(kenlm_model=str(tmp_path / "m.arpa"), sentencepiece_model=path)
    # Every piece is unknown: a hundredth each, and a tenth for the end of the line.
    expected = [round(10 ** ((2 * len(text) + 1) / (len(text) + 1)), 1) if text else 0.0 for text in split]
    assert op.measure_texts(TEXTS)[:2] == pytest.approx(expected[:2], abs=0.11)


class Embeddings(BaseHTTPRequestHandler):
    """Embeds a text as (its length, its number of blanks), last text first."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        rows = [
            {"object": "embedding", "index": i, "embedding": [float(len(text)), float(text.count(" "))]}
            for i, text in enumerate(asked["input"])
        ]
        body = json.dumps({"object": "list", "model": asked["model"], "data": rows[::-1], "usage": {}}).encode()
        self.send_response(200 if asked["model"] == "m" else 400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_an_endpoint_embeds() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Embeddings)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        settings = {"model_params": {"base_url": f"http://127.0.0.1:{server.server_port}/v1"}, "ebd_dim": 2}
        given = {"valid_dataset": [{"text": "aaaa"}]}
        op = TextEmbdSimilarityFilter.model_validate({"api_or_hf_model": "m", **settings, **given})
        texts = ["aaa", "a a", "    "]
        vectors = np.array([[3.0, 0], [3, 1], [4, 4]])
        expected = vectors[:, 0] / np.linalg.norm(vectors, axis=1)
        assert op.value(Batch.of_texts(texts)) == pytest.approx(expected)
        other = TextEmbdSimilarityFilter.model_validate({"api_or_hf_model": "x", **settings, **given})
        with pytest.raises(LLMError, match="x did not embed 1 texts"):
            other.value(Batch.of_texts(texts))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
