"""Rounds over a population: everyone sees, everyone acts at once, the world settles; all of it is recorded.

A simulation is fully described by what its agents did: the world is told the same actions again to rebuild
its state. So a run that was cut off continues after its last whole round, with the same result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from plait.agents.actor import Address
from plait.agents.runtime import Runtime
from plait.errors import RunError
from plait.records import TRAJECTORY, Message

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Turn:
    """What one agent did in one round.

    Args:
        agent: Its id.
        messages: What it saw and said.
        action: What it did, as plain JSON; ``None`` if nothing valid.
        error: Why there is no action, in a few words; empty if there is one.
        facts: Numbers about it, such as the tokens it cost.
    """

    agent: str
    messages: tuple[Message, ...]
    action: Any
    error: str = ""
    facts: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Round:
    """One finished round.

    Args:
        number: Counted from 0.
        turns: One per agent, in the order of the population.
        outcome: What the world made of the actions, as plain JSON.
        rewards: Agent → reward; an agent that is not listed earned 0.
    """

    number: int
    turns: tuple[Turn, ...]
    outcome: Any
    rewards: Mapping[str, float]


class Player(Protocol):
    """The methods a simulation calls on each agent."""

    async def act(self, number: int, observation: Any) -> Turn:
        """Decide, given what can be seen at the start of round ``number``."""
        ...

    async def learn(self, turn: Turn, outcome: Any) -> None:
        """Be told what came of the round; also replays a recorded one."""
        ...


class World(Protocol):
    """The methods a simulation calls on the environment; usually a `plait.agents.environment.Environment`."""

    async def observe(self, number: int) -> Any:
        """What all agents can see at the start of round ``number``, as plain JSON."""
        ...

    async def settle(self, number: int, actions: Mapping[str, Any]) -> tuple[Any, Mapping[str, float]]:
        """Apply the valid actions at once; returns the outcome (plain JSON) and the rewards."""
        ...


class Journal:
    """Finished rounds on disk, one file each, written whole or not at all.

    Args:
        folder: Where they are kept.
        key: Names the simulation (settings and seed); rounds of another key are not continued.
    """

    def __init__(self, folder: Path, *, key: str) -> None:
        self.folder = folder
        self.key = key

    def rounds(self) -> list[Round]:
        """The finished rounds, from the first without a gap."""
        found: list[Round] = []
        while (path := self._path(len(found))).exists():
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("key") != self.key:
                break
            turns = tuple(Turn(**turn | {"messages": tuple(turn["messages"])}) for turn in data.pop("turns"))
            found.append(Round(turns=turns, **data))
        return found

    def add(self, finished: Round) -> None:
        """Keep one more."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(finished.number)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"key": self.key} | asdict(finished)), encoding="utf-8")
        partial.replace(path)

    def _path(self, number: int) -> Path:
        return self.folder / f"round-{number:05d}.json"


@dataclass(frozen=True)
class Simulation:
    """A world and its players on a runtime.

    Args:
        runtime: Runs them.
        world: Address of a `World`.
        players: Agent id → address of a `Player`.
        journal: Where finished rounds are kept and continued from; ``None`` keeps them in memory only.
    """

    runtime: Runtime
    world: Address
    players: Mapping[str, Address]
    journal: Journal | None = None

    async def run(self, rounds: int, *, on_turn: Callable[[int, int], None] | None = None) -> list[Round]:
        """Play until ``rounds`` are finished; those in the journal are not played again.

        Args:
            rounds: How many there are in all.
            on_turn: Told ``(round, turns done in it)``.

        Raises:
            RunError: The journal's outcomes are not what the world makes of its actions.
        """
        finished = self.journal.rounds()[:rounds] if self.journal else []
        for past in finished:
            await self._replay(past)
        for number in range(len(finished), rounds):
            finished.append(await self._play(number, on_turn))
            if self.journal:
                self.journal.add(finished[-1])
        return finished

    async def _play(self, number: int, on_turn: Callable[[int, int], None] | None) -> Round:
        observation = await self.world.call("observe", number)
        turns = await self.runtime.ask_all(
            self.players.values(),
            "act",
            number,
            observation,
            on_answer=None if on_turn is None else lambda done: on_turn(number, done),
        )
        outcome, rewards = await self.world.call("settle", number, _actions(turns))
        await self._teach(turns, outcome)
        return Round(number, tuple(turns), outcome, dict(rewards))

    async def _replay(self, past: Round) -> None:
        outcome, _ = await self.world.call("settle", past.number, _actions(past.turns))
        if outcome != past.outcome:
            raise RunError(
                f"round {past.number} was recorded with the outcome {past.outcome}, but its actions give {outcome}",
                code="agents.journal-differs",
                where=str(self.journal.folder) if self.journal else None,
                hint="the world changed since; remove the recorded rounds",
            )
        await self._teach(past.turns, outcome)

    async def _teach(self, turns: Sequence[Turn], outcome: Any) -> None:
        lessons = [self.players[turn.agent].call("learn", turn, outcome) for turn in turns]
        for lesson in lessons:
            await lesson


def trajectories(rounds: Sequence[Round], *, source: str) -> pa.Table:
    """What each agent saw, said and earned over all rounds, as `plait.records.TRAJECTORY`.

    Args:
        rounds: Finished rounds, in order.
        source: Where the records come from, e.g. the stage's name.
    """
    import pyarrow as pa

    messages: dict[str, list[Message]] = {}
    rewards: dict[str, float] = {}
    for finished in rounds:
        for turn in finished.turns:
            messages.setdefault(turn.agent, []).extend(turn.messages)
            rewards[turn.agent] = rewards.get(turn.agent, 0.0) + finished.rewards.get(turn.agent, 0.0)
    rows = [
        {
            "id": f"{source}/{agent}",
            "agent": agent,
            "messages": said,
            "reward": rewards[agent],
            "source": source,
        }
        for agent, said in messages.items()
    ]
    return pa.Table.from_pylist(rows, schema=TRAJECTORY)


def _actions(turns: Sequence[Turn]) -> dict[str, Any]:
    return {turn.agent: turn.action for turn in turns if not turn.error}
