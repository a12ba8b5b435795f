"""A recording of chat calls: an append-only JSONL file, found again by the content of the call.

One line per answered call: ``{"key", "nth", "call": {...}, "replies": [...]}``. ``key`` is the hash of everything the
answer may depend on; ``nth`` counts equal calls, so that a call asked three times has three answers, in order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from plait.errors import LLMError
from plait.llm.base import JSONSchema, Reply, Usage
from plait.records import Message

Call = Mapping[str, Any]
"""A call as plain data; see `plain_call`."""

_COMPARED = 2000  # characters of a conversation that are compared when looking for the nearest call


def plain_call(
    messages: Sequence[Message],
    *,
    model: str,
    n: int,
    temperature: float,
    max_tokens: int,
    stop: Sequence[str],
    seed: int | None,
    schema: JSONSchema | None,
) -> Call:
    """Everything the answers of a call may depend on, as plain data.

    Args:
        messages: The conversation.
        model: The model's identity (`plait.llm.base.ChatComponent.identity`).
        n: Replies asked for.
        temperature: 0 is greedy.
        max_tokens: Longest completion, in tokens.
        stop: Strings that end a completion.
        seed: The caller's seed.
        schema: JSON Schema of the reply.
    """
    return {
        "model": model,
        "messages": [dict(sorted(m.items())) for m in messages],
        "n": int(n),
        "temperature": float(temperature) + 0.0,  # -0.0 and 0 ask for the same as 0.0
        "max_tokens": int(max_tokens),
        "stop": list(stop),
        "seed": seed,
        # The order of a schema's properties is kept: it is the order a constrained model writes them in.
        "schema": None if schema is None else json.loads(json.dumps(schema)),
    }


def call_key(call: Call) -> str:
    """SHA-256 of a call, in hex.

    Example:
        >>> one = plain_call([{"role": "user", "content": "hi"}], model="m", n=1, temperature=0,
        ...                  max_tokens=8, stop=(), seed=None, schema=None)
        >>> call_key(one) == call_key(one | {"temperature": 0.0}), call_key(one) == call_key(one | {"n": 2})
        (True, False)
    """
    return hashlib.sha256(json.dumps(call).encode()).hexdigest()


class Recording:
    """The calls in a file. Answers stay on disk; only where they are is held in memory.

    Args:
        path: The JSONL file; need not exist.
        writable: Whether calls will be added; a last line torn by a kill is then cut off.

    Raises:
        LLMError: A line other than the last is damaged.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._places: dict[str, dict[int, int]] = {}
        if writable:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        end = 0
        for offset, line in _lines(path):
            entry = _parse(line, path=path, offset=offset)
            self._places.setdefault(entry["key"], {})[entry["nth"]] = offset
            end = offset + len(line)
        if writable:
            with path.open("rb+") as out:
                out.truncate(end)

    def __len__(self) -> int:
        return sum(len(places) for places in self._places.values())

    def find(self, key: str, nth: int) -> list[Reply] | None:
        """The replies to the ``nth`` call of that key, from 0; ``None`` if it is not recorded."""
        offset = self._places.get(key, {}).get(nth)
        if offset is None:
            return None
        with self.path.open("rb") as data:
            data.seek(offset)
            entry = json.loads(data.readline())
        return [_reply(r) for r in entry["replies"]]

    def count(self, key: str) -> int:
        """How many answers that call has."""
        return len(self._places.get(key, {}))

    def add(self, key: str, nth: int, call: Call, replies: Sequence[Reply]) -> None:
        """Append an answered call; it is in the file when this returns."""
        entry = {"key": key, "nth": nth, "call": call, "replies": [asdict(r) for r in replies]}
        line = json.dumps(entry).encode() + b"\n"
        # One unbuffered write of one line: a kill tears at most the last line.
        with self.path.open("ab", buffering=0) as out:
            offset = out.tell()
            out.write(line)
        self._places.setdefault(key, {})[nth] = offset

    def nearest(self, call: Call) -> tuple[int, Call] | None:
        """The recorded call that differs least, and its line number; ``None`` in an empty recording."""
        best: tuple[tuple[int, float], int, Call] | None = None
        for number, (offset, line) in enumerate(_lines(self.path), 1):
            recorded: Call = _parse(line, path=self.path, offset=offset)["call"]
            unlike = sum(recorded[part] != call[part] for part in call)
            if best is not None and unlike > best[0][0]:
                continue
            distance = (unlike, 1 - _likeness(recorded["messages"], call["messages"]))
            if best is None or distance < best[0]:
                best = (distance, number, recorded)
        return None if best is None else (best[1], best[2])


def describe_difference(call: Call, recorded: Call) -> str:
    """Which parts of a call differ from a recorded one, with both values.

    Example:
        >>> describe_difference({"n": 2, "seed": 1}, {"n": 1, "seed": 1})
        'n is 2, recorded 1'
    """
    parts: list[str] = []
    for part, value in call.items():
        if value == recorded[part]:
            continue
        if part == "messages":
            parts.append(_message_difference(value, recorded[part]))
        elif part == "model":
            parts.append(f"the model {_text_difference(value, recorded[part])}")
        else:
            parts.append(f"{part} is {_short(value)}, recorded {_short(recorded[part])}")
    return "; ".join(parts)


def _message_difference(asked: Sequence[Message], recorded: Sequence[Message]) -> str:
    for i, (a, b) in enumerate(zip(asked, recorded, strict=False)):
        if a["role"] != b["role"]:
            return f"messages[{i}] is by {a['role']}, recorded by {b['role']}"
        if a["content"] != b["content"]:
            return f"messages[{i}] {_text_difference(a['content'], b['content'])}"
        if a != b:
            return f"messages[{i}] has other fields: {_short(a)}, recorded {_short(b)}"
    return f"there are {len(asked)} messages, recorded {len(recorded)}"


def _text_difference(ours: str, theirs: str) -> str:
    """Where two texts begin to differ, with what is around that place."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
    around = slice(max(0, at - 20), at + 40)
    return f"differs from character {at} on: {ours[around]!r}, recorded {theirs[around]!r}"


def _likeness(a: Sequence[Message], b: Sequence[Message]) -> float:
    if a == b:
        return 1.0
    ours, theirs = (json.dumps(list(m))[-_COMPARED:] for m in (a, b))
    # The quick bound first: a recording may hold very many calls.
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    return matcher.quick_ratio()


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Complete lines and where they start; what follows the last newline was torn by a kill and is no line."""
    if not path.exists():
        return
    offset = 0
    with path.open("rb") as data:
        for line in data:
            if line.endswith(b"\n"):
                yield offset, line
            offset += len(line)


def _parse(line: bytes, *, path: Path, offset: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
        if not {"key", "nth", "call", "replies"} <= entry.keys():
            raise ValueError("fields are missing")
    except (ValueError, AttributeError) as error:
        raise LLMError(
            f"the line at byte {offset} is not a recorded call: {error}",
            code="llm.recording-damaged",
            where=str(path),
            hint="remove that line; every other line stays good",
        ) from error
    return entry


def _reply(plain: dict[str, Any]) -> Reply:
    logprobs = plain["logprobs"]
    return Reply(
        plain["text"],
        Usage(**plain["usage"]),
        logprobs=None if logprobs is None else tuple(logprobs),
        finish=plain["finish"],
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"
