"""Names of this package's components; see `plait.core.catalog`."""

from __future__ import annotations

from plait.core.catalog import Entry

STAGES: dict[str, Entry] = {
    "data.curate": Entry(
        "plait.flows.curate:Curate", "Clean, filter and deduplicate documents, and explain every drop.", "data"
    ),
    "data.pairs": Entry(
        "plait.flows.pairs:Pairs", "Pair each document's own continuation with the model's sample of it.", "models"
    ),
    "align.sft": Entry(
        "plait.flows.sft:SFT",
        "Fine-tune a model on texts, completions or conversations and measure it on some held out.",
        extra="align",
    ),
    "align.preference": Entry(
        "plait.flows.align:Preference",
        "Train an adapter on preference pairs (DPO, β-DPO, Dr. DPO) and measure it on pairs held out.",
        extra="align",
    ),
    "align.split": Entry(
        "plait.flows.split:Split", "Split preference pairs by prompt into those to train on and those to measure on."
    ),
    "align.flip": Entry(
        "plait.flows.flip:Flip", "Flip the labels of some pairs, and mark them: an experiment's noise."
    ),
    "align.evaluate": Entry(
        "plait.flows.evaluate:Evaluate",
        "Measure an adapter: accuracy, margins, KL on samples, drift of length, win rate under any scorer.",
        extra="align",
    ),
    "align.compare": Entry(
        "plait.flows.align_compare:Compare", "Put several runs of align.preference into one table, differences paired."
    ),
    "align.confidence": Entry(
        "plait.flows.confidence:Confidence",
        "Teach a model to state how sure it is, train that on its own answers, and measure its calibration.",
        extra="align",
    ),
    "agents.guessing_game": Entry(
        "plait.flows.simulate:GuessingGame",
        "A population with backgrounds plays guess 2/3 of the average.",
        extra="agents",
    ),
    "plan.answer": Entry(
        "plait.flows.plan:Answer",
        "Split a question by a model, check the split by code, answer it by experts with sources.",
        extra="plan",
    ),
    "federate.lora": Entry(
        "plait.flows.federate:FederateLoRA",
        "Owners of texts fine-tune one adapter together; shows what each of them gains.",
        extra="federate",
    ),
}
