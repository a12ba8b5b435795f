"""People's preferences through Label Studio's files: tasks out, annotations in. No server is talked to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
from xxhash import xxh3_128_hexdigest

from plait.data.batch import Batch
from plait.data.op import Mapper
from plait.data.ops.llm.ask import Answer
from plait.data.ops.llm.extract import NotUsed
from plait.data.ops.llm.mapper import with_answers
from plait.data.ops.llm.meta import with_meta
from plait.errors import DataError

LABEL_CONFIG = """<View>
  <Header value="Which answer is better?"/>
  <Text name="prompt" value="$prompt"/>
  <Pairwise name="comparison" toName="answer1,answer2" leftChoiceValue="answer1" rightChoiceValue="answer2"/>
  <Text name="answer1" value="$answer1"/>
  <Text name="answer2" value="$answer2"/>
</View>
"""
"""How a task looks in Label Studio, where no file says otherwise."""

_ID = "plait_id"


class HumanPreferenceAnnotationMapper(Mapper):
    """Writes pairs of answers as tasks for Label Studio, and reads back which one people prefer.

    Run once with ``tasks_folder``, import its files into a Label Studio project, let people choose, export as JSON, and
    run again with ``annotations``. Tasks and choices are matched by their content, so other rows may come and go.

    Example:
        - human_preference_annotation_mapper: {tasks_folder: tasks, annotations: export.json}

    Source: Data-Juicer 1.6.1, ``human_preference_annotation_mapper``; it talks to a running server and waits, and fails
    on a row that nobody has chosen for: here such a row has null and the status ``pending``.
    """

    cost = "python"
    needs = frozenset({"fields"})
    deterministic = False

    tasks_folder: Path | None = None
    """Where tasks go, one JSON file per chunk, and the labelling interface; none are written if not given."""
    annotations: Path | None = None
    """Label Studio's export in JSON."""
    label_config_file: Path | None = None
    """A labelling interface of one's own."""
    answer1_key: str = "answer1"
    """Field of one answer."""
    answer2_key: str = "answer2"
    """Field of the other answer."""
    prompt_key: str = "prompt"
    """Field of the prompt."""
    chosen_key: str = "chosen"
    """Field for the better answer."""
    rejected_key: str = "rejected"
    """Field for the worse answer."""
    api_url: NotUsed = None
    """Accepted as null only: no server is talked to."""
    api_key: NotUsed = None
    """Accepted as null only: no server is talked to."""

    def apply(self, batch: Batch) -> Batch:
        """Write the tasks that nobody has done, and fill in what has been chosen."""
        rows = batch.frame.select(
            pl.Series(name, batch.text(key))
            for name, key in (("prompt", self.prompt_key), ("answer1", self.answer1_key), ("answer2", self.answer2_key))
        ).to_dicts()
        ids = [xxh3_128_hexdigest(json.dumps(list(row.values()), ensure_ascii=False).encode()) for row in rows]
        chosen = read_choices(self.annotations) if self.annotations is not None else {}
        answers = list[Answer]()
        for row, own in zip(rows, ids, strict=True):
            better = chosen.get(own)
            worse = {"answer1": "answer2", "answer2": "answer1"}.get(better or "")
            values = {"chosen": row[better], "rejected": row[worse]} if better and worse else None
            answers.append(Answer(values, "ok" if values else "pending"))
        if self.tasks_folder is not None:
            self._write_tasks(
                self.tasks_folder,
                [
                    {"data": {**row, _ID: own}}
                    for row, own, answer in zip(rows, ids, answers, strict=True)
                    if answer.values is None
                ],
            )
        name = "human_preference_annotation_status"
        batch = with_meta(batch, {name: [answer.status for answer in answers]}, {name: pl.String})
        return with_answers(batch, answers, {self.chosen_key: "chosen", self.rejected_key: "rejected"})

    def _write_tasks(self, folder: Path, tasks: Sequence[Mapping[str, Any]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = self.label_config_file.read_text(encoding="utf-8") if self.label_config_file else LABEL_CONFIG
        files = {"label-config.xml": config}
        if tasks:
            text = json.dumps(tasks, ensure_ascii=False, indent=1)
            # Named by content: the same chunk visited again, or by another worker, leaves the same file.
            files[f"tasks-{xxh3_128_hexdigest(text.encode())[:16]}.json"] = text
        for name, text in files.items():
            part = folder / f".{name}.{os.getpid()}.partial"
            part.write_text(text, encoding="utf-8")
            part.replace(folder / name)


def read_choices(path: Path) -> Mapping[str, str]:
    """By id of the task, which answer most people chose; nothing for a tie.

    Args:
        path: Label Studio's export in JSON.

    Raises:
        DataError: It is no such file.
    """
    try:
        return _choices(path, path.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"the annotations cannot be read: {error!r}",
            code="data.bad-annotations",
            where=str(path),
            hint="export the project from Label Studio as JSON",
        ) from error


@lru_cache(maxsize=4)
def _choices(path: Path, changed_ns: int) -> Mapping[str, str]:
    del changed_ns  # another time of change is another file
    votes = dict[str, int]()
    for task in json.loads(path.read_text(encoding="utf-8")):
        own = task["data"].get(_ID)
        for annotation in task["annotations"] if own else ():
            for item in () if annotation.get("was_cancelled") else annotation["result"]:
                if item.get("type") == "pairwise":
                    selected = item["value"]["selected"]
                    votes[own] = votes.get(own, 0) + {"left": 1, "answer1": 1, "right": -1, "answer2": -1}[selected]
    return {own: "answer1" if vote > 0 else "answer2" for own, vote in votes.items() if vote}
