"""Names of the operations of this folder; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

_HOME = "plait.data.ops.pairs"

OPS: dict[str, Entry] = {
    "conversation_echo_filter": Entry(
        f"{_HOME}.conversations:ConversationEchoFilter", "Keeps conversations whose answers do not echo.", "data"
    ),
    "conversation_roles_filter": Entry(
        f"{_HOME}.conversations:ConversationRolesFilter", "Keeps conversations with roles in order.", "data"
    ),
    "conversation_turns_filter": Entry(
        f"{_HOME}.conversations:ConversationTurnsFilter", "Keeps conversations by their number of turns.", "data"
    ),
    "pair_contradiction_selector": Entry(
        f"{_HOME}.across:PairContradictionSelector", "Drops preferences that contradict each other.", "data"
    ),
    "pair_leakage_filter": Entry(
        f"{_HOME}.leakage:PairLeakageFilter", "Keeps pairs whose prompt is in no evaluation set.", "data"
    ),
    "pair_length_bias_filter": Entry(
        f"{_HOME}.pairs:PairLengthBiasFilter", "Keeps pairs whose answers are of like length.", "data"
    ),
    "pair_margin_filter": Entry(f"{_HOME}.pairs:PairMarginFilter", "Keeps pairs whose scores are far apart.", "data"),
    "pair_similarity_filter": Entry(
        f"{_HOME}.pairs:PairSimilarityFilter", "Keeps pairs whose answers differ enough.", "data"
    ),
    "pair_weight_mapper": Entry(f"{_HOME}.pairs:PairWeightMapper", "Gives each pair a weight for training.", "data"),
    "prompt_deduplicator": Entry(f"{_HOME}.across:PromptDeduplicator", "Keeps one row of each prompt.", "data"),
}
