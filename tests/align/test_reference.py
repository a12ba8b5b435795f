"""The reference cache: found by content, whatever the order, name or wrapper; torn lines are computed again."""

from __future__ import annotations

import subprocess
import sys
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


def test_pairs_computed_together_have_the_same_values_and_equal_pairs_are_computed_once() -> None:
    model, pairs = tiny_model(), [*random_pairs(7), *random_pairs(2)]
    one_by_one = torch.tensor(reference_logprobs(model, pairs, cache=ReferenceCache()))
    calls: list[tuple[int, int]] = []
    together = reference_logprobs(
        model, pairs, cache=ReferenceCache(), batch_tokens=60, on_progress=lambda *seen: calls.append(seen)
    )
    torch.testing.assert_close(torch.tensor(together), one_by_one, atol=1e-4, rtol=0)
    assert 1 < len(calls) < 7
    assert calls[-1] == (7, 7)


def test_values_under_autocast_are_kept_apart(tmp_path: Path) -> None:
    model, pairs, cache = tiny_model(), random_pairs(3), ReferenceCache(tmp_path / "c.jsonl")
    full = reference_logprobs(model, pairs, cache=cache)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = reference_logprobs(model, pairs, cache=cache)
    assert rounded != full
    torch.testing.assert_close(torch.tensor(rounded), torch.tensor(full), atol=2, rtol=0.05)


def test_a_cache_finds_what_is_asked_for_and_what_others_add(tmp_path: Path) -> None:
    one, other = ReferenceCache(tmp_path / "c.jsonl"), ReferenceCache(tmp_path / "c.jsonl")
    one.add({"a": (-1.0, -2.0), "b": (-3.0, -4.0)})
    other.add({"c": (-0.1, -1e-300)})
    assert one.find(["c", "a", "d"]) == {"a": (-1.0, -2.0), "c": (-0.1, -1e-300)}
    assert ReferenceCache(tmp_path / "none.jsonl").find(["a"]) == {}


_WRITER = """
import sys
from pathlib import Path
from plait.align.reference import ReferenceCache
cache, side = ReferenceCache(Path(sys.argv[1])), sys.argv[2]
for start in range(0, 2000, 50):
    cache.add({f"{side}-{n}": (float(-n), -0.5) for n in range(start, start + 50)})
"""


def test_writers_in_several_processes_lose_nothing(tmp_path: Path) -> None:
    path, sides = tmp_path / "c.jsonl", ("left", "right")
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, str(path), side]) for side in sides]
    assert [writer.wait() for writer in writers] == [0, 0]
    found = ReferenceCache(path).find([f"{side}-{n}" for side in sides for n in range(2_000)])
    assert found == {f"{side}-{n}": (float(-n), -0.5) for side in sides for n in range(2_000)}


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
