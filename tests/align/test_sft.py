"""Supervised fine-tuning: what is learnt, packing equal to one by one, steps exact however they are split."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from align.tiny_models import VOCABULARY, byte_tokenizer, lora, save_tiny_language_model, tiny_model
from plait.align.arguments import training_arguments
from plait.align.reference import ReferenceCache
from plait.align.sft.evaluate import TextScores, change_interval, loss_interval, score_texts
from plait.align.sft.formats import read_text
from plait.align.sft.packing import best_fit, pack, token_losses
from plait.align.sft.texts import TextLimits, TokenText, tokenise_texts
from plait.align.sft.trainer import TextTrainer
from plait.align.sft.training import train_texts
from plait.align.training import train_pairs
from plait.core.seeds import Seeds
from plait.errors import DataError, ModelError, RunError, UsageError
from plait.models import LoRA, load

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def random_texts(count: int, *, seed: int = 0, longest: int = 14) -> list[TokenText]:
    """Random tokens, of which a random half is learnt."""
    draw = random.Random(seed)
    texts: list[TokenText] = []
    for n in range(count):
        length = draw.randint(2, longest)
        learn = [False, *(draw.random() < 0.5 for _ in range(length - 1))]
        learn[draw.randrange(1, length)] = True
        tokens = tuple(draw.randrange(3, VOCABULARY) for _ in range(length))
        texts.append(TokenText(f"text-{n}", tokens, tuple(learn)))
    return texts


TEXTS = random_texts(14, seed=3)
SEEDS = Seeds(5)


# --- records to tokens --------------------------------------------------------------------------------------------


def learnt(record: dict[str, Any], template: str | None = None, **limits: Any) -> list[tuple[str, str]]:
    """Each text of a record, and what of it is learnt."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    made = tokenise_texts([record], tokenizer=tokenizer, limits=TextLimits(**limits))
    assert not made.problems, made.problems
    return [
        (
            tokenizer.decode(list(text.tokens)),
            tokenizer.decode([t for t, learn in zip(text.tokens, text.learn, strict=True) if learn]),
        )
        for text in made.texts
    ]


def test_of_a_plain_text_all_but_the_first_token_is_learnt() -> None:
    assert learnt({"text": "hello"}) == [("hello</s>", "ello</s>")]
    assert learnt({"text": "hello</s>"}) == [("hello</s>", "ello</s>")]
    assert learnt({"text": "hello"}, append_eos=False) == [("hello", "ello")]


def test_of_a_prompt_only_the_completion_is_learnt() -> None:
    record = {"prompt": "two and two: ", "completion": "four"}
    assert learnt(record) == [("two and two: four</s>", "four</s>")]
    assert learnt(record, learn="everything") == [("two and two: four</s>", "wo and two: four</s>")]
    # a and b merge over the boundary: the token that holds both is learnt
    assert learnt({"prompt": "xa", "completion": "bc"}) == [("xabc</s>", "abc</s>")]


def test_of_a_conversation_every_assistant_turn_is_learnt() -> None:
    said = [("system", "be kind"), ("user", "hi"), ("assistant", "hello"), ("user", "bye"), ("assistant", "ciao")]
    messages = [{"role": role, "content": content} for role, content in said]
    whole = "<system>be kind</s><user>hi</s><assistant>hello</s><user>bye</s><assistant>ciao</s>"
    assert learnt({"messages": messages}, TEMPLATE) == [(whole, "hello</s>ciao</s>")]
    # the same as a prompt with a completion: only what the completion says is learnt
    assert learnt({"prompt": messages[:4], "completion": messages[4:]}, TEMPLATE) == [(whole, "ciao</s>")]
    # what the user says last is of no use
    assert learnt({"messages": messages[:4]}, TEMPLATE) == [
        ("<system>be kind</s><user>hi</s><assistant>hello</s>", "hello</s>")
    ]


def test_a_template_that_rewrites_earlier_turns_gives_a_text_per_turn() -> None:
    """As templates of thinking models do: only the last turn of the assistant keeps its thoughts."""
    forgetful = (
        "{% for m in messages %}<{{ m['role'] }}>"
        "{% if loop.last and m['role'] == 'assistant' %}*{% endif %}{{ m['content'] }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    said = [("user", "hi"), ("assistant", "hello"), ("user", "bye"), ("assistant", "ciao")]
    messages = [{"role": role, "content": content} for role, content in said]
    assert learnt({"messages": messages}, forgetful) == [
        ("<user>hi</s><assistant>*hello</s>", "*hello</s>"),
        ("<user>hi</s><assistant>hello</s><user>bye</s><assistant>*ciao</s>", "*ciao</s>"),
    ]


def test_the_chosen_text_of_a_preference_pair_is_learnt() -> None:
    assert learnt({"prompt": "q: ", "chosen": "yes", "rejected": "no"}) == [("q: yes</s>", "yes</s>")]
    assert learnt({"chosen": "q: yes", "rejected": "q: no"}) == [("q: yes</s>", " yes</s>")]


def test_long_texts() -> None:
    assert learnt({"text": "abcdefg"}, max_length=4, append_eos=False) == [("abcde", "cde")]  # ab is one token
    record = {"prompt": "what? ", "completion": "yes of course"}
    assert learnt(record, max_length=9, long="split") == [("what? yes", "yes")]
    tokenizer = byte_tokenizer()
    made = tokenise_texts([record] * 2, tokenizer=tokenizer, limits=TextLimits(max_length=9))
    assert (made.cut, made.split) == (2, 0)
    set_aside = tokenise_texts([record], tokenizer=tokenizer, limits=TextLimits(max_length=9, long="set_aside"))
    assert set_aside.reasons == {"longer than max_length": 1}
    filled = tokenise_texts([record], tokenizer=tokenizer, limits=TextLimits(max_length=6))
    assert filled.reasons == {"prompt fills max_length": 1}


@given(st.integers(1, 60), st.integers(2, 20))
def test_split_texts_learn_every_token_once(length: int, room: int) -> None:
    text = "".join(chr(ord("a") + 2 + n % 20) for n in range(length))
    limits = TextLimits(max_length=room, long="split")
    made = tokenise_texts([{"text": text}], tokenizer=byte_tokenizer(), limits=limits)
    said = [t for piece in made.texts for t, learn in zip(piece.tokens, piece.learn, strict=True) if learn]
    whole = tokenise_texts([{"text": text}], tokenizer=byte_tokenizer()).texts[0].tokens
    assert tuple(said) == whole[1:]
    assert all(len(piece.tokens) <= room for piece in made.texts)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "a", "completion": ""}, "nothing to learn"),
        ({"text": None, "id": "x"}, "missing text"),
        ({"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]}, "prompt and completion are not of"),
        ({"messages": [{"role": "user", "content": "b"}]}, "nothing to learn"),
        ({"messages": [{"role": "assistant", "content": "b"}]}, "the assistant speaks first"),
        ({"messages": []}, "nothing to learn"),
        ({"text": "a", "weight": -1}, "weight is not a positive number"),
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "chosen and rejected are the same text"),
    ],
)
def test_records_that_cannot_be_learnt(record: dict[str, Any], reason: str) -> None:
    found = read_text(record)
    assert isinstance(found, str)
    assert found.startswith(reason)


def test_inputs_of_another_kind() -> None:
    with pytest.raises(DataError, match="no record has text, completion, messages or chosen; columns: question"):
        tokenise_texts([{"question": "a"}], tokenizer=byte_tokenizer())
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(ModelError, match="no chat template"):
        tokenise_texts([{"messages": said}], tokenizer=byte_tokenizer())


# --- packing ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_best_fit_loses_nothing_and_wastes_little(lengths: list[int]) -> None:
    room = max(lengths)
    rows = best_fit(lengths, room=room)
    assert sorted(n for row in rows for n in row) == list(range(len(lengths)))
    used = [sum(lengths[n] for n in row) for row in rows]
    assert all(size <= room for size in used)
    fewest = -(-sum(lengths) // room)
    assert len(rows) <= 2 * fewest  # no two rows would fit into one
    assert all(a + b > room for i, a in enumerate(used) for b in used[i + 1 :])


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma", "gpt2"])
def test_packed_losses_and_gradients_are_those_of_one_by_one(family: str) -> None:
    model = tiny_model(family)
    packed = pack(TEXTS)
    assert packed.input_ids.shape[0] < len(TEXTS)
    losses = token_losses(model, packed)
    losses.sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    for n, text in enumerate(TEXTS):
        logits = model(input_ids=torch.tensor([text.tokens])).logits[0, :-1]
        each = torch.nn.functional.cross_entropy(logits, torch.tensor(text.tokens[1:]), reduction="none")
        each = each[torch.tensor(text.learn[1:])]
        torch.testing.assert_close(losses[packed.owners == n], each, atol=2e-5, rtol=1e-5)
        each.sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=2e-4, rtol=1e-4)


def test_texts_do_not_see_each_other() -> None:
    model = tiny_model()
    first, second = TokenText("a", (5, 6, 7, 8, 9), (False,) * 4 + (True,)), TokenText("b", (3, 4), (False, True))
    third = TokenText("c", (90, 91), (False, True))
    with torch.no_grad():
        one, other = (token_losses(model, pack([first, text, text])) for text in (second, third))
    assert one[0] == pytest.approx(float(other[0]), abs=1e-6)
    assert abs(float(one[1] - other[1])) > 0.1


def test_a_row_for_each_text_gives_the_same() -> None:
    model = tiny_model()
    with torch.no_grad():
        a, b = pack(TEXTS), pack(TEXTS, packed=False)
        by_text = [torch.zeros(len(TEXTS)).index_add(0, batch.owners, token_losses(model, batch)) for batch in (a, b)]
    torch.testing.assert_close(by_text[0], by_text[1], atol=1e-4, rtol=1e-5)


# --- training -----------------------------------------------------------------------------------------------------


def trainer(folder: Path, *, model: Any = None, texts: list[TokenText] | None = None, **settings: Any) -> TextTrainer:
    extra = {name: settings.pop(name) for name in ("heldout", "on_step", "packed") if name in settings}
    asked = {"steps": 5, "batch_size": 8, "learning_rate": 3e-3} | settings
    return TextTrainer(
        lora(tiny_model()) if model is None else model,
        training_arguments(folder, **asked),
        texts=TEXTS if texts is None else texts,
        seeds=SEEDS,
        **extra,
    )


def weights(made: TextTrainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in made.network.named_parameters() if p.requires_grad}


def test_equals_a_loop_written_by_hand(tmp_path: Path) -> None:
    """AdamW, linear decay to 0, clipping at 1, the mean over a step's learnt tokens."""
    model = lora(tiny_model())
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.0)
    found = trainer(tmp_path)
    expected = []
    for step, rows in enumerate(found.batches.steps_in_order()):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 5)
        labels = [[t if x else -100 for t, x in zip(TEXTS[r].tokens, TEXTS[r].learn, strict=True)] for r in rows]
        summed = sum(
            torch.nn.functional.cross_entropy(
                model(input_ids=torch.tensor([TEXTS[r].tokens])).logits[0, :-1],
                torch.tensor(label[1:]),
                ignore_index=-100,
                reduction="sum",
            )
            for r, label in zip(rows, labels, strict=True)
        )
        loss = summed / sum(TEXTS[r].learnt for r in rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        expected.append(float(loss.detach()))
    curve = found.run()
    assert [entry["loss"] for entry in curve] == pytest.approx(expected, abs=1e-5)
    by_hand = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    for name, value in weights(found).items():
        torch.testing.assert_close(value, by_hand[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("full", [False, True])
def test_the_split_into_micro_batches_changes_nothing(tmp_path: Path, full: bool) -> None:
    """8 × 1 = 2 × 4 = 1 × 8, though texts have different numbers of learnt tokens."""
    made = [
        trainer(tmp_path / str(micro), micro_batch_size=micro, model=tiny_model() if full else None, max_grad_norm=0.1)
        for micro in (8, 4, 1)
    ]
    curves = [each.run() for each in made]
    for curve in curves[1:]:
        for key in ("loss", "tokens", "grad_norm"):
            assert [e[key] for e in curve] == pytest.approx([e[key] for e in curves[0]], rel=1e-4), key
        assert {entry["tokens"] for entry in curve} != {8.0}
    for each in made[1:]:
        for name, value in weights(each).items():
            torch.testing.assert_close(value, weights(made[0])[name], atol=3e-4, rtol=1e-3)


def test_weights_of_texts_count_their_tokens(tmp_path: Path) -> None:
    """A text of weight 2 is the same as the text twice."""
    once, other = TEXTS[0], TEXTS[1]
    heavy = [TokenText(once.id, once.tokens, once.learn, weight=2.0), other]
    a = trainer(tmp_path / "1", texts=heavy, batch_size=2, steps=1)
    b = trainer(tmp_path / "2", texts=[once, once, other], batch_size=3, steps=1)
    first, second = a.run()[0], b.run()[0]
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-5)
    assert first["grad_norm"] == pytest.approx(second["grad_norm"], rel=1e-4)


def test_loss_and_gradients_are_those_of_trl(tmp_path: Path) -> None:
    """On the same rows of the same records, completion-only, over two micro-batches."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    records = [{"prompt": f"q{n}: ", "completion": "xyz" * (1 + n % 3)} for n in range(4)]
    tokenizer = byte_tokenizer()

    def model() -> Any:
        from transformers import LlamaForCausalLM

        from align.tiny_models import configuration

        torch.manual_seed(0)
        settings = configuration("llama")
        settings.vocab_size = len(tokenizer)
        return LlamaForCausalLM(settings)

    theirs = SFTTrainer(
        model(),
        args=SFTConfig(
            str(tmp_path / "trl"),
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            max_steps=1,
            logging_steps=1,
            bf16=False,
            use_cpu=True,
            activation_checkpointing=False,
            report_to="none",
            disable_tqdm=True,
            save_strategy="no",
            dataloader_pin_memory=False,
            max_grad_norm=0.0,
            learning_rate=0.0,
            loss_type="nll",
        ),
        train_dataset=Dataset.from_list(records),
        processing_class=tokenizer,
    )
    theirs.train()
    texts = tokenise_texts(records, tokenizer=tokenizer).texts
    ours = trainer(
        tmp_path / "ours", model=model(), texts=texts, batch_size=4, micro_batch_size=2, steps=1, max_grad_norm=0.0
    )
    [found] = ours.run()
    expected = theirs.state.log_history[0]
    assert found["loss"] == pytest.approx(expected["loss"], abs=1e-4)
    assert found["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)
    assert found["tokens"] == sum(len(record["completion"]) + 1 for record in records)


def test_learns(tmp_path: Path) -> None:
    made = trainer(tmp_path, model=tiny_model(), steps=40, learning_rate=1e-2, heldout=TEXTS)
    before = made.evaluate()["eval_loss"]
    curve = made.run()
    after = made.evaluate()
    assert curve[-1]["loss"] < 0.3 * curve[0]["loss"]
    assert after["eval_loss"] < 0.5 * before
    assert after["eval_perplexity"] == pytest.approx(np.exp(after["eval_loss"]))


def test_same_seed_same_bits(tmp_path: Path) -> None:
    one, two = trainer(tmp_path / "1"), trainer(tmp_path / "2")
    assert one.run() == two.run()
    assert all(torch.equal(value, weights(two)[name]) for name, value in weights(one).items())


def test_where_packing_is_not_exact_each_text_has_its_row(tmp_path: Path) -> None:
    made = trainer(tmp_path, model=tiny_model("mistral-window"))
    assert not made.packed
    assert "the last 6 tokens" in made.layout_reason
    loose = trainer(tmp_path / "2", packed=False)
    packed = trainer(tmp_path / "3")
    assert (loose.packed, packed.packed) == (False, True)
    assert [e["loss"] for e in loose.run()] == pytest.approx([e["loss"] for e in packed.run()], abs=1e-5)


# --- kill and resume ----------------------------------------------------------------------------------------------


class _Killed(Exception):
    pass


def killed_at(step: int) -> Any:
    def on_step(done: int, _total: int, _scalars: Any) -> None:
        if done == step:
            raise _Killed

    return on_step


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_resumed_is_unbroken(tmp_path: Path, dropout: float) -> None:
    unbroken = trainer(tmp_path / "1", model=lora(tiny_model(), dropout=dropout), checkpoint_every=2)
    curve = unbroken.run()
    broken = trainer(
        tmp_path / "2", model=lora(tiny_model(), dropout=dropout), checkpoint_every=2, on_step=killed_at(3)
    )
    with pytest.raises(_Killed):
        broken.run()
    assert [p.name for p in (tmp_path / "2").iterdir()] == ["checkpoint-2"]
    torch.rand(7)  # whatever else the new process did before
    resumed = trainer(tmp_path / "2", model=lora(tiny_model(), dropout=dropout), checkpoint_every=2)
    assert resumed.run() == curve
    assert all(torch.equal(value, weights(unbroken)[name]) for name, value in weights(resumed).items())


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path, checkpoint_every=2).run()
    with pytest.raises(RunError, match="another set of texts"):
        trainer(tmp_path, texts=TEXTS[1:], checkpoint_every=2).run()
    with pytest.raises(RunError, match="another learning_rate"):
        trainer(tmp_path, learning_rate=1.0, checkpoint_every=2).run()


def test_a_loss_that_is_no_number_names_the_texts(tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.embed_tokens.weight[96] = float("nan")
    texts = [TokenText("good", (5, 6), (False, True)), TokenText("bad", (96, 5), (False, True))]
    with pytest.raises(ModelError, match=r"texts bad: the loss is nan at step 1"):
        trainer(tmp_path, model=model, texts=texts, batch_size=2).run()


def test_what_cannot_be_trained_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no texts to train on"):
        trainer(tmp_path, texts=[])
    with pytest.raises(UsageError, match="asks for a gradient"):
        trainer(tmp_path, model=tiny_model().requires_grad_(False))
    with pytest.raises(UsageError, match="given to it as heldout"):
        trainer(tmp_path).evaluate()


# --- in one call --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [False, True])
def test_from_records_to_a_model_in_one_call(tmp_path: Path, adapter: bool) -> None:
    folder = save_tiny_language_model(tmp_path / "base")
    records = [{"prompt": f"{n} and one: ", "completion": "aaa"} for n in range(12)]
    args = training_arguments(tmp_path / "out", steps=3, batch_size=4, learning_rate=1e-2, use_cpu=True)
    tuned = train_texts(str(folder), records, args, lora=LoRA() if adapter else None, heldout=records[:2])
    assert tuned.curve[-1]["loss"] < tuned.curve[0]["loss"]
    assert tuned.trainer.evaluate()["eval_loss"] < 6
    assert [text.id for text in tuned.texts.texts] == [str(n) for n in range(12)]
    tuned.save(tmp_path / "saved")
    assert (tmp_path / "saved" / ("adapter_model.safetensors" if adapter else "model.safetensors")).is_file()
    with pytest.raises(DataError, match=r"1 of 2 records are bad \(1 × nothing to learn\)"):
        train_texts(str(folder), [records[0], {"prompt": "a", "completion": ""}], args)


def test_preference_learning_goes_on_from_there(tmp_path: Path) -> None:
    """Its reference is the fine-tuned model, not the one before: the first gap is 0, and the values are new ones."""
    folder = save_tiny_language_model(tmp_path / "base")
    records = [{"prompt": f"{n} and one: ", "chosen": "aaa", "rejected": "bbb"} for n in range(8)]
    asked: Any = {"batch_size": 4, "learning_rate": 1e-2, "use_cpu": True}
    tuned = train_texts(str(folder), records, training_arguments(tmp_path / "1", steps=3, **asked), lora=LoRA())
    start = tuned.merged()
    assert not any(parameter.requires_grad for parameter in start.model.parameters())
    cache = ReferenceCache()
    args = training_arguments(tmp_path / "2", steps=2, **asked)
    aligned = train_pairs(start, records, args, lora=LoRA(), cache=cache)
    assert aligned.curve[0]["gap"] == pytest.approx(0, abs=1e-4)
    pair = aligned.pairs.pairs[0]
    batch = torch.tensor([pair.prompt + pair.chosen])
    with torch.no_grad():
        found = [load(str(folder)).model, start.model.eval()]
        found = [m(batch).logits[0, len(pair.prompt) - 1 : -1].log_softmax(-1) for m in found]
    base, fine = (float(x.gather(1, torch.tensor(pair.chosen)[:, None]).sum()) for x in found)
    assert fine > base + 0.05


# --- evaluation ---------------------------------------------------------------------------------------------------


def test_scores_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    model = tiny_model()
    one, many = (score_texts(model, TEXTS, batch_size=size) for size in (1, 5))
    np.testing.assert_allclose(one.loss, many.loss, atol=1e-4)
    assert one.tokens.tolist() == [text.learnt for text in TEXTS]
    assert one.per_token == pytest.approx(one.loss.sum() / one.tokens.sum())
    assert one.perplexity == pytest.approx(np.exp(one.per_token))


def test_intervals() -> None:
    draw = np.random.default_rng(0)
    tokens = draw.integers(5, 50, 400).astype(float)
    before = TextScores(tokens * draw.normal(3, 0.5, 400), tokens)
    after = TextScores(before.loss - 0.2 * tokens, tokens)
    found = loss_interval(before, seeds=SEEDS)
    assert found.low < 3 < found.high
    assert found.high - found.low < 0.2
    change = change_interval(before, after, seeds=SEEDS)  # the same for every text: no doubt about it
    assert (change.low, change.value, change.high) == pytest.approx((-0.2, -0.2, -0.2))
    assert json.dumps(change.__dict__)
