"""New data from old: questions and answers, prompts, sentences, rejected answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import Field, PositiveInt

from plait.core.seeds import Seeds
from plait.data.batch import Batch
from plait.data.names import ROW
from plait.data.ops.llm.ask import TEXT, Answer, AsksEither, AsksEndpoint, AsksLocal, Question, Shape, fill, schema_of
from plait.data.ops.llm.extract import NotUsed
from plait.data.ops.llm.mapper import LLMMapper, Row, with_answers
from plait.errors import DataError

_PAIRS: Shape = {"pairs": {"type": "array", "items": schema_of({"query": TEXT, "response": TEXT})}}


class PairPreferenceMapper(LLMMapper, AsksEndpoint):
    """Writes an answer worse than the one there is, and why: a pair to learn preferences from.

    Example:
        - pair_preference_mapper: {model: local}

    Source: Data-Juicer 1.6.1, ``pair_preference_mapper``; there a failure gives two empty texts, here null.
    """

    task: ClassVar[str] = (
        "You are given a question, its answer, and perhaps a reference. Write an answer to the same question that is "
        "the opposite of the given one in one respect: style, facts, the speaker's identity or attitude. Then say in "
        "what it differs. Use the language of the given answer."
    )
    template: ClassVar[str] = "Reference:\n{reference}\n\nQuestion:\n{query}\n\nAnswer:\n{response}"
    shape: ClassVar[Shape] = {"rejected": TEXT, "reason": TEXT}

    query_key: str = "query"
    """Field of the question."""
    response_key: str = "response"
    """Field of the answer."""
    rejected_key: str = "rejected_response"
    """Field for the worse answer."""
    reason_key: str = "reason"
    """Field for what is wrong with it."""
    output_pattern: str | None = None
    """Regular expression (Rust syntax) whose groups are the answer and the reason; JSON is asked for without one."""

    def pattern(self) -> str | None:
        """The pattern, if one is given."""
        return self.output_pattern

    def question(self, row: Row) -> Question | None:
        """The question, its answer and the text."""
        places = {"query": row.get(self.query_key) or "", "response": row.get(self.response_key) or ""}
        text = fill(self.user_template(), places | {"reference": self.text_of(row)})
        return Question(self.system(), text) if places["response"] else None

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """Two fields of their own."""
        del rows
        return with_answers(batch, answers, {self.rejected_key: "rejected", self.reason_key: "reason"})


class SentenceAugmentationMapper(LLMMapper, AsksLocal):
    """Writes a variant of each sentence into another field.

    Example:
        - sentence_augmentation_mapper: {task_sentence: Say it politely., text_key_second: polite, model: local}

    Source: Data-Juicer 1.6.1, ``sentence_augmentation_mapper``; there a missing task empties both fields, here it is
    an error.
    """

    task: ClassVar[str] = "You rewrite sentences as you are told, and give nothing but the new sentence."
    shape: ClassVar[Shape] = {"sentence": TEXT}

    task_sentence: str
    """What to do with the sentence."""
    text_key_second: str
    """Field for the new sentence."""
    hf_model: str = "Qwen/Qwen2-7B-Instruct"
    """A known name, a folder, or a Hugging Face id whose files are on this machine."""
    max_new_tokens: PositiveInt = 256
    """Longest sentence, in tokens."""
    temperature: float = Field(default=0.2, ge=0)
    """0 takes the likeliest words."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Share of probability that is drawn from."""
    num_beams: Literal[1] = 1
    """Beams of a search; one only."""

    def sampling(self) -> Mapping[str, Any]:
        """The settings of this operation, then ``sampling_params``."""
        own = {"max_tokens": self.max_new_tokens, "temperature": self.temperature}
        return own | ({"top_p": self.top_p} if self.top_p is not None else {}) | dict(self.sampling_params or {})

    def question(self, row: Row) -> Question | None:
        """The sentence and the task."""
        text = self.text_of(row)
        return Question(self.system(), f'Here is a sentence: "{text}". {self.task_sentence}') if text.strip() else None

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """The other field."""
        del rows
        return with_answers(batch, answers, {self.text_key_second: "sentence"})


class GenerateQaFromTextMapper(LLMMapper, AsksLocal):
    """Writes questions about a text with their answers, a row each.

    Example:
        - generate_qa_from_text_mapper: {max_num: 3, model: local}

    Source: Data-Juicer 1.6.1, ``generate_qa_from_text_mapper``; there a text without any is left out, here it stays
    with null.
    """

    task: ClassVar[str] = (
        "Write questions that the text answers, each with its answer by the text alone. Use the text's language."
    )
    shape: ClassVar[Shape] = _PAIRS

    hf_model: str = "alibaba-pai/pai-qwen1_5-7b-doc2qa"
    """A known name, a folder, or a Hugging Face id whose files are on this machine."""
    max_num: PositiveInt | None = None
    """Most questions per text."""
    query_key: str = "query"
    """Field for the question."""
    response_key: str = "response"
    """Field for the answer."""
    output_pattern: NotUsed = None
    """Accepted as null only: answers are JSON."""

    def problem(self, values: Mapping[str, Any]) -> str | None:
        """There are questions."""
        return None if values["pairs"] else "there are no questions"

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """A row per question."""
        del rows
        place, pairs = list[int](), list[Mapping[str, str | None]]()
        for number, answer in enumerate(answers):
            here = (answer.values or {"pairs": []})["pairs"][: self.max_num] or [{"query": None, "response": None}]
            place += [number] * len(here)
            pairs += here
        return _with_texts(
            Batch(batch.frame[place]),
            {
                key: [pair[name] for pair in pairs]
                for key, name in ((self.query_key, "query"), (self.response_key, "response"))
            },
        )


class GenerateQaFromExamplesMapper(LLMMapper, AsksLocal):
    """Writes a new question and its answer after examples; one for each row there is.

    Example:
        - generate_qa_from_examples_mapper: {seed_file: examples.jsonl, model: local}

    Source: Data-Juicer 1.6.1, ``generate_qa_from_examples_mapper`` (after Self-Instruct, 2212.10560). There examples
    are drawn anew in each run; likeness is ROUGE-L of the whole example here, there of its sentences joined; what is
    too much like an example gives empty texts there, null here.
    """

    task: ClassVar[str] = (
        "Look at the examples and work out what they have in common. Then write a new question with its correct "
        "answer, in the same form, on any topic, and unlike the examples."
    )
    template: ClassVar[str] = "{}"
    shape: ClassVar[Shape] = _PAIRS

    hf_model: str = "Qwen/Qwen2.5-7B-Instruct"
    """A known name, a folder, or a Hugging Face id whose files are on this machine."""
    seed_file: Path
    """The examples: JSON lines with ``messages``, each with ``role`` and ``content``."""
    example_num: PositiveInt = 3
    """How many examples are shown."""
    similarity_threshold: float = Field(default=0.7, ge=0, le=1)
    """How much like an example, by ROUGE-L, a new one may be."""
    example_template: str | None = None
    """How an example is shown: one place ``{}``."""
    qa_pair_template: str | None = None
    """How a question and its answer are shown: two places ``{}``."""
    output_pattern: NotUsed = None
    """Accepted as null only: answers are JSON."""
    query_key: str = "query"
    """Field for the question."""
    response_key: str = "response"
    """Field for the answer."""
    history_key: str = "history"
    """Field for earlier turns, where the model wrote some."""
    seed: int = 42
    """Another seed shows other examples."""

    def question(self, row: Row) -> Question | None:
        """The examples drawn for the row."""
        shown = "".join(
            fill(self.example_template or "Example:\n{}\n", {}, "".join(self._pair(*pair) for pair in example))
            for example in self._drawn(row)
        )
        return Question(self.system(), fill(self.user_template(), {}, shown))

    def problem(self, values: Mapping[str, Any]) -> str | None:
        """There is a question."""
        return None if values["pairs"] else "there is no question"

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """The last turn in two fields, earlier ones in the history."""
        pairs = [[(p["query"], p["response"]) for p in a.values["pairs"]] if a.values else [] for a in answers]
        close = [bool(own) and self._too_close(own, self._drawn(row)) for own, row in zip(pairs, rows, strict=True)]
        told = [
            Answer(None, "unusable: too much like an example") if near else answer
            for near, answer in zip(close, answers, strict=True)
        ]
        turns = [[] if near else own for near, own in zip(close, pairs, strict=True)]
        batch = _with_texts(
            self.with_status(batch, told),
            {
                self.query_key: [own[-1][0] if own else None for own in turns],
                self.response_key: [own[-1][1] if own else None for own in turns],
            },
        )
        history = [[list(pair) for pair in own[:-1]] for own in turns]
        return batch.with_column(self.history_key, pl.Series(history, dtype=pl.List(pl.List(pl.String))))

    def _pair(self, query: str, response: str) -> str:
        return fill(self.qa_pair_template or "Question:\n{}\nAnswer:\n{}\n", {}, query, response)

    def _drawn(self, row: Row) -> list[tuple[tuple[str, str], ...]]:
        examples = _examples(self.seed_file)
        stream = Seeds(self.seed).child("examples", str(row.get("id", row[ROW]))).numpy()
        count = min(self.example_num, len(examples))
        return [examples[i] for i in stream.choice(len(examples), count, replace=False)]

    def _too_close(self, pairs: Sequence[tuple[str, str]], examples: Sequence[Sequence[tuple[str, str]]]) -> bool:
        own = " ".join(" ".join(pair) for pair in pairs).split()
        return any(
            rouge_l(own, " ".join(" ".join(pair) for pair in example).split()) > self.similarity_threshold
            for example in examples
        )


class OptimizePromptMapper(LLMMapper, AsksEither):
    """Writes new prompts after those of a chunk; each new one is an example for the next.

    Example:
        - optimize_prompt_mapper: {gen_num: 2, model: local}

    Source: Data-Juicer 1.6.1, ``optimize_prompt_mapper``. New prompts are written per chunk, there per batch of 1000.
    """

    task: ClassVar[str] = (
        "Look at the example prompts and work out what they want of a model. Then write one better prompt for the same "
        "task: in a similar form, close to the examples, not equal to any."
    )
    template: ClassVar[str] = "{}"
    shape: ClassVar[Shape] = {"prompt": TEXT}

    is_hf_model: bool = False
    """Whether the model runs on this machine."""
    gen_num: PositiveInt = 3
    """How many prompts are written."""
    max_example_num: PositiveInt = 3
    """How many prompts are shown at most."""
    keep_original_sample: bool = True
    """Keep the rows that were there."""
    retry_num: PositiveInt = 3
    """How often a prompt is asked for."""
    example_template: str | None = None
    """How an example is shown: one place ``{}``."""
    prompt_template: str | None = None
    """How a prompt is shown: one place ``{}``."""
    output_pattern: str | None = None
    """Regular expression (Rust syntax) whose first group is the prompt; JSON is asked for without one."""
    prompt_key: str = "prompt"
    """Field of the prompts."""
    seed: int = 42
    """Another seed shows other prompts."""

    def apply(self, batch: Batch) -> Batch:
        """The chunk, and a row like its first for each new prompt."""
        prompts = batch.text(self.prompt_key).to_list()
        if not prompts:
            return self.with_status(batch, [])
        stream = Seeds(self.seed).child("prompts", *prompts[:1]).numpy()
        shown = [
            prompts[i] for i in stream.choice(len(prompts), min(self.max_example_num, len(prompts)), replace=False)
        ]
        new = list[Answer]()
        for _ in range(self.gen_num):
            [answer] = self.model_copy(update={"try_num": self.retry_num}).ask(
                [self._better_than(shown)], self.shape, pattern=self.output_pattern
            )
            new.append(answer)
            if answer.values is not None:
                shown = [*shown, answer.values["prompt"]][-self.max_example_num :]
        good = [answer for answer in new if answer.values is not None]
        bad = [answer for answer in new if answer.values is None]
        # What failed has no row of its own: the first row of the chunk tells of it.
        told = [*bad, *([Answer(None, "not asked")] * len(prompts))][: len(prompts)]
        old = self.with_status(batch, told)
        added = self.with_status(Batch(batch.frame[[0] * len(good)]), good)
        added = _with_texts(added, {self.prompt_key: [a.values["prompt"] for a in good if a.values is not None]})
        return Batch(pl.concat([old.frame, added.frame])) if self.keep_original_sample else added

    def _better_than(self, prompts: Sequence[str]) -> Question:
        shown = [fill(self.prompt_template or "Prompt:\n{}\n", {}, prompt) for prompt in prompts]
        text = "".join(fill(self.example_template or "Example:\n{}\n", {}, one) for one in shown)
        return Question(self.system(), fill(self.user_template(), {}, text))


def rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    """F-measure of the longest common subsequence of two lists of words, 0 to 1.

    Example:
        >>> rouge_l("the cat sat".split(), "the dog sat down".split())
        0.5714285714285714

    Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries", 3.1, with equal weights.
    """
    row = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for j, other in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if word == other else max(row[j], row[j - 1])
    return 2 * row[-1] / (len(a) + len(b)) if a and b else 0.0


def _examples(path: Path) -> list[tuple[tuple[str, str], ...]]:
    """The pairs of question and answer of each line.

    Raises:
        DataError: The file cannot be read, or holds no pair.
    """
    try:
        found = _read_examples(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the examples cannot be read: {error}",
            code="data.bad-seed-file",
            where=str(path),
            hint='one JSON object per line: {"messages": [{"role": "user", "content": "…"}, …]}',
        ) from error
    if not found:
        raise DataError("there is no example with a question and an answer", code="data.bad-seed-file", where=str(path))
    return found


@lru_cache(maxsize=8)
def _read_examples(path: Path, changed_ns: int) -> list[tuple[tuple[str, str], ...]]:
    del changed_ns  # another time of change is another file
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [pairs for pairs in (_pairs_of(line["messages"]) for line in lines) if pairs]


def _pairs_of(messages: Sequence[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    pairs, said = list[tuple[str, str]](), ""
    for message in messages:
        if message["role"] == "user":
            said = message["content"]
        elif message["role"] == "assistant" and said:
            pairs.append((said, message["content"]))
    return tuple(pairs)


def _with_texts(batch: Batch, columns: Mapping[str, Sequence[str | None]]) -> Batch:
    for name, values in columns.items():
        batch = batch.with_text(name, pl.Series(name, values, dtype=pl.String))
    return batch
