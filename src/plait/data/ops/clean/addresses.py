"""Mapper of network addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from plait.data.op import Cost, Need
from plait.data.ops.clean.removal import PatternMapper
from plait.data.ops.clean.splice import rewrite_where

if TYPE_CHECKING:
    import polars as pl

_BYTE = r"(?:1[0-9][0-9]|2[0-4][0-9]|25[0-5]|[1-9][0-9]|[0-9])"
_PATTERN = rf"(?:{_BYTE}\.){{3}}{_BYTE}|(?:[\da-fA-F]{{1,4}}:){{7}}[\da-fA-F]{{1,4}}"
_GATE = r"[0-9]\.[0-9]{1,3}\.[0-9]|[\da-fA-F]:[\da-fA-F]{1,4}:"
"""The middle of any address of either kind."""


class CleanIpMapper(PatternMapper):
    """Removes IPv4 addresses and IPv6 addresses of eight groups.

    Example:
        - clean_ip_mapper: {repl: "<IP>"}

        >>> CleanIpMapper(repl="<IP>").rewrite_texts(["ping 192.168.0.1 twice"])
        ['ping <IP> twice']

    Source: Data-Juicer 1.6.1, ``clean_ip_mapper``. A ``pattern`` of your own runs in linear time: no look-around.
    """

    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"bytes"})

    def replace(self, texts: pl.Series, put: str) -> pl.Series:
        """Runs the pattern where the middle of an address stands."""
        escaped = put.replace("$", "$$")
        return rewrite_where(texts, texts.str.contains(_GATE), lambda some: some.str.replace_all(_PATTERN, escaped))
