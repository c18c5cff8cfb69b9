"""What each key of a behavior changes in a run, seen in its checkpoints and in TensorBoard.

The world is made for sums: constant observations, rewards of 1, episodes of a fixed length, all agents at once.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
    TerminalSteps,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainers.checkpoint import load_state

AGENTS = 4


class Steady:
    """Every message holds a decision of each of four agents; each `length` decisions are an episode."""

    def __init__(
        self,
        seed: int,
        num_areas: int,
        parameters: Any,
        *,
        length: int = 1,
        observation: float = 1.0,
        heard: Callable[[np.ndarray], None] = lambda actions: None,
    ) -> None:
        sensor = ObservationSpec((3,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "constants")
        self.behavior_specs = {"Toy?team=0": BehaviorSpec([sensor], ActionSpec(1, ()))}
        self._length, self._observation, self._heard = length, observation, heard
        self._decisions = 0

    def reset(self) -> Any:
        self._decisions = 0
        return self._steps(ended=0, reward=0.0)

    def step(self, actions: Any) -> Any:
        self._heard(actions["Toy?team=0"].continuous.copy())
        self._decisions += 1
        return self._steps(ended=AGENTS if self._decisions % self._length == 0 else 0, reward=1.0)

    def state(self) -> dict[str, np.ndarray]:
        return {"decisions": np.array(self._decisions)}

    def _steps(self, ended: int, reward: float) -> Any:
        def rows(count: int) -> tuple[Any, ...]:
            observations = np.full((count, 3), self._observation, np.float32)
            return [observations], np.full(count, reward, np.float32), np.arange(count, dtype=np.int32)

        def zeros(count: int) -> tuple[np.ndarray, np.ndarray]:
            return np.zeros(count, np.int32), np.zeros(count, np.float32)

        decisions = DecisionSteps(*rows(AGENTS), None, *zeros(AGENTS))
        observations, rewards, ids = rows(ended)
        terminals = TerminalSteps(observations, rewards, np.zeros(ended, np.bool_), ids, *zeros(ended))
        return {"Toy?team=0": (decisions, terminals)}


def settings(**changes: Any) -> dict[str, Any]:
    """An update after each 16 steps, of two minibatches, at a constant rate."""
    hyperparameters = {"batch_size": 8, "buffer_size": 15, "num_epoch": 1, "learning_rate_schedule": "constant"}
    hyperparameters |= changes.pop("hyperparameters", {})
    return {
        "trainer_type": "ppo",
        "hyperparameters": hyperparameters,
        "network_settings": {"hidden_units": 8, "num_layers": 1, **changes.pop("network_settings", {})},
        "max_steps": 16,
        "summary_freq": 16,
        **changes,
    }


def scalars(trained: Any) -> dict[str, dict[int, float]]:
    """Tag -> step -> value."""
    events = EventAccumulator(str(trained.folder.behavior("Toy")), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def saved(trained: Any) -> dict[str, Any]:
    return load_state(trained.folder.checkpoint("Toy"))


# ---- updates ----


@pytest.mark.parametrize(
    ("batch_size", "buffer_size", "num_epoch", "minibatches"),
    [
        (8, 15, 1, 3 * 2),  # of 48 steps each 16 are an update: three, of two minibatches
        (5, 15, 1, 3 * 3),  # the 16th step is left out
        (8, 15, 3, 3 * 2 * 3),
        (8, 16, 1, 2 * 2),  # more than 16: each 20 are an update, of two minibatches
        (8, 47, 1, 6),
    ],
)
def test_an_update_has_its_epochs_and_minibatches(
    train: Callable[..., Any], batch_size: int, buffer_size: int, num_epoch: int, minibatches: int
) -> None:
    hyperparameters = {"batch_size": batch_size, "buffer_size": buffer_size, "num_epoch": num_epoch}
    trained = train(Steady, settings(max_steps=48, hyperparameters=hyperparameters))
    assert saved(trained)["optimizer"]["step"] == minibatches


def test_the_first_step_of_adam_is_as_long_as_the_learning_rate(train: Callable[..., Any]) -> None:
    before = saved(train(Steady, settings(max_steps=3), run_id="before"))["network"]
    for rate in (1e-3, 4e-3):
        once = {"batch_size": 16, "buffer_size": 16, "learning_rate": rate}  # 20 steps, of which 16 are a minibatch
        after = saved(train(Steady, settings(max_steps=20, hyperparameters=once), run_id=f"{rate}"))["network"]
        moved = max(float((after[name] - tensor).abs().max()) for name, tensor in before.items())
        assert moved == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize(
    ("key", "tag", "value", "minimum"),
    [
        ("learning_rate", "Policy/Learning Rate", 4e-3, 1e-10),
        ("beta", "Policy/Beta", 2e-2, 1e-5),
        ("epsilon", "Policy/Epsilon", 0.3, 0.1),
    ],
)
@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_tensorboard_shows_the_schedules(
    train: Callable[..., Any], key: str, tag: str, value: float, minimum: float, schedule: str
) -> None:
    """`learning_rate_schedule`, `beta_schedule`, `epsilon_schedule`: updates at a quarter, half ... of max_steps."""
    others = {f"{other}_schedule": "constant" for other in ("learning_rate", "beta", "epsilon")}
    hyperparameters = {**others, key: value, f"{key}_schedule": schedule}
    trained = train(Steady, settings(max_steps=64, hyperparameters=hyperparameters))
    found = scalars(trained)
    shares = {16: 0.75, 32: 0.5, 48: 0.25, 64: 0.0}
    expected = {
        step: (value - minimum) * share + minimum if schedule == "linear" else value for step, share in shares.items()
    }
    assert found[tag] == pytest.approx(expected, rel=1e-5)


def test_beta_pays_for_entropy(train: Callable[..., Any]) -> None:
    """Where entropy is all that counts, log sigma grows by the learning rate with each step of Adam."""

    def log_sigma(beta: float) -> float:
        hyperparameters = {"beta": beta, "learning_rate": 1e-2, "num_epoch": 5}
        trained = train(Steady, settings(hyperparameters=hyperparameters), run_id=f"{beta}")
        return float(saved(trained)["network"]["actor.log_sigma"][0])

    assert log_sigma(1000.0) == pytest.approx(10 * 1e-2, rel=0.01)
    assert log_sigma(0.0) < 0.05


def test_epsilon_limits_how_far_an_update_moves_the_policy(train: Callable[..., Any]) -> None:
    def moved(epsilon: float) -> float:
        hyperparameters = {"epsilon": epsilon, "learning_rate": 1e-2, "num_epoch": 10, "beta": 0.0}
        world = functools.partial(Steady, length=2)
        trained = train(world, settings(hyperparameters=hyperparameters), run_id=f"{epsilon}")
        return scalars(trained)["Policy/Approximate KL"][16]

    little, usual, unlimited = moved(0.01), moved(0.2), moved(1e6)
    assert little < usual < unlimited


@pytest.mark.parametrize(
    ("gamma", "lambd", "strength"),
    [(0.9, 0.5, 2.0), (0.0, 0.5, 2.0), (0.9, 0.0, 2.0), (0.9, 1.0, 2.0), (0.9, 0.5, 7.0), (0.9, 0.5, 0.0)],
)
def test_returns_by_hand(train: Callable[..., Any], gamma: float, lambd: float, strength: float) -> None:
    """Episodes of two decisions, each paid 1. The critic says the same of both, as it sees the same."""
    trained = train(
        functools.partial(Steady, length=2),
        settings(
            hyperparameters={"lambd": lambd, "learning_rate": 1e-9},  # both minibatches see the first network
            reward_signals={"extrinsic": {"gamma": gamma, "strength": strength}},
        ),
    )
    found = scalars(trained)
    value = found["Policy/Extrinsic Value Estimate"][16]
    second = strength
    first = strength + gamma * value + gamma * lambd * (second - value)
    expected = ((first - value) ** 2 + (second - value) ** 2) / 2
    assert found["Losses/Value Loss"][16] == pytest.approx(expected, rel=1e-4)
    assert found["Policy/Extrinsic Reward"][16] == pytest.approx(2 * strength)
    assert found["Environment/Cumulative Reward"][16] == 2


def test_time_horizon_cuts_episodes_that_are_longer(train: Callable[..., Any]) -> None:
    """Without an end in sight, steps count when `time_horizon` of them are there."""
    for time_horizon, steps in ((5, 20), (7, 28)):
        endless = functools.partial(Steady, length=10**6)
        trained = train(endless, settings(time_horizon=time_horizon), run_id=f"{time_horizon}")
        assert saved(trained)["step"] == steps  # the first multiple of 4 agents' time_horizon beyond 16


# ---- checkpoints ----


def test_even_checkpoints_spread_over_the_run(train: Callable[..., Any]) -> None:
    evenly = {"even_checkpoints": True, "keep_checkpoints": 4, "checkpoint_interval": 8}
    trained = train(Steady, settings(max_steps=400, **evenly))
    status = json.loads(trained.folder.training_status.read_text())["Toy"]["checkpoints"]
    # Each 100 steps, of which the oldest gives way to the one at the end: 404, the first beyond max_steps.
    assert [checkpoint["steps"] for checkpoint in status] == [200, 300, 400, 404]


# ---- networks ----


def shapes(path: Path) -> set[tuple[int, ...]]:
    """Of the matrices in an ONNX model."""
    arrays = onnx.load(str(path)).graph.initializer
    return {tuple(array.dims) for array in arrays if len(array.dims) == 2}


@pytest.mark.parametrize(
    ("hidden_units", "num_layers", "expected"),
    [
        (8, 1, {"0": (8, 3)}),
        (5, 1, {"0": (5, 3)}),
        (5, 3, {"0": (5, 3), "1": (5, 5), "2": (5, 5)}),
    ],
)
def test_networks_are_as_wide_and_deep_as_asked_for(
    train: Callable[..., Any], hidden_units: int, num_layers: int, expected: dict[str, tuple[int, int]]
) -> None:
    network = {"hidden_units": hidden_units, "num_layers": num_layers}
    trained = train(Steady, settings(max_steps=3, network_settings=network))
    tensors = saved(trained)["network"]
    for part in ("actor", "critic"):
        names = [name for name in tensors if name.startswith(f"{part}.body.") and name.endswith(".weight")]
        assert {name.split(".")[2]: tuple(tensors[name].shape) for name in names} == expected
    assert shapes(trained.folder.model("Toy")) >= set(expected.values())


def test_a_shared_critic_has_no_body_of_its_own(train: Callable[..., Any]) -> None:
    def bodies(shared_critic: bool) -> set[str]:
        hyperparameters = {"shared_critic": shared_critic}
        trained = train(Steady, settings(hyperparameters=hyperparameters), run_id=f"{shared_critic}")
        return {name.split(".")[0] for name in saved(trained)["network"] if ".body." in name}

    assert bodies(False) == {"actor", "critic"}
    assert bodies(True) == {"actor"}


def test_normalize_learns_mean_and_spread_of_the_observations(train: Callable[..., Any]) -> None:
    world = functools.partial(Steady, observation=50.0)
    normalized = saved(train(world, settings(network_settings={"normalize": True}), run_id="normalized"))["network"]
    # One observation of 0 is there before the first: 50 * 16 / 17, and 50 * 20 / 21 if the last 4 steps are in as well.
    assert normalized["actor.normalizers.0.mean"].tolist() == pytest.approx([50 * 16 / 17] * 3, rel=0.02)
    plain = saved(train(world, settings(), run_id="plain"))["network"]
    assert not any("normalizers" in name for name in plain)


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_deterministic_policy_does_the_same_where_it_sees_the_same(
    train: Callable[..., Any], deterministic: bool
) -> None:
    heard: list[np.ndarray] = []
    world = functools.partial(Steady, heard=heard.append)
    train(world, settings(max_steps=3, network_settings={"deterministic": deterministic}))
    assert len(set(heard[0][:, 0].tolist())) == (1 if deterministic else AGENTS)
