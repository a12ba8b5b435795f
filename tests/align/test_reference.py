"""The reference cache: found by content, whatever the order, name or wrapper; torn lines are computed again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from align.tiny_models import lora, random_pairs, tiny_model
from plait.align.pairs import TokenPair
from plait.align.reference import ReferenceCache, reference_logprobs, weights_fingerprint
from plait.align.shared_prefix import lay_out, pair_logprobs


def computed(model: Any, pairs: list[TokenPair], cache: ReferenceCache) -> tuple[list[Any], int]:
    calls: list[int] = []
    values = reference_logprobs(model, pairs, cache=cache, on_progress=lambda done, _total: calls.append(done))
    return values, len(calls)


def test_values_are_those_of_the_model() -> None:
    model, pairs = tiny_model(), random_pairs(4)
    values = torch.tensor(reference_logprobs(model, pairs, cache=ReferenceCache()))
    with torch.no_grad():
        expected = torch.stack(pair_logprobs(model, lay_out(pairs)), dim=1)
    torch.testing.assert_close(values, expected, atol=1e-4, rtol=0)


def test_known_rows_are_not_computed_again_in_any_order(tmp_path: Path) -> None:
    model, pairs = tiny_model(), random_pairs(6)
    path = tmp_path / "deep" / "cache.jsonl"
    first, calls = computed(model, pairs, ReferenceCache(path))
    assert calls == 6
    again, calls = computed(model, [*reversed(pairs), *random_pairs(1, seed=9)], ReferenceCache(path))
    assert calls == 1
    assert again[:6] == first[::-1]  # to the bit, through JSON


def test_values_do_not_depend_on_what_was_cached_before(tmp_path: Path) -> None:
    model, pairs = tiny_model(), random_pairs(6)
    cold = reference_logprobs(model, pairs, cache=ReferenceCache())
    warm = ReferenceCache(tmp_path / "c.jsonl")
    reference_logprobs(model, pairs[3:5], cache=warm)
    assert reference_logprobs(model, pairs, cache=warm) == cold


def test_another_row_or_other_weights_miss(tmp_path: Path) -> None:
    pair = TokenPair("a", (3, 4), (5,), (6,))
    cache = ReferenceCache(tmp_path / "c.jsonl")
    assert computed(tiny_model(), [pair], cache)[1] == 1
    assert computed(tiny_model(), [TokenPair("other name", (3, 4), (5,), (6,))], cache)[1] == 0
    assert computed(tiny_model(), [TokenPair("a", (3,), (4, 5), (6,))], cache)[1] == 1
    assert computed(tiny_model(seed=1), [pair], cache)[1] == 1


def test_the_adapter_is_no_part_of_the_reference() -> None:
    model, pairs = tiny_model(), random_pairs(3)
    plain = reference_logprobs(model, pairs, cache=ReferenceCache())
    key = weights_fingerprint(model)
    adapted = lora(model, scale=0.5)
    with torch.no_grad():
        moved, _ = pair_logprobs(adapted, lay_out(pairs))
    assert abs(float(moved[0]) - plain[0][0]) > 1e-3
    assert weights_fingerprint(adapted) == key
    assert reference_logprobs(adapted, pairs, cache=ReferenceCache()) == plain
    with torch.no_grad():
        after, _ = pair_logprobs(adapted, lay_out(pairs))
    assert torch.equal(moved, after)  # the adapter is on again


def test_dropout_is_off_and_the_mode_comes_back() -> None:
    model, pairs = tiny_model("gpt2"), random_pairs(3)
    calm = reference_logprobs(model, pairs, cache=ReferenceCache())
    model.train()  # GPT-2 drops 10 %
    assert reference_logprobs(model, pairs, cache=ReferenceCache()) == calm
    assert model.training


def test_torn_line_is_computed_again_and_later_lines_survive(tmp_path: Path) -> None:
    model, pairs, path = tiny_model(), random_pairs(3), tmp_path / "c.jsonl"
    whole = reference_logprobs(model, pairs, cache=ReferenceCache(path))
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    values, calls = computed(model, pairs, ReferenceCache(path))
    assert (values, calls) == (whole, 1)
    assert computed(model, pairs, ReferenceCache(path)) == (whole, 0)


@pytest.mark.parametrize("change", ["rope_theta", "weight"])
def test_fingerprint_sees_configuration_and_weights(change: str) -> None:
    model = tiny_model()
    before = weights_fingerprint(model)
    assert weights_fingerprint(tiny_model()) == before
    if change == "weight":
        with torch.no_grad():
            model.lm_head.weight[0, 0] += 1e-3
    else:
        model.config.rope_parameters = {"rope_type": "default", "rope_theta": 5.0}
    assert weights_fingerprint(model) != before
