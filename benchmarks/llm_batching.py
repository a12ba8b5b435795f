"""Many agents asking one local model: our dynamic batcher against `transformers` generate, one call after another.

The work: 32 chats that share a system prompt and differ in their last message, 16 new tokens each, greedy, the same
model, dtype and threads. Greedy tokens must be equal, or the comparison is void.

    make bench-llm-batching
"""

from __future__ import annotations

import asyncio
import time
import warnings

from record import Benchmark

from plait.llm import LocalModel
from plait.models import load

CHATS = 32
NEW_TOKENS = 16
RULES = "You play a game with other people. Everyone guesses a whole number from 0 to 100. Answer with the number."


def chats() -> list[list[dict[str, str]]]:
    return [
        [{"role": "system", "content": RULES}, {"role": "user", "content": f"You are player {i}. Your guess?"}]
        for i in range(CHATS)
    ]


def main() -> None:
    import torch
    import transformers

    lm = load("smollm2-135m")
    prompts = [lm.encode(lm.render(chat)) for chat in chats()]
    texts: dict[str, list[str]] = {}

    def peer() -> dict[str, float]:
        said, wall, cpu = [], time.perf_counter(), time.process_time()
        for prompt in prompts:
            ids = torch.tensor([prompt])
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                out = lm.model.generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False
                )
            said.append(lm.decode([t for t in out[0, len(prompt) :].tolist() if t not in lm.eos_ids]))
        texts["peer"] = said
        return {"wall s": time.perf_counter() - wall, "CPU s": time.process_time() - cpu}

    model = LocalModel(remember=0).open()

    async def ask() -> list[str]:
        replies = await asyncio.gather(*(model.chat(chat, max_tokens=NEW_TOKENS) for chat in chats()))
        return [reply.text for [reply] in replies]

    def ours() -> dict[str, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        texts["ours"] = asyncio.run(ask())
        return {"wall s": time.perf_counter() - wall, "CPU s": time.process_time() - cpu}

    name = f"transformers {transformers.__version__} generate, one by one"
    benchmark = Benchmark(
        "llm_batching", facts={"chats": CHATS, "new tokens": NEW_TOKENS, "prompt tokens": sum(map(len, prompts))}
    )
    benchmark.repeat(3, ours, **{name: peer})
    equal = sum(a == b for a, b in zip(texts["ours"], texts["peer"], strict=True))
    benchmark.facts["equal answers"] = f"{equal} of {CHATS}"
    benchmark.claim("concurrent calls are at least 3 times faster", peer=name, metric="wall s", target=3.0)
    asyncio.run(model.aclose())
    benchmark.write()


if __name__ == "__main__":
    main()
