from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import ModelError, UsageError
from plait.models import Completion, LanguageModel, generate
from plait.models.batch import Batch, can_pad, common_prefix

FAMILIES = ["llama", "gpt2", "mistral-window"]
SYSTEM = "You are one of many people in a town, and you answer briefly. "
TEXTS = ["the ab", "a", "1, 2, 3 and then", "the the the the the the the", "Ünïcode 🙂 text, the longest of all."]
SHARED = [SYSTEM + text for text in TEXTS]
APART = TEXTS
Make = Callable[..., LanguageModel]


def speak(lm: LanguageModel, texts: Sequence[str], **settings: object) -> list[Completion]:
    seeds = settings.pop("seeds", [100 + i for i in range(len(texts))])
    return generate(lm, [lm.encode(t) for t in texts], **{"max_new_tokens": 24, "seeds": seeds, **settings})


def assert_same(one: Sequence[Completion], other: Sequence[Completion]) -> None:
    assert [c.token_ids for c in one] == [c.token_ids for c in other]
    for a, b in zip(one, other, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
        assert (a.text, a.finish) == (b.text, b.finish)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_transformers(make_lm: Make, family: str) -> None:
    lm = make_lm(family)
    for text, ours in zip(APART, speak(lm, APART), strict=True):
        ids = torch.tensor([lm.encode(text)])
        theirs = lm.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        assert list(ours.token_ids) == theirs[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("temperature", [0.0, 1.3])
@pytest.mark.parametrize("texts", [APART, SHARED], ids=["apart", "shared prefix"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_does_not_depend_on_its_batch_mates(
    make_lm: Make, family: str, texts: list[str], temperature: float
) -> None:
    lm = make_lm(family)
    together = speak(lm, texts, temperature=temperature, top_p=0.95)
    alone = [speak(lm, [t], temperature=temperature, top_p=0.95, seeds=[100 + i])[0] for i, t in enumerate(texts)]
    assert_same(together, alone)
    assert_same(together, speak(lm, texts, temperature=temperature, top_p=0.95, batch_size=2))


def test_prefix_is_read_once(make_lm: Make) -> None:
    lm = make_lm()
    rows = [lm.encode(t) for t in SHARED]
    shared = common_prefix(rows)
    assert shared > 20
    read: list[tuple[int, ...]] = []
    hook = lm.network.base_model.register_forward_pre_hook(
        lambda _m, _a, kw: read.append(tuple(kw["input_ids"].shape)), with_kwargs=True
    )
    Batch(lm, rows, pads=True)
    hook.remove()
    assert read == [(1, shared), (5, max(map(len, rows)) - shared)]


def test_equal_prompts_are_read_once(make_lm: Make) -> None:
    lm = make_lm()
    read: list[tuple[int, ...]] = []
    hook = lm.network.base_model.register_forward_pre_hook(
        lambda _m, _a, kw: read.append(tuple(kw["input_ids"].shape)), with_kwargs=True
    )
    out = speak(lm, ["the ab"] * 4, temperature=1.5, max_new_tokens=3)
    hook.remove()
    assert read[0] == (1, len(lm.encode("the ab")))
    assert len({c.token_ids for c in out}) > 1


def test_finished_rows_leave_the_batch(make_lm: Make) -> None:
    lm = make_lm()
    out = speak(lm, APART * 4, temperature=2.5, max_new_tokens=60)
    lengths = sorted(len(c.token_ids) for c in out)
    assert lengths[0] < lengths[-1]
    steps: list[int] = []
    hook = lm.network.base_model.register_forward_pre_hook(
        lambda _m, _a, kw: steps.append(kw["input_ids"].shape[0]), with_kwargs=True
    )
    again = speak(lm, APART * 4, temperature=2.5, max_new_tokens=60)
    hook.remove()
    assert_same(out, again)
    # one row per unfinished completion and step, after the prompts were read
    assert sum(steps[1:]) == sum(n - 1 for n in lengths)


def test_seeds_decide(make_lm: Make) -> None:
    lm = make_lm()
    texts = ["the ab"] * 6
    first = speak(lm, texts, temperature=1.5, seeds=[1, 2, 3, 1, 2, 2**63 - 1])
    assert_same(first, speak(lm, texts, temperature=1.5, seeds=[1, 2, 3, 1, 2, 2**63 - 1]))
    assert first[0].token_ids == first[3].token_ids
    assert first[0].token_ids != first[1].token_ids
    # seeds that share their low 32 bits are different seeds
    low, high = speak(lm, ["the ab"] * 2, temperature=1.5, seeds=[5, 5 + 2**40])
    assert low.token_ids != high.token_ids


def test_a_longer_limit_only_continues(make_lm: Make) -> None:
    lm = make_lm()
    short, long = (speak(lm, APART, temperature=1.2, max_new_tokens=n) for n in (5, 90))
    for a, b in zip(short, long, strict=True):
        assert b.token_ids[: len(a.token_ids)] == a.token_ids


def test_logprobs_are_the_models_own(make_lm: Make) -> None:
    lm = make_lm()
    for text, out in zip(APART, speak(lm, APART, temperature=0.7, top_p=0.8), strict=True):
        ids = lm.encode(text) + list(out.token_ids)
        scores = lm.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = [float(scores[i - 1, ids[i]]) for i in range(len(lm.encode(text)), len(ids))]
        assert out.logprobs == pytest.approx(expected, abs=1e-4)


def test_end_token_is_counted_and_not_shown(make_lm: Make) -> None:
    lm = make_lm()
    out = [c for c in speak(lm, APART * 16, temperature=3.0, max_new_tokens=60, batch_size=80) if c.finish == "stop"]
    assert out
    for c in out:
        assert c.token_ids[-1] == 2
        assert 2 not in c.token_ids[:-1]
        assert "<|im_end|>" not in c.text
        assert len(c.logprobs) == len(c.token_ids)


@pytest.mark.parametrize("width", [1, 2, 5, 9])
def test_stop_strings_also_across_tokens(make_lm: Make, width: int) -> None:
    lm = make_lm()
    [free] = speak(lm, ["the ab"], temperature=1.2, max_new_tokens=60, seeds=[4])
    stop = free.text[12 : 12 + width]
    assert len(stop) == width
    [cut] = speak(lm, ["the ab"], temperature=1.2, max_new_tokens=60, seeds=[4], stop=["never said", stop])
    assert cut.text == free.text[: free.text.index(stop)]
    assert cut.finish == "stop"
    assert cut.token_ids == free.token_ids[: len(cut.token_ids)]
    assert stop in lm.decode(cut.token_ids)
    assert stop not in lm.decode(cut.token_ids[:-1])


def test_special_token_as_stop_string(make_lm: Make) -> None:
    lm = make_lm()
    out = speak(lm, APART * 16, temperature=3.0, max_new_tokens=60, batch_size=80, stop=["<repo_name>"])
    stopped = [c for c in out if c.token_ids[-1] == 3]
    assert stopped
    assert all(c.finish == "stop" and "<" not in c.text[-1:] for c in stopped)


def test_context_bounds_the_completion(make_lm: Make) -> None:
    lm = make_lm("gpt2")
    [out] = generate(lm, [[5] * 508], max_new_tokens=50, seeds=[0])
    assert (len(out.token_ids), out.finish) == (4, "length")
    with pytest.raises(ModelError, match="reads 512 at most"):
        generate(lm, [[5] * 512], max_new_tokens=1, seeds=[0])


def test_progress_counts_completions(make_lm: Make) -> None:
    told: list[tuple[int, int]] = []
    speak(make_lm(), APART, batch_size=2, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 5) for i in range(1, 6)]


def test_nothing_to_do(make_lm: Make) -> None:
    assert generate(make_lm(), [], max_new_tokens=5, seeds=[]) == []


def test_training_mode_survives_and_dropout_is_off(make_lm: Make) -> None:
    lm = make_lm("gpt2")
    expected = speak(lm, APART)
    lm.model.train()
    assert_same(speak(lm, APART), expected)
    assert lm.model.training


@pytest.mark.parametrize(
    "wrong",
    [
        {"seeds": [1]},
        {"seeds": [0, 1, 2, 3, -4]},
        {"max_new_tokens": 0},
        {"batch_size": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"stop": "abc"},
        {"stop": [""]},
        {"stop": ["}"], "schema": {"type": "object"}},
    ],
)
def test_wrong_arguments(make_lm: Make, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        speak(make_lm(), APART, **wrong)
    assert caught.value.code == "model.generate-arguments"


def test_empty_prompt(make_lm: Make) -> None:
    with pytest.raises(UsageError, match="prompt 1 is empty"):
        generate(make_lm(), [[1], []], max_new_tokens=1, seeds=[0, 0])


def test_padding_is_refused_where_it_would_count(make_lm: Make) -> None:
    assert [can_pad(make_lm(f)) for f in FAMILIES] == [True, True, False]


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=5))
def test_common_prefix(rows: list[list[int]]) -> None:
    n = common_prefix(rows)
    assert len({tuple(r[:n]) for r in rows}) == 1
    assert min(map(len, rows)) == n or len({r[n] for r in rows}) > 1


@pytest.mark.model
def test_default_model_equals_transformers_and_itself_in_batches() -> None:
    from plait.models import load

    lm = load("smollm2-135m")
    questions = ["What is the capital of France?", "hi", "List three fruits, numbered.", "Explain rain to a child."]
    prompts = [lm.encode(lm.render([{"role": "user", "content": q}])) for q in questions]
    greedy = generate(lm, prompts, max_new_tokens=24, seeds=[0] * 4)
    assert greedy[0].text == "The capital of France is Paris."
    for prompt, ours in zip(prompts, greedy, strict=True):
        ids = torch.tensor([prompt])
        theirs = lm.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        assert list(ours.token_ids) == theirs[0, len(prompt) :].tolist()
    settings = {"max_new_tokens": 24, "temperature": 0.8, "top_p": 0.9}
    together = generate(lm, prompts, seeds=[7, 8, 9, 10], **settings)
    alone = [generate(lm, [p], seeds=[7 + i], **settings)[0] for i, p in enumerate(prompts)]
    assert_same(together, alone)
