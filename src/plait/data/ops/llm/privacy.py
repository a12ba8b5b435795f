"""Personal data that patterns have missed: a model looks for it, and it may be blotted out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import polars as pl
from pydantic import PositiveInt

from plait.data.batch import Batch
from plait.data.ops.llm.ask import TEXT, Answer, AsksEndpoint, Question, Shape, schema_of
from plait.data.ops.llm.extract import NotUsed
from plait.data.ops.llm.mapper import LLMMapper, Row
from plait.data.ops.llm.meta import STRINGS, meta_of
from plait.data.ops.llm.turns import clip, language_of

_HINTS = (
    r"\d{6}",
    "@",
    r"(?i)(?:^|[^a-z0-9_])(?:api[_-]?key|secret|token|password|passwd|credential|bearer)\b",
    r"(?i)内网|局域网|\bvpn\b|\bssh\s|rdp://|mysql://|redis://",
    r"[A-Za-z0-9_-]{24}",
)
"""What makes a look worth its money: long numbers, addresses, words for secrets, inner networks, long keys."""
_NAME_HINTS = (
    r"(?:我叫|叫我|姓名|真名|联系人|负责人|经办人|尊敬的)[\s:：为是]*\p{Han}{2}",
    r"\p{Han}{2}(?:先生|女士|老师|大夫|经理|主任|院长|博士|教授|同志)",
    r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof)\.?\s+\p{Lu}\p{Ll}+",
)
"""What often stands beside the name of a person."""
_FINDING = pl.Struct({"field": pl.String, "category": pl.String, "evidence": pl.String})


class PiiLlmSuspectMapper(LLMMapper, AsksEndpoint):
    """Lets a model look for personal data and secrets that patterns have missed; may blot them out.

    Example:
        - pii_llm_suspect_mapper: {redaction_mode: evidence, model: local}

    Source: Data-Juicer 1.6.1, ``pii_llm_suspect_mapper``; names are not looked for with spaCy, nothing is ever
    downloaded, and evidence counts only if it stands in the field word by word.
    """

    task: ClassVar[str] = (
        "You check data for privacy. The fields below may be redacted in part. List the personal data and secrets that "
        "are still in them: names of real people, numbers of phones, papers or employees, inner addresses, pieces of "
        "keys or passwords. Copy each word by word (48 characters at most), with its field and its kind. Invent "
        "nothing; if unsure leave it out."
    )
    shape: ClassVar[Shape] = {
        "suspected": {"type": "array", "items": schema_of({"field": TEXT, "category": TEXT, "evidence": TEXT})},
        "likely_clean": {"type": "boolean"},
    }

    api_model: str = "qwen-turbo"
    """Name of the model on the server."""
    inspect_keys: tuple[str, ...] | None = None
    """Fields that are looked at; text, query and response by default."""
    messages_key: str | None = "messages"
    """Field of messages, whose last ones are looked at."""
    max_messages_for_prompt: PositiveInt = 4
    """How many messages."""
    max_chars_per_field: PositiveInt = 6000
    """How much of a field, in characters."""
    max_chars_messages_excerpt: PositiveInt = 8000
    """How much of the messages, in characters."""
    gate_mode: Literal["heuristic", "always"] = "heuristic"
    """``heuristic`` asks only about rows with something that looks like personal data."""
    heuristic_name_rules: bool = True
    """Words that stand beside names count too."""
    result_key: str = "pii_llm_suspect"
    """Name of the findings in the meta."""
    raw_key: str = "pii_llm_suspect_raw"
    """Accepted; an answer that cannot be read is told of in the status."""
    overwrite: bool = False
    """Look again at rows that have findings."""
    preferred_output_lang: str = "zh"
    """Language of the kinds: ``en`` or ``zh``."""
    try_num: PositiveInt = 2
    """How often a question is asked before its row goes without an answer."""
    spacy_ner_model: NotUsed = None
    """Accepted as null only."""
    spacy_ner_models: NotUsed = None
    """Accepted as null only."""
    spacy_ner_max_chars: PositiveInt = 4000
    """Accepted; see above."""
    spacy_auto_download: bool = True
    """Accepted; nothing is ever downloaded."""
    redaction_mode: Literal["none", "evidence", "whole_field"] = "none"
    """``evidence`` blots out what was found, ``whole_field`` all of a field in which something was found."""
    redaction_placeholder: str = "[LLM_PII_SUSPECT_REDACTED]"
    """What is put in its place."""

    def known(self, row: Row) -> bool:
        """Whether there are findings that stay."""
        return not self.overwrite and super().known(row)

    def question(self, row: Row) -> Question | None:
        """The fields; nothing is asked where nothing looks like personal data."""
        fields = self.fields(row)
        if not fields or (self.gate_mode == "heuristic" and not self.worth_it("\n".join(fields.values()))):
            return None
        shown = "\n\n".join(f"[{name}]\n{text}" for name, text in fields.items())
        return Question(f"{self.system()} Name the kinds in {language_of(self.preferred_output_lang)}.", shown)

    def inspected(self) -> tuple[str, ...]:
        """The fields by name."""
        return self.inspect_keys or ("text", "query", "response")

    def fields(self, row: Row) -> Mapping[str, str]:
        """What is looked at, by name."""
        texts = {key: row[key] for key in self.inspected() if isinstance(row.get(key), str) and row[key].strip()}
        fields = {key: clip(text, self.max_chars_per_field) for key, text in texts.items()}
        if self.messages_key and row.get(self.messages_key):
            last = row[self.messages_key][-self.max_messages_for_prompt :]
            said = "\n".join(f"{m.get('role')}: {m.get('content')}" for m in last if isinstance(m, Mapping))
            fields[self.messages_key] = clip(said, self.max_chars_messages_excerpt)
        return fields

    def worth_it(self, text: str) -> bool:
        """Whether something looks like personal data.

        Example:
            >>> PiiLlmSuspectMapper().worth_it("call 555123456"), PiiLlmSuspectMapper().worth_it("a fine day")
            (True, False)
        """
        hints = _HINTS + (_NAME_HINTS if self.heuristic_name_rules else ())
        series = pl.Series([text])
        return any(series.str.contains(hint).item() for hint in hints)

    def meta_types(self) -> Mapping[str, Any]:
        """The findings."""
        kind = {
            "suspected": pl.List(_FINDING),
            "likely_clean": pl.Boolean,
            "fields_inspected": STRINGS,
            "redaction_mode": pl.String,
        }
        return {self.result_key: pl.Struct(kind)}

    def found(self, row: Row, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Findings that stand in the field they are said to stand in."""
        fields = self.fields(row)
        real = [s for s in values["suspected"] if s["evidence"].strip() and s["evidence"] in fields.get(s["field"], "")]
        return {
            self.result_key: {
                "suspected": real,
                "likely_clean": values["likely_clean"] and not real,
                "fields_inspected": list(fields),
                "redaction_mode": self.redaction_mode,
            }
        }

    def write(self, batch: Batch, rows: Sequence[Row], answers: Sequence[Answer]) -> Batch:
        """The findings, and the fields without them if asked for."""
        batch = super().write(batch, rows, answers)
        if self.redaction_mode == "none":
            return batch
        metas = [meta_of(row)[self.result_key] for row in batch.frame.to_dicts()]
        evidence = [
            [(s["field"], s["evidence"]) for s in (meta or {}).get("suspected") or ()] if answer.values else []
            for meta, answer in zip(metas, answers, strict=True)
        ]
        for key in self.inspected():
            if batch.frame.schema.get(key) == pl.String:
                texts = [
                    None if row[key] is None else self.blotted(row[key], [e for f, e in found if f == key])
                    for row, found in zip(rows, evidence, strict=True)
                ]
                batch = batch.with_text(key, pl.Series(key, texts, dtype=pl.String))
        key = self.messages_key
        if key and key in batch.frame.columns:
            messages = [
                [
                    {**m, "content": self.blotted(m["content"], [e for f, e in found if f == key])}
                    if isinstance(m.get("content"), str)
                    else m
                    for m in row[key] or ()
                ]
                for row, found in zip(rows, evidence, strict=True)
            ]
            batch = batch.with_column(key, pl.Series(key, messages, dtype=batch.frame.schema[key]))
        return batch

    def blotted(self, text: str, evidence: Sequence[str]) -> str:
        """A text without what was found in it.

        Example:
            >>> PiiLlmSuspectMapper(redaction_mode="evidence", redaction_placeholder="X").blotted("I am Ann", ["Ann"])
            'I am X'
        """
        if evidence and self.redaction_mode == "whole_field":
            return self.redaction_placeholder
        # Long findings first, so that no part of one is left because another lies in it.
        for found in sorted(set(evidence), key=len, reverse=True):
            text = text.replace(found, self.redaction_placeholder)
        return text
