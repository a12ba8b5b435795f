"""The adapter learner on a tiny model: equal to plain peft and torch, stateless, and the same on every transport."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.federate.tiny_language_model import TOPICS, save_tiny_model

from plait.core.seeds import Seeds
from plait.engines import LocalEngine
from plait.errors import DataError, ModelError, StrandError, UsageError
from plait.federate.algorithms.fedavg import FedAvg
from plait.federate.batches import batch_of
from plait.federate.learners.lora import AdapterLearner, AdapterTraining, LoRALearner, read_tokens, write_tokens
from plait.federate.payload import Payload
from plait.federate.rounds import run_rounds
from plait.federate.shards import shard
from plait.federate.transports.engine import EngineTransport
from plait.federate.transports.inprocess import InProcess
from plait.models import load
from plait.models.adapters import LoRA, adapter_vector, attach_lora

WORK = {"client": "baking", "first_step": 0, "steps": 3, "proximal": 0.0, "seed": 5}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LoRALearner:
    folder = tmp_path_factory.mktemp("lora")
    rng = np.random.default_rng(1)
    train, heldout = {}, {}
    for topic, words in TOPICS.items():
        texts = [" ".join(rng.choice(words.split(), size=12)) for _ in range(20)]
        train[topic], heldout[topic] = shard(
            texts, encode=lambda t: list(t.encode()), separator=0, length=24, heldout_blocks=4, seeds=Seeds(1)
        )
    write_tokens(folder / "tokens.npz", train=train, heldout=heldout)
    return LoRALearner(
        tokens=folder / "tokens.npz",
        model=str(save_tiny_model(folder / "model")),
        lora=LoRA(rank=2, alpha=4),
        training=AdapterTraining(learning_rate=2e-2, batch_size=4, seed=3, threads=1),
    )


@pytest.fixture
def learner(settings: LoRALearner) -> AdapterLearner:
    return settings.open()


def reference(settings: LoRALearner, *, optimizer: str, steps: int, clip: float, proximal: float) -> np.ndarray:
    """The same steps written out with peft's own parameters, one optimiser entry each."""
    import torch

    torch.set_num_threads(1)
    lm = attach_lora(load(settings.model), settings.lora, seed=settings.lora_seed)
    trained = [p for _, p in sorted(lm.model.named_parameters()) if p.requires_grad]
    start = [p.detach().clone() for p in trained]
    rate = settings.training.learning_rate
    made = (
        torch.optim.SGD(trained, lr=rate) if optimizer == "sgd" else torch.optim.AdamW(trained, lr=rate, weight_decay=0)
    )
    blocks = read_tokens(settings.tokens)["baking"][0]
    lm.model.train()
    for step in range(steps):
        rows = batch_of(len(blocks), size=4, step=step, seeds=Seeds(settings.training.seed).child("batches", "baking"))
        ids = torch.from_numpy(blocks[rows].astype(np.int64))
        made.zero_grad()
        loss = lm.model(input_ids=ids, labels=ids).loss
        loss = loss + proximal / 2 * sum(((p - s) ** 2).sum() for p, s in zip(trained, start, strict=True))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, clip)
        made.step()
    return adapter_vector(lm)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(("clip", "proximal"), [(1.0, 0.0), (0.01, 0.0), (1.0, 0.5)])
def test_training_equals_peft_and_torch_written_out(settings, optimizer, clip, proximal):
    training = settings.training.model_copy(update={"optimizer": optimizer, "clip_norm": clip})
    learner = settings.model_copy(update={"training": training}).open()
    vector, _ = learner.train(learner.start(), **(WORK | {"proximal": proximal}))
    expected = reference(settings, optimizer=optimizer, steps=3, clip=clip, proximal=proximal)
    assert np.abs(vector - learner.start()).max() > 1e-6
    np.testing.assert_allclose(vector, expected, atol=2e-6)


def test_losses_and_evaluation_equal_the_models_own(settings, learner):
    import torch

    lm = attach_lora(load(settings.model), settings.lora, seed=settings.lora_seed)
    blocks = read_tokens(settings.tokens)["chess"][1]
    ids = torch.from_numpy(blocks.astype(np.int64))
    with torch.no_grad():
        expected = float(lm.model(input_ids=ids, labels=ids).loss)
    assert learner.evaluate(learner.start(), client="chess") == pytest.approx(expected, abs=1e-5)


def test_a_call_leaves_nothing_behind(learner):
    first, losses = learner.train(learner.start(), **WORK)
    learner.train(learner.start() + 1, **(WORK | {"client": "chess"}))
    learner.evaluate(first, client="astronomy")
    again, losses_again = learner.train(learner.start(), **WORK)
    assert first.tobytes() == again.tobytes()
    assert losses == losses_again
    assert losses[-1] < losses[0]


def test_two_calls_go_on_where_one_would_with_plain_sgd(settings):
    training = settings.training.model_copy(update={"optimizer": "sgd"})
    learner = settings.model_copy(update={"training": training}).open()
    whole, _ = learner.train(learner.start(), **(WORK | {"steps": 4}))
    half, _ = learner.train(learner.start(), **(WORK | {"steps": 2}))
    rest, _ = learner.train(half, **(WORK | {"first_step": 2, "steps": 2}))
    assert rest.tobytes() == whole.tobytes()


def test_dropout_is_drawn_from_the_seed_alone(settings):
    import torch

    learner = settings.model_copy(update={"lora": LoRA(rank=2, dropout=0.5)}).open()
    one, _ = learner.train(learner.start(), **WORK)
    torch.manual_seed(99)
    assert learner.train(learner.start(), **WORK)[0].tobytes() == one.tobytes()
    assert learner.train(learner.start(), **(WORK | {"seed": 6}))[0].tobytes() != one.tobytes()


def test_the_shared_model_carries_the_vector_it_was_given(settings, learner):
    vector = np.arange(learner.start().size, dtype=np.float32)
    learner.load(vector)
    assert np.array_equal(adapter_vector(learner._lm), vector)
    assert sum(int(np.prod(shape)) for _, shape in learner.layout()) == vector.size
    names = [name for name, _ in learner.layout()]
    assert names == sorted(names)
    assert names[0] == "model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.slow  # two processes that import torch
def test_processes_give_the_digest_of_straight_calls(settings, learner):
    algorithm = FedAvg(steps=2)

    def digest(transport):
        return run_rounds(
            algorithm,
            transport,
            start=Payload.of_vector(learner.start(), layout=learner.layout()),
            clients=learner.examples(),
            rounds=2,
            seeds=Seeds(7),
        ).digest()

    straight = digest(InProcess(algorithm, learner))
    with LocalEngine(workers=2) as engine, EngineTransport(engine, algorithm, settings) as transport:
        assert digest(transport) == straight


def test_nan_names_round_client_step_and_blocks(settings, learner):
    algorithm = FedAvg(steps=1)
    start = np.full_like(learner.start(), np.nan)
    with pytest.raises(ModelError, match=r"round 0: client astronomy, step 0, blocks \[\d+, \d+, \d+, \d+\]: loss nan"):
        run_rounds(
            algorithm,
            InProcess(algorithm, learner),
            start=Payload.of_vector(start, layout=learner.layout()),
            clients=learner.examples(),
            rounds=1,
            seeds=Seeds(7),
        )


def test_wrong_use_is_named(settings, learner, tmp_path: Path):
    with pytest.raises(UsageError, match='no client "golf"'):
        learner.evaluate(learner.start(), client="golf")
    with pytest.raises(DataError, match="no file"):
        read_tokens(tmp_path / "none.npz")
    with pytest.raises(StrandError, match="no adapter"):
        AdapterLearner(settings.training, load(settings.model), tokens={})


def test_shards_keep_texts_whole_and_apart():
    texts = [chr(97 + i) * 5 for i in range(20)]
    train, heldout = shard(
        texts, encode=lambda t: list(t.encode()), separator=0, length=6, heldout_blocks=3, seeds=Seeds(0)
    )
    assert (train.shape, heldout.shape) == ((17, 6), (3, 6))
    assert not set(train.ravel()) & set(heldout.ravel()) - {0}
    assert len(set(train.ravel())) == 17 + 1
    few = shard(texts[:2], encode=lambda t: list(t.encode()), separator=0, length=6, heldout_blocks=3, seeds=Seeds(0))
    assert (len(few[0]), len(few[1])) == (0, 2)
