"""The rows to compare on: real text of the machine in many languages, and texts made to break things."""

from __future__ import annotations

import gettext
import gzip
import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parity.edge_cases import BY_HAND, every_character, made
from plait.data.sources import python_documents

SHARE = Path("/usr/share")
DOCS = Path(__file__).parents[2] / "docs"
_SUFFIXES = (".txt", ".py", ".md", ".pdf", "")


def texts(count: int = 3_500, *, seed: int = 7) -> list[str]:
    """Texts, always the same on one machine: all those made by hand, then equal parts of each kind there is."""
    rng = random.Random(seed)
    kinds = [list(kind) for kind in (_docstrings(rng), _sources(rng), _manuals(rng), _translations(rng), _pages())]
    chosen = [*BY_HAND, *every_character(), *made(400)]
    left = count - len(chosen)
    for number, kind in enumerate(sorted(kinds, key=len)):
        taken = rng.sample(kind, min(len(kind), left // (len(kinds) - number)))
        chosen += taken
        left -= len(taken)
    # Copies with small edits, so that deduplicators find something.
    for text in rng.sample(chosen[len(BY_HAND) :], count // 20):
        words = text.split(" ")
        words[rng.randrange(len(words))] = "edited"
        chosen += [text if rng.random() < 0.5 else " ".join(words)]
    return chosen


def rows(all_texts: list[str], *, seed: int = 7) -> list[dict[str, Any]]:
    """Texts with the fields that operations on fields look at."""
    rng = random.Random(seed)
    return [
        {
            "number": number,
            "text": text,
            "__dj__suffix__": rng.choice(_SUFFIXES),
            "query": text[:80],
            "response": text[80:400],
            "meta": {
                "stars": rng.randrange(50),
                "score": round(rng.random(), 3),
                "source": rng.choice(["web", "book", "code", "news", "mail"]),
                "language": rng.choice(["en", "de", "zh"]),
            },
        }
        for number, text in enumerate(all_texts)
    ]


def _docstrings(rng: random.Random) -> list[str]:
    documents = [document["text"] for document in python_documents()]
    return rng.sample(documents, min(len(documents), 1_000))


def _sources(rng: random.Random) -> Iterator[str]:
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    for path in rng.sample(files, min(len(files), 120)):
        text = path.read_text("utf-8")
        yield text[:2_000]
        yield text[-3_000:]


def _manuals(rng: random.Random) -> Iterator[str]:
    files = sorted((SHARE / "man").rglob("*.gz"))
    for path in rng.sample(files, min(len(files), 800)):
        if path.is_file():
            text = gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
            yield re.sub(r"(?m)^\.\w+ ?|\\f[BIRP]", "", text)[:4_000] if rng.random() < 0.8 else text[:4_000]


def _translations(rng: random.Random) -> Iterator[str]:
    files = sorted((SHARE / "locale").rglob("*.mo"))
    for path in rng.sample(files, min(len(files), 800)):
        try:
            with path.open("rb") as file:
                messages = gettext.GNUTranslations(file)
        except (OSError, LookupError, ValueError):
            continue  # a catalog in an encoding that it does not name
        found = [text for text in messages._catalog.values() if text]
        yield "\n".join(rng.sample(found, min(len(found), rng.choice([3, 20, 60]))))


def _pages() -> Iterator[str]:
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text("utf-8")
        yield text
        yield from text.split("\n\n")
