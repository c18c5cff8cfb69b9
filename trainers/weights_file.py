"""Weights of a behavior in one safetensors file, which a game that trains by itself reads and writes as well.

The format is that of the package safetensors: 8 bytes with the length of the header, the header in JSON, all numbers.

Tensors, float32 unless said, under the names and with the shapes of the networks in networks.py:

    actor.body.<k>.{weight,bias}                       hidden layers, weights [outputs, inputs]
    actor.continuous.{weight,bias}, actor.log_sigma    with continuous actions
    actor.discrete.<b>.{weight,bias}                   one a branch
    actor.normalizers.<i>.{mean,variance_sum,steps}    one an observation; steps is a float64 without dimensions
    critic.body.<k>.{weight,bias}                      unless the critic is shared
    critic.values.extrinsic.{weight,bias}
    optimizer.exp_avg.<name>, optimizer.exp_avg_sq.<name>    Adam's moments of each parameter; may be missing

Metadata, texts all of them: format ("mlagents-bridge weights"), format_version ("1"), behavior (its name),
behavior_spec (JSON, as specification_to_dict gives it), hidden_units, num_layers, normalize and shared_critic ("true"
or "false"), step, adam_steps (steps that Adam has taken), generator_seed and generator_call (of the random numbers).

Networks for pictures, for lists of variable length, with a memory or with curiosity have no such file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainers.actor_critics import make_network
from trainers.config import Hyperparameters, TrainerSettings
from trainers.config_network import NetworkSettings
from trainers.errors import UsageError
from trainers.networks import ActorCritic
from trainers.official_checkpoint import in_order
from trainers.run_folder import write_whole
from trainers.specifications import describe, specification_from_dict

FORMAT = "mlagents-bridge weights"
FORMAT_VERSION = 1
SIGNALS = ["extrinsic"]

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Weights(NamedTuple):
    """What a file holds."""

    behavior: str
    state: dict[str, Any]  # as BehaviorTrainer.load_weights takes it, with the `step`
    settings: TrainerSettings  # of the networks; everything else has its default


def write_weights(path: Path, behavior: str, state: Mapping[str, Any], settings: TrainerSettings) -> None:
    """Writes the networks and Adam's state of a checkpoint's `state`.

    Raises UsageError for networks that have no such file.
    """
    if list(settings.reward_signals) != SIGNALS:
        raise UsageError(
            f"{path}: weights for a game are of behaviors that learn from the reward signal extrinsic alone, and "
            f"'{behavior}' has {', '.join(settings.reward_signals)}"
        )
    spec = specification_from_dict(state["behavior_spec"])
    networks, shared = settings.network_settings, settings.hyperparameters.shared_critic
    network = make_network(spec, networks, SIGNALS, shared_critic=shared)
    if not isinstance(network, ActorCritic):
        raise UsageError(
            f"{path}: weights for a game are of networks for vector observations without a memory, and '{behavior}' "
            "has another one"
        )
    parameters, optimizer = dict(network.named_parameters()), state["optimizer"]
    if isinstance(optimizer["exp_avg"], dict):
        optimizer = in_order(optimizer, parameters)
    tensors: dict[str, Tensor] = {name: tensor.contiguous().clone() for name, tensor in state["network"].items()}
    for moment in _MOMENTS:
        parts = optimizer[moment].split([parameter.numel() for parameter in parameters.values()])
        for (name, parameter), part in zip(parameters.items(), parts, strict=True):
            tensors[f"optimizer.{moment}.{name}"] = part.reshape(parameter.shape).clone()
    generator = state.get("generator", {"seed": 0, "call": 0})
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "behavior": behavior,
        "behavior_spec": json.dumps(state["behavior_spec"]),
        "hidden_units": str(networks.hidden_units),
        "num_layers": str(networks.num_layers),
        "normalize": str(networks.normalize).lower(),
        "shared_critic": str(shared).lower(),
        "step": str(state.get("step", 0)),
        "adam_steps": str(optimizer["step"]),
        "generator_seed": str(generator["seed"]),
        "generator_call": str(generator["call"]),
    }
    write_whole(path, lambda temporary: save_file(tensors, temporary, metadata))


def read_weights(path: Path) -> Weights:
    """Reads a file, whoever wrote it. Raises UsageError for one that is missing, damaged or of another kind."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except FileNotFoundError as error:
        raise UsageError(f"there is no {path}") from error
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} is damaged or no safetensors file ({error}); write it anew") from error
    if metadata.get("format") != FORMAT or metadata.get("format_version") != str(FORMAT_VERSION):
        raise UsageError(f"{path} is not of the format '{FORMAT}' version {FORMAT_VERSION}; write it anew")
    try:
        spec = specification_from_dict(json.loads(metadata["behavior_spec"]))
        settings = TrainerSettings(
            hyperparameters=Hyperparameters(shared_critic=_truth(metadata["shared_critic"])),
            network_settings=NetworkSettings(
                normalize=_truth(metadata["normalize"]),
                hidden_units=int(metadata["hidden_units"]),
                num_layers=int(metadata["num_layers"]),
            ),
        )
        step, adam_steps = int(metadata["step"]), int(metadata["adam_steps"])
        behavior = metadata["behavior"]
    except (KeyError, ValueError) as error:
        raise UsageError(f"{path} does not say what its weights are of ({error}); write it anew") from error
    moments: dict[str, Any] = {moment: _without(tensors, f"optimizer.{moment}.") for moment in _MOMENTS}
    state = {
        "specification": describe(spec),
        "behavior_spec": json.loads(metadata["behavior_spec"]),
        "network": {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer.")},
        "optimizer": {"step": adam_steps if moments["exp_avg"] else 0, **moments},
        "reward_signals": {},
        "step": step,
    }
    return Weights(behavior, state, settings)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"expected true or false, got {text!r}")
    return text == "true"


def _without(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
