"""The trainer in C# and the one in Python live through the same: they act alike and end with the same weights."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
    TerminalSteps,
)

from trainers.behavior_trainer import BehaviorTrainer
from trainers.config import Hyperparameters, TrainerSettings
from trainers.config_network import NetworkSettings
from trainers.weights_file import read_weights, write_weights

AGENTS, INPUTS, ROUNDS = 5, 4, 700


class Life:
    """What agents go through, round after round: it does not depend on what they do."""

    def __init__(self, branches: tuple[int, ...], seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.branches = branches
        self.acted = np.zeros(AGENTS, np.bool_)

    def round(self) -> tuple[TerminalSteps, DecisionSteps]:
        ended = np.flatnonzero(self.acted & (self.random.random(AGENTS) < 0.05)).astype(np.int32)
        # Mostly everybody asks, at times only a few.
        asking = np.flatnonzero(self.random.random(AGENTS) < self.random.choice([1.0, 0.3])).astype(np.int32)
        if len(asking) == 0:
            asking = np.zeros(1, np.int32)
        self.acted[ended] = False
        self.acted[asking] = True
        masks = []
        for size in self.branches:
            forbidden = self.random.random((len(asking), size)) < 0.2
            forbidden[:, 0] = False
            masks.append(forbidden)
        interrupted = self.random.random(len(ended)) < 0.5
        return (
            TerminalSteps(
                [self._see(len(ended))], self._rewards(ended), interrupted, ended, ended * 0, self._none(ended)
            ),
            DecisionSteps(
                [self._see(len(asking))],
                self._rewards(asking),
                asking,
                masks if masks else None,
                asking * 0,
                self._none(asking),
            ),
        )

    def _see(self, count: int) -> np.ndarray:
        return (self.random.normal(size=(count, INPUTS)) * [1.0, 3.0, 0.1, 1.0] + [0, 5, 0, -1]).astype(np.float32)

    def _rewards(self, ids: np.ndarray) -> np.ndarray:
        return self.random.normal(size=len(ids)).astype(np.float32)

    def _none(self, ids: np.ndarray) -> np.ndarray:
        return np.zeros(len(ids), np.float32)


def as_bytes(terminals: TerminalSteps, decisions: DecisionSteps) -> bytes:
    parts = [struct.pack("<i", len(terminals))]
    for i, agent in enumerate(terminals.agent_id):
        parts.append(struct.pack("<ifi", agent, terminals.reward[i], int(terminals.interrupted[i])))
        parts.append(terminals.obs[0][i].tobytes())
    parts.append(struct.pack("<i", len(decisions)))
    for i, agent in enumerate(decisions.agent_id):
        parts += [struct.pack("<if", agent, decisions.reward[i]), decisions.obs[0][i].tobytes()]
        parts += [(~mask[i]).tobytes() for mask in decisions.action_mask or []]
    return b"".join(parts)


def trainer_in_python(continuous: int, branches: tuple[int, ...], settings: TrainerSettings) -> BehaviorTrainer:
    name = f"VectorSensor_size{INPUTS}"
    seen = ObservationSpec((INPUTS,), (DimensionProperty.NONE,), ObservationType.DEFAULT, name)
    spec = BehaviorSpec([seen], ActionSpec(continuous, branches))
    return BehaviorTrainer(
        "Replayed", spec, settings, seed=3, device=torch.device("cpu"), training=True, backend="openmined"
    )


def live(trainer: BehaviorTrainer, branches: tuple[int, ...], experience: Path, header: bytes) -> tuple[bytes, int]:
    """Lets the trainer in Python live through a life and writes it down; returns its actions and number of updates."""
    life, actions, updates = Life(branches, seed=7), [], 0
    with open(experience, "wb") as file:
        file.write(header)
        for _ in range(ROUNDS):
            terminals, decisions = life.round()
            file.write(as_bytes(terminals, decisions))
            players = [np.zeros(len(each), np.int64) for each in (decisions, terminals)]
            slots = trainer.process(players, decisions, terminals)
            if trainer.ready:
                trainer.update()
                updates += 1
            acted = trainer.act(slots, decisions)
            for i in range(len(decisions)):
                actions += [acted.continuous[i].tobytes(), acted.discrete[i].tobytes()]
            trainer.take_in()
    return b"".join(actions), updates


@pytest.mark.parametrize(
    ("continuous", "branches", "normalize", "shared_critic", "value_clipping"),
    [(0, (3, 2), True, False, False), (2, (), True, True, False), (1, (3,), False, False, True)],
)
def test_both_act_alike_and_learn_the_same(
    play, tmp_path, continuous, branches, normalize, shared_critic, value_clipping
):
    settings = TrainerSettings(
        hyperparameters=Hyperparameters(
            batch_size=64, buffer_size=512, num_epoch=3, shared_critic=shared_critic, value_clipping=value_clipping
        ),
        network_settings=NetworkSettings(normalize=normalize, hidden_units=24, num_layers=2),
        time_horizon=32,
    )
    sizes = [AGENTS, INPUTS, continuous, len(branches), *branches, 24, 2, normalize, shared_critic, value_clipping]
    header = struct.pack(f"<{len(sizes) + 5}i", *sizes, 64, 512, 3, 32, ROUNDS)
    files = [tmp_path / name for name in ("experience", "start.safetensors", "end.safetensors", "actions")]
    trainer = trainer_in_python(continuous, branches, settings)
    write_weights(files[1], "Replayed", trainer.state(with_open_trajectories=False), settings)
    expected, updates = live(trainer, branches, files[0], header)

    answers = play("replay", *files)
    assert int(answers["updates"]) == updates >= 3
    state = trainer.state(with_open_trajectories=False)
    write_weights(tmp_path / "python.safetensors", "Replayed", state, settings)
    ours, theirs = read_weights(tmp_path / "python.safetensors").state, read_weights(files[2]).state
    assert ours["step"] == theirs["step"] and ours["optimizer"]["step"] == theirs["optimizer"]["step"]
    assert ours["network"].keys() == theirs["network"].keys()
    for name, tensor in ours["network"].items():
        # Up to 1e-6, of the number itself where it is above 1 (the normaliser's sums are in the thousands).
        difference = (theirs["network"][name] - tensor).abs() / tensor.abs().clamp_min(1.0)
        assert difference.max() <= 1e-6, name
    kind = np.dtype([("continuous", np.float32, (continuous,)), ("discrete", np.int32, (len(branches),))])
    got, wanted = (np.frombuffer(each, kind) for each in (files[3].read_bytes(), expected))
    np.testing.assert_array_equal(got["discrete"], wanted["discrete"])
    np.testing.assert_allclose(got["continuous"], wanted["continuous"], rtol=0, atol=1e-6)
