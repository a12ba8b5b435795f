"""Rows as operations see them."""

from __future__ import annotations

import polars as pl
import pytest

from plait.data.batch import Batch
from plait.errors import DataError


@pytest.mark.parametrize("values", [[1, 2], [["a"], []], [b"a", b"b"]])
def test_a_field_that_holds_no_texts_is_named(values: list):
    batch = Batch.of(pl.DataFrame({"text": values, "content": ["a", None]}))
    assert batch.text("content").to_list() == ["a", ""]
    with pytest.raises(DataError, match=r'field "text" holds .*, not texts') as caught:
        batch.text()
    assert caught.value.code == "data.wrong-type"


def test_a_field_of_nothing_counts_as_empty_texts():
    assert Batch.of(pl.DataFrame({"text": [None, None]})).text().to_list() == ["", ""]
