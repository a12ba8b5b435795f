"""A corpus to curate, made of the real text of the machine: pages, manuals, documentation, code, many languages.

    python benchmarks/data_corpus.py --out corpus.jsonl --mb 200 --seed 7

The same arguments give the same bytes on the same machine. Every line is a document

    {"id", "text", "source", "kind", "dup_of"}

``kind`` is ``orig``, ``exact`` or ``near`` (a copy of ``dup_of``, to measure recall) or ``noise``. A quarter of the
texts carries the dirt of the web: addresses, odd blanks, mojibake, boilerplate.

Where the machine has less text than asked for, it is used again in further rounds with every sixth word exchanged, in
each round others. Two rounds of one text then share a quarter of their runs of five words, so they are no near copies
of each other and a deduplicator has as much to keep per megabyte as before. Copies reach back to earlier rounds.
"""

from __future__ import annotations

import argparse
import ast
import gettext
import gzip
import html
import json
import random
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

EXACT, NEAR, NOISE = 0.05, 0.10, 0.03
"""Shares of the bytes."""
ROUND_MB = 200.0
LONGEST = 60_000
CHANGED_WORDS = 1 / 6


@dataclass(frozen=True)
class Source:
    """Where texts of one kind lie, and what share of a round they may take."""

    name: str
    patterns: tuple[tuple[Path, str], ...]
    share: float


LIBRARY = Path(sysconfig.get_path("stdlib"))
HOME, SHARE = Path.home(), Path("/usr/share")
SOURCES = (
    Source("html", ((SHARE / "doc", "*.html"), (HOME / ".rustup", "*.html")), 0.36),
    Source("man", ((SHARE / "man", "*.gz"),), 0.18),
    Source("docstring", ((LIBRARY, "*.py"), (Path("/usr/lib/python3"), "*.py")), 0.13),
    Source("code", ((LIBRARY, "*.py"), (Path("/usr/lib/python3"), "*.py")), 0.08),
    Source("header", ((Path("/usr/include"), "*.h"),), 0.05),
    Source("translation", ((SHARE / "locale", "*.mo"),), 0.04),
    Source("doc", ((SHARE / "doc", "*"), (HOME / ".pyenv", "*.rst"), (HOME / ".pyenv", "*.md"),
                   (HOME / ".pyenv", "*.txt"), (SHARE / "perl", "*.pod")), 0.16),
)  # fmt: skip


@dataclass(frozen=True)
class Document:
    text: str
    source: str


def build(out: Path, *, mb: float, seed: int) -> dict[str, int | float | str]:
    """Write the corpus.

    Returns:
        Documents and bytes by kind, and the checksum of the file.
    """
    rng = random.Random(seed)
    pool = collect(min(mb, ROUND_MB) * 1e6 * (1 - EXACT - NEAR - NOISE), rng)
    words = [word for document in pool[:: max(1, len(pool) // 2_000)] for word in document.text.split(" ") if word]
    counts: dict[str, int | float | str] = dict.fromkeys(("orig", "exact", "near", "noise"), 0)
    digest, written, number = blake2b(digest_size=16), 0, 0
    partial = out.with_suffix(".part")
    with partial.open("wb") as file:
        while written < mb * 1e6:
            for line, kind in _round(pool, words, number, min(mb * 1e6 - written, ROUND_MB * 1e6), seed):
                digest.update(line)
                file.write(line)
                written += len(line)
                counts[kind] = int(counts[kind]) + 1
            number += 1
    partial.replace(out)
    return {**counts, "bytes": written, "rounds": number, "digest": digest.hexdigest()}


def collect(size: float, rng: random.Random) -> list[Document]:
    """Original documents, about so many bytes if the machine has them; what one kind lacks the next may fill."""
    found, seen, spare = list[Document](), set[bytes](), 0.0
    for source in SOURCES:
        budget = size * source.share + spare
        for path in _files(source, rng):
            if budget <= 0:
                break
            for text in _cut(_read(source.name, path), rng):
                key = blake2b(text.strip().encode("utf-8", "replace"), digest_size=12).digest()
                if len(text) < 60 or key in seen or budget <= 0:
                    continue
                seen.add(key)
                document = Document(_dirty(text, rng).encode("utf-8", "replace").decode(), source.name)
                found.append(document)
                budget -= _size(document.text)
        spare = max(0.0, budget)
    rng.shuffle(found)
    return found


def _files(source: Source, rng: random.Random) -> list[Path]:
    names, files = set[tuple[str, str]](), list[Path]()
    for folder, pattern in source.patterns:
        for path in sorted(folder.rglob(pattern)):
            # What several versions of a package ship is taken once: the copies shall be those made here.
            name = (path.parent.name, path.name) if source.name != "translation" else (str(path), "")
            if name in names or path.is_symlink() or not path.is_file() or path.stat().st_size > 4_000_000:
                continue
            if source.name == "doc" and path.suffix.lower() in (".html", ".png", ".jpg", ".svg", ".css", ".js", ".pdf"):
                continue
            names.add(name)
            files.append(path)
    rng.shuffle(files)
    return files


def _read(kind: str, path: Path) -> str:
    try:
        if kind == "translation":
            with path.open("rb") as file:
                messages = gettext.GNUTranslations(file)._catalog.values()
            return "\n\n".join(str(message) for message in messages if message)
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, LookupError, ValueError):
        return ""  # broken links and odd encodings are no text
    if b"\0" in data[:4096]:
        return ""
    text = data.decode("utf-8", "replace")
    if kind == "html":
        return _page(text)
    if kind == "man":
        text = re.sub(r"\\f(?:\([A-Z]{2}|[A-Z])|\\&|\\[,/|^]", "", text).replace("\\-", "-")
        return re.sub(r"(?m)^[.'](?:\\\".*|TH .*|SH |SS |[A-Za-z]{1,2}\b ?)", "", text)
    return _docstrings(text) if kind == "docstring" else text


def _page(text: str) -> str:
    text = re.sub(r"(?is)<(script|style|nav|head|svg)\b.*?</\1\s*>|<!--.*?-->", " ", text)
    text = re.sub(r"(?i)</?(?:p|div|br|li|ul|ol|tr|h[1-6]|pre|section|table|dd|dt)\b[^>]*>", "\n", text)
    text = html.unescape(re.sub(r"<[^>]+>", "", text))
    return re.sub(r"\n\s*\n\s*", "\n\n", re.sub(r"[ \t]{2,}", " ", text)).strip()


def _docstrings(text: str) -> str:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return ""
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, nodes)]
    return "\n\n".join(docstring for docstring in found if len(docstring) > 60)


def _cut(text: str, rng: random.Random) -> Iterator[str]:
    """Cut at blank lines into documents whose lengths spread as those of web pages do."""
    parts, size, limit = list[str](), 0, _length(rng)
    for part in text.split("\n\n"):
        for piece in (part[i : i + LONGEST] for i in range(0, max(len(part), 1), LONGEST)):
            parts.append(piece)
            size += len(piece) + 2
            if size >= limit:
                yield "\n\n".join(parts)
                parts, size, limit = [], 0, _length(rng)
    if parts:
        yield "\n\n".join(parts)


def _length(rng: random.Random) -> int:
    return int(min(LONGEST, max(300.0, rng.lognormvariate(7.9, 0.9))))


BOILERPLATE = (
    "Cookie settings | Privacy | Terms | Contact", "Share this page\nSubscribe by mail", "Sign up for our newsletter!",
    "All rights reserved. © 2021 Example Ltd.", "Read more »", "Home > Documentation > Reference", "Loading...",
)  # fmt: skip
PEOPLE = ("alice", "bob.smith", "j.doe", "support", "info", "wei_zhang", "maria-garcia")
HOSTS = ("example.com", "mail.example.org", "docs.example.net", "lists.example.edu")


def _dirty(text: str, rng: random.Random) -> str:
    if rng.random() < 0.15:
        text += f"\nContact: {rng.choice(PEOPLE)}@{rng.choice(HOSTS)}\n"
    if rng.random() < 0.20:
        text += f"\nSee https://www.{rng.choice(HOSTS)}/p/{rng.randrange(10**6)}?ref={rng.randrange(999)} for more.\n"
    if rng.random() < 0.12:
        text = text.replace(" ", "\u00a0", rng.randrange(1, 40)).replace(". ", ".\u2003", 3)
    if rng.random() < 0.08:
        text = text.replace("'", "\u2019").replace('"', "\u201c", 4)
        if rng.random() < 0.5:
            text = text.encode().decode("cp1252", "ignore")
    if rng.random() < 0.25:
        text = f"{rng.choice(BOILERPLATE)}\n{text}\n{rng.choice(BOILERPLATE)}"
    return text.replace("\n", "\r\n") if rng.random() < 0.05 else text


def _round(pool: list[Document], words: list[str], number: int, size: float, seed: int) -> Iterator[tuple[bytes, str]]:
    """One round over the texts, its copies and noise among them."""
    rng = random.Random(f"{seed} {number}")
    entries, used = list[tuple[str, int, int]](), 0.0
    size = min(size, sum(_size(document.text) for document in pool) / (1 - EXACT - NEAR - NOISE))
    for index, document in enumerate(pool):
        if used >= size * (1 - EXACT - NEAR - NOISE):
            break
        entries.append(("orig", number, index))
        used += _size(document.text)
    originals = len(entries)
    for kind, share in (("exact", EXACT), ("near", NEAR)):
        used = 0.0
        while used < size * share:
            # One copy in ten is of a text that many copy, and half of them come from an earlier round.
            popular = rng.random() < 0.1
            index = min(int(rng.paretovariate(0.6)) - 1, originals - 1) if popular else rng.randrange(originals)
            entries.append((kind, rng.randrange(number + 1) if rng.random() < 0.5 else number, index))
            used += _size(pool[index].text)
    noise, used = 0, 0.0
    while used < size * NOISE:
        entries.append(("noise", number, noise))
        used += 2_000
        noise += 1
    rng.shuffle(entries)
    for place, (kind, origin, index) in enumerate(entries):
        original = _name(origin, index)
        if kind == "orig":
            yield _line(original, _again(pool[index].text, origin, index, words, seed), pool[index].source, kind, "")
        elif kind == "noise":
            yield _line(f"{number:03d}n{index:07d}", _noise(rng, words), "noise", kind, "")
        else:
            text = _again(pool[index].text, origin, index, words, seed)
            text = text if kind == "exact" else _near(text, rng)
            yield _line(f"{number:03d}c{place:07d}", text, pool[index].source, kind, original)


def _again(text: str, number: int, index: int, words: list[str], seed: int) -> str:
    """A text as it stands in a round: unchanged in the first, with other words exchanged in each other."""
    if number == 0:
        return text
    rng = random.Random(f"{seed} {number} {index}")
    parts = text.split(" ")
    for place in rng.sample(range(len(parts)), int(len(parts) * CHANGED_WORDS) + 1):
        parts[place] = words[int(rng.random() * len(words))]
    return " ".join(parts)


def _near(text: str, rng: random.Random) -> str:
    """Up to six words in a hundred exchanged, left out or changed; now and then a line on top or a missing end."""
    parts = text.split(" ")
    for place in rng.sample(range(len(parts)), max(1, int(len(parts) * rng.choice([0.005, 0.01, 0.02, 0.04, 0.06])))):
        chance = rng.random()
        word = parts[place]
        changed = f"{word}{rng.randrange(99)}" if chance < 0.85 else word.upper()
        parts[place] = rng.choice(parts) if chance < 0.4 else "" if chance < 0.7 else changed
    text = " ".join(parts)
    text = f"{rng.choice(BOILERPLATE)}\n{text}" if rng.random() < 0.3 else text
    return text[: int(len(text) * rng.uniform(0.85, 0.99))] if rng.random() < 0.15 else text


def _noise(rng: random.Random, words: list[str]) -> str:
    kind = rng.randrange(6)
    if kind == 0:
        return " ".join(rng.choice(words) for _ in range(rng.randrange(1, 8)))
    if kind == 1:
        return "\n".join([" ".join(rng.choice(words) for _ in range(rng.randrange(3, 12)))] * rng.randrange(5, 80))
    if kind == 2:
        return "".join(rng.choice("!@#$%^&*()_+-=[]{}|;:,.<>?/~`0123456789 ") for _ in range(rng.randrange(80, 3_000)))
    if kind == 3:
        return ", ".join(rng.choice(words) for _ in range(rng.randrange(200, 900)))
    if kind == 4:
        return "\n".join(f"{i}\t{rng.random():.4f}\t{rng.getrandbits(128):032x}" for i in range(rng.randrange(10, 90)))
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randrange(500, 8_000)))


def _name(number: int, index: int) -> str:
    return f"{number:03d}d{index:07d}"


def _line(name: str, text: str, source: str, kind: str, copied: str) -> tuple[bytes, str]:
    row = {"id": name, "text": text, "source": source, "kind": kind, "dup_of": copied}
    return json.dumps(row, ensure_ascii=False).encode() + b"\n", kind


def _size(text: str) -> float:
    return len(text.encode()) + 0.03 * len(text) + 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mb", type=float, default=200, help="size in 10^6 bytes")
    parser.add_argument("--seed", type=int, default=7)
    chosen = parser.parse_args()
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    json.dump(build(chosen.out, mb=chosen.mb, seed=chosen.seed), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
