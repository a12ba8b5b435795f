"""Judges: a model gives one side of a reply, or of an agent's trace, 1 to 5 points, and the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import polars as pl
from pydantic import NonNegativeInt, PositiveInt

from plait.data.ops.llm.ask import TEXT, AsksEndpoint, Question, Shape
from plait.data.ops.llm.mapper import LLMMapper, Row
from plait.data.ops.llm.meta import meta_of
from plait.data.ops.llm.turns import clip, language_of, turns_of

VERDICT = pl.Struct({"score": pl.Float64, "reason": pl.String, "eval_kind": pl.String})
"""Type of a verdict, as in Data-Juicer."""


class Judges(LLMMapper, AsksEndpoint):
    """Base of the judges: one question per row, one verdict in the meta.

    Data-Juicer writes an error into the verdict's place; here the status beside it says what went wrong.
    """

    shape: ClassVar[Shape] = {"score": {"type": "integer", "minimum": 1, "maximum": 5}, "reason": TEXT}
    key: ClassVar[str]
    """Name of the verdict in the meta."""
    kind: ClassVar[str] = "dialog_turn"
    """What is judged."""

    api_model: str = "qwen-turbo"
    """Name of the model on the server."""
    history_key: str = "dialog_history"
    """Field of the earlier turns."""
    query_key: str = "query"
    """Field of what the user said last."""
    response_key: str = "response"
    """Field of the reply."""
    max_round: NonNegativeInt = 8
    """How many turns are shown, the last ones; 0 for all."""
    max_query_chars_for_prompt: NonNegativeInt = 6000
    """How much is shown of what the user says in a turn, in characters; 0 for all."""
    max_response_chars_for_prompt: NonNegativeInt = 8000
    """How much is shown of a reply, in characters; 0 for all."""
    trajectory_text_max_chars: NonNegativeInt = 12000
    """How much is shown of a trace, in characters; 0 for all."""
    tool_types_key: str = "agent_tool_types"
    """Name of the tools in the meta."""
    primary_tool_key: str = "primary_tool_type"
    """Name of the most used tool in the meta."""
    try_num: PositiveInt = 2
    """How often a question is asked before its row goes without an answer."""
    overwrite: bool = False
    """Judge rows again that have a verdict."""
    preferred_output_lang: str = "en"
    """Language of the reason: ``en`` or ``zh``."""

    def known(self, row: Row) -> bool:
        """Whether the verdict is there and stays."""
        return not self.overwrite and super().known(row)

    def meta_types(self) -> Mapping[str, Any]:
        """One verdict."""
        return {self.key: VERDICT}

    def found(self, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The verdict and what it is about."""
        del row
        return {self.key: {"score": values["score"], "reason": values["reason"][:2000], "eval_kind": self.kind}}

    def question(self, row: Row) -> Question | None:
        """What is judged."""
        shown = self.shown(row)
        rule = f"Give 1 (worst) to 5 (best) points, and the reason in {language_of(self.preferred_output_lang)}."
        return Question(f"{self.system()}\n{rule}", shown) if shown else None

    def shown(self, row: Row) -> str:
        """The last turns, the reply that is judged apart from the others; nothing if there is no turn."""
        turns = turns_of(row, history=self.history_key, query=self.query_key, response=self.response_key)
        turns = [self.clipped(*turn) for turn in turns[-self.max_round :]]
        if not turns:
            return ""
        earlier = "".join(f"User: {said}\nAssistant: {reply}\n" for said, reply in turns[:-1])
        said, reply = turns[-1]
        return f"Earlier turns:\n{earlier or '(none)'}\n\nUser now:\n{said}\n\nReply to judge (only this):\n{reply}"

    def clipped(self, said: str, reply: str) -> tuple[str, str]:
        """As much of a turn as is shown."""
        return clip(said, self.max_query_chars_for_prompt), clip(reply, self.max_response_chars_for_prompt)


class DialogClarificationQualityMapper(Judges):
    """Judges whether a reply asks back when it should, and asks well.

    Example:
        - dialog_clarification_quality_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``dialog_clarification_quality_mapper``.
    """

    key: ClassVar[str] = "dialog_clarification_quality"
    task: ClassVar[str] = (
        "Judge how the reply deals with what is unclear in the request. If something that matters is missing or "
        "ambiguous: does it ask a short, relevant question? If all is clear: does it answer without needless questions?"
    )


class DialogCoreferenceMapper(Judges):
    """Judges whether a reply understands what words such as "it" and "that one" refer to.

    Example:
        - dialog_coreference_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``dialog_coreference_mapper``.
    """

    key: ClassVar[str] = "dialog_coreference"
    task: ClassVar[str] = (
        "Judge whether the reply takes pronouns and pointing words of the user's message to mean the right things, by "
        "the earlier turns. 1: clearly the wrong thing; 3: right but ambiguous; 5: right and clear."
    )


class DialogErrorRecoveryMapper(Judges):
    """Judges how a reply deals with the user's objection to an earlier mistake.

    Example:
        - dialog_error_recovery_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``dialog_error_recovery_mapper``.
    """

    key: ClassVar[str] = "dialog_error_recovery"
    task: ClassVar[str] = (
        "Does the user object to an earlier mistake of the assistant? If not, give 5 and say that there was nothing to "
        "recover from. If so, judge whether the reply admits and mends the mistake, politely. 1: denies it or is "
        "hostile; 5: a clear and correct remedy."
    )


class DialogMemoryConsistencyMapper(Judges):
    """Judges whether a reply keeps to what the user said before.

    Example:
        - dialog_memory_consistency_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``dialog_memory_consistency_mapper``.
    """

    key: ClassVar[str] = "dialog_memory_consistency"
    task: ClassVar[str] = (
        "Judge whether the reply respects the wishes, limits and facts of the earlier turns, by what is written alone. "
        "1: forgets or contradicts something important; 3: mostly right; 5: respects all that matters."
    )


class DialogNonRepetitionMapper(Judges):
    """Judges whether a reply brings something new.

    Example:
        - dialog_non_repetition_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``dialog_non_repetition_mapper``.
    """

    key: ClassVar[str] = "dialog_non_repetition"
    task: ClassVar[str] = (
        "Judge whether the reply avoids repeating earlier replies and itself without need. 1: mostly repeated; 3: some "
        "needless repetition; 5: nothing is repeated without need. With no earlier turns look at the reply alone."
    )


class DialogProactivityMapper(Judges):
    """Judges whether a reply helps beyond the letter of the request, within reason.

    Example:
        - dialog_proactivity_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``dialog_proactivity_mapper``.
    """

    key: ClassVar[str] = "dialog_proactivity"
    task: ClassVar[str] = (
        "Judge whether the reply offers useful next steps, warnings or alternatives that fit the goal, without pushing "
        "itself on the user. 1: passive or intrusive; 3: just what was asked; 5: apt and helpful."
    )


class DialogTopicShiftMapper(Judges):
    """Judges whether a reply follows when the user changes the topic.

    Example:
        - dialog_topic_shift_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``dialog_topic_shift_mapper``.
    """

    key: ClassVar[str] = "dialog_topic_shift"
    task: ClassVar[str] = (
        "Judge whether the reply stays on the user's topic, and goes along when the user changes it. 1: answers "
        "another topic; 3: partly; 5: follows the user. If the topic does not change, judge whether it is kept."
    )


class AgentTraceCoherenceMapper(Judges):
    """Judges whether an agent's trace leads to its goal without detours.

    Example:
        - agent_trace_coherence_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``agent_trace_coherence_mapper``.
    """

    key: ClassVar[str] = "agent_trace_coherence"
    kind: ClassVar[str] = "agent_trace"
    task: ClassVar[str] = (
        "The text is the trace of one session of an agent; output of tools may occur. 5: straight to the user's goal; "
        "3: gets there with detours; 1: loses the goal. If the trace is cut, do not lower the score for what is "
        "missing, and say so."
    )

    def shown(self, row: Row) -> str:
        """The trace."""
        return clip(self.text_of(row).strip(), self.trajectory_text_max_chars)


class AgentToolRelevanceMapper(Judges):
    """Judges whether an agent used the tools that its task needs.

    Example:
        - agent_tool_relevance_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``agent_tool_relevance_mapper``.
    """

    key: ClassVar[str] = "agent_tool_relevance"
    kind: ClassVar[str] = "agent_tool"
    task: ClassVar[str] = (
        "Judge by the request, the reply and the list of tools whether the right tools were used where tools are "
        "needed. 1: tools and task contradict each other; 5: apt and efficient. A missing list alone is no fault."
    )

    def shown(self, row: Row) -> str:
        """The request, the reply, and the tools."""
        said, reply = self.clipped(str(row.get(self.query_key) or ""), str(row.get(self.response_key) or ""))
        meta = meta_of(row)
        tools = ", ".join(map(str, (meta.get(self.tool_types_key) or [])[:40])) or "(none)"
        first = meta.get(self.primary_tool_key) or "(none)"
        if not said and not reply:
            return ""
        return f"Request:\n{said}\n\nReply:\n{reply}\n\nTools: {tools}\nMost used tool: {first}"
