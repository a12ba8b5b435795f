"""Reading data of any kind: files and folders of records as blocks that workers load, or as batches.

for block in blocks("shards/*.jsonl", required=["text"]):
    table = block.load(quarantine)
"""

from __future__ import annotations

from plait.data.read.block import Block
from plait.data.read.inputs import Spec, blocks, open_dataset, split
from plait.data.read.sources import Source

__all__ = ["Block", "Source", "Spec", "blocks", "open_dataset", "split"]
