"""Names of the operations of this folder; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

_SELECTORS = "plait.data.ops.select.selectors"
_GROUPERS = "plait.data.ops.select.groupers"

OPS: dict[str, Entry] = {
    "frequency_specified_field_selector": Entry(
        f"{_SELECTORS}:FrequencySpecifiedFieldSelector",
        "Keeps the rows whose value of a field is among the most (or least) frequent values.",
        "data",
    ),
    "key_value_grouper": Entry(
        f"{_GROUPERS}:KeyValueGrouper", "Makes one row of all rows that agree in some fields.", "data"
    ),
    "naive_grouper": Entry(f"{_GROUPERS}:NaiveGrouper", "Makes one row of all rows.", "data"),
    "naive_reverse_grouper": Entry(
        f"{_GROUPERS}:NaiveReverseGrouper", "Makes one row of each entry of grouped rows.", "data"
    ),
    "random_selector": Entry(f"{_SELECTORS}:RandomSelector", "Keeps a random sample.", "data"),
    "range_specified_field_selector": Entry(
        f"{_SELECTORS}:RangeSpecifiedFieldSelector",
        "Keeps the rows whose rank by a field, lowest value first, lies in a range.",
        "data",
    ),
    "tags_specified_field_selector": Entry(
        f"{_SELECTORS}:TagsSpecifiedFieldSelector", "Keeps the rows whose value of a field is one of some tags.", "data"
    ),
    "topk_specified_field_selector": Entry(
        f"{_SELECTORS}:TopkSpecifiedFieldSelector",
        "Keeps the rows with the highest (or lowest) values of a field.",
        "data",
    ),
}
