"""Datasets of the Hugging Face hub, from its cache where they are there already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from plait.core.optional import require
from plait.data.read.collect import Collected
from plait.data.read.records import cast_batch
from plait.data.read.settings import Settings
from plait.data.read.sources import Source
from plait.data.read.tables import RowsInMemory
from plait.errors import DataError

HUB = "hf://datasets/"


def load_hub(source: Source) -> Any:
    """The dataset, downloaded once and then taken from the cache.

    Raises:
        DataError: It is not there, has no such split or configuration, or the hub cannot be reached.
        MissingExtra: ``datasets`` is not installed.
    """
    datasets = require("datasets", extra="data", feature="reading from the Hugging Face hub")
    name = source.path.removeprefix(HUB)
    try:
        return datasets.load_dataset(name, name=source.name, split=source.split)
    except ConnectionError as error:
        raise DataError(
            f"the Hugging Face hub cannot be reached, and {name} is not in its cache: {str(error).splitlines()[0]}",
            code="data.unreachable",
            where=source.path,
            hint="check the network (HF_HUB_OFFLINE=1 forbids it); if a file was meant, there is none there",
        ) from error
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(
            f"the dataset cannot be read: {str(error).splitlines()[0]}",
            code="data.hub",
            where=source.path,
            hint="check its name, and give split= and name= as its page says; if a file was meant, there is none there",
        ) from error


def hub_schema(dataset: Any) -> pa.Schema:
    """Its columns."""
    return dataset.features.arrow_schema.remove_metadata()


def hub_blocks(
    source: Source, dataset: Any, number: int, settings: Settings, block_bytes: int
) -> Iterator[RowsInMemory]:
    """Its rows in order, in blocks of about one size."""
    rows = max(1, block_bytes * max(len(dataset), 1) // max(dataset.data.nbytes, 1))
    row = 0
    for table in dataset.with_format("arrow").iter(batch_size=min(rows, 1 << 20)):
        # Types of their own (lists of fixed length, views) become plain ones before the rows travel.
        batch, _ = cast_batch(table, settings.schema, (), place=lambda _: source.path, quarantine=Collected())
        where = f"{source.path}:row {row + 1}"
        yield RowsInMemory(pa.Table.from_batches([batch]), f"{number}.{row}", (), settings, where)
        row += table.num_rows
