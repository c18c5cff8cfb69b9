"""What each key of the reward signals, of the memory and of the encoders changes, seen in checkpoints."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

from trainers.checkpoint import load_state
from trainers.config import TrainerSettings
from trainers.learner import Learner

SMALL = {"hidden_units": 4, "num_layers": 1}
KINDS = pytest.mark.parametrize("kind", ["curiosity", "rnd"])

Weights = dict[str, torch.Tensor]


@pytest.fixture
def run(train: Callable[..., Any], toy_world: Any) -> Callable[..., dict[str, Any]]:
    """The checkpoint of a run that ends after its first update, of one minibatch; after its third with `updates=3`."""

    def run_with(kind: str | None = None, updates: int = 1, **changes: Any) -> dict[str, Any]:
        hyperparameters = {"batch_size": 16, "buffer_size": 16, "num_epoch": 1} | changes.pop("hyperparameters", {})
        signal = {"network_settings": SMALL} | changes.pop("signal", {})
        signal = {key: value for key, value in signal.items() if value is not None}
        settings = {
            "trainer_type": "ppo",
            "hyperparameters": hyperparameters,
            "network_settings": SMALL | changes.pop("network_settings", {}),
            "reward_signals": {"extrinsic": {}} | ({kind: signal} if kind is not None else {}),
            "time_horizon": 4,
            "max_steps": 24 * updates,
            **changes,
        }
        run_with.count += 1  # type: ignore[attr-defined]
        trained = train(toy_world, settings, run_id=f"run{run_with.count}")  # type: ignore[attr-defined]
        state = load_state(trained.folder.checkpoint("Toy"))
        return state

    run_with.count = 0  # type: ignore[attr-defined]
    return run_with


def weights(state: dict[str, Any], kind: str) -> Weights:
    return {
        name: values
        for name, values in state["reward_signals"][kind]["network"].items()
        if values.dtype == torch.float32
    }


def same(left: Weights, right: Weights) -> bool:
    return all(torch.equal(values, right[name]) for name, values in left.items())


@KINDS
@pytest.mark.parametrize("key", ["gamma", "strength"])
def test_gamma_and_strength_are_the_critics_business(run: Callable[..., Any], kind: str, key: str) -> None:
    # Three updates: what curiosity has seen before its first one is worth nothing.
    one, other = (run(kind, updates=3, signal={key: value}) for value in (0.9, 0.5))
    head = f"critic.values.{kind}.weight"
    assert not torch.equal(one["network"][head], other["network"][head])


@KINDS
def test_the_first_step_of_a_signals_network_is_as_long_as_its_learning_rate(
    run: Callable[..., Any], kind: str
) -> None:
    before = weights(run(kind, signal={"learning_rate": 1e-30}), kind)
    after = weights(run(kind, signal={"learning_rate": 0.25}), kind)
    longest = max(float((after[name] - values).abs().max()) for name, values in before.items())
    assert longest == pytest.approx(0.25, rel=1e-3)  # Adam's first step has this length in every direction


@KINDS
@pytest.mark.parametrize("signal", [{"network_settings": {"hidden_units": 6, "num_layers": 2}}, {"encoding_size": 6}])
def test_a_signals_network_is_as_wide_as_network_settings_or_encoding_size_say(
    run: Callable[..., Any], kind: str, signal: dict[str, Any]
) -> None:
    if "encoding_size" in signal:
        signal = {**signal, "network_settings": None}
    shapes = {tuple(values.shape) for values in weights(run(kind, signal=signal), kind).values()}
    assert {(6, 1), (6, 6)} <= shapes  # two layers, which is also the default


def test_network_settings_of_the_extrinsic_signal_change_nothing(run: Callable[..., Any]) -> None:
    plain = run()
    wide = run(reward_signals={"extrinsic": {"network_settings": {"hidden_units": 77}}})
    assert same(plain["network"], wide["network"])


def test_sequence_length_says_how_many_sequences_make_a_minibatch(run: Callable[..., Any]) -> None:
    # Episodes of 1 to 3 steps are a sequence each, whatever its greatest length: 16 / 4 of them make a minibatch,
    # or 16 / 16.
    steps = [
        run(network_settings={"memory": {"memory_size": 4, "sequence_length": length}})["optimizer"]["step"]
        for length in (4, 16)
    ]
    assert steps[1] >= 4 * steps[0] > 0


@pytest.mark.parametrize(
    ("vis_encode_type", "convolutions"), [("fully_connected", 0), ("simple", 2), ("nature_cnn", 3), ("resnet", 15)]
)
def test_vis_encode_type_is_the_network_for_pictures(vis_encode_type: str, convolutions: int) -> None:
    axes = (DimensionProperty.NONE, *2 * (DimensionProperty.TRANSLATIONAL_EQUIVARIANCE,))
    camera = ObservationSpec((1, 36, 36), axes, ObservationType.DEFAULT, "camera")
    network = {**SMALL, "vis_encode_type": vis_encode_type}
    settings = TrainerSettings.model_validate({"trainer_type": "ppo", "network_settings": network})
    learner = Learner(
        "Toy",
        BehaviorSpec([camera], ActionSpec(1, ())),
        settings,
        seed=1,
        device=torch.device("cpu"),
        backend="torch",
        threads=1,
    )
    encoder = learner.policy.network.actor.encoders["0"]
    assert sum(isinstance(module, torch.nn.Conv2d) for module in encoder.modules()) == convolutions
