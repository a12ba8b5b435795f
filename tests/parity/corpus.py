"""The rows to compare on: real text of the machine in many languages, and texts made to break things."""

from __future__ import annotations

import gettext
import gzip
import json
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


def conversations(count: int = 300, *, seed: int = 7) -> list[dict[str, Any]]:
    """What agents log: messages with calls of tools and their results, answers to choose from, and tokens used."""
    rng = random.Random(seed)
    said = [
        "Find /skills/web/SKILL.md",
        "## cron\nrun it",
        "ok",
        "",
        " two\nlines ",
        "找不到文件",
        "a" * 12_000,
        "Thanks",
    ]
    results = ["wrote 3 bytes", "Error: gone", "", "it FAILED", "done successfully", "data", "Traceback (most recent"]
    tools = ["search", "read", "write", "run", "shell", *(f"tool{n}" for n in range(9))]

    def usage() -> dict[str, int | None]:
        prompt, completion = rng.randrange(500), rng.randrange(500)
        total = rng.choice([None, prompt + completion])
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}

    def message() -> dict[str, Any]:
        role = rng.choice(["system", "user", "user", "assistant", "assistant", "tool"])
        names = rng.choices(tools, k=rng.randrange(14)) if role == "assistant" and rng.random() < 0.6 else []
        calls = [{"function": {"name": name}} for name in names]
        return {"role": role, "content": rng.choice(results if role == "tool" else said), "tool_calls": calls}

    return [
        {
            "number": number,
            "text": "",
            "id": f"request-{number}",
            "messages": [message() for _ in range(rng.randrange(12))],
            "choices": [{"message": {"content": rng.choice(said)}, "usage": usage()} for _ in range(rng.randrange(3))],
            "usage": usage(),
            "response_metadata": {"usage": usage()},
            "__dj__meta__": {"agent_tool_types": rng.choices(tools, k=rng.randrange(9))},
        }
        for number in range(count)
    ]


def sessions(count: int = 600, *, seed: int = 7) -> list[dict[str, Any]]:
    """What operations have found out about agents' sessions: counts of tools, marks, verdicts, moods."""
    rng = random.Random(seed)
    lengths, words = [0, 5, 19, 20, 21, 79, 80, 200], ["calm", "Angry", "负面情绪", "unhappy user"]
    verdicts = ["dialog_coreference", "dialog_proactivity", "agent_trace_coherence"]

    def some(*values: Any) -> Any:
        return rng.choice([None, *values])

    def record() -> Any:
        said = rng.choice([["discard"], ["Keep"], ["review", "discard"], [], "discard", '"discard" ', None])
        return rng.choice([json.dumps({"recommendation": said}), "not JSON", "", json.dumps([1])])

    def verdict() -> Any:
        return some({"score": some(1.0, 2.0, 2.5, 5.0), "reason": "r", "eval_kind": "dialog_turn"})

    def stats() -> dict[str, Any]:
        marks = {f"llm_{name}_score": some(0.2, 0.24, 0.28, 0.3, 0.9) for name in ("analysis", "quality", "difficulty")}
        records = {f"llm_{name}_record": record() for name in ("analysis", "quality")}
        return {**marks, **records, "perplexity": some(10.0, 500.0, 800.0, 900.5)}

    return [
        {
            "number": number,
            "text": "",
            "query": some("q" * rng.choice(lengths), f"  {'q' * 79} "),
            "response": some("r" * rng.choice(lengths)),
            "__dj__stats__": stats(),
            "__dj__meta__": {
                "tool_fail_count": some(0, 1, 2, 3),
                "tool_success_count": some(0, 1, 2),
                "tool_success_ratio": some(0.0, 0.4, 0.499, 0.5, 1.0),
                "total_tokens": some(10, 1000, 5000),
                "agent_total_cost_time_ms": some(10, 1000),
                "agent_request_model": some("", "small", " large "),
                "dialog_sentiment_labels": some([], *([word] for word in words), ["calm"] * 7 + ["angry"]),
                **{name: verdict() for name in verdicts},
            },
        }
        for number in range(count)
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
