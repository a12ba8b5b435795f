"""Stages for the tests of recipes: every kind of setting a recipe can hold."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from plait.core.component import Component
from plait.core.stage import InputPath, Stage, StageContext
from plait.errors import MissingExtra, UsageError


class LoRA(Component):
    rank: int = Field(default=8, ge=1, le=256)
    """Rank."""
    targets: tuple[str, ...] = ("q_proj",)
    """Which layers."""


class Constant(Component):
    kind: Literal["constant"] = "constant"
    """Which schedule."""
    rate: float
    """Per step."""


class Warmup(Component):
    kind: Literal["warmup"]
    """Which schedule."""
    rate: float
    """Per step."""
    steps: int = Field(ge=1)
    """How many."""


class Split(Component):
    by: Literal["owner", "topic"] = "owner"
    """What to split by."""


class Train(Stage):
    """Has every kind of setting."""

    outputs: ClassVar = {"adapter": "adapter", "log": "log.jsonl"}

    steps: int = Field(default=40, ge=1)
    """How many."""
    rate: float = Field(default=5e-5, gt=0)
    """Learning rate."""
    shuffle: bool = True
    """Whether."""
    loss: Literal["dpo", "ipo", "sft"] = "dpo"
    """Which."""
    note: str = ""
    """Free text."""
    lora: LoRA = LoRA()
    """Adapter."""
    schedule: Annotated[Constant | Warmup, Field(discriminator="kind")] = Constant(rate=1.0)
    """Schedule."""
    split: Split | list[str] | None = None
    """A split, or names."""
    stop: int | Literal["never", "early"] = "never"
    """When."""
    mixture: dict[str, float] = Field(default_factory=dict)
    """Shares by source."""
    data: InputPath | None = None
    """One input."""
    more: list[InputPath] = Field(default_factory=list)
    """Further inputs."""
    pair: tuple[InputPath, ...] = ()
    """Two inputs."""

    @model_validator(mode="after")
    def _consistent(self) -> Train:
        if self.loss == "sft" and self.note == "forbidden":
            raise ValueError("loss sft takes no note")
        if self.note == "usage":
            raise UsageError("this note is no use", code="x.y", hint="write another")
        return self

    def run(self, context: StageContext) -> None:
        raise NotImplementedError


class Source(Stage):
    """Has an output and a required setting."""

    outputs: ClassVar = {"documents": "documents.parquet"}

    topic: str
    """What about."""

    def run(self, context: StageContext) -> None:
        raise NotImplementedError


class NeedsExtra(Stage):
    """Cannot run here."""

    def run(self, context: StageContext) -> None:
        raise NotImplementedError

    def checkable(self) -> None:
        raise MissingExtra("needs quantum", code="extra.missing", hint='pip install "plait[quantum]"')


class Greedy(Stage):
    """Takes a key of the recipe's for itself."""

    needs: int = 0
    """Wrong."""

    def run(self, context: StageContext) -> None:
        raise NotImplementedError


class NotAStage(Component):
    """A component, but not a stage."""
