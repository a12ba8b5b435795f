"""What the policy writes now, beside what its reference writes: KL on samples, and drift of length.

    samples = sample_both(policy, prompts, max_new_tokens=64, seeds=Seeds(0))
    print(samples.kl(Seeds(0)).sequence.text(), "nats per sample")

A KL from held-out texts would be that of other people's words; this one is of the policy's own samples, as the
objective means it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plait.align.evaluate import Interval, bootstrap, bootstrap_ratio
from plait.core.seeds import Seeds
from plait.errors import UsageError

if TYPE_CHECKING:
    from plait.align.evaluate import Numbers
    from plait.models import Completion, LanguageModel


@dataclass(frozen=True)
class KL:
    """KL divergence of the policy from its reference, in nats, with 95 % intervals over the prompts.

    Args:
        sequence: Mean over samples of log π/π_ref of the whole sample: unbiased, and negative values can occur.
        sequence_k3: The same expectation by Σ (r - 1 - log r) over tokens, r = π_ref/π: unbiased too, never negative,
            and usually far less noisy.
        token: Σ of `sequence_k3` over samples / Σ of their tokens.

    Source: Schulman 2020, "Approximating KL divergence", estimators k1 and k3.
    """

    sequence: Interval
    sequence_k3: Interval
    token: Interval


@dataclass(frozen=True)
class Samples:
    """One sample of the policy and one of its reference for every prompt.

    Args:
        policy: Of the policy.
        reference: Of its reference.
        log_ratios: log π/π_ref of each token of the policy's sample, in nats, ``[tokens]`` per prompt.
    """

    policy: Sequence[Completion]
    reference: Sequence[Completion]
    log_ratios: Sequence[Numbers]

    def kl(self, seeds: Seeds) -> KL:
        """KL of the policy from its reference over the tokens that were sampled."""
        return estimate_kl(self.log_ratios, seeds=seeds)

    def length_ratio(self, seeds: Seeds) -> Interval:
        """Mean tokens of the policy's samples over those of its reference's."""
        import numpy as np

        ours, theirs = (
            np.array([len(one.token_ids) for one in side], dtype=np.float64) for side in (self.policy, self.reference)
        )
        return bootstrap_ratio(ours, theirs, seeds=seeds)

    @property
    def cut(self) -> tuple[float, float]:
        """Share of samples that ran out of tokens: of the policy, and of its reference."""
        first, second = (
            sum(one.finish == "length" for one in side) / len(side) for side in (self.policy, self.reference)
        )
        return first, second


def sample_both(
    policy: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    seeds: Seeds,
    reference: LanguageModel | None = None,
    batch_size: int = 16,
    on_progress: Callable[[int, int], None] | None = None,
) -> Samples:
    """Sample both models at temperature 1, and score the policy's samples under both.

    Equal policy and reference give equal samples and log-ratios of exactly 0.

    Args:
        policy: With its adapter.
        prompts: Token ids, at least one prompt.
        max_new_tokens: Longest sample; the KL is that of the first so many tokens.
        seeds: Root of the samples' streams; both models draw from the same one for a prompt.
        reference: A model of its own; the policy without its adapter if absent.
        batch_size: Rows at a time; changes speed and memory, not results.
        on_progress: Called with (done, total) samples.

    Raises:
        UsageError: There are no prompts.
    """
    import numpy as np

    from plait.models import generate, sequence_logprobs, without_adapter

    if not prompts:
        raise UsageError("there are no prompts to sample for", code="align.no-prompts")
    streams = [seeds.child("sample", n).integer() for n in range(len(prompts))]

    def sample(lm: LanguageModel, first: int) -> list[Completion]:
        def tell(done: int, _total: int) -> None:
            if on_progress is not None:
                on_progress(first + done, 2 * len(prompts))

        return generate(
            lm, prompts, max_new_tokens=max_new_tokens, temperature=1.0, seeds=streams, batch_size=batch_size,
            on_progress=tell,
        )  # fmt: skip

    ours = sample(policy, 0)
    written = [one.token_ids for one in ours]
    # Both sides by the same forward pass: what generation rounds differently would not cancel.
    under_policy = sequence_logprobs(policy, prompts, written, batch_size=batch_size)
    if reference is not None:
        theirs = sample(reference, len(prompts))
        under_reference = sequence_logprobs(reference, prompts, written, batch_size=batch_size)
    else:
        with without_adapter(policy) as base:
            theirs = sample(base, len(prompts))
            under_reference = sequence_logprobs(base, prompts, written, batch_size=batch_size)
    ratios = [np.array(a, dtype=np.float64) - np.array(b) for a, b in zip(under_policy, under_reference, strict=True)]
    return Samples(ours, theirs, ratios)


def estimate_kl(log_ratios: Sequence[Numbers], *, seeds: Seeds) -> KL:
    """KL from log-ratios at the policy's own samples.

    Args:
        log_ratios: log π/π_ref of each sampled token, in nats, one ``[tokens]`` per sample.
        seeds: Stream of the bootstrap.

    Example:
        >>> import numpy as np
        >>> kl = estimate_kl([np.array([0.5, 0.5]), np.array([-0.2])], seeds=Seeds(0))
        >>> round(kl.sequence.value, 3), round(kl.sequence_k3.value, 3)
        (0.4, 0.117)
    """
    import numpy as np

    first = np.array([ratio.sum() for ratio in log_ratios])
    third = np.array([(np.expm1(-ratio) + ratio).sum() for ratio in log_ratios])
    tokens = np.array([len(ratio) for ratio in log_ratios], dtype=np.float64)
    return KL(bootstrap(first, seeds=seeds), bootstrap(third, seeds=seeds), bootstrap_ratio(third, tokens, seeds=seeds))
