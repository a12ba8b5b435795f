"""The state of a training run as safetensors and JSON: everything that exact resumption needs, and no pickle.

``trainable.safetensors`` (weights that are trained) · ``optimizer.safetensors`` (moments) · ``training.json`` (param
groups, schedule, objective, generators, what the run is) · ``random.safetensors`` (torch generators of each rank).
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plait.align import ranks
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
    folder: Path,
    *,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    objective: dict[str, Any],
    identity: Mapping[str, Any],
    generators: Mapping[str, Tensor],
) -> None:
    """Save the optimiser, the schedule, the objective and all random generators.

    Args:
        folder: Where to.
        optimizer: With its moments.
        scheduler: The learning-rate schedule.
        objective: `Objective.state_dict`.
        identity: What is being trained on what, as plain JSON by name; `check_identity` refuses another.
        generators: From `torch_generators`.
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
    save_file(dict(generators), folder / "random.safetensors")
    facts = {
        "identity": dict(identity),
        "param_groups": state["param_groups"],
        "optimizer": plain,
        "scheduler": scheduler.state_dict(),
        "objective": objective,
        "python_random": random.getstate(),
    }
    (folder / "training.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def check_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another run, and say in what it differs.

    Raises:
        RunError: Something that decides the numbers was not the same.
    """
    saved = _facts(folder)["identity"]
    now = json.loads(json.dumps(dict(identity)))
    other = [name for name in now if saved.get(name) != now[name]]
    if other:
        raise RunError(
            f"the checkpoint was made with another {', another '.join(other)}",
            code="align.other-checkpoint",
            where=str(folder),
            hint="remove the folder to start over, or continue with what it was made with",
        )


def read_state(folder: Path, *, optimizer: torch.optim.Optimizer, scheduler: Any) -> dict[str, Any]:
    """Restore what `write_state` saved, except the generators; returns the objective's state."""
    from safetensors.torch import load_file

    facts = _facts(folder)
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in facts["optimizer"].items()}
    for name, tensor in load_file(folder / "optimizer.safetensors").items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": facts["param_groups"]})
    scheduler.load_state_dict(facts["scheduler"])
    return dict(facts["objective"])


def torch_generators(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's generators on every rank, by place and rank; to be called by all ranks at once."""
    import torch

    found = {"cpu": torch.random.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    states = {place: ranks.gather(state[None].to(device)).cpu() for place, state in found.items()}
    return {f"{place}.{rank}": each.clone() for place, state in states.items() for rank, each in enumerate(state)}


def read_generators(folder: Path, *, device: torch.device) -> None:
    """Set Python's and this rank's torch generators to where they were."""
    import torch
    from safetensors.torch import load_file

    version, internal, gauss = _facts(folder)["python_random"]
    random.setstate((version, tuple(internal), gauss))
    states = load_file(folder / "random.safetensors")
    torch.random.set_rng_state(states[f"cpu.{ranks.rank()}"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[f"cuda.{ranks.rank()}"], device)


def _facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().contiguous() for name, p in model.named_parameters() if p.requires_grad}
