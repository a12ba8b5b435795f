"""Any transport, with every reply kept on disk: a killed run does again only what it had not finished.

A kept reply is found by what was asked, not by when: the digest covers the model sent, the order, the seed
and what the client remembered. So nothing of the server's state needs saving (the loop runs again from the
start and finds its replies), and two runs that ask one client the same thing share the answer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from plait.federate.algorithms.base import Reply, Task
from plait.federate.payload import Payload
from plait.federate.rounds import Transport


class Checkpointed:
    """Keeps replies in a folder.

    Args:
        inner: Does what is not there yet.
        folder: One file per reply, and one for what the client remembers. It belongs to one learner and one
            algorithm: their settings are not part of a task.
    """

    def __init__(self, inner: Transport, folder: Path) -> None:
        self._inner = inner
        self._folder = folder
        self._remembered: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def gather(self, tasks: Sequence[Task]) -> Iterator[Reply]:
        """Replies found on disk, then those that had to be made."""
        missing: list[Task] = []
        for task in tasks:
            path = self._path(task)
            if path.exists():
                memory = _read(path.with_suffix(".memory")) if path.with_suffix(".memory").exists() else None
                self.remember(task.client, memory)
                yield Reply(task, _read(path), memory)
            else:
                missing.append(task)
        for reply in self._inner.gather(missing) if missing else ():
            path = self._path(reply.task)
            if reply.memory is not None:
                _write(path.with_suffix(".memory"), reply.memory.to_bytes())
            _write(path, reply.payload.to_bytes())
            self._note(reply.task.client, reply.memory)
            yield reply

    def remember(self, client: str, memory: Payload | None) -> None:
        """Set what a client finds in its next task."""
        self._inner.remember(client, memory)
        self._note(client, memory)

    def _note(self, client: str, memory: Payload | None) -> None:
        self._remembered[client] = "" if memory is None else memory.digest()

    def _path(self, task: Task) -> Path:
        asked = hashlib.sha256((task.digest() + self._remembered.get(task.client, "")).encode()).hexdigest()
        return self._folder / f"{task.round:04d}-{task.phase}-{asked[:32]}.reply"


def _read(path: Path) -> Payload:
    return Payload.from_bytes(path.read_bytes())


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, also when the power goes."""
    partial = path.with_suffix(path.suffix + ".partial")
    with partial.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(path)
