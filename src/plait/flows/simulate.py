"""Simulations as stages: the guessing game.

- {name: simulate, use: agents.guessing_game, agents: 48, rounds: 4, llm: local}
"""

from __future__ import annotations

import asyncio
import hashlib
import statistics
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, model_validator

from plait.agents.guessing import LARGEST, GuessingPlayer, GuessingTable
from plait.agents.population import Background, Population, Quota, Share
from plait.agents.runtime import Runtime
from plait.agents.simulation import Journal, Round, Simulation, trajectories
from plait.core.figures import Example, Histogram, Lines, Table
from plait.core.io import write_table
from plait.core.stage import Stage, StageContext
from plait.llm.local import LocalModel
from plait.llm.opening import ChatSetting

if TYPE_CHECKING:
    import pyarrow as pa

WORK_AND_SCHOOL = Quota(
    attributes=("occupation", "education"),
    shares=(
        Share(values=("truck driver", "primary school"), share=0.125),
        Share(values=("farmer", "primary school"), share=0.125),
        Share(values=("baker", "vocational training"), share=0.125),
        Share(values=("nurse", "vocational training"), share=0.125),
        Share(values=("schoolteacher", "university degree"), share=0.125),
        Share(values=("lawyer", "university degree"), share=0.125),
        Share(values=("economist", "doctorate"), share=0.125),
        Share(values=("professor of game theory", "doctorate"), share=0.125),
    ),
)
"""Eight occupations in equal parts, each with its education: a joint quota."""


class GuessingGame(Stage):
    """A population plays "guess 2/3 of the average" for some rounds, each player a language model with a background.

    Example:
        - {name: simulate, use: agents.guessing_game, agents: 48, rounds: 4, llm: local}
    """

    outputs: ClassVar[Mapping[str, str]] = {"rounds": "rounds.parquet", "trajectories": "trajectories.parquet"}

    agents: int = Field(default=48, ge=2)
    """How many players."""
    rounds: int = Field(default=4, ge=1)
    """How many rounds; after each, its average and winning number are announced."""
    fraction: str = "2/3"
    """Of the average, that wins; as a fraction. 2/3 is well known to models: 51/100 tells knowing from thinking."""
    llm: ChatSetting = LocalModel()
    """Who answers for every player: a chat model's name, or ``{use: name, …}``."""
    temperature: float = Field(default=1.0, ge=0)
    """Of the answers; at 0 players of one background and history answer the same."""
    quotas: tuple[Quota, ...] = (WORK_AND_SCHOOL,)
    """What the players are like."""
    background: str = "About you: your occupation is {occupation}, your education is {education}."
    """A player's background in the prompt, with ``{attribute}`` for what the quotas give."""
    in_flight: int = Field(default=256, ge=1)
    """Players asked at the same time."""

    @model_validator(mode="after")
    def _playable(self) -> Self:
        try:
            fraction = Fraction(self.fraction)
        except (ValueError, ZeroDivisionError) as error:
            raise ValueError(f'fraction "{self.fraction}" is not one such as 2/3') from error
        if not 0 < fraction < 1:
            raise ValueError(f"fraction {self.fraction} is not between 0 and 1")
        self.population()
        return self

    def population(self) -> Population:
        """The players' declaration."""
        return Population(size=self.agents, quotas=self.quotas, template=self.background)

    def fingerprint(self) -> Mapping[str, str]:
        """The answers depend on the model."""
        return {"llm": self.llm.identity()}

    def run(self, context: StageContext) -> None:
        """Play, keeping each finished round, then write and describe all of them."""
        people = self.population().draw(context.seeds.child("population"))
        rounds = asyncio.run(self._play(people, context))
        table = _table(people, rounds)
        write_table(table, context.output("rounds"))
        write_table(trajectories(rounds, source=context.name), context.output("trajectories"))
        for played in rounds:
            for turn in played.turns:
                if turn.error:
                    where = f"round {played.number + 1}, {turn.agent}"
                    said = turn.messages[-1]["content"] if turn.messages else ""
                    context.quarantine.add(where=where, reason=turn.error, record=said)
        self._describe(people, rounds, context)

    async def _play(self, people: Sequence[Background], context: StageContext) -> list[Round]:
        model = self.llm.open()
        fraction = Fraction(self.fraction)
        journal = Journal(context.scratch / "rounds", key=self._key(context))
        try:
            async with Runtime(in_flight=self.in_flight) as runtime:
                players = {
                    person.id: runtime.spawn(
                        GuessingPlayer,
                        person,
                        model,
                        fraction,
                        self.temperature,
                        context.seeds.child("player", person.id),
                        name=person.id,
                    )
                    for person in people
                }
                world = runtime.spawn(GuessingTable, fraction, name="table")
                total = self.rounds * len(people)
                rounds = await Simulation(runtime, world, players, journal).run(
                    self.rounds,
                    on_turn=lambda number, done: context.progress("answers", number * len(people) + done, total),
                )
        finally:
            await model.aclose()
        for name, value in _model_counts(model).items():
            context.metric(name, value)
        for played in rounds:
            context.metric("mean guess", played.outcome["mean"], step=played.number + 1)
        return rounds

    def _key(self, context: StageContext) -> str:
        settings = self.model_dump_json(exclude={"rounds", "in_flight", "llm"})
        identity = f"{settings}{self.llm.identity()}{context.seeds.digest().hex()}"
        return hashlib.sha256(identity.encode()).hexdigest()

    def _describe(self, people: Sequence[Background], rounds: Sequence[Round], context: StageContext) -> None:
        report = context.report
        guesses = [_guesses(played) for played in rounds]
        first, last = rounds[0].outcome["mean"], rounds[-1].outcome["mean"]
        report.headline = (
            f"{len(people)} agents, {len(rounds)} rounds: mean guess {first:g} in the first round, {last:g} in the last"
        )
        report.facts |= {"agents": len(people), "rounds": len(rounds)}
        report.facts |= _cost(rounds)
        report.figures = [_curve(guesses, rounds, self.fraction), _histogram(guesses)]
        report.tables = [_by_background(people, rounds), _results(rounds)]
        report.examples = [
            Example(title=f"{person.id}: {person.text}", text=_transcript(person.id, rounds))
            for person in (people[0], people[-1])
        ]
        report.notes.append(trend(rounds))
        invalid = sum(bool(turn.error) for played in rounds for turn in played.turns)
        if invalid:
            report.notes.append(
                f"{invalid} of {len(people) * len(rounds)} answers held no valid number; they are in quarantine.jsonl "
                "and count in no average."
            )


def trend(rounds: Sequence[Round]) -> str:
    """One honest sentence: did the guesses of those who played both the first and the last round fall?

    The interval is that of the mean of paired differences, with the normal quantile 1.96.
    """
    first, last = _guesses(rounds[0]), _guesses(rounds[-1])
    both = [last[agent] - first[agent] for agent in first if agent in last]
    if len(rounds) < 2 or len(both) < 2:
        return "With fewer than two rounds or two players there is no trend to speak of."
    change = statistics.fmean(both)
    margin = 1.96 * statistics.stdev(both) / len(both) ** 0.5
    interval = f"{change:+.1f} per player, 95 % interval {change - margin:+.1f} to {change + margin:+.1f}"
    if change + margin < 0:
        means = [played.outcome["mean"] for played in rounds]
        steadily = all(later < earlier for earlier, later in pairwise(means))
        how = "in every round" if steadily else "overall, though not in every round"
        return f"Guesses fell {how} ({interval}), as they do when people play."
    if change - margin > 0:
        return f"Guesses rose ({interval}): this model does not play as people do, whose guesses fall."
    return f"Guesses neither clearly fell nor rose ({interval}): this model does not learn the game as people do."


def _guesses(played: Round) -> dict[str, int]:
    return {turn.agent: turn.action for turn in played.turns if not turn.error}


def _table(people: Sequence[Background], rounds: Sequence[Round]) -> pa.Table:
    """One row per player and round."""
    import pyarrow as pa

    attributes = {person.id: dict(person.attributes) for person in people}
    rows = [
        {"round": played.number + 1, "agent": turn.agent}
        | attributes[turn.agent]
        | {
            "number": turn.action,
            "mean": played.outcome["mean"],
            "target": played.outcome["target"],
            "reward": played.rewards.get(turn.agent, 0.0),
            "error": turn.error,
        }
        for played in rounds
        for turn in played.turns
    ]
    schema = pa.schema(
        [("round", pa.int32()), ("agent", pa.string())]
        + [(name, pa.string()) for name in people[0].attributes]
        + [("number", pa.int32()), ("mean", pa.float64()), ("target", pa.float64())]
        + [("reward", pa.float64()), ("error", pa.string())]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def _cost(rounds: Sequence[Round]) -> dict[str, int]:
    """What the answers took; the same however they were batched, or how often the run was cut off."""
    turns = [turn for played in rounds for turn in played.turns]
    sent = sum(turn.facts.get("prompt_tokens", 0) for turn in turns)
    distinct: dict[tuple[int, str], float] = {}
    for played in rounds:
        for turn in played.turns:
            asked = next((m["content"] for m in turn.messages if m["role"] == "user"), "")
            distinct[played.number, asked] = turn.facts.get("prompt_tokens", 0)
    return {
        "model calls": len(turns),
        "different prompts": len(distinct),
        "prompt tokens sent": int(sent),
        "prompt tokens of different prompts": int(sum(distinct.values())),
        "answer tokens": int(sum(turn.facts.get("completion_tokens", 0) for turn in turns)),
    }


def _model_counts(model: Any) -> dict[str, float]:
    """What a model that merges calls saved; it depends on timing, so it belongs to the event log."""
    counts = getattr(model, "counts", None)
    if counts is None:
        return {}
    return {
        "completions computed": counts.computed,
        "batches": counts.batches,
        "prompt tokens computed": counts.prefilled_tokens,
        "prompt tokens saved": counts.saved_tokens,
    }


def _curve(guesses: Sequence[Mapping[str, int]], rounds: Sequence[Round], fraction: str) -> Lines:
    mean: list[tuple[float, float]] = []
    median: list[tuple[float, float]] = []
    spread: list[tuple[float, float, float]] = []
    for number, of_round in enumerate(guesses, start=1):
        values = list(of_round.values())
        center, deviation = statistics.fmean(values), statistics.pstdev(values)
        mean.append((number, center))
        median.append((number, statistics.median(values)))
        spread.append((number, max(0.0, center - deviation), min(float(LARGEST), center + deviation)))
    return Lines(
        title="Guesses by round",
        x="round",
        y="guess",
        series={
            "mean": mean,
            "median": median,
            f"{fraction} of the mean": [(played.number + 1, played.outcome["target"]) for played in rounds],
        },
        bands={"mean": spread},
        note="The band is one standard deviation to each side of the mean.",
    )


def _histogram(guesses: Sequence[Mapping[str, int]]) -> Histogram:
    edges = [*range(0, LARGEST, 10), LARGEST + 1]
    shown = {"first round": guesses[0], "last round": guesses[-1]}
    return Histogram(
        title="Guesses in the first and the last round",
        x="guess",
        edges=[float(edge) for edge in edges],
        counts={
            name: [float(sum(low <= guess < high for guess in of_round.values())) for low, high in pairwise(edges)]
            for name, of_round in shown.items()
        },
    )


def _by_background(people: Sequence[Background], rounds: Sequence[Round]) -> Table:
    names = list(people[0].attributes)
    groups: dict[tuple[str, ...], list[str]] = {}
    for person in people:
        groups.setdefault(tuple(person.attributes[name] for name in names), []).append(person.id)
    rows: list[list[str | int | float | None]] = []
    for values, members in sorted(groups.items()):
        means = [_mean_of(members, _guesses(played)) for played in (rounds[0], rounds[-1])]
        reward = sum(played.rewards.get(member, 0.0) for played in rounds for member in members)
        rows.append([*values, len(members), *means, round(reward, 2)])
    return Table(
        title="Guesses by background",
        columns=[*names, "agents", "mean guess, first round", "mean guess, last round", "rounds won (shared)"],
        rows=rows,
    )


def _mean_of(members: Sequence[str], guesses: Mapping[str, int]) -> float | None:
    given = [guesses[member] for member in members if member in guesses]
    return round(statistics.fmean(given), 1) if given else None


def _results(rounds: Sequence[Round]) -> Table:
    rows: list[list[str | int | float | None]] = []
    for played in rounds:
        values = list(_guesses(played).values())
        winners = played.outcome["winners"]
        shown = ", ".join(winners[:4]) + (f" and {len(winners) - 4} more" if len(winners) > 4 else "")
        rows.append(
            [
                played.number + 1,
                round(statistics.fmean(values), 2),
                statistics.median(values),
                round(statistics.pstdev(values), 2),
                played.outcome["target"],
                shown,
            ]
        )
    return Table(
        title="Results by round",
        columns=["round", "mean", "median", "standard deviation", "winning number", "nearest to it"],
        rows=rows,
    )


def _transcript(agent: str, rounds: Sequence[Round]) -> str:
    parts: list[str] = []
    for played in rounds:
        turn = next(turn for turn in played.turns if turn.agent == agent)
        parts += [f"[{message['role']}] {message['content']}" for message in turn.messages]
        if turn.error:
            parts.append(f"(no valid answer: {turn.error})")
    return "\n".join(parts)
