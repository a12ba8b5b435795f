from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from plait.agents import Journal, Runtime, Simulation, Turn, trajectories
from plait.agents.simulation import Round
from plait.errors import RunError
from plait.records import TRAJECTORY


class Total:
    """Adds up what everyone gave; the most generous is rewarded."""

    def __init__(self, factor: int = 1) -> None:
        self.history: list[int] = []
        self.factor = factor

    async def observe(self, number: int) -> Any:
        return {"history": list(self.history), "number": number}

    async def settle(self, number: int, actions: Mapping[str, Any]) -> tuple[Any, Mapping[str, float]]:
        self.history.append(self.factor * sum(actions.values()))
        best = max(actions, key=lambda agent: actions[agent])
        return {"total": self.history[-1]}, {best: 1.0}


class Giver:
    def __init__(self, name: str, amount: int, dies_in: int | None = None) -> None:
        self.name, self.amount, self.dies_in = name, amount, dies_in
        self.outcomes: list[Any] = []

    async def act(self, number: int, observation: Any) -> Turn:
        if number == self.dies_in:
            raise RuntimeError("killed")
        await asyncio.sleep(0)
        said = self.amount * (number + 1) + sum(observation["history"])
        messages = (
            {"role": "user", "content": f"round {number}"},
            {"role": "assistant", "content": str(said)},
        )
        if self.amount == 3:
            return Turn(self.name, messages, None, error="no number")
        return Turn(self.name, messages, said)

    async def learn(self, turn: Turn, outcome: Any) -> None:
        assert turn.agent == self.name
        self.outcomes.append(outcome)

    async def all_outcomes(self) -> list[Any]:
        return self.outcomes


def play(
    rounds: int, folder: Path | None = None, *, dies_in: int | None = None, factor: int = 1, key: str = "k"
) -> tuple[list[Round], list[Any], list[tuple[int, int]]]:
    async def main() -> tuple[list[Round], list[Any], list[tuple[int, int]]]:
        turns: list[tuple[int, int]] = []
        async with Runtime() as runtime:
            world = runtime.spawn(Total, factor)
            players = {f"p{i}": runtime.spawn(Giver, f"p{i}", i, dies_in if i == 2 else None) for i in range(1, 4)}
            journal = Journal(folder, key=key) if folder else None
            simulation = Simulation(runtime, world, players, journal)
            done = await simulation.run(rounds, on_turn=lambda number, count: turns.append((number, count)))
            return done, await players["p1"].call("all_outcomes"), turns

    return asyncio.run(main())


def test_rounds_by_hand() -> None:
    rounds, learned, turns = play(2)
    # Round 0: p1 gives 1, p2 gives 2, p3 nothing valid: 3. Round 1: (1 × 2 + 3) + (2 × 2 + 3) = 12.
    assert [r.outcome for r in rounds] == [{"total": 3}, {"total": 12}] == learned
    assert [[t.action for t in r.turns] for r in rounds] == [[1, 2, None], [5, 7, None]]
    assert rounds[0].turns[2].error == "no number"
    assert rounds[0].rewards == {"p2": 1.0}
    assert turns == [(r, n) for r in range(2) for n in (1, 2, 3)]


def test_a_simulation_cut_off_continues_after_its_last_whole_round(tmp_path: Path) -> None:
    whole = play(4)[:2]
    with pytest.raises(RuntimeError, match="killed"):
        play(4, tmp_path, dies_in=2)
    rounds, learned, turns = play(4, tmp_path)
    assert (rounds, learned) == whole
    assert {number for number, _ in turns} == {2, 3}  # the first two were not played again
    assert play(4, tmp_path)[2] == []
    assert not list(tmp_path.glob("*.partial"))


def test_rounds_of_another_simulation_are_not_continued(tmp_path: Path) -> None:
    play(2, tmp_path)
    assert play(2, tmp_path, key="other")[2] != []


def test_a_world_that_changed_is_noticed(tmp_path: Path) -> None:
    play(2, tmp_path)
    with pytest.raises(RunError, match="its actions give"):
        play(3, tmp_path, factor=2)


def test_a_shorter_run_takes_only_its_rounds(tmp_path: Path) -> None:
    play(3, tmp_path)
    assert len(play(2, tmp_path)[0]) == 2


def test_trajectories_join_the_rounds_of_each_agent() -> None:
    table = trajectories(play(3)[0], source="game")
    assert table.schema == TRAJECTORY
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == ["game/p1", "game/p2", "game/p3"]
    assert [row["reward"] for row in rows] == [0.0, 3.0, 0.0]
    assert [m["content"] for m in rows[1]["messages"]] == ["round 0", "2", "round 1", "7", "round 2", "21"]
