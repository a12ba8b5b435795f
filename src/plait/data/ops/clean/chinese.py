"""Mapper between kinds of Chinese characters."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import polars as pl

from plait.core.optional import require
from plait.data.op import Cost, Mapper, Need
from plait.data.ops.clean.splice import rewrite_where

if TYPE_CHECKING:
    from plait.data.batch import Batch

Mode = Literal[
    "s2t", "t2s", "s2tw", "tw2s", "s2hk", "hk2s", "s2twp", "tw2sp", "t2tw", "tw2t", "hk2t", "t2hk", "t2jp", "jp2t"
]

_EAST_ASIAN = r"[\x{2e80}-\x{fffd}\x{1f000}-\x{10ffff}]"
"""OpenCC leaves every other character alone, in all modes."""


class ChineseConvertMapper(Mapper):
    """Converts between simplified and traditional Chinese and Japanese characters.

    Example:
        - chinese_convert_mapper: {mode: t2s}

    Source: Data-Juicer 1.6.1, ``chinese_convert_mapper`` (OpenCC).
    """

    cost: ClassVar[Cost] = "python"
    needs: ClassVar[frozenset[Need]] = frozenset({"chars"})

    mode: Mode = "s2t"
    """From and to: s simplified, t traditional, tw Taiwan, twp with its idioms, hk Hong Kong, jp Japanese."""

    def rewrite(self, batch: Batch) -> pl.Series:
        """Converts the texts that hold East Asian characters."""
        texts = batch.text(self.text_key)
        convert = _converter(self.mode)
        return rewrite_where(
            texts,
            texts.str.contains(_EAST_ASIAN),
            lambda some: pl.Series([convert(text) for text in some.to_list()], dtype=pl.String),
        )


@cache
def _converter(mode: Mode) -> Any:
    opencc: Any = require("opencc", extra="data", feature="chinese_convert_mapper")
    return opencc.OpenCC(f"{mode}.json").convert
