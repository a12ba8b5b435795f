"""Silence for what loading prints and nobody can act on; everything else is still heard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Hide the bars that `transformers` draws per tensor while a model is read or written.

    They would tear through the terminal of a run, which has a progress line of its own. Warnings are left alone.
    """
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
