"""Filters for conversations: turns, roles, answers that repeat themselves."""

from __future__ import annotations

import sys
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import PositiveInt

from plait.data.batch import Batch
from plait.data.op import Bounds, Columns, Cost, Filter, Need, RangeFilter
from plait.data.ops.pairs.ranges import KnownRangeFilter
from plait.data.ops.pairs.texts import jaccard, messages


class ConversationTurnsFilter(RangeFilter):
    """Keeps conversations of a number of turns.

    Example:
        - conversation_turns_filter: {min_num: 2, max_num: 20}

    Source: ours.
    """

    stat = "num_turns"
    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"fields"})

    messages_key: str = "messages"
    """Field of the messages."""
    role: Literal["any", "user", "assistant", "system", "tool"] = "any"
    """Count messages of this role only."""
    min_num: int = 2
    """Fewest turns kept."""
    max_num: int = sys.maxsize
    """Most turns kept."""

    def value(self, batch: Batch) -> np.ndarray:
        """Messages."""
        roles = _roles(batch, self.messages_key)
        counts = roles.list.len() if self.role == "any" else roles.list.count_matches(self.role)
        return counts.fill_null(0).to_numpy().astype(np.int64)

    def bounds(self) -> Bounds:
        """Fewest and most."""
        return self.min_num, self.max_num


class ConversationRolesFilter(Filter):
    """Keeps conversations whose messages are in order and not empty.

    User and assistant take turns, and the assistant has the last word; a system message may come first, tool messages
    may stand in between. The reason a conversation is refused is its stat ``role_problem``, null for those kept.

    Example:
        - conversation_roles_filter: {end_with_assistant: true}

    Source: ours; the order that chat templates of instruct models require.
    """

    stats = ("role_problem",)
    cost: ClassVar[Cost] = "bytes"
    needs: ClassVar[frozenset[Need]] = frozenset({"fields"})

    messages_key: str = "messages"
    """Field of the messages."""
    end_with_assistant: bool = True
    """Refuse conversations whose last message is not the assistant's."""

    def measure(self, batch: Batch) -> Columns:
        """What is wrong, or null."""
        talks = messages(batch, self.messages_key, else_text=False)
        roles = talks.list.eval(pl.element().struct.field("role"))
        said = talks.list.eval(pl.element().struct.field("content").fill_null(""))
        known = ["system", "user", "assistant", "tool"]
        strange = pl.col("roles").list.eval(pl.element().filter(~pl.element().is_in(known))).list.len() > 0
        late_system = pl.col("roles").list.slice(1).list.contains("system")
        empty = pl.col("said").list.eval(pl.element().filter(pl.element().str.strip_chars() == "")).list.len() > 0
        role = pl.element()
        same = pl.col("roles").list.eval((role == role.shift(1)) & (role != "tool")).list.any()
        frame = pl.DataFrame({"roles": roles.fill_null([]), "said": said.fill_null([])})
        problem = (
            pl.when(pl.col("roles").list.len() == 0)
            .then(pl.lit("no message"))
            .when(strange)
            .then(pl.lit("unknown role"))
            .when(late_system)
            .then(pl.lit("system message not first"))
            .when(empty)
            .then(pl.lit("empty message"))
            .when(same)
            .then(pl.lit("two turns of one role in a row"))
        )
        if self.end_with_assistant:
            problem = problem.when(pl.col("roles").list.last() != "assistant").then(
                pl.lit("does not end with assistant")
            )
        return {"role_problem": frame.select(problem.alias("problem"))["problem"]}

    def keeps(self, batch: Batch, stats: Columns) -> np.ndarray:
        """Those without a problem."""
        del batch
        return pl.Series(stats["role_problem"]).is_null().to_numpy()


class ConversationEchoFilter(KnownRangeFilter):
    """Keeps conversations whose answers do not repeat what was just said.

    The number is the largest Jaccard similarity of an assistant's message with the message before it, over their word
    n-grams; 0 where no assistant's message follows another message. A row whose messages are null has no number and is
    dropped.

    Example:
        - conversation_echo_filter: {max_similarity: 0.7}

    Source: ours.
    """

    stat = "echo"
    cost: ClassVar[Cost] = "words"
    needs: ClassVar[frozenset[Need]] = frozenset({"words"})

    messages_key: str = "messages"
    """Field of the messages."""
    ngram: PositiveInt = 2
    """Words per n-gram."""
    min_similarity: float = 0.0
    """Least similarity kept, 0 to 1."""
    max_similarity: float = 0.8
    """Greatest similarity kept, 0 to 1."""

    def value(self, batch: Batch) -> np.ndarray:
        """Largest similarity of an answer with what it answers."""
        column = messages(batch, self.messages_key, else_text=False)
        rows = pl.DataFrame({"row": np.arange(len(batch)), "message": column}).explode("message").unnest("message")
        rows = rows.with_columns(pl.col("content").fill_null("").shift(1).over("row").alias("before"))
        answers = rows.filter((pl.col("role") == "assistant") & pl.col("before").is_not_null())
        out = np.zeros(len(batch))
        if answers.height:
            alike = jaccard(answers["content"].fill_null(""), answers["before"], size=self.ngram)
            np.maximum.at(out, answers["row"].to_numpy(), alike)
        return np.where(column.is_null().to_numpy(), np.nan, out)

    def bounds(self) -> Bounds:
        """Least and greatest."""
        return self.min_similarity, self.max_similarity


def _roles(batch: Batch, field: str) -> pl.Series:
    return messages(batch, field, else_text=False).list.eval(pl.element().struct.field("role"))
