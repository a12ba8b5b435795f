"""Running totals of what an opened model did and cost."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from plait.llm.base import ChatModel, Reply


@dataclass(frozen=True)
class UsageTotals:
    """One reading of the totals.

    Args:
        calls: Calls of ``chat`` that were answered.
        requests: Requests sent to a server or computed by a model, retries included.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written.
        money: In the currency of the configured prices.
        retries: Requests sent again after a failure.
        cache_hits: Calls answered from a recording.
        estimated: Requests whose server reported no usage, so that their tokens are estimates.
    """

    calls: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float = 0.0
    retries: int = 0
    cache_hits: int = 0
    estimated: int = 0

    def as_facts(self) -> dict[str, int | float]:
        """Name → number, for reports and events; zero counts are left out."""
        return {name: value for name, value in asdict(self).items() if value}


class UsageMeter:
    """Adds up usage; safe to feed from several threads.

    Example:
        >>> from plait.llm.base import Usage
        >>> meter = UsageMeter()
        >>> meter.answered([Reply("4", Usage(prompt_tokens=9, completion_tokens=1))])
        >>> meter.totals.calls, meter.totals.prompt_tokens, meter.totals.completion_tokens
        (1, 9, 1)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._totals = UsageTotals()

    @property
    def totals(self) -> UsageTotals:
        """The totals so far."""
        return self._totals

    def count(self, *, requests: int = 0, retries: int = 0, cache_hits: int = 0, estimated: int = 0) -> None:
        """Count events that are not replies."""
        with self._lock:
            t = self._totals
            self._totals = replace(
                t,
                requests=t.requests + requests,
                retries=t.retries + retries,
                cache_hits=t.cache_hits + cache_hits,
                estimated=t.estimated + estimated,
            )

    def answered(self, replies: Iterable[Reply]) -> None:
        """Count one answered call and what its replies used."""
        usages = [reply.usage for reply in replies]
        with self._lock:
            t = self._totals
            self._totals = replace(
                t,
                calls=t.calls + 1,
                prompt_tokens=t.prompt_tokens + sum(u.prompt_tokens for u in usages),
                completion_tokens=t.completion_tokens + sum(u.completion_tokens for u in usages),
                money=t.money + sum(u.money for u in usages),
            )


def usage_of(model: ChatModel) -> UsageTotals:
    """What an opened model used so far; nothing for a model of another package that keeps no meter.

    Example:
        >>> from plait.llm.scripted import Scripted
        >>> usage_of(Scripted(answers=["a"]).open()).as_facts()
        {}
    """
    meter = getattr(model, "meter", None)
    return meter.totals if isinstance(meter, UsageMeter) else UsageTotals()
