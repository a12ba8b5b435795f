"""Records in TRL's formats: read as TRL reads them, and tokenised to TRL's ids."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.tiny_models import byte_tokenizer
from plait.align.formats import PreferenceTexts, read_record, split_prompt
from plait.align.pairs import TokenLimits, tokenise_pairs

WIDE = TokenLimits(max_prompt=100_000, max_completion=100_000)
TEMPLATE = (
    "{% if tools %}<tools>{% for t in tools %}{{ t.function.name }} {% endfor %}\n{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.tool_calls is defined %}!{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% if quick %}<think></think>{% endif %}{% endif %}"
)


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ASKED = [said("system", "Be brief."), said("user", "What colour is the sky?")]
BLUE, GREEN = [said("assistant", "It is blue.")], [said("assistant", "It is green.")]
TOOL = {"type": "function", "function": {"name": "look_up", "description": "looks", "parameters": {"type": "object"}}}
DIALOGUE = "\n\nHuman: how do i mend a boat motor?\n\nAssistant: Ask a mechanic.\n\nHuman: Okay.\n\nAssistant:"

PLAIN: list[dict[str, Any]] = [
    {"prompt": DIALOGUE, "chosen": " You are welcome.", "rejected": " Then pour sand into it."},
    {"prompt": "xa", "chosen": "by", "rejected": "z"},  # a and b are one token: the boundary moves back
    {"prompt": "q ", "chosen": "already ended</s>", "rejected": "not"},
]
IMPLICIT: list[dict[str, Any]] = [
    {"chosen": f"{DIALOGUE} You are welcome.", "rejected": f"{DIALOGUE} Then pour sand into it."},
    {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    {"chosen": "one text", "rejected": "one text goes on"},
]
CONVERSATIONS: list[dict[str, Any]] = [
    {"prompt": ASKED, "chosen": BLUE, "rejected": GREEN},
    {"prompt": [*ASKED, said("assistant", "It is")], "chosen": BLUE, "rejected": GREEN},
    {"prompt": ASKED, "chosen": [*BLUE, said("user", "Sure?"), *BLUE], "rejected": GREEN},
]
IMPLICIT_CONVERSATIONS: list[dict[str, Any]] = [{"chosen": [*ASKED, *BLUE], "rejected": [*ASKED, *GREEN]}]
WITH_TOOLS: list[dict[str, Any]] = [{"prompt": ASKED, "chosen": BLUE, "rejected": GREEN, "tools": [TOOL]}]
WITH_SETTINGS: list[dict[str, Any]] = [
    {"prompt": ASKED, "chosen": BLUE, "rejected": GREEN, "chat_template_kwargs": {"quick": True}}
]


def trl_ids(records: list[dict[str, Any]], tokenizer: Any) -> list[tuple[list[int], ...]]:
    """Prompt, chosen and rejected ids as TRL's own trainer prepares them."""
    pytest.importorskip("trl")
    import datasets
    from trl.trainer.dpo_trainer import DPOTrainer

    datasets.disable_progress_bars()
    arguments = SimpleNamespace(dataset_num_proc=None, max_length=None, truncation_mode="keep_start")
    prepared: Any = DPOTrainer._prepare_dataset(
        SimpleNamespace(_tokenizer=tokenizer),  # pyright: ignore[reportArgumentType]
        datasets.Dataset.from_list(copy.deepcopy(records)),
        tokenizer,
        arguments,  # pyright: ignore[reportArgumentType]
        "train",
    )
    return [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in prepared]


def our_ids(records: list[dict[str, Any]], tokenizer: Any) -> list[tuple[list[int], ...]]:
    found = tokenise_pairs(records, tokenizer=tokenizer, limits=WIDE)
    assert not found.problems
    return [(list(p.prompt), list(p.chosen), list(p.rejected)) for p in found.pairs]


def chat_tokenizer() -> Any:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return tokenizer


@pytest.mark.parametrize("records", [PLAIN, IMPLICIT, CONVERSATIONS, IMPLICIT_CONVERSATIONS, WITH_TOOLS, WITH_SETTINGS])
def test_ids_are_those_of_trl(records: list[dict[str, Any]]) -> None:
    assert our_ids(records, chat_tokenizer()) == trl_ids(records, chat_tokenizer())


@pytest.mark.model
@pytest.mark.parametrize("records", [PLAIN, IMPLICIT, CONVERSATIONS, IMPLICIT_CONVERSATIONS, WITH_TOOLS])
def test_ids_are_those_of_trl_with_the_default_model(records: list[dict[str, Any]]) -> None:
    from plait.models import load

    tokenizer: Any = load("smollm2-135m").tokenizer
    # Of "xa" the texts share no token here, and we give them one to start with.
    records = [r for r in records if "</s>" not in str(r) and r.get("prompt") != "xa"]
    assert our_ids(records, tokenizer) == trl_ids(records, tokenizer)


def test_tools_reach_the_template_also_as_json() -> None:
    import json

    tokenizer = chat_tokenizer()
    as_json = [{**WITH_TOOLS[0], "tools": json.dumps([TOOL])}]
    assert our_ids(as_json, tokenizer) == our_ids(WITH_TOOLS, tokenizer)
    [(prompt, _, _)] = our_ids(WITH_TOOLS, tokenizer)
    assert tokenizer.decode(prompt).startswith("<tools>look_up <system>Be brief.")


def test_a_datasets_dataset_is_accepted_and_its_empty_fields_are_not_seen() -> None:
    """Arrow gives every message the fields of every other: a template that asks for them must not find them."""
    datasets = pytest.importorskip("datasets")
    called = [{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look_up"}}]}]
    records = [{"prompt": ASKED, "chosen": called, "rejected": GREEN}, CONVERSATIONS[0]]
    tokenizer = chat_tokenizer()
    found = tokenise_pairs(datasets.Dataset.from_list(records), tokenizer=tokenizer, limits=WIDE)
    assert [p.id for p in found.pairs] == ["0", "1"]
    assert tokenizer.decode(found.pairs[0].chosen) == "!"
    assert tokenizer.decode(found.pairs[0].rejected) == "It is green."


def test_a_prompt_repeated_as_text_is_taken_from_the_conversations() -> None:
    record = {"prompt": "What colour is the sky?", **IMPLICIT_CONVERSATIONS[0]}
    assert read_record(record) == PreferenceTexts(ASKED, BLUE, GREEN)


@given(st.text("ab ", min_size=1), st.text("ab ", min_size=1))
def test_split_prompt_equals_trl(chosen: str, rejected: str) -> None:
    data_utils = pytest.importorskip("trl.data_utils")
    ours = split_prompt(chosen, rejected)
    assert ours[0] + ours[1] == chosen
    assert ours[0] + ours[2] == rejected
    if chosen != rejected and chosen[0] == rejected[0]:
        theirs = data_utils.extract_prompt({"chosen": chosen, "rejected": rejected})
        assert ours == (theirs["prompt"], theirs["chosen"], theirs["rejected"])


def test_texts_that_differ_from_the_start_have_no_prompt() -> None:
    assert split_prompt("yes ", "no") == ("", "yes ", "no")  # TRL: prompt "yes", chosen " ", rejected "o"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "q", "chosen": "a"}, "missing text"),
        ({"prompt": None, "chosen": "a", "rejected": "b"}, "missing text"),
        ({"chosen": "a", "rejected": BLUE}, "prompt, chosen and rejected are not of one kind"),
        ({"prompt": ASKED, "chosen": "a", "rejected": "b"}, "prompt, chosen and rejected are not of one kind"),
        ({"prompt": ASKED, "chosen": [], "rejected": BLUE}, "empty completion"),
        ({"prompt": ASKED, "chosen": BLUE, "rejected": BLUE}, "chosen and rejected are the same text"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "weight": 0}, "weight is not a positive number"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "weight": float("nan")}, "weight is not a positive number"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "weight": "much"}, "weight is not a positive number"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "flip_prior": 1.5}, "flip_prior is not a probability"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "group": ["x"]}, "group is not a name"),
    ],
)
def test_what_is_wrong_with_a_record(record: dict[str, Any], reason: str) -> None:
    assert read_record(record) == reason
