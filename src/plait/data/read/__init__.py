"""Reading data of any kind: files and folders of records as blocks that workers load, or as batches.

for block in blocks("shards/*.jsonl", required=["text"]):
    table = block.load(quarantine)
"""

from __future__ import annotations

from plait.data.read.block import Block
from plait.data.read.inputs import blocks, open_dataset, split

__all__ = ["Block", "blocks", "open_dataset", "split"]
