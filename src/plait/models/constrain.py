"""JSON Schema as masks over the next token: what is generated parses and validates by construction.

The grammar is compiled once per schema and model and shared by all rows; each row walks it on its own. Objects are
written in the order of their properties, with the spacing of ``json.dumps`` and no property that the schema does not
name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plait.core.optional import require
from plait.errors import ModelError
from plait.models.json_schema import unenforceable

if TYPE_CHECKING:
    import torch
    import xgrammar
    from transformers import PreTrainedTokenizerBase

# xgrammar 0.2 lets control characters into strings of bounded length, and counts byte sequences that are not UTF-8 as
# characters. Neither occurs in one-line JSON, so both are forbidden here.
_IMPOSSIBLE = re.compile(
    rb"[\x00-\x1f\xc0\xc1\xf5-\xff]|\xe0[\x80-\x9f]|\xed[\xa0-\xbf]|\xf0[\x80-\x8f]|\xf4[\x90-\xbf]"
)
_WRONG_AFTER = {
    lead: frozenset(bytes([b]) for b in range(first, last + 1))
    for lead, first, last in ((0xE0, 0x80, 0x9F), (0xED, 0xA0, 0xBF), (0xF0, 0x80, 0x8F), (0xF4, 0x90, 0xBF))
}
"""First byte of a character → second bytes that would make it overlong, a surrogate, or beyond Unicode."""


class Constraint:
    """How far one row is in the grammar.

    Attributes:
        tail: The last byte written; 0 at the start.
    """

    def __init__(self, matcher: xgrammar.GrammarMatcher, texts: Sequence[bytes]) -> None:
        self.matcher = matcher
        self.tail = 0
        self._texts = texts

    def accept(self, token: int) -> None:
        """Move on by a token that the mask allowed.

        Raises:
            ModelError: The mask allowed none: this tokenizer has no token that continues the text.
        """
        if not self.matcher.accept_token(token):
            raise ModelError(
                "no token of the model continues the JSON that was begun",
                code="model.schema-dead-end",
                hint="look for a pattern or constant that asks for control characters",
            )
        self.tail = self._texts[token][-1] if self._texts[token] else self.tail

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
        self._texts: list[bytes] = info.decoded_vocab
        # Special tokens fit inside a JSON string as far as their letters go, but they are not text.
        never = set(tokenizer.all_special_ids) | {i for i, t in enumerate(self._texts) if _IMPOSSIBLE.search(t)}
        self._ordinary = self._mask_without(never - set(ends))
        self._after = {
            lead: self._mask_without({i for i, t in enumerate(self._texts) if t[:1] in wrong})
            for lead, wrong in _WRONG_AFTER.items()
        }

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
        return Constraint(self._xgrammar.GrammarMatcher(self.compile(schema)), self._texts)

    def allow(self, constraints: Sequence[Constraint], logits: torch.Tensor) -> torch.Tensor:
        """Scores ``[rows, vocabulary]`` with ``-inf`` where a row's grammar forbids the token."""
        mask = self._xgrammar.allocate_token_bitmask(len(constraints), self._vocabulary)
        for row, constraint in enumerate(constraints):
            constraint.matcher.fill_next_token_bitmask(mask, row)
            if constraint.tail in self._after:
                mask[row] &= self._after[constraint.tail]
        mask &= self._ordinary
        scores = logits.clone()
        self._xgrammar.apply_token_bitmask_inplace(scores, mask.to(scores.device))
        return scores

    def _mask_without(self, tokens: set[int]) -> torch.Tensor:
        """Bits ``[vocabulary / 32]`` of all tokens but these, least significant first as xgrammar packs them."""
        import numpy as np
        import torch

        bits = np.ones(-(-self._vocabulary // 32) * 32, dtype=bool)
        bits[sorted(tokens)] = False
        return torch.from_numpy(np.packbits(bits, bitorder="little").view(np.int32))
