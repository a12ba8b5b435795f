from __future__ import annotations

import math

import pytest
import torch

from plait.align.losses import PairBatch
from plait.align.noise.bench import METHODS, WrongSign, method_run, paired, run_experiment, table
from plait.align.noise.toy import ToyPairs, ToySettings, draw_pairs, train_together
from plait.align.noise.toy_model import ToySize, fresh_weights, logits, response_logprobs, sample, stack
from plait.align.noise.toy_world import World, gumbel
from plait.align.presets import DrDPO
from plait.align.reduction import Context
from plait.core.seeds import Seeds
from plait.errors import UsageError

SIZE = ToySize(vocabulary=12, prompt=3, response=4, width=16, inner=32)
SETTINGS = ToySettings(pairs=64, heldout=32, prompts=32, epochs=2, measured=(1, 2), batch_size=16)


def world(seed: int = 0) -> World:
    """A language whose reference model was not trained: what is tested here does not need it."""
    generator = torch.Generator().manual_seed(seed)
    seeds, square = Seeds(seed), (SIZE.vocabulary, SIZE.vocabulary)
    rules = [torch.randn(square, generator=generator) for _ in range(3)]
    return World(
        SIZE, seeds, rules[0].log_softmax(1), rules[1], rules[2], fresh_weights(SIZE, seeds=seeds.child("weights"))
    )


@pytest.fixture(scope="module")
def pairs() -> ToyPairs:
    return draw_pairs(world(), SETTINGS)


def test_trained_together_each_ends_as_if_alone(pairs: ToyPairs) -> None:
    other = draw_pairs(world(1), SETTINGS)
    chosen = [
        ("DPO", pairs, 0.0),
        ("Dr. DPO β'=1", other, 0.4),
        ("β-DPO raw scale", pairs, 0.4),
        ("IPO τ=0.1", other, 0.2),
    ]

    def runs() -> list:
        return [method_run(p, METHODS[name], rate, p.world.seeds) for name, p, rate in chosen]

    together = train_together(runs(), SETTINGS)
    for one, result in zip(runs(), together, strict=True):
        alone = train_together([one], SETTINGS)[0]
        start = one.pairs.world.reference
        for name, weight in alone.weights.items():
            moved = (weight - start[name]).abs().max()
            assert moved > 1e-3
            assert (weight - result.weights[name]).abs().max() < 1e-3 * moved
        assert torch.equal(alone.kept, result.kept)
        assert alone.final.accuracy == pytest.approx(result.final.accuracy, abs=1 / 32)
        assert alone.final.kl == pytest.approx(result.final.kl, rel=1e-3, abs=1e-4)


def test_one_step_is_the_gradient_of_the_objective(pairs: ToyPairs) -> None:
    """The stacked step against autograd through model and objective at once."""
    run = method_run(pairs, METHODS["Dr. DPO β'=1"], 0.3, Seeds(0))
    settings = SETTINGS.model_copy(update={"epochs": 1, "batch_size": 64})
    result = train_together([run], settings)[0]
    weights = {name: value.clone().requires_grad_() for name, value in pairs.world.reference.items()}
    told = [
        torch.where(run.flipped[:, None], b, a)[None]
        for a, b in ((pairs.better, pairs.worse), (pairs.worse, pairs.better))
    ]
    logps = [response_logprobs(weights, side, SIZE)[0] for side in told]
    reference = [value.detach() for value in logps]
    length = torch.full((64,), 4.0)
    DrDPO().build(seeds=Seeds(0))(PairBatch(*logps, *reference, length, length)).loss.backward()
    for name, weight in weights.items():
        assert weight.grad is not None
        moved = result.weights[name] - pairs.world.reference[name]
        large = weight.grad.abs() > 1e-3 * weight.grad.abs().max()
        large &= weight.grad.abs() > 1e-6
        # The first step of Adam is the learning rate times the sign.
        torch.testing.assert_close(
            moved[large], -settings.learning_rate * weight.grad[large].sign(), rtol=2e-2, atol=1e-5
        )


def test_no_model_sees_another() -> None:
    one, two = (fresh_weights(SIZE, seeds=Seeds(n)) for n in range(2))
    tokens = torch.randint(12, (2, 5, 7), generator=torch.Generator().manual_seed(0))
    both = logits(stack([one, two]), tokens, SIZE)
    torch.testing.assert_close(both[0:1], logits(one, tokens[0:1], SIZE), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both[1:2], logits(two, tokens[1:2], SIZE), atol=1e-5, rtol=1e-5)


def test_log_probabilities_are_those_of_the_samples() -> None:
    size = ToySize(vocabulary=4, prompt=1, response=2, width=8, heads=1, inner=8)
    weights = fresh_weights(size, seeds=Seeds(0))
    every = torch.tensor([[[0, a, b] for a in range(4) for b in range(4)]])
    expected = response_logprobs(weights, every, size)[0].exp()
    assert float(expected.sum()) == pytest.approx(1.0, abs=1e-5)
    prompts = torch.zeros(1, 20_000, 1, dtype=torch.long)
    noise = gumbel((1, 20_000, 2, 4), torch.Generator().manual_seed(0))
    drawn = sample(weights, prompts, noise, size)[0]
    counts = torch.bincount(drawn[:, 1] * 4 + drawn[:, 2], minlength=16) / 20_000
    assert float((counts - expected).abs().max()) < 4 * math.sqrt(0.25 / 20_000)


def test_the_reward_by_hand() -> None:
    w = world()
    tokens = torch.tensor([1, 2, 3, 4, 5, 6, 7])
    liked = sum(float(w.affinity[a, b]) for a in (1, 2, 3) for b in (4, 5, 6, 7)) / 12
    joined = sum(float(w.bigrams[a, a + 1]) for a in (3, 4, 5, 6)) / 4
    assert float(w.reward(tokens)) == pytest.approx(liked + joined, abs=1e-5)


def test_pairs_are_labelled_by_the_reward(pairs: ToyPairs) -> None:
    assert bool((pairs.margins() > 0).all())
    assert torch.equal(pairs.better[:, :3], pairs.worse[:, :3])
    assert len(pairs.better) == 64


def test_flips_are_nested_and_equal_for_all_methods(pairs: ToyPairs) -> None:
    few, many = (method_run(pairs, METHODS["DPO"], rate, Seeds(0)).flipped for rate in (0.1, 0.4))
    assert bool((many | ~few).all())
    assert torch.equal(many, method_run(pairs, METHODS["IPO τ=0.1"], 0.4, Seeds(0)).flipped)


def test_wrong_sign_is_the_opposite_of_dr_dpo() -> None:
    losses, weight = torch.tensor([0.0, math.log(3.0)]), torch.ones(2)
    loss, share = WrongSign().reduce(losses, weight, Context())
    assert float(loss) == pytest.approx(math.log((1 + 3) / 2))
    torch.testing.assert_close(share, torch.tensor([0.25, 0.75]))


def test_paired_interval_covers_as_often_as_it_says() -> None:
    draw = torch.Generator().manual_seed(0)
    inside = 0
    for n in range(200):
        lead = (0.3 + torch.randn(8, generator=draw)).tolist()
        found = paired(lead, [0.0] * 8, seeds=Seeds(n))
        inside += found.low <= 0.3 <= found.high
    assert inside >= 180
    assert paired([1.0], [0.5], seeds=Seeds(0)).low == -math.inf
    assert paired([1.0, 1.0], [0.5, 0.5], seeds=Seeds(0)).low == -math.inf


def test_the_experiment_fills_its_table() -> None:
    methods = {name: METHODS[name] for name in ("DPO", "rDPO true ε")}
    told: list[int] = []
    cells = run_experiment(
        seeds=2,
        rates=[0.0, 0.3],
        methods=methods,
        settings=SETTINGS,
        size=SIZE,
        root=Seeds(0),
        on_progress=lambda _what, done, total: told.append(total and done),
    )
    assert [(c.method, c.rate, len(c.values("accuracy"))) for c in cells] == [
        (m, r, 2) for r in (0.0, 0.3) for m in methods
    ]
    # Without flips rdpo of rate 0 is DPO.
    assert cells[0].values("kl") == pytest.approx(cells[1].values("kl"), rel=1e-4)
    assert told[-1] == 2 * 2 * 2 * 4
    columns, rows = table(cells, seeds=Seeds(0))
    assert all(len(row) == len(columns) for row in rows)


def test_a_shared_objective_is_refused(pairs: ToyPairs) -> None:
    run = method_run(pairs, METHODS["DPO"], 0.0, Seeds(0))
    with pytest.raises(UsageError, match="share an objective"):
        train_together([run, run], SETTINGS)
