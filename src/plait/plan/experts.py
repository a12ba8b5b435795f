"""Experts: who can do a sub-task. Each has a description for the planner, and says itself what does not suit it.

The numbers and quotes of an answer come from the documents, the sub-task or earlier answers. A model chooses among them
under a JSON schema and cannot add any, which is what lets a small one be trusted with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from plait.errors import LLMError, StrandError
from plait.llm.base import ChatModel
from plait.plan.arithmetic import evaluate, shown
from plait.plan.facts import as_number, number_words, numbers, without_references, words
from plait.plan.plan import SubTask
from plait.plan.search import BM25, Library, Passage, sentences

_ARITHMETIC = re.compile(
    r"\b(times|multipl\w+|divid\w+|sum|add(?:ed|ing)?|subtract\w*|minus|plus|product|difference|comput\w+|calculat\w+)\b",
    re.IGNORECASE,
)
_CANDIDATES = 5  # sentences the model chooses from
_LONGEST_SENTENCE = 300  # characters; longer ones are tables or code


@dataclass(frozen=True)
class Answer:
    """What an expert found.

    Args:
        text: The answer in words, for a person and for the experts that depend on it.
        value: The bare value, e.g. ``70``; empty if the answer is not one.
        source: Id of the document it rests on; empty if on none.
        working: How it was reached: the quoted sentence, or the expression.
        alternatives: Other values that could have been taken from the quoted sentence: a reason to look at it.
    """

    text: str
    value: str = ""
    source: str = ""
    working: str = ""
    alternatives: tuple[str, ...] = ()


class Expert(Protocol):
    """One who can do sub-tasks."""

    @property
    def name(self) -> str:
        """What a plan calls it."""
        ...

    @property
    def description(self) -> str:
        """One sentence for the planner: verb, method, scope."""
        ...

    @property
    def needs_numbers(self) -> bool:
        """Whether the answers it depends on must be numbers."""
        ...

    def refuses(self, task: SubTask) -> str | None:
        """Why it cannot do this sub-task, as far as can be told without trying; ``None`` if nothing speaks against."""
        ...

    async def answer(self, task: SubTask, *needed: Answer, numeric: bool = False) -> Answer:
        """Do the sub-task.

        Args:
            task: What to do.
            needed: The answers it depends on, in the order of ``task.dep``.
            numeric: Another sub-task computes with the answer: its value must be a number.

        Raises:
            StrandError: It could not be done; the message says why.
            LLMError: The model failed.
        """
        ...


@dataclass(frozen=True)
class Lookup:
    """Finds the passage by BM25; the model then points at the sentence and value that answer.

    Args:
        library: Where to look.
        model: Who points.
        top: Passages considered.
    """

    library: Library
    model: ChatModel
    top: int = 3
    name: str = "lookup"
    description: str = "finds one fact in the documents and returns it with its source"
    needs_numbers: bool = False

    def refuses(self, task: SubTask) -> str | None:
        """Arithmetic is not in the documents, and words that no document has cannot be found."""
        found = _ARITHMETIC.search(task.task)
        if found and task.dep:
            return f'"{found.group()}" asks for arithmetic, and a look-up does none'
        if not any(len(word) > 3 and self.library.knows(word) for word in words(task.task)):
            return "no document has any of its words"
        return None

    async def answer(self, task: SubTask, *needed: Answer, numeric: bool = False) -> Answer:
        """See `Expert.answer`."""
        query = " ".join([task.task, *(answer.text for answer in needed)])
        candidates = self._candidates(query, numeric=numeric)
        if not candidates:
            kind = "with a number " if numeric else ""
            raise StrandError(f"no sentence {kind}of the documents answers {task.task!r}", code="plan.not-found")
        chosen = await self._choose(task, candidates, numeric=numeric)
        passage, sentence = candidates[chosen["sentence"] - 1]
        value = str(chosen.get("value", ""))
        return Answer(
            text=sentence,
            value=value,
            source=passage.source,
            working=f"“{sentence}”",
            alternatives=tuple(other for other in values(sentence, numeric=numeric) if other != value),
        )

    def _candidates(self, query: str, *, numeric: bool) -> list[tuple[Passage, str]]:
        """The sentences that speak most of the query; only those with a number, if it must be one."""
        found = [
            (passage, sentence)
            for passage, _ in self.library.find(query, top=self.top)
            for sentence in sentences(passage.text)
            if len(sentence) <= _LONGEST_SENTENCE and (not numeric or values(sentence, numeric=True))
        ]
        # A sentence of the document that the query names is nearer to it than the same words elsewhere.
        ranked = BM25(f"{passage.source} {sentence}" for passage, sentence in found)
        return [found[place] for place, _ in ranked.search(query, top=_CANDIDATES)]

    async def _choose(
        self, task: SubTask, candidates: Sequence[tuple[Passage, str]], *, numeric: bool
    ) -> dict[str, Any]:
        listed = "\n".join(f"[{n}] {p.source}: {s}" for n, (p, s) in enumerate(candidates, start=1))
        schema = {"anyOf": [_choice(n, values(s, numeric=numeric)) for n, (_, s) in enumerate(candidates, start=1)]}
        prompt = f"{listed}\n\nTask: {task.task}\nWhich sentence answers, and with which value? Answer as JSON."
        return await _ask(self.model, _LOOKUP_RULES, _LOOKUP_EXAMPLE, prompt, schema)


@dataclass(frozen=True)
class Calculator:
    """Computes one expression, exactly; the model only says how the known numbers are combined.

    Args:
        model: Who writes the expression.
    """

    model: ChatModel
    name: str = "calculator"
    description: str = "computes with numbers of the question and answers of other sub-tasks"
    needs_numbers: bool = True

    def refuses(self, task: SubTask) -> str | None:
        """Without two numbers there is nothing to compute."""
        known = len(_operands(task.task)) + len(task.dep)
        if known < 2:
            plural = "" if known == 1 else "s"
            return f"it has {known} number{plural} to compute with; name them, or list in dep where they come from"
        return None

    async def answer(self, task: SubTask, *needed: Answer, numeric: bool = False) -> Answer:
        """See `Expert.answer`."""
        del numeric  # what it computes is always a number
        for answer in needed:
            if as_number(answer.value) is None:
                raise StrandError(f"{answer.text!r} gives no single number to compute with", code="plan.no-number")
        operands = list(dict.fromkeys([answer.value for answer in needed] + _operands(task.task)))
        one = "(" + "|".join(re.escape(operand) for operand in operands) + ")"
        most = max(1, len(needed) + len(_operands(task.task)) - 1)
        schema = {
            "type": "object",
            "properties": {
                "expression": {"type": "string", "pattern": f"^{one}( [-+*/] {one}){{1,{most}}}$"},
            },
            "required": ["expression"],
            "additionalProperties": False,
        }
        known = "\n".join(f"Known: {answer.text} The value is {answer.value}." for answer in needed)
        prompt = f"{known}\nTask: {task.task}\nWrite the expression as JSON."
        chosen = await _ask(self.model, _CALCULATOR_RULES, _CALCULATOR_EXAMPLE, prompt, schema)
        expression = str(chosen["expression"])
        used = re.split(r" [-+*/] ", expression)
        for operand in operands:
            if operand not in used:
                raise StrandError(
                    f"the expression {expression} leaves out {operand}, which the sub-task needs",
                    code="plan.unused-number",
                )
        value = shown(evaluate(expression))
        return Answer(text=f"{expression} = {value}", value=value, working=expression)


@dataclass(frozen=True)
class Writer:
    """Puts the answers of other sub-tasks into a sentence, which may hold no number that they do not hold.

    Args:
        model: Who writes.
    """

    model: ChatModel
    name: str = "writer"
    description: str = "writes the answers of other sub-tasks as one sentence"
    needs_numbers: bool = False

    def refuses(self, task: SubTask) -> str | None:
        """There must be answers to write up."""
        return None if task.dep else "it has no answers to write about; list them in dep"

    async def answer(self, task: SubTask, *needed: Answer, numeric: bool = False) -> Answer:
        """See `Expert.answer`."""
        del numeric  # whether its value will do is checked like everyone's
        known = "\n".join(f"- {answer.text}" for answer in needed)
        [reply] = await self.model.chat(
            [
                {
                    "role": "system",
                    "content": "Write one short sentence that answers the task. Use only the facts given.",
                },
                {"role": "user", "content": f"Facts:\n{known}\n\nTask: {task.task}"},
            ],
            max_tokens=80,
        )
        text = " ".join(reply.text.split())
        allowed = {n for part in (known, task.task) for n in numbers(part)}
        foreign = [shown(n) for n in numbers(text) if n not in allowed]
        if not text or foreign:
            problem = f"it has {', '.join(foreign)}, which no answer holds" if foreign else "it is empty"
            raise StrandError(f"the sentence {text!r} is refused: {problem}", code="plan.invented-number")
        value = needed[-1].value if needed[-1].value in text else ""
        return Answer(text=text, value=value, working="written from the answers it depends on")


def values(sentence: str, *, numeric: bool = False) -> list[str]:
    """What a sentence could give as a bare value: its numbers and, unless ``numeric``, short quoted texts, each once.

    Example:
        >>> values('The default mode is "rb", and the default compresslevel is 9.')
        ['9', 'rb']
    """
    quoted = [] if numeric else re.findall(r"[\"'`]([^\"'`\s]{1,24})[\"'`]", sentence)
    return list(dict.fromkeys([shown(n) for n in numbers(sentence)] + [q for q in quoted if not numbers(q)]))


def _operands(text: str) -> list[str]:
    own = without_references(text)
    return [shown(n) for n in [*numbers(own), *number_words(own)]]


def _choice(number: int, candidates: Sequence[str]) -> dict[str, Any]:
    properties: dict[str, Any] = {"sentence": {"const": number}}
    if candidates:
        properties["value"] = {"enum": list(candidates)}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


async def _ask(
    model: ChatModel, rules: str, example: tuple[str, str], prompt: str, schema: Mapping[str, Any]
) -> dict[str, Any]:
    """One greedy call with a worked example, answered in JSON of the schema.

    Raises:
        LLMError: The answer is cut off.
    """
    [reply] = await model.chat(
        [
            {"role": "system", "content": rules},
            {"role": "user", "content": example[0]},
            {"role": "assistant", "content": example[1]},
            {"role": "user", "content": prompt},
        ],
        max_tokens=120,
        schema=schema,
    )
    try:
        return dict(json.loads(reply.text))
    except ValueError as error:
        raise LLMError(f"the answer is not whole JSON: {reply.text!r}", code="plan.answer-cut") from error


_LOOKUP_RULES = "You find facts in documents. You answer with the number of the sentence and the value in it."
_LOOKUP_EXAMPLE = (
    "[1] socket.listen: The backlog is the number of waiting connections (default: 128).\n"
    "[2] socket.timeout: Waits 30 seconds before it gives up.\n\n"
    "Task: Find the default backlog of socket.listen.\n"
    "Which sentence answers, and with which value? Answer as JSON.",
    '{"sentence": 1, "value": "128"}',
)
_CALCULATOR_RULES = "You write the arithmetic expression that answers a task, with the numbers you know."
_CALCULATOR_EXAMPLE = (
    "Known: The backlog is the number of waiting connections (default: 128). The value is 128.\n"
    "Task: Compute 5 times that backlog.\n"
    "Write the expression as JSON.",
    '{"expression": "5 * 128"}',
)
