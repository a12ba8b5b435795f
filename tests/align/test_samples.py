"""KL on samples: by hand, against the exact KL of a tiny model, and 0 where nothing changed."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from align.tiny_models import save_tiny_language_model
from plait.align.samples import estimate_kl, sample_both
from plait.core.seeds import Seeds
from plait.errors import UsageError
from plait.models import LoRA, attach_lora, load

SEEDS = Seeds(5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_language_model(tmp_path_factory.mktemp("model"))


def test_estimates_by_hand() -> None:
    ratios = [np.array([np.log(2.0)]), np.array([0.0, -np.log(2.0)])]
    kl = estimate_kl(ratios, seeds=SEEDS)
    assert kl.sequence.value == pytest.approx(0.0)
    # r = π_ref/π is ½ and then 1, 2: r - 1 - log r is 0.193, 0, 0.307
    first, third = 0.5 - 1 + np.log(2), 2 - 1 - np.log(2)
    assert kl.sequence_k3.value == pytest.approx((first + third) / 2)
    assert kl.token.value == pytest.approx((first + third) / 3)
    assert kl.token.low <= kl.token.value <= kl.token.high


def test_both_estimators_find_the_exact_divergence() -> None:
    """Two-token sequences over four symbols, all 16 of them counted: E[k1] = E[k3] = KL."""
    draw = np.random.default_rng(0)
    policy, reference = (draw.dirichlet([2.0] * 4, size=5) for _ in range(2))  # row 0 first, rows 1-4 by first symbol
    exact = k1 = k3 = 0.0
    for a, b in itertools.product(range(4), repeat=2):
        chance = policy[0, a] * policy[1 + a, b]
        ratio = np.log([policy[0, a] / reference[0, a], policy[1 + a, b] / reference[1 + a, b]])
        kl = estimate_kl([ratio], seeds=SEEDS)
        exact += chance * ratio.sum()
        k1, k3 = k1 + chance * kl.sequence.value, k3 + chance * kl.sequence_k3.value
    assert k1 == pytest.approx(exact)
    assert k3 == pytest.approx(exact)


def test_an_unchanged_policy_has_no_divergence(folder: Path) -> None:
    lm = attach_lora(load(str(folder)), LoRA(), seed=1)
    seen: list[tuple[int, int]] = []
    samples = sample_both(lm, [[65, 66], [67]], max_new_tokens=6, seeds=SEEDS, on_progress=lambda *at: seen.append(at))
    kl = samples.kl(SEEDS)
    assert (kl.sequence.value, kl.sequence_k3.value, kl.token.value) == (0.0, 0.0, 0.0)
    assert samples.length_ratio(SEEDS).value == 1.0
    assert [one.token_ids for one in samples.policy] == [one.token_ids for one in samples.reference]
    assert seen[-1] == (4, 4)


def moved(folder: Path) -> object:
    lm = attach_lora(load(str(folder)), LoRA(rank=4), seed=1)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in lm.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(torch.randn_like(parameter))
    return lm


def test_a_moved_policy_has_some_and_batches_do_not_matter(folder: Path) -> None:
    lm = moved(folder)
    prompts = [[65 + n, 66] for n in range(9)]
    one, three = (sample_both(lm, prompts, max_new_tokens=8, seeds=SEEDS, batch_size=size) for size in (1, 3))
    assert one.kl(SEEDS).sequence_k3.low > 0
    assert [a.token_ids for a in one.policy] == [a.token_ids for a in three.policy]
    for a, b in zip(one.log_ratios, three.log_ratios, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert one.cut == (1.0, 1.0)


def test_a_reference_of_its_own_equals_the_adapter_taken_off(folder: Path) -> None:
    lm = moved(folder)
    inside = sample_both(lm, [[65, 66], [67]], max_new_tokens=5, seeds=SEEDS)
    outside = sample_both(lm, [[65, 66], [67]], max_new_tokens=5, seeds=SEEDS, reference=load(str(folder)))
    assert [a.token_ids for a in inside.reference] == [a.token_ids for a in outside.reference]
    for a, b in zip(inside.log_ratios, outside.log_ratios, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_no_prompts(folder: Path) -> None:
    with pytest.raises(UsageError, match="no prompts"):
        sample_both(load(str(folder)), [], max_new_tokens=4, seeds=SEEDS)
