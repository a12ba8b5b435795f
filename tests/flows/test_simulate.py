from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from plait.agents.guessing import GuessingTable
from plait.agents.simulation import Round, Turn
from plait.core.seeds import Seeds
from plait.core.stage import StageContext
from plait.errors import LLMError, StrandError
from plait.flows.simulate import GuessingGame, trend
from plait.llm.base import ChatComponent, Reply, Usage
from plait.records import TRAJECTORY, Message


class Reasoner(ChatComponent):
    """Answers 2/3 of the last winning number, spread by the seed; a little language model of known behaviour."""

    dies_at_call: int | None = None
    bad: str | None = None

    def open(self) -> ReasonerChat:
        return ReasonerChat(self)

    def identity(self) -> str:
        return "reasoner"


class ReasonerChat:
    def __init__(self, settings: Reasoner) -> None:
        self.settings = settings
        self.calls = 0
        self.prompts: list[Sequence[Message]] = []
        CHATS.append(self)

    async def chat(self, messages: Sequence[Message], **asked: Any) -> list[Reply]:
        self.calls += 1
        self.prompts.append(messages)
        if self.calls == self.settings.dies_at_call:
            raise LLMError("gone", code="llm.gone")
        text = messages[-1]["content"]
        if self.settings.bad and "farmer" in text:
            return [Reply(self.settings.bad, Usage(len(text), 1))]
        winning = re.findall(r"winning number was (\d+(?:\.\d+)?)", text)
        center = float(winning[-1]) if winning else 40.0
        assert asked["schema"]["properties"]["number"]["maximum"] == 100
        number = int(center * 2 / 3) + asked["seed"] % 7
        return [Reply(f'{{"number": {number}}}', Usage(len(text.split()), 3))]

    async def aclose(self) -> None:
        self.closed = True


CHATS: list[ReasonerChat] = []


@pytest.fixture(autouse=True)
def _forget_chats() -> None:
    CHATS.clear()


def run(folder: Path, *, seed: int = 7, **settings: Any) -> StageContext:
    folder.mkdir(exist_ok=True)
    stage = GuessingGame.model_validate({"agents": 16, "rounds": 3, "llm": Reasoner()} | settings)
    context = StageContext(folder=folder, seeds=Seeds(seed), engine=None, name="simulate", outputs=stage.outputs)
    stage.run(context)
    return context


def digest(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.parquet"))}


def test_a_game_is_recorded_whole(tmp_path: Path) -> None:
    context = run(tmp_path)
    rows = pq.read_table(context.output("rounds")).to_pylist()
    assert len(rows) == 16 * 3
    for number in (1, 2, 3):
        guesses = {row["agent"]: row["number"] for row in rows if row["round"] == number}
        mean = sum(guesses.values()) / 16
        [shown] = {row["mean"] for row in rows if row["round"] == number}
        assert shown == round(mean, 2)
        nearest = min(abs(g - mean * 2 / 3) for g in guesses.values())
        winners = {agent for agent, g in guesses.items() if abs(g - mean * 2 / 3) == pytest.approx(nearest)}
        assert {row["agent"] for row in rows if row["round"] == number and row["reward"] > 0} == winners
    assert sum(row["reward"] for row in rows) == pytest.approx(3)  # one per round, shared

    table = pq.read_table(context.output("trajectories"))
    assert table.schema.equals(TRAJECTORY)
    for row in table.to_pylist():
        assert [m["role"] for m in row["messages"]] == ["system", *["user", "assistant"] * 3]
    assert context.report.headline.startswith("16 agents, 3 rounds: mean guess ")
    assert "Guesses fell in every round" in context.report.notes[0]
    assert context.report.facts["model calls"] == 48
    assert CHATS[0].closed


def test_prompts_share_rules_and_results_and_end_with_the_background(tmp_path: Path) -> None:
    run(tmp_path, quotas=[], background="", rounds=1)
    assert len({str(p) for p in CHATS[0].prompts}) == 1  # without backgrounds, one prompt for everyone
    run(tmp_path / "b")
    last_round = CHATS[1].prompts[-16:]
    assert len({p[0]["content"] for p in last_round}) == 1
    beginnings = {p[1]["content"].split("About you")[0] for p in last_round}
    assert len(beginnings) == 1
    assert beginnings.pop().count("the winning number was") == 2
    assert len({p[1]["content"] for p in last_round}) > 8


def test_a_killed_game_loses_one_round_at_most_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(LLMError, match="gone"):
        run(tmp_path / "cut", llm=Reasoner(dies_at_call=16 + 5))
    again = run(tmp_path / "cut")
    assert CHATS[-1].calls == 16 * 2  # the first round was not asked again
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    assert again.report == whole.report


def test_other_settings_or_seeds_do_not_continue_a_game(tmp_path: Path) -> None:
    run(tmp_path, rounds=1)
    run(tmp_path, rounds=1, seed=8)
    assert CHATS[-1].calls == 16
    run(tmp_path, rounds=1, fraction="1/2", seed=8)
    assert CHATS[-1].calls == 16
    run(tmp_path, rounds=1, fraction="1/2", seed=8)
    assert CHATS[-1].calls == 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("no idea", "the answer is not JSON"),
        ('{"number": 101}', "the number is not from 0 to 100"),
        ('{"number": true}', "the answer has no whole number"),
        ("[3]", "the answer has no whole number"),
    ],
)
def test_invalid_answers_are_set_aside_and_counted(tmp_path: Path, bad: str, reason: str) -> None:
    context = run(tmp_path, llm=Reasoner(bad=bad))
    assert context.quarantine.counts == {reason: 2 * 3}  # 1 farmer in 8, 16 agents, 3 rounds
    rows = pq.read_table(context.output("rounds")).to_pylist()
    assert all((row["number"] is None) == (row["occupation"] == "farmer") for row in rows)
    assert any("6 of 48 answers held no valid number" in note for note in context.report.notes)
    by_background = next(t for t in context.report.tables if t.title == "Guesses by background")
    assert [row[3:5] for row in by_background.rows if row[0] == "farmer"] == [[None, None]]


def test_a_game_nobody_answers_stops(tmp_path: Path) -> None:
    with pytest.raises(StrandError, match="no player gave a number"):
        run(tmp_path, llm=Reasoner(bad="?"), quotas=[], background="farmer")


def test_ties_are_exact_and_shared() -> None:
    import asyncio
    from fractions import Fraction

    # 2/3 of the mean of 10, 20, 60 is 20; of 10, 30, 50: 20, with 10 and 30 equally near.
    table = GuessingTable(Fraction(2, 3))
    outcome, rewards = asyncio.run(table.settle(0, {"a": 10, "b": 30, "c": 50}))
    assert outcome == {"mean": 30.0, "target": 20.0, "winners": ["a", "b"]}
    assert rewards == {"a": 0.5, "b": 0.5}


def played(*guesses: dict[str, int]) -> list[Round]:
    return [
        Round(
            i,
            tuple(Turn(agent, (), guess) for agent, guess in of_round.items()),
            {"mean": sum(of_round.values()) / len(of_round), "target": 0.0, "winners": []},
            {},
        )
        for i, of_round in enumerate(guesses)
    ]


def test_the_sentence_about_the_trend_is_honest() -> None:
    high, low = {"a": 60, "b": 62, "c": 58}, {"a": 30, "b": 33, "c": 27}
    middle = {"a": 50, "b": 50, "c": 50}
    assert trend(played(high, middle, low)).startswith("Guesses fell in every round (-30.0 per player")
    assert "not in every round" in trend(played(middle, high, low))
    assert trend(played(low, high)).startswith("Guesses rose")
    assert "neither" in trend(played({"a": 10, "b": 50, "c": 30}, {"a": 50, "b": 10, "c": 31}))
    assert "no trend" in trend(played(high))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fraction": "3/2"}, "between 0 and 1"),
        ({"fraction": "x"}, "is not one"),
        ({"background": "{age}"}, "mentions"),
    ],
)
def test_settings_that_make_no_game_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        GuessingGame.model_validate(settings)


@pytest.mark.model
def test_the_default_model_plays(tmp_path: Path) -> None:
    contexts = [run(tmp_path / name, agents=8, rounds=2, llm="local") for name in ("a", "b")]
    assert contexts[0].quarantine.total == 0
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert contexts[0].report == contexts[1].report
    rows = pq.read_table(contexts[0].output("rounds")).to_pylist()
    assert len({row["number"] for row in rows}) > 1
