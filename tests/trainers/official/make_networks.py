"""Writes networks/*.npz: what the official trainer's networks put out, for the tests to hold ours against.

Run it with the Python that mlagents is installed in; it needs nothing of this package:

    python tests/trainers/official/make_networks.py

A file has `observations.<i>` [rows, *shape]; `memories.<network>` [sequences, size] at the start of each sequence, and
`new.memories.<network>` at its end; `mean` [rows, size], `log_sigma`, `logits.<branch>`, `values` [rows, signals]; and
the weights by their names in the official state dict after `actor.` and `critic.`. Rows are whole sequences of STEPS,
one after the other. Weights are plus or minus a unit, which is `<name>.unit`, so that the files are small.
"""

from pathlib import Path

import numpy as np
import torch
from mlagents.trainers.settings import EncoderType, NetworkSettings
from mlagents.trainers.torch_entities.networks import SimpleActor, ValueNetwork
from mlagents_envs.base_env import ActionSpec, DimensionProperty, ObservationSpec, ObservationType

SIGNALS = ["extrinsic", "curiosity"]
ROWS, STEPS = 12, 4
VECTOR = (DimensionProperty.NONE,)
PICTURE = (DimensionProperty.NONE,) + (DimensionProperty.TRANSLATIONAL_EQUIVARIANCE,) * 2
ENTITIES = (DimensionProperty.VARIABLE_SIZE, DimensionProperty.NONE)
CASES = {  # observations; the encoder of pictures; memory size
    "fully_connected": ([((2,), VECTOR), ((1, 4, 5), PICTURE)], EncoderType.FULLY_CONNECTED, None),
    "simple": ([((2,), VECTOR), ((1, 20, 24), PICTURE)], EncoderType.SIMPLE, None),
    "nature_cnn": ([((1, 36, 36), PICTURE), ((2,), VECTOR)], EncoderType.NATURE_CNN, None),
    "resnet": ([((2, 15, 17), PICTURE)], EncoderType.RESNET, None),
    "attention": ([((3,), VECTOR), ((5, 2), ENTITIES), ((2,), VECTOR), ((3, 4), ENTITIES)], EncoderType.SIMPLE, None),
    "attention_alone": ([((4, 3), ENTITIES)], EncoderType.SIMPLE, None),
    "memory": ([((3,), VECTOR)], EncoderType.SIMPLE, 6),
    "memory_and_picture": ([((2,), VECTOR), ((1, 4, 4), PICTURE)], EncoderType.FULLY_CONNECTED, 4),
}


def observations(shape: tuple[int, ...], kind: tuple[DimensionProperty, ...]) -> torch.Tensor:
    if kind == PICTURE:
        return torch.randint(0, 256, (ROWS, *shape)) / 255.0
    seen = 2.0 * torch.randn(ROWS, *shape)
    if kind == ENTITIES:
        for row in range(ROWS):  # from no entity at all to as many as there can be
            seen[row, row % (shape[0] + 1) :] = 0.0
    return seen


def draw_parameters(network: torch.nn.Module) -> dict[str, float]:
    """New parameters of plus or minus a unit, large enough for every input to be seen in every output.

    Returns the units by the parameters' names.
    """
    units = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            inputs = parameter[0].numel() if parameter.dim() > 1 and "log_sigma" not in name else 16
            units[name] = 1.2 / inputs**0.5
            parameter.copy_((2 * torch.randint(0, 2, parameter.shape) - 1) * units[name])
    return units


def state(network: torch.nn.Module, units: dict[str, float], prefix: str) -> dict[str, np.ndarray]:
    """Its parameters and normalisers, but for those that the official module names twice."""
    data = {}
    for name, tensor in network.state_dict().items():
        if name in units:
            data[prefix + name] = torch.round(tensor / units[name]).to(torch.int8).numpy()
            data[f"{prefix}{name}.unit"] = np.float32(units[name])
        elif name.startswith("network_body.observation_encoder") and ".normalizer." in name:
            data[prefix + name] = tensor.numpy()
    return data


def case(kinds: list[tuple], encoder: EncoderType, memory_size: int | None) -> dict[str, np.ndarray]:
    memory = None if memory_size is None else NetworkSettings.MemorySettings(STEPS, memory_size)
    settings = NetworkSettings(normalize=True, hidden_units=8, num_layers=2, vis_encode_type=encoder, memory=memory)
    specs = [
        ObservationSpec(shape, kind, ObservationType.DEFAULT, f"sensor {i}") for i, (shape, kind) in enumerate(kinds)
    ]
    actor, critic = SimpleActor(specs, settings, ActionSpec(2, (3, 2))), ValueNetwork(SIGNALS, specs, settings)
    seen = [observations(*kind) for kind in kinds]
    with torch.no_grad():
        units = {"actor.": draw_parameters(actor), "critic.": draw_parameters(critic)}
        for processor in actor.network_body.observation_encoder.processors:
            if getattr(processor, "normalizer", None) is not None:
                processor.normalizer.update(torch.randn(20, len(processor.normalizer.running_mean)) * 3 + 1)
        critic.network_body.copy_normalization(actor.network_body)
        data = {f"observations.{index}": one.numpy() for index, one in enumerate(seen)}
        memories = {"actor": None, "critic": None}
        if memory_size is not None:
            memories = {part: torch.randn(1, ROWS // STEPS, memory_size) for part in memories}
            data |= {f"memories.{part}": one[0].numpy() for part, one in memories.items()}
        encoding, new_actor = actor.network_body(seen, memories=memories["actor"], sequence_length=STEPS)
        heads = actor.action_model._get_dists(encoding, torch.ones(ROWS, 5))
        values, new_critic = critic.critic_pass(seen, memories=memories["critic"], sequence_length=STEPS)
    data["mean"] = heads.continuous.mean.numpy()
    data["log_sigma"] = heads.continuous.std.log()[0].numpy()
    for branch, head in enumerate(actor.action_model._discrete_distribution.branches):
        data[f"logits.{branch}"] = head(encoding).detach().numpy()
    data["values"] = torch.stack([values[signal] for signal in SIGNALS], dim=1).numpy()
    if memory_size is not None:
        data |= {"new.memories.actor": new_actor[0].numpy(), "new.memories.critic": new_critic[0].numpy()}
    return data | state(actor, units["actor."], "actor.") | state(critic, units["critic."], "critic.")


def main() -> None:
    torch.manual_seed(1)
    for name, (kinds, encoder, memory_size) in CASES.items():
        path = Path(__file__).parent / "networks" / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(path, **case(kinds, encoder, memory_size))
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
