"""Names of this package's components; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

STAGES: dict[str, Entry] = {
    "data.curate": Entry(
        "plait.flows.curate:Curate", "cleans, filters and deduplicates documents, and explains every drop", "data"
    ),
    "data.pairs": Entry(
        "plait.flows.pairs:Pairs", "pairs a document's continuation with the model's own sample of it", "models"
    ),
    "align.preference": Entry(
        "plait.flows.align:Preference",
        "train an adapter on preference pairs (DPO, β-DPO, Dr. DPO) and measure it on pairs held out",
        extra="align",
    ),
    "agents.guessing_game": Entry(
        "plait.flows.simulate:GuessingGame",
        "a population with backgrounds plays guess 2/3 of the average",
        extra="agents",
    ),
    "plan.answer": Entry(
        "plait.flows.plan:Answer",
        "a question is split by a model, checked by code, and answered by experts with sources",
        extra="plan",
    ),
    "federate.lora": Entry(
        "plait.flows.federate:FederateLoRA",
        "owners of texts fine-tune one adapter together; what each of them gains",
        extra="federate",
    ),
}
