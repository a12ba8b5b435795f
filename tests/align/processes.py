"""Processes that train together over gloo, started with the variables that torchrun sets."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import torch

TESTS = Path(__file__).parents[1]


def run_together(
    command: Sequence[str],
    *,
    count: int = 2,
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
    status: int = 0,
) -> list[str]:
    """Run the same Python program in several processes, until all have ended with a status.

    Args:
        command: What follows ``python``.
        count: Processes.
        variables: More of the environment.
        folder: Where they are started.
        status: What each must end with.

    Returns:
        What each printed, by rank.
    """
    shared = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(TESTS),
        **(variables or {}),
    }
    with ExitStack() as stack:
        # Files, not pipes: a process never waits for somebody to read what it prints.
        printed = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(count)]
        workers = [
            subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            for rank, file in enumerate(printed)
        ]
        try:
            for worker in workers:
                worker.wait(timeout=280)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        said = [_all(file) for file in printed]
    ended = [worker.returncode for worker in workers]
    assert ended == [status] * count, "\n".join(text[-4000:] for text in said)
    return said


def _all(file: TextIO) -> str:
    file.seek(0)
    return file.read()


def leave_group() -> None:
    """Leave the process group, called by each process when no trainer is in scope any more.

    A trainer that outlives its group holds the last reference to it, and torch 2.13 then closes gloo with the GIL held:
    it waits for a thread that may itself be waiting for the GIL, and the process never ends.
    """
    gc.collect()
    torch.distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
