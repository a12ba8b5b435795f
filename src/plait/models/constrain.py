"""JSON Schema as masks over the next token: what is generated parses and validates by construction.

The grammar is compiled once per schema and model and shared by all rows; each row walks it on its own. Objects are
written in the order of their properties, with the spacing of ``json.dumps`` and no property that the schema does not
name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plait.core.optional import require
from plait.errors import ModelError
from plait.models.json_schema import unenforceable

if TYPE_CHECKING:
    import torch
    import xgrammar
    from transformers import PreTrainedTokenizerBase


class Constraint:
    """How far one row is in the grammar."""

    def __init__(self, matcher: xgrammar.GrammarMatcher) -> None:
        self.matcher = matcher

    def accept(self, token: int) -> None:
        """Move on by a token that the mask allowed."""
        if not self.matcher.accept_token(token):
            raise AssertionError(f"token {token} was chosen against the mask")

    @property
    def complete(self) -> bool:
        """Whether the text so far satisfies the schema."""
        return self.matcher.is_terminated() or self.matcher.is_completed()


class Grammars:
    """Compiled schemas for one tokenizer; reached as ``lm.grammars``.

    Args:
        tokenizer: The model's tokenizer.
        vocabulary: How many scores the model gives per position; may exceed the tokenizer's size.
        ends: Token ids that end a completion.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, vocabulary: int, ends: Sequence[int]) -> None:
        xgrammar = require("xgrammar", extra="llm", feature="generating by JSON Schema")
        if not ends:
            raise ModelError("the model has no end token, so no text can be complete", code="model.no-end-token")
        self._xgrammar = xgrammar
        self._vocabulary = vocabulary
        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, vocab_size=vocabulary, stop_token_ids=list(ends))
        self.compiler = xgrammar.GrammarCompiler(info, max_threads=2)
        self._ordinary = xgrammar.allocate_token_bitmask(1, vocabulary)
        for token in set(tokenizer.all_special_ids) - set(ends):
            # Their text would fit inside a JSON string, but they are not text.
            self._ordinary[0, token // 32] &= ~(1 << (token % 32))

    def compile(self, schema: Mapping[str, Any]) -> xgrammar.CompiledGrammar:
        """The grammar of a schema; compiled at the first call with it.

        Raises:
            ModelError: The schema is wrong, or asks for something a grammar cannot enforce.
        """
        problems = unenforceable(schema)
        if problems:
            raise ModelError(
                f"the schema asks for what generation cannot enforce: {'; '.join(problems[:5])}",
                code="model.schema-unsupported",
                hint="leave it out and check the answer yourself, or write it another way",
            )
        try:
            # The compiler keeps what it has compiled, by the schema's text.
            return self.compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)
        except RuntimeError as error:
            raise ModelError(
                f"the schema cannot be compiled: {str(error).strip().split(': ', 1)[-1]}",
                code="model.schema-invalid",
            ) from error

    def start(self, schema: Mapping[str, Any]) -> Constraint:
        """A row at the beginning of a schema; raises as `compile`."""
        return Constraint(self._xgrammar.GrammarMatcher(self.compile(schema)))

    def allow(self, constraints: Sequence[Constraint], logits: torch.Tensor) -> torch.Tensor:
        """Scores ``[rows, vocabulary]`` with ``-inf`` where a row's grammar forbids the token."""
        mask = self._xgrammar.allocate_token_bitmask(len(constraints), self._vocabulary)
        for row, constraint in enumerate(constraints):
            constraint.matcher.fill_next_token_bitmask(mask, row)
        mask &= self._ordinary
        scores = logits.clone()
        self._xgrammar.apply_token_bitmask_inplace(scores, mask.to(scores.device))
        return scores
