"""Names of the operations of this folder; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

OPS: dict[str, Entry] = {
    "entity_attribute_aggregator": Entry(
        "plait.data.ops.select.aggregators:EntityAttributeAggregator",
        "Sums up one attribute of an entity from the texts of each group.",
        "data",
    ),
    "frequency_specified_field_selector": Entry(
        "plait.data.ops.select.selectors:FrequencySpecifiedFieldSelector",
        "Keeps the rows whose value of a field is among the most (or least) frequent values.",
        "data",
    ),
    "key_value_grouper": Entry(
        "plait.data.ops.select.groupers:KeyValueGrouper",
        "Makes one row of all rows that agree in some fields; groups come in the order of their first rows.",
        "data",
    ),
    "meta_tags_aggregator": Entry(
        "plait.data.ops.select.aggregators:MetaTagsAggregator",
        "Merges tags of like meaning in the meta of each group's rows.",
        "data",
    ),
    "most_relevant_entities_aggregator": Entry(
        "plait.data.ops.select.aggregators:MostRelevantEntitiesAggregator",
        "Lists who or what is most closely related to an entity by the texts of each group, the most important first.",
        "data",
    ),
    "naive_grouper": Entry("plait.data.ops.select.groupers:NaiveGrouper", "Makes one row of all rows.", "data"),
    "naive_reverse_grouper": Entry(
        "plait.data.ops.select.groupers:NaiveReverseGrouper", "Makes one row of each entry of grouped rows.", "data"
    ),
    "nested_aggregator": Entry(
        "plait.data.ops.select.aggregators:NestedAggregator",
        "Sums up the texts of each group, parts first and then their summaries, until one is left.",
        "data",
    ),
    "random_selector": Entry(
        "plait.data.ops.select.selectors:RandomSelector",
        "Keeps a random sample; the same rows however they are cut into chunks.",
        "data",
    ),
    "range_specified_field_selector": Entry(
        "plait.data.ops.select.selectors:RangeSpecifiedFieldSelector",
        "Keeps the rows whose rank by a field, lowest value first, lies in a range.",
        "data",
    ),
    "tags_specified_field_selector": Entry(
        "plait.data.ops.select.selectors:TagsSpecifiedFieldSelector",
        "Keeps the rows whose value of a field is one of some tags.",
        "data",
    ),
    "topk_specified_field_selector": Entry(
        "plait.data.ops.select.selectors:TopkSpecifiedFieldSelector",
        "Keeps the rows with the highest (or lowest) values of a field.",
        "data",
    ),
}
