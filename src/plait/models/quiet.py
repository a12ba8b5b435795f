"""Silence for what loading prints and nobody can act on; everything else is still heard."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet_loading() -> Generator[None]:
    """Hide the bars that `transformers` draws per tensor while a model is read or written.

    They would tear through the terminal of a run, which has a progress line of its own. Warnings are left alone.
    """
    from transformers import modeling_gguf_pytorch_utils as gguf_reading
    from transformers.utils import logging

    shown, bar = logging.is_progress_bar_enabled(), gguf_reading.tqdm
    logging.disable_progress_bar()
    # The GGUF reader draws with tqdm itself, which no setting of transformers reaches.
    gguf_reading.tqdm = _without_bar
    try:
        yield
    finally:
        gguf_reading.tqdm = bar
        if shown:
            logging.enable_progress_bar()


@contextmanager
def quiet_adapting() -> Generator[None]:
    """Hide the one deprecation in `transformers` that peft 0.21 trips over; the user can do nothing about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        yield


def _without_bar(items: Iterable[Any], desc: str = "") -> Iterable[Any]:  # noqa: ARG001 - tqdm's signature
    return items
