"""Planning with checks: a plan with problems goes back with the exact reasons, a bounded number of times.

Source: arXiv 2410.02189, section 3.2; there the number of passes and a stop rule are left open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plait.core.seeds import Seeds
from plait.errors import LimitReached, LLMError
from plait.llm.base import ChatModel
from plait.plan.decompose import decompose
from plait.plan.detect import Problem, detect
from plait.plan.plan import Plan

if TYPE_CHECKING:
    from plait.plan.experts import Expert


@dataclass(frozen=True)
class Attempt:
    """One try of the planner.

    Args:
        plan: What it made; ``None`` if its answer was no plan.
        problems: What is wrong with it; none means it was accepted.
    """

    plan: Plan | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Planning:
    """All tries, in order.

    Args:
        attempts: At least one.
        stopped: Why there are no more: ``accepted``, ``no fewer problems``, or ``no tries left``.
    """

    attempts: tuple[Attempt, ...]
    stopped: str

    @property
    def plan(self) -> Plan | None:
        """The accepted plan, if any."""
        return self.attempts[-1].plan if self.stopped == "accepted" else None


async def plan_question(
    question: str,
    experts: Mapping[str, Expert],
    model: ChatModel,
    *,
    tries: int = 3,
    seeds: Seeds | None = None,
    on_attempt: Callable[[int, Attempt], None] | None = None,
) -> Planning:
    """Plan, check, and plan again with the reasons, until nothing is wrong or it gets no better.

    Args:
        question: What is to be answered.
        experts: Name → expert.
        model: The planner.
        tries: Most plans asked for.
        seeds: Root of the planner's seeds.
        on_attempt: Told of each try, counted from 1.

    Raises:
        LimitReached: The model's budget is spent.
    """
    root = seeds or Seeds(0)
    attempts: list[Attempt] = []
    stopped = "no tries left"
    for number in range(1, tries + 1):
        before = attempts[-1] if attempts else None
        attempt = await _attempt(question, experts, model, before, root.child("plan", number).integer(31))
        attempts.append(attempt)
        if on_attempt is not None:
            on_attempt(number, attempt)
        if not attempt.problems:
            stopped = "accepted"
            break
        # Without progress the model only pays for the same mistakes again. A broken answer may still become a plan.
        if before is not None and before.plan is not None and len(attempt.problems) >= len(before.problems):
            stopped = "no fewer problems"
            break
    return Planning(tuple(attempts), stopped)


async def _attempt(
    question: str, experts: Mapping[str, Expert], model: ChatModel, before: Attempt | None, seed: int
) -> Attempt:
    feedback = [problem.reason for problem in before.problems] if before else []
    rejected = before.plan if before else None
    try:
        plan = await decompose(question, experts, model, feedback=feedback, rejected=rejected, seed=seed)
    except LimitReached:
        raise
    except LLMError as error:
        if error.code not in ("plan.not-a-plan", "llm.schema-not-met"):
            raise
        return Attempt(None, (Problem("not-a-plan", (), error.message),))
    return Attempt(plan, tuple(detect(plan, experts)))
