"""Curiosity and RND compute what the official trainer computes, reward what is new, and go on exactly."""

import copy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

from trainers.config_network import NetworkSettings
from trainers.config_reward_signals import Curiosity, RandomNetworkDistillation, RewardSignal
from trainers.distributions import Actions
from trainers.reward_signals import RewardSignalModule, Transitions, make_signals, next_observations_of

CPU = torch.device("cpu")
SETTINGS = {"curiosity": Curiosity, "rnd": RandomNetworkDistillation}
CONTINUOUS, DISCRETE, HYBRID = ActionSpec(2, ()), ActionSpec(0, (3, 2)), ActionSpec(1, (3,))
FIXED, VARIABLE = DimensionProperty.NONE, DimensionProperty.VARIABLE_SIZE
OFFICIAL = dict(np.load(Path(__file__).parent / "official" / "reward_signals.npz"))


def spec_of(actions: ActionSpec, *shapes: tuple[int, ...]) -> BehaviorSpec:
    """Shapes of two dimensions are of variable length."""
    properties = {1: (FIXED,), 2: (VARIABLE, FIXED), 3: (FIXED, *[DimensionProperty.TRANSLATIONAL_EQUIVARIANCE] * 2)}
    observations = [
        ObservationSpec(shape, properties[len(shape)], ObservationType.DEFAULT, f"sensor {index}")
        for index, shape in enumerate(shapes)
    ]
    return BehaviorSpec(observations, actions)


def make(name: str, spec: BehaviorSpec, seed: int = 1, **settings: Any) -> RewardSignalModule:
    torch.manual_seed(seed)
    network = NetworkSettings(normalize=settings.pop("normalize", False), hidden_units=settings.pop("hidden_units", 16))
    return make_signals(spec, {name: SETTINGS[name](network_settings=network, **settings)}, CPU)[name]


def some_transitions(spec: BehaviorSpec, steps: int, seed: int = 1) -> Transitions:
    generator = torch.Generator().manual_seed(seed)
    now, then = (
        [torch.rand((steps, *observation.shape), generator=generator) for observation in spec.observation_specs]
        for _ in range(2)
    )
    action = spec.action_spec
    branches = [torch.randint(int(size), (steps, 1), generator=generator) for size in action.discrete_branches]
    discrete = torch.cat([torch.zeros(steps, 0, dtype=torch.int64), *branches], dim=1)
    return Transitions(now, then, Actions(torch.randn((steps, action.continuous_size), generator=generator), discrete))


# ---- against the official trainer ----


def official_arrays(prefix: str) -> dict[str, torch.Tensor]:
    """By what is left of their names."""
    return {
        name.removeprefix(f"{prefix}/"): torch.from_numpy(array)
        for name, array in OFFICIAL.items()
        if name.startswith(f"{prefix}/")
    }


@pytest.mark.parametrize("name", ["curiosity", "rnd"])
@pytest.mark.parametrize(
    "actions, action_spec", [("continuous", CONTINUOUS), ("discrete", DISCRETE), ("hybrid", HYBRID)]
)
def test_rewards_losses_and_weights_are_those_of_the_official_trainer(
    name: str, actions: str, action_spec: ActionSpec
) -> None:
    signal = make(
        name, spec_of(action_spec, (3,), (2,)), normalize=True, hidden_units=4, strength=0.1, learning_rate=1e-2
    )
    data = official_arrays(f"transitions/{actions}")
    transitions = Transitions(
        [data["observation.0"], data["observation.1"]],
        [data["next_observation.0"], data["next_observation.1"]],
        Actions(data["continuous"], data["discrete"]),
    )
    prefix = f"{name}/{actions}"
    signal.load_state_dict({**signal.state_dict(), "network": official_arrays(f"{prefix}/before")})

    def assert_rewards(when: str) -> None:
        wanted = OFFICIAL[f"{prefix}/rewards_{when}"]
        np.testing.assert_allclose(signal.rewards(transitions).numpy(), wanted, rtol=1e-5, atol=1e-5)

    assert_rewards("before")
    losses = [signal.update(transitions.rows(slice(start, start + 8))) for start in (0, 8, 16)]
    assert list(losses[0]) == OFFICIAL[f"{prefix}/tags"].tolist()
    np.testing.assert_allclose([list(each.values()) for each in losses], OFFICIAL[f"{prefix}/losses"], rtol=1e-5)
    weights, wanted = signal.state_dict()["network"], official_arrays(f"{prefix}/after")
    assert weights.keys() == wanted.keys()
    for key, values in wanted.items():
        np.testing.assert_allclose(weights[key].numpy(), values.numpy(), rtol=1e-5, atol=1e-5, err_msg=key)
    assert_rewards("after")


def test_the_official_rewards_reach_the_cap_and_the_official_normalisers_move() -> None:
    assert OFFICIAL["curiosity/hybrid/rewards_after"].max() == 10.0  # 1 / strength
    assert not OFFICIAL["curiosity/hybrid/rewards_before"].any()
    assert OFFICIAL["rnd/hybrid/after/target.normalizers.0.steps"] == 1 + 24 + 3 * 8


# ---- what is new is worth more ----


def chain(places: Sequence[int], length: int = 12) -> Transitions:
    """One step to the right from each of `places`, which are seen as one-hot vectors."""
    now = torch.eye(length)[torch.tensor(places)]
    then = torch.eye(length)[torch.tensor(places) + 1]
    return Transitions([now], [then], Actions(torch.zeros(len(places), 0), torch.ones(len(places), 1).long()))


@pytest.mark.parametrize("name", ["curiosity", "rnd"])
def test_steps_seen_often_are_worth_less_than_those_never_seen(name: str) -> None:
    signal = make(name, spec_of(ActionSpec(0, (2,)), (12,)), strength=1e-6, learning_rate=3e-3, hidden_units=64)
    often, never = chain([0, 1, 2, 3, 4]), chain([6, 7, 8, 9, 10])
    signal.update(often)
    ratio_at_first = float(signal.rewards(often).mean() / signal.rewards(never).mean())
    for _ in range(200):
        signal.update(often)
    assert ratio_at_first > 0.5
    assert signal.rewards(often).mean() < 0.1 * signal.rewards(never).mean()


# ---- limits ----


def test_curiosity_gives_nothing_before_the_first_update_and_at_most_its_cap_after() -> None:
    spec = spec_of(HYBRID, (3,))
    signal, transitions = make("curiosity", spec, strength=4.0), some_transitions(spec, 50)
    assert not signal.rewards(transitions).any()
    signal.update(transitions)
    rewards = signal.rewards(transitions)
    assert rewards.max() == 0.25
    assert 0.0 < rewards.min() < 0.25


def test_a_strength_of_zero_has_no_cap() -> None:
    spec = spec_of(CONTINUOUS, (3,))
    signal, transitions = make("curiosity", spec, strength=0.0), some_transitions(spec, 5)
    signal.update(transitions)
    assert torch.isfinite(signal.rewards(transitions)).all()


def test_rnd_normalises_by_all_it_has_seen() -> None:
    spec = spec_of(CONTINUOUS, (2,))
    transitions = some_transitions(spec, 400)
    transitions.observations[0] = 100.0 + 7.0 * torch.randn(400, 2, generator=torch.Generator().manual_seed(3))
    signal = make("rnd", spec, normalize=True)
    signal.rewards(transitions)
    signal.update(transitions)
    network = signal.state_dict()["network"]
    assert network["target.normalizers.0.steps"] == 801
    assert network["target.normalizers.0.mean"].tolist() == pytest.approx([100.0, 100.0], abs=1.5)
    assert not any("normalizers" in name for name in make("rnd", spec).state_dict()["network"])


@pytest.mark.parametrize("name", ["curiosity", "rnd"])
@pytest.mark.parametrize("action_spec", [CONTINUOUS, DISCRETE, HYBRID], ids=["continuous", "discrete", "hybrid"])
def test_pictures_and_variable_length_observations(name: str, action_spec: ActionSpec) -> None:
    spec = spec_of(action_spec, (3,), (3, 20, 24), (4, 5))
    signal, transitions = make(name, spec, normalize=True, learning_rate=3e-3), some_transitions(spec, 6)
    losses = [sum(signal.update(transitions).values()) for _ in range(20)]
    assert losses[-1] < losses[1]
    rewards = signal.rewards(transitions)
    assert rewards.shape == (6,)
    assert rewards.min() > 0.0


def test_only_signals_that_learn_are_made_and_in_their_order() -> None:
    settings: dict[str, RewardSignal] = {
        "rnd": RandomNetworkDistillation(),
        "extrinsic": RewardSignal(),
        "curiosity": Curiosity(),
    }
    assert list(make_signals(spec_of(HYBRID, (3,)), settings, CPU)) == ["rnd", "curiosity"]


# ---- going on ----


def only_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and only_plain(one) for key, one in value.items())
    return isinstance(value, torch.Tensor | bool | int | float | str)


@pytest.mark.parametrize("name", ["curiosity", "rnd"])
def test_it_goes_on_exactly(name: str) -> None:
    spec = spec_of(HYBRID, (3,))
    one, transitions = make(name, spec, normalize=True), some_transitions(spec, 8)
    for _ in range(3):
        one.update(transitions)
    state = copy.deepcopy(one.state_dict())
    assert only_plain(state)
    other = make(name, spec, seed=2, normalize=True)
    other.load_state_dict(state)
    for _ in range(3):
        assert one.update(transitions) == other.update(transitions)
    assert torch.equal(one.rewards(transitions), other.rewards(transitions))


@pytest.mark.parametrize("name", ["curiosity", "rnd"])
def test_the_state_of_other_networks_is_refused(name: str) -> None:
    spec = spec_of(HYBRID, (3,))
    with pytest.raises(RuntimeError, match="size mismatch"):
        make(name, spec).load_state_dict(make(name, spec, hidden_units=8).state_dict())


@pytest.mark.parametrize("name", ["curiosity", "rnd"])
def test_it_learns_where_autograd_is_off(name: str) -> None:
    spec = spec_of(HYBRID, (3,))
    signal, transitions = make(name, spec), some_transitions(spec, 8)
    with torch.no_grad():
        first, second = (sum(signal.update(transitions).values()) for _ in range(2))
    assert second < first


# ---- what came after each step ----


@pytest.mark.parametrize(
    "lengths, wanted",
    [
        ([3, 1, 2], [1, 2, 100, 101, 5, 102]),
        ([1, 1], [100, 101]),
        ([4], [1, 2, 3, 100]),
    ],
)
def test_what_comes_after_a_step_is_the_next_one_and_at_the_end_what_followed(
    lengths: list[int], wanted: list[float]
) -> None:
    cut = SimpleNamespace(
        observations=[np.arange(sum(lengths), dtype=np.float32)[:, None]],
        next_observations=[100.0 + np.arange(len(lengths), dtype=np.float32)[:, None]],
        lengths=np.array(lengths),
    )
    (found,) = next_observations_of(cut)
    assert found[:, 0].tolist() == wanted


def test_pictures_keep_their_shape() -> None:
    cut = SimpleNamespace(
        observations=[np.zeros((3, 1, 4, 4), np.float32)],
        next_observations=[np.ones((2, 1, 4, 4), np.float32)],
        lengths=np.array([1, 2]),
    )
    (found,) = next_observations_of(cut)
    assert found.shape == (3, 1, 4, 4)
    assert found[:, 0, 0, 0].tolist() == [1.0, 0.0, 1.0]
