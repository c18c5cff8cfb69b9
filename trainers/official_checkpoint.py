"""Checkpoints of the official ML-Agents trainer (1.1.0), to start a training from: PPO on vector observations.

Its file holds the parameters of actor and critic by their places in its modules, and Adam's state by their numbers.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainers.errors import UsageError

_ACTOR, _CRITIC, _ADAM = "Policy", "Optimizer:critic", "Optimizer:value_optimizer"
_BODY = (r"network_body\._body_endoder\.seq_layers\.(\d+)\.(weight|bias)", lambda m: f"body.{int(m[1]) // 2}.{m[2]}")
_RENAMED: dict[str, list[Any]] = {
    _ACTOR: [
        _BODY,
        (r"action_model\._continuous_distribution\.mu\.(weight|bias)", r"continuous.\1"),
        (r"action_model\._continuous_distribution\.log_sigma", "log_sigma"),
        (r"action_model\._discrete_distribution\.branches\.(\d+)\.(weight|bias)", r"discrete.\1.\2"),
        (r"network_body\.processors\.(\d+)\.normalizer\.normalization_steps", r"normalizers.\1.steps"),
        (r"network_body\.processors\.(\d+)\.normalizer\.running_mean", r"normalizers.\1.mean"),
        (r"network_body\.processors\.(\d+)\.normalizer\.running_variance", r"normalizers.\1.variance_sum"),
    ],
    _CRITIC: [_BODY, (r"value_heads\.value_heads\.(\w+)\.(weight|bias)", r"values.\1.\2")],
}
# What describes the actions, stands there twice, or is the critic's copy of the actor's.
_LEFT_OUT = re.compile(r"\w+_deprecated|version_number|\w+_size_vector|.*\bnormalizer\..*")


def is_official(content: Any) -> bool:
    """Whether this is what a checkpoint.pt of ML-Agents holds."""
    return isinstance(content, Mapping) and "format" not in content and {_ACTOR, "global_step"} <= set(content)


def convert(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The networks and Adam's state of such a file, for `BehaviorTrainer.load_weights`.

    Raises UsageError for what is not PPO on vector observations.
    """
    if _CRITIC not in content or _ADAM not in content:
        raise UsageError(f"{path}: of ML-Agents' checkpoints, those of PPO with a critic of its own can be read so far")
    names, network = {}, {}
    for part, prefix in ((_ACTOR, "actor."), (_CRITIC, "critic.")):
        for place, tensor in content[part].items():
            name = _our_name(part, place)
            if name is None and not _LEFT_OUT.fullmatch(place):
                raise UsageError(
                    f"{path}: it holds {place}, which no network of vector observations has; pictures, memory and "
                    "attention cannot be read yet"
                )
            names[part, place] = None if name is None else prefix + name
            if name is not None:
                network[prefix + name] = tensor.reshape(-1) if name == "log_sigma" else tensor
    for name in [name for name in network if name.endswith(".steps")]:
        network[name] = network[name].to(torch.float64)
    return {"specification": None, "network": network, "optimizer": _adam(content, names)}


def _our_name(part: str, place: str) -> str | None:
    for pattern, name in _RENAMED[part]:
        if match := re.fullmatch(pattern, place):
            return name(match) if callable(name) else match.expand(name)
    return None


def _adam(content: Mapping[str, Any], names: Mapping[tuple[str, str], str | None]) -> dict[str, Any]:
    """Steps, and both moments of each parameter by our names."""
    moments: dict[str, Any] = {"step": 0, "exp_avg": {}, "exp_avg_sq": {}}
    of_numbers = content[_ADAM]["state"]
    for number, name in enumerate(_parameters(names)):
        if number in of_numbers and name is not None:
            one = of_numbers[number]
            moments["step"] = int(one["step"])
            for moment in ("exp_avg", "exp_avg_sq"):
                moments[moment][name] = one[moment]
    return moments


def _parameters(names: Mapping[tuple[str, str], str | None]) -> Iterator[str | None]:
    """Our names of its parameters in the order in which its optimizer counts them: normalisers are none."""
    return (name for (_, place), name in names.items() if ".normalizer." not in place)


def in_order(optimizer: Mapping[str, Any], parameters: Mapping[str, Tensor]) -> dict[str, Any]:
    """Adam's state as `ppo.Optimizer` has it: the moments of all `parameters` side by side, 0 where there was none."""
    flat = {}
    for moment in ("exp_avg", "exp_avg_sq"):
        parts = [optimizer[moment].get(name, torch.zeros_like(values)) for name, values in parameters.items()]
        flat[moment] = torch.cat([part.reshape(-1) for part in parts])
    return {"step": optimizer["step"], **flat}
