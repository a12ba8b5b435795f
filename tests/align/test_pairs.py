"""Records to token pairs: boundaries, limits, and every reason a record is set aside for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.tiny_models import byte_tokenizer as tokenizer
from plait.align.pairs import Problem, TokenLimits, TokenPair, tokenise_pairs
from plait.errors import DataError, ModelError

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def record(prompt: Any, chosen: Any, rejected: Any, name: str = "r") -> dict[str, Any]:
    return {"id": name, "prompt": prompt, "chosen": chosen, "rejected": rejected, "source": "test"}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def only(result: Any) -> TokenPair:
    assert (len(result.pairs), result.problems) == (1, [])
    return result.pairs[0]


def test_plain_text() -> None:
    t = tokenizer()
    pair = only(tokenise_pairs([record("say ", "yes", "no")], tokenizer=t))
    assert t.decode(pair.prompt) == "say "
    assert t.decode(pair.chosen) == "yes</s>"
    assert t.decode(pair.rejected) == "no</s>"
    assert (pair.length, pair.longest_branch) == (4 + 4 + 3, 8)


def test_no_end_token_when_completions_were_cut_off() -> None:
    t = tokenizer()
    pair = only(tokenise_pairs([record("say ", "yes", "no")], tokenizer=t, limits=TokenLimits(append_eos=False)))
    assert (t.decode(pair.chosen), t.decode(pair.rejected)) == ("yes", "no")


def test_boundary_moves_back_where_tokens_merge() -> None:
    """ "xa" + "b…" is x, ab: the prompt's own last token does not exist in the joined text."""
    t = tokenizer()
    result = tokenise_pairs([record("xa", "by", "z"), record("xa", "cy", "z")], tokenizer=t)
    assert result.boundaries_moved == 1
    pair = result.pairs[0]
    assert t.decode(pair.prompt) == "x"
    assert t.decode(pair.chosen) == "aby</s>"
    assert t.decode(pair.rejected) == "az</s>"


@given(st.text(alphabet="abxy ", max_size=8), st.text("abxy ", min_size=1), st.text("abxy ", min_size=1))
def test_joined_branches_are_the_tokens_of_the_joined_text(prompt: str, chosen: str, rejected: str) -> None:
    t = tokenizer()
    result = tokenise_pairs([record(prompt, chosen, rejected)], tokenizer=t)
    for pair in result.pairs:
        start = 1 if pair.prompt[0] == t.eos_token_id else 0
        assert list(pair.prompt + pair.chosen)[start:-1] == t.encode(prompt + chosen)
        assert list(pair.prompt + pair.rejected)[start:-1] == t.encode(prompt + rejected)
    assert len(result.pairs) + len(result.problems) == 1
    assert bool(result.problems) == (chosen == rejected)


def test_shared_words_of_the_completions_stay_in_the_completions() -> None:
    """Lengths and sums are those of the whole completion, as in other trainers."""
    t = tokenizer()
    pair = only(tokenise_pairs([record("q ", "the cat", "the dog")], tokenizer=t))
    assert t.decode(pair.prompt) == "q "


def test_conversation() -> None:
    t = tokenizer()
    t.chat_template = TEMPLATE
    user, good, bad = (
        {"role": r, "content": c} for r, c in [("user", "hi"), ("assistant", "hello"), ("assistant", "no")]
    )
    pair = only(tokenise_pairs([record([user], [good], [bad])], tokenizer=t))
    assert t.decode(pair.prompt) == "<user>hi\n<assistant>"
    assert t.decode(pair.chosen) == "hello\n"  # the template ends a turn; nothing is added
    assert t.decode(pair.rejected) == "no\n"


def test_conversation_without_a_template() -> None:
    turn = [{"role": "user", "content": "hi"}]
    other = [{"role": "assistant", "content": "yo"}]
    with pytest.raises(ModelError, match="no chat template"):
        tokenise_pairs([record(turn, turn, other)], tokenizer=tokenizer())


def test_empty_prompt_starts_with_a_token_that_predicts() -> None:
    with_bos = tokenizer(bos_token="<s>")
    assert only(tokenise_pairs([record("", "yes", "no")], tokenizer=with_bos)).prompt == (with_bos.bos_token_id,)
    without = tokenizer()
    assert only(tokenise_pairs([record("", "yes", "no")], tokenizer=without)).prompt == (without.eos_token_id,)


def test_long_completions_are_cut_each_by_itself_and_counted() -> None:
    t = tokenizer()
    result = tokenise_pairs(
        [record("q", "123456", "78"), record("q", "123456", "abcdef")],
        tokenizer=t,
        limits=TokenLimits(max_completion=4),
    )
    assert [t.decode(p.chosen) for p in result.pairs] == ["1234", "1234"]
    assert t.decode(result.pairs[0].rejected) == "78</s>"
    assert result.completions_cut == 3


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (record("q", "", "no"), "empty completion"),
        (record("q", "yes", ""), "empty completion"),
        (record("q", "same", "same"), "chosen and rejected are the same text"),
        (record("q", "12345-a", "12345-b"), "chosen and rejected are the same tokens"),
        (record("long prompt", "a", "b"), "prompt longer than max_prompt"),
        (record(None, "a", "b"), "missing text"),
        (record("q", [{"role": "assistant", "content": "a"}], "b"), "prompt, chosen and rejected are not of one kind"),
        (
            record([], [{"role": "assistant", "content": ""}], [{"role": "assistant", "content": "b"}]),
            "empty completion",
        ),
    ],
)
def test_problems_are_named_and_the_rest_goes_on(bad: dict[str, Any], reason: str) -> None:
    t = tokenizer()
    result = tokenise_pairs(
        [bad, record("q", "yes", "no", "good")],
        tokenizer=t,
        limits=TokenLimits(max_prompt=4, max_completion=5),
    )
    assert [p.id for p in result.pairs] == ["good"]
    assert result.problems == [Problem("r", reason)]
    assert result.reasons == {reason: 1}


def test_missing_columns_are_named() -> None:
    with pytest.raises(DataError, match="no record has chosen or rejected; columns: prompt, completion"):
        tokenise_pairs([{"prompt": "q", "completion": "a"}], tokenizer=tokenizer())
    some = [{"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt": "q", "chosen": "a"}]
    assert tokenise_pairs(some, tokenizer=tokenizer()).problems == [Problem("1", "missing text")]
    assert tokenise_pairs([], tokenizer=tokenizer()).pairs == []


@pytest.mark.parametrize(("keep", "prompt"), [("keep_end", "6789"), ("keep_start", "1234")])
def test_long_prompts_are_cut_where_asked_and_counted(keep: Any, prompt: str) -> None:
    t = tokenizer()
    limits = TokenLimits(max_prompt=4, long_prompt=keep)
    result = tokenise_pairs([record("123456789", "yes", "no"), record("12", "yes", "no")], tokenizer=t, limits=limits)
    assert [t.decode(p.prompt) for p in result.pairs] == [prompt, "12"]
    assert [t.decode(p.chosen) for p in result.pairs] == ["yes</s>", "yes</s>"]
    assert (result.prompts_cut, result.completions_cut) == (1, 0)


def test_max_length_is_that_of_trl() -> None:
    """TRL cuts each branch at its end and drops a pair whose prompt leaves no room."""
    t = tokenizer()
    limits = TokenLimits(max_prompt=6, max_completion=6, max_length=6)
    rows = [record("1234", "uvwxyz", "x", "cut"), record("123456", "a", "b", "full")]
    result = tokenise_pairs(rows, tokenizer=t, limits=limits)
    assert t.decode(only_pair(result).chosen) == "uv"
    assert t.decode(only_pair(result).rejected) == "x</s>"
    assert result.completions_cut == 1
    assert result.problems == [Problem("full", "prompt fills max_length")]


def only_pair(result: Any) -> TokenPair:
    [pair] = result.pairs
    return pair


def test_weight_flip_prior_and_group_come_with_the_pair() -> None:
    rows = [record("q", "yes", "no") | {"weight": 2, "flip_prior": 0.25, "group": 7}, record("q", "yes", "no")]
    pairs = tokenise_pairs(rows, tokenizer=tokenizer()).pairs
    assert [(p.weight, p.flip_prior, p.group) for p in pairs] == [(2.0, 0.25, "7"), (1.0, None, None)]


def test_a_tokenizer_that_ends_texts_itself_ends_them_once() -> None:
    from tokenizers.processors import TemplateProcessing

    t = tokenizer()
    t.backend_tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", t.eos_token_id)])
    assert t.decode(t.encode("say")) == "say</s>"
    result = tokenise_pairs([record("say ", "yes", "no")], tokenizer=t)
    pair = only(result)
    assert result.boundaries_moved == 0
    assert (t.decode(pair.prompt), t.decode(pair.chosen)) == ("say ", "yes</s>")
