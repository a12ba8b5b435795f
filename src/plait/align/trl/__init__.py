"""The objectives of this package inside TRL's `DPOTrainer`, for those who stay with TRL.

    from plait.align.trl import DrDPOConfig, DrDPOTrainer

    args = DrDPOConfig("out", beta=0.1, beta_prime=1.0)
    DrDPOTrainer(model, args=args, train_dataset=dataset, peft_config=LoraConfig()).train()

Configurations and trainers are TRL's own with a few fields more: everything that TRL can do with a model, a data set or
several processes stays as it is, and so do the names of its metrics. `PairTrainer` does the same work faster.
"""

from __future__ import annotations

from plait.align.trl.versions import require_trl

require_trl()  # before the imports below meet a TRL whose inside they do not know

from plait.align.trl.config import BetaDPOConfig, CDPOConfig, DrDPOConfig, ObjectiveConfig  # noqa: E402
from plait.align.trl.trainer import BetaDPOTrainer, CDPOTrainer, DrDPOTrainer, ObjectiveDPOTrainer  # noqa: E402

__all__ = [
    "BetaDPOConfig",
    "BetaDPOTrainer",
    "CDPOConfig",
    "CDPOTrainer",
    "DrDPOConfig",
    "DrDPOTrainer",
    "ObjectiveConfig",
    "ObjectiveDPOTrainer",
]
