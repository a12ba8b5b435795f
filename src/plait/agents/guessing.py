"""The guessing game: everyone names a number, and who is nearest to a fraction of the average wins.

With the fraction 2/3 the only equilibrium is 0; people start near 35 and go down from round to round.

Source: Nagel, "Unraveling in Guessing Games" (1995); played by language models in arXiv 2407.17789, section 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from statistics import fmean
from typing import Any

from plait.agents.environment import Environment, event
from plait.agents.population import Background
from plait.agents.simulation import Turn
from plait.core.seeds import Seeds
from plait.errors import LLMError, StrandError
from plait.llm.base import ChatModel, Usage
from plait.records import Message

LARGEST = 100
"""Guesses are whole numbers from 0 to this."""

ANSWER_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"number": {"type": "integer", "minimum": 0, "maximum": LARGEST}},
    "required": ["number"],
    "additionalProperties": False,
}
"""What an answer must look like: ``{"number": 42}``."""

_ANSWER_TOKENS = 24  # `{"number": 100}` takes at most a third of this


class GuessingTable(Environment):
    """The table the game is played at: the results so far, which all players see.

    Args:
        fraction: Of the average, e.g. 2/3.
    """

    def __init__(self, fraction: Fraction) -> None:
        super().__init__()
        self.fraction = fraction
        self.results: list[dict[str, Any]] = []

    async def observe(self, number: int) -> list[dict[str, Any]]:
        """The results of rounds before ``number``."""
        return self.results[:number]

    @event
    async def settle(self, number: int, actions: Mapping[str, int]) -> tuple[dict[str, Any], Mapping[str, float]]:
        """Find who is nearest to the fraction of the average; winners share a reward of 1.

        Raises:
            StrandError: Nobody gave a number.
        """
        if not actions:
            raise StrandError(
                f"no player gave a number in round {number + 1}",
                code="agents.no-answers",
                hint="use a model that honours JSON schemas",
            )
        # Exact arithmetic: whether two players tie must not hang on rounding.
        target = self.fraction * sum(actions.values()) / len(actions)
        nearest = min(abs(guess - target) for guess in actions.values())
        winners = [player for player, guess in actions.items() if abs(guess - target) == nearest]
        result = {
            "mean": round(fmean(actions.values()), 2),
            "target": round(float(target), 2),
            "winners": winners,
        }
        self.results.append(result)
        return result, dict.fromkeys(winners, 1 / len(winners))


class GuessingPlayer:
    """A player with a background, answering through a chat model.

    Args:
        background: Who it is.
        model: Shared by all players.
        fraction: The game's.
        temperature: Of its answers.
        seeds: Its own streams, one per round.
    """

    def __init__(
        self, background: Background, model: ChatModel, fraction: Fraction, temperature: float, seeds: Seeds
    ) -> None:
        self.background = background
        self.model = model
        self.fraction = fraction
        self.temperature = temperature
        self.seeds = seeds
        self.guesses: list[int] = []

    async def act(self, number: int, results: Sequence[Mapping[str, Any]]) -> Turn:
        """Ask the model once, for a number of the schema; an answer without one is a turn with its error."""
        prompt = self.prompt(results)
        try:
            [reply] = await self.model.chat(
                prompt,
                temperature=self.temperature,
                max_tokens=_ANSWER_TOKENS,
                seed=self.seeds.child("round", number).integer(31),
                schema=ANSWER_SCHEMA,
            )
        except LLMError as error:
            if error.code != "llm.schema-not-met":
                raise
            return Turn(self.background.id, _seen(number, prompt, ""), None, error="the answer breaks the schema")
        guess, problem = read_guess(reply.text)
        messages = _seen(number, prompt, reply.text)
        return Turn(self.background.id, messages, guess, problem, _facts(reply.usage))

    async def learn(self, turn: Turn, outcome: Mapping[str, Any]) -> None:
        """Remember one's own guess; the outcome is on the table for everyone."""
        del outcome
        if not turn.error:
            self.guesses.append(turn.action)

    def prompt(self, results: Sequence[Mapping[str, Any]]) -> list[Message]:
        """Rules and results first, which all players share; what only this player knows comes last."""
        own = f" Your guesses so far: {', '.join(map(str, self.guesses))}." if self.guesses else ""
        question = f"{describe(results)}{self.background.text}{own} Which number do you guess? Answer as JSON."
        return [
            {"role": "system", "content": rules(self.fraction)},
            {"role": "user", "content": question},
        ]


def rules(fraction: Fraction) -> str:
    """The rules, as every player reads them."""
    return (
        f"You play a game with other people. Everyone guesses a whole number from 0 to {LARGEST}. The winner is the "
        f"player whose guess is nearest to {fraction} of the average of all guesses."
    )


def describe(results: Sequence[Mapping[str, Any]]) -> str:
    r"""The results so far, in words; empty before the first round.

    Example:
        >>> describe([{"mean": 48.25, "target": 32.17, "winners": ["agent-1"]}])
        'Results so far:\nRound 1: the average was 48.25 and the winning number was 32.17.\n'
    """
    if not results:
        return ""
    lines = [
        f"Round {number}: the average was {result['mean']:g} and the winning number was {result['target']:g}.\n"
        for number, result in enumerate(results, start=1)
    ]
    return "Results so far:\n" + "".join(lines)


def read_guess(text: str) -> tuple[int | None, str]:
    """The number in an answer, or why there is none.

    Example:
        >>> read_guess('{"number": 33}'), read_guess('{"number": 333}')
        ((33, ''), (None, 'the number is not from 0 to 100'))
    """
    try:
        answer = json.loads(text)
    except ValueError:
        return None, "the answer is not JSON"
    guess = answer.get("number") if isinstance(answer, dict) else None
    if not isinstance(guess, int) or isinstance(guess, bool):
        return None, "the answer has no whole number"
    if not 0 <= guess <= LARGEST:
        return None, f"the number is not from 0 to {LARGEST}"
    return guess, ""


def _seen(number: int, prompt: Sequence[Message], answer: str) -> tuple[Message, ...]:
    # The rules open the trajectory once; later rounds add what was new.
    new = prompt if number == 0 else prompt[1:]
    said: list[Message] = [{"role": "assistant", "content": answer}] if answer else []
    return (*new, *said)


def _facts(usage: Usage) -> dict[str, float]:
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
