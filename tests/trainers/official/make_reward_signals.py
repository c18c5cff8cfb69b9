"""Writes reward_signals.npz: what the official trainer's curiosity and RND compute, for the tests to hold ours against.

Run it with the Python that mlagents is installed in; it needs nothing of this package:

    python tests/trainers/official/make_reward_signals.py

Arrays are named `<signal>/<actions>/<what>`; weights have the names that this package's networks give them.
"""

from pathlib import Path

import numpy as np
import torch
from mlagents.trainers.buffer import AgentBuffer, AgentBufferField, BufferKey
from mlagents.trainers.settings import CuriositySettings, NetworkSettings, RNDSettings
from mlagents.trainers.torch_entities.components.reward_providers import CuriosityRewardProvider, RNDRewardProvider
from mlagents.trainers.trajectory import ObsUtil
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
)

SIZES = (3, 2)  # of two vector observations
ACTIONS = {"continuous": (2, ()), "discrete": (0, (3, 2)), "hybrid": (1, (3,))}
STEPS, MINIBATCH = 24, 8
CURIOSITY_LAYERS = {
    "inverse_model_action_encoding.0.seq_layers.0": "inverse",
    "continuous_action_prediction": "continuous",
    "discrete_action_prediction": "discrete",
    "forward_model_next_state_prediction.0.seq_layers.0": "next_hidden",
    "forward_model_next_state_prediction.1": "next_output",
}
NORMALIZER = {"running_mean": "mean", "running_variance": "variance_sum", "normalization_steps": "steps"}


def weights(parts: dict[str, tuple[torch.nn.Module, str]]) -> dict[str, np.ndarray]:
    """Parameters and buffers by the names that this package gives them.

    parts: what our encoder is called -> a network, and what it calls its encoder.
    """
    found = {}
    for ours, (network, theirs) in parts.items():
        for name, tensor in network.state_dict().items():
            if name.startswith(f"{theirs}.observation_encoder.processors."):
                index, _, last = name.split(".processors.")[1].split(".")
                if ours != "prediction":  # which normalises just like the target
                    found[f"{ours}.normalizers.{index}.{NORMALIZER[last]}"] = tensor.numpy().copy()
            elif name.startswith(f"{theirs}._body_endoder.seq_layers."):
                layer, last = name.split(".seq_layers.")[1].split(".")
                found[f"{ours}.body.{int(layer) // 2}.{last}"] = tensor.numpy().copy()  # activations between them
            elif not name.startswith(f"{theirs}.processors."):  # the same as those of the observation encoder
                layer, _, last = name.rpartition(".")
                found[f"{CURIOSITY_LAYERS[layer]}.{last}"] = tensor.numpy().copy()
    return found


def transitions(continuous: int, branches: tuple[int, ...], random: np.random.RandomState) -> dict[str, np.ndarray]:
    data = {}
    for index, size in enumerate(SIZES):
        data[f"observation.{index}"] = (3.0 * random.standard_normal((STEPS, size))).astype(np.float32)
        data[f"next_observation.{index}"] = (3.0 * random.standard_normal((STEPS, size))).astype(np.float32)
    data["continuous"] = random.standard_normal((STEPS, continuous)).astype(np.float32)
    columns = [random.randint(0, branch, STEPS) for branch in branches]
    data["discrete"] = np.stack(columns, axis=1) if columns else np.zeros((STEPS, 0), np.int64)
    return data


def buffer_of(data: dict[str, np.ndarray], rows: slice) -> AgentBuffer:
    fields = {BufferKey.MASKS: np.ones(STEPS, np.float32)}
    for index in range(len(SIZES)):
        fields[ObsUtil.get_name_at(index)] = data[f"observation.{index}"]
        fields[ObsUtil.get_name_at_next(index)] = data[f"next_observation.{index}"]
    for key, name in ((BufferKey.CONTINUOUS_ACTION, "continuous"), (BufferKey.DISCRETE_ACTION, "discrete")):
        if data[name].shape[1]:
            fields[key] = data[name]
    buffer = AgentBuffer()
    for key, values in fields.items():
        buffer[key] = AgentBufferField()
        buffer[key].set(list(values[rows]))
    return buffer


def main() -> None:
    arrays = {}
    for seed, (actions, (continuous, branches)) in enumerate(ACTIONS.items()):
        torch.manual_seed(seed)
        data = transitions(continuous, branches, np.random.RandomState(seed))
        arrays |= {f"transitions/{actions}/{name}": values for name, values in data.items()}
        observations = [
            ObservationSpec((size,), (DimensionProperty.NONE,), ObservationType.DEFAULT, str(size)) for size in SIZES
        ]
        spec = BehaviorSpec(observations, ActionSpec(continuous, branches))
        network = NetworkSettings(normalize=True, hidden_units=4, num_layers=2)
        # The cap of curiosity, 1 / strength, is in reach of some of the rewards.
        curiosity = CuriosityRewardProvider(
            spec, CuriositySettings(strength=0.1, learning_rate=1e-2, network_settings=network)
        )
        rnd = RNDRewardProvider(spec, RNDSettings(strength=0.1, learning_rate=1e-2, network_settings=network))
        for signal, provider, parts in (
            ("curiosity", curiosity, {"encoder": (curiosity._network, "_state_encoder")}),
            (
                "rnd",
                rnd,
                {"target": (rnd._random_network, "_encoder"), "prediction": (rnd._training_network, "_encoder")},
            ),
        ):
            prefix = f"{signal}/{actions}"
            for module, _ in parts.values():
                module.half().float()  # 16 bits are enough for random numbers, and make a small file
            arrays |= {f"{prefix}/before/{name}": array.astype(np.float16) for name, array in weights(parts).items()}
            arrays[f"{prefix}/rewards_before"] = provider.evaluate(buffer_of(data, slice(None)))
            losses = []
            for start in range(0, STEPS, MINIBATCH):
                figures = provider.update(buffer_of(data, slice(start, start + MINIBATCH)))
                losses.append([float(loss) for loss in figures.values()])
            arrays[f"{prefix}/tags"] = np.array(list(figures))
            arrays[f"{prefix}/losses"] = np.array(losses)
            arrays |= {f"{prefix}/after/{name}": array for name, array in weights(parts).items()}
            arrays[f"{prefix}/rewards_after"] = provider.evaluate(buffer_of(data, slice(None)))
            print(prefix, losses, arrays[f"{prefix}/rewards_after"].round(2))
    np.savez_compressed(Path(__file__).with_name("reward_signals.npz"), **arrays)


if __name__ == "__main__":
    main()
