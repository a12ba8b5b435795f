"""The state of a training run as safetensors and JSON: everything that exact resumption needs, and no pickle.

``trainable.safetensors`` (weights that are trained) · ``optimizer.safetensors`` (moments) · ``training.json`` (param
groups, schedule, objective, generators, what the run is) · ``random.safetensors`` (torch generators).
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.errors import RunError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


def write_trainable(model: nn.Module, folder: Path) -> None:
    """Save the weights that are trained, by name."""
    from safetensors.torch import save_file

    save_file(_trainable(model), folder / "trainable.safetensors")


def read_trainable(model: nn.Module, folder: Path) -> None:
    """Put saved weights back; names and shapes must match exactly.

    Raises:
        RunError: The checkpoint is of another model or adapter.
    """
    import torch
    from safetensors.torch import load_file

    saved, parameters = load_file(folder / "trainable.safetensors"), dict(model.named_parameters())
    expected = {name: tuple(p.shape) for name, p in parameters.items() if p.requires_grad}
    if expected != {name: tuple(tensor.shape) for name, tensor in saved.items()}:
        raise RunError(
            f"the checkpoint holds {len(saved)} trained tensors, the model has {len(expected)}, and they differ",
            code="align.other-checkpoint",
            where=str(folder),
            hint="remove the folder to start over, or continue with the settings it was made with",
        )
    with torch.no_grad():
        for name, tensor in saved.items():
            parameters[name].copy_(tensor)


def write_state(
    folder: Path, *, optimizer: torch.optim.Optimizer, scheduler: Any, objective: dict[str, Any], identity: str
) -> None:
    """Save the optimiser, the schedule, the objective and all random generators.

    Args:
        folder: Where to.
        optimizer: With its moments.
        scheduler: The learning-rate schedule.
        objective: `Objective.state_dict`.
        identity: A hash of what is being trained on what; `read_state` refuses another.
    """
    import torch
    from safetensors.torch import save_file

    state = optimizer.state_dict()
    moments: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, torch.Tensor):
                moments[f"{index}.{key}"] = value.contiguous()
            else:
                plain.setdefault(str(index), {})[key] = value
    save_file(moments, folder / "optimizer.safetensors")
    generators = {"cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        generators |= {f"cuda.{n}": s for n, s in enumerate(torch.cuda.get_rng_state_all())}
    save_file(generators, folder / "random.safetensors")
    facts = {
        "identity": identity,
        "param_groups": state["param_groups"],
        "optimizer": plain,
        "scheduler": scheduler.state_dict(),
        "objective": objective,
        "python_random": random.getstate(),
    }
    (folder / "training.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def read_state(folder: Path, *, optimizer: torch.optim.Optimizer, scheduler: Any, identity: str) -> dict[str, Any]:
    """Restore what `write_state` saved, except the generators; returns the objective's state.

    Raises:
        RunError: The checkpoint belongs to another run.
    """
    from safetensors.torch import load_file

    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    if facts["identity"] != identity:
        raise RunError(
            "the checkpoint was made with other pairs or settings",
            code="align.other-checkpoint",
            where=str(folder),
            hint="remove the folder to start over, or continue with the settings it was made with",
        )
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in facts["optimizer"].items()}
    for name, tensor in load_file(folder / "optimizer.safetensors").items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": facts["param_groups"]})
    scheduler.load_state_dict(facts["scheduler"])
    return dict(facts["objective"])


def read_generators(folder: Path) -> None:
    """Set Python's and torch's global generators to where they were."""
    import torch
    from safetensors.torch import load_file

    version, internal, gauss = json.loads((folder / "training.json").read_text(encoding="utf-8"))["python_random"]
    random.setstate((version, tuple(internal), gauss))
    generators = load_file(folder / "random.safetensors")
    torch.random.set_rng_state(generators.pop("cpu"))
    for name, state in generators.items():
        torch.cuda.set_rng_state(state, int(name.removeprefix("cuda.")))


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
