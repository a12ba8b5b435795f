"""A scorer of quality from preferences: a scalar head on a causal model, for the order reward where nobody marks.

    scorer = train_quality_model("smollm2-135m", pairs, "out", steps=200)
    reward = CalibrationReward(ConfidenceReward(kind="order"), quality=scorer.quality)

TRL's `RewardTrainer` trains it. It is given tokens, not texts: so nothing is appended to an answer in training that is
not there when it is scored, and a pair that is too long is an error and not left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.align.confidence.judges import reward_scores
from plait.align.confidence.parse import strip_confidence
from plait.align.evaluate import Interval, accuracy
from plait.align.formats import read_record
from plait.core.optional import require
from plait.errors import DataError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class QualityModel:
    """A sequence classifier with one output: higher is better, on no particular scale.

    Args:
        model: As `transformers.AutoModelForSequenceClassification` loads it.
        tokenizer: Its tokenizer.
    """

    model: Any
    tokenizer: PreTrainedTokenizerBase

    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
        """Of each answer to its prompt; a stated confidence is not seen."""
        return reward_scores(self.model, self.tokenizer, prompts, answers)

    def quality(self, answer: str, row: Mapping[str, Any]) -> float:
        """Of one answer, as `CalibrationReward` asks for it."""
        return self.score([row["prompt"]], [answer])[0]

    def accuracy(self, records: Iterable[Mapping[str, Any]]) -> Interval:
        """Share of the pairs whose chosen answer scores higher, with its 95 % interval.

        Raises:
            DataError: There is no pair, or one cannot be read.
        """
        import numpy as np

        pairs = _read(records)
        prompts = [prompt for prompt, _, _ in pairs]
        chosen = self.score(prompts, [one for _, one, _ in pairs])
        rejected = self.score(prompts, [one for _, _, one in pairs])
        return accuracy(np.asarray(chosen) - np.asarray(rejected))

    def save(self, folder: Path | str) -> None:
        """As `load_quality_model`, and a win rate's reward model, read it."""
        from plait.models.quiet import quiet_loading

        with quiet_loading():
            self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def load_quality_model(name: str, *, device: str = "cpu") -> QualityModel:
    """A classifier with one output, by name or folder.

    Raises:
        UsageError: It has another number of outputs.
    """
    model, tokenizer = _load(name)
    if model.config.num_labels != 1:
        raise UsageError(
            f"the classifier has {model.config.num_labels} outputs, and a reward model has one",
            code="align.not-a-reward-model",
            where=name,
        )
    return QualityModel(model.eval().to(device), tokenizer)


def train_quality_model(
    model: str,
    records: Iterable[Mapping[str, Any]],
    folder: Path | str,
    *,
    steps: int,
    batch_size: int = 8,
    learning_rate: float = 1e-5,
    longest: int = 1024,
    seed: int = 0,
    use_cpu: bool = False,
) -> QualityModel:
    """Train every weight of a causal model, and a new head on its last state, to score chosen above rejected.

    The loss of a pair is -log σ(score of chosen - score of rejected); stated confidences are taken off first.

    Args:
        model: A name that `plait.models.load` knows, or a folder.
        records: Preference records of plain text, with prompt, chosen and rejected.
        folder: Where the trainer writes; the model is saved by `QualityModel.save`.
        steps: Optimiser steps.
        batch_size: Pairs per step.
        learning_rate: The peak of AdamW's.
        longest: Most tokens of prompt and answer together.
        seed: Of the new head and of the order of the pairs.
        use_cpu: Train on the CPU even where there is a GPU.

    Raises:
        DataError: There is no record, or one cannot be read, or is too long.
        MissingExtra: TRL is not installed.

    Source: Bradley & Terry 1952; as a loss Ouyang et al. 2022 (arXiv 2203.02155), equation 1.
    """
    from plait.align.trl.versions import require_trl

    require_trl()
    import datasets
    from transformers import set_seed
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer

    pairs = _read(records)
    set_seed(seed)
    network, tokenizer = _load(model, num_labels=1)
    rows = [_tokens(tokenizer, n, pair, longest) for n, pair in enumerate(pairs)]
    arguments = RewardConfig(
        str(folder),
        max_steps=steps,
        per_device_train_batch_size=batch_size,
        learning_rate=learning_rate,
        max_length=None,
        seed=seed,
        use_cpu=use_cpu,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = RewardTrainer(
        model=network, args=arguments, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer
    )
    trainer.train()
    return QualityModel(network.eval(), tokenizer)


def _read(records: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Prompt, chosen and rejected, without confidences."""
    pairs: list[tuple[str, str, str]] = []
    for number, record in enumerate(records):
        texts = read_record(record)
        if isinstance(texts, str):
            raise DataError(texts, code="align.quality-record", where=f"record {number}")
        if not (isinstance(texts.prompt, str) and isinstance(texts.chosen, str) and isinstance(texts.rejected, str)):
            raise DataError(
                "a conversation cannot be scored",
                code="align.quality-record",
                where=f"record {number}",
                hint="write prompt, chosen and rejected as plain text",
            )
        pairs.append((texts.prompt, strip_confidence(texts.chosen), strip_confidence(texts.rejected)))
    if not pairs:
        raise DataError("there are no preference records", code="align.quality-record")
    return pairs


def _tokens(
    tokenizer: PreTrainedTokenizerBase, number: int, pair: tuple[str, str, str], longest: int
) -> dict[str, list[int]]:
    prompt, chosen, rejected = pair
    row = {
        "chosen_ids": list(tokenizer.encode(prompt + chosen)),
        "rejected_ids": list(tokenizer.encode(prompt + rejected)),
    }
    if (length := max(len(ids) for ids in row.values())) > longest:
        raise DataError(
            f"prompt and answer have {length} tokens, and longest is {longest}",
            code="align.quality-record",
            where=f"record {number}",
            hint="shorten the record or leave it out",
        )
    return row


def _load(name: str, **settings: int) -> tuple[Any, PreTrainedTokenizerBase]:
    transformers = require("transformers", extra="align", feature="a reward model")
    from plait.models import resolve
    from plait.models.language_model import local_folder
    from plait.models.quiet import quiet_loading

    folder = local_folder(resolve(name))
    with quiet_loading():
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, **settings)
    return model, tokenizer
