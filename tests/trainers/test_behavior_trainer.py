"""One behavior from messages to an update: what is learnt from, when, and what is refused."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

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

from trainers import ppo
from trainers.behavior_trainer import BehaviorTrainer
from trainers.config import TrainerSettings
from trainers.errors import UsageError
from trainers.report import Report


def make_spec(
    shapes: Sequence[tuple[int, ...]] = ((1,),), continuous: int = 1, branches: tuple[int, ...] = ()
) -> BehaviorSpec:
    observations = [
        ObservationSpec(shape, (DimensionProperty.NONE,) * len(shape), ObservationType.DEFAULT, f"sensor {index}")
        for index, shape in enumerate(shapes)
    ]
    return BehaviorSpec(observations, ActionSpec(continuous, branches))


def with_first(**changes: Any) -> BehaviorSpec:
    spec = make_spec()
    return spec._replace(observation_specs=[spec.observation_specs[0]._replace(**changes)])


def make_trainer(
    spec: BehaviorSpec | None = None, *, name: str = "Ball", seed: int = 1, training: bool = True, **settings: Any
) -> BehaviorTrainer:
    hyperparameters = {"batch_size": 1, "buffer_size": 1000, **settings.pop("hyperparameters", {})}
    network = {"hidden_units": 4, "num_layers": 1, **settings.pop("network_settings", {})}
    values = {"trainer_type": "ppo", "hyperparameters": hyperparameters, "network_settings": network, **settings}
    return BehaviorTrainer(
        name,
        spec or make_spec(),
        TrainerSettings.model_validate(values),
        seed=seed,
        device=torch.device("cpu"),
        training=training,
    )


class Player:
    """Hands messages to a trainer; every agent sees its own id as its observation."""

    def __init__(self, trainer: BehaviorTrainer) -> None:
        self.trainer = trainer

    def message(
        self,
        decided: dict[int, float],
        ended: dict[int, float] | None = None,
        *,
        interrupted: bool = False,
        group_reward: float = 0.0,
    ) -> None:
        """`decided` and `ended`: agent id to reward."""
        ended = ended or {}
        decisions = DecisionSteps(
            [np.array(list(decided), np.float32).reshape(-1, 1)],
            np.array(list(decided.values()), np.float32),
            np.array(list(decided), np.int32),
            None,
            np.zeros(len(decided), np.int32),
            np.full(len(decided), group_reward, np.float32),
        )
        terminals = TerminalSteps(
            [np.array(list(ended), np.float32).reshape(-1, 1)],
            np.array(list(ended.values()), np.float32),
            np.full(len(ended), interrupted),
            np.array(list(ended), np.int32),
            np.zeros(len(ended), np.int32),
            np.full(len(ended), group_reward, np.float32),
        )
        players = np.zeros(len(decided), np.int64), np.zeros(len(ended), np.int64)
        slots = self.trainer.process(players, decisions, terminals)
        if len(decisions):
            self.trainer.act(slots, decisions)

    def episode(self, decisions: int, agent: int = 1, reward: float = 1.0) -> None:
        for _ in range(decisions):
            self.message({agent: reward})
        self.message({}, {agent: reward})


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[ppo.Batch]:
    """What `update` would have learnt from."""
    given: list[ppo.Batch] = []

    def take(_network: Any, _optimizer: Any, batch: ppo.Batch, *_: Any) -> dict[str, float]:
        given.append(batch)
        return {}

    monkeypatch.setattr(ppo, "update", take)
    return given


def set_value(trainer: BehaviorTrainer, value: float) -> None:
    """Makes the critic say `value` of everything."""
    for head in trainer.policy.network.critic.values.values():
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, value)


# ---- what is learnt from ----


def test_what_comes_after_a_trajectory_counts_unless_the_episode_is_over_for_good(batches: list[ppo.Batch]) -> None:
    trainer = make_trainer(time_horizon=2, reward_signals={"extrinsic": {"gamma": 0.5}}, hyperparameters={"lambd": 1.0})
    set_value(trainer, 8.0)
    player = Player(trainer)
    player.message({1: 0, 2: 0, 3: 0})
    player.message({1: 1, 2: 2, 3: 3})
    player.message({1: 4, 2: 5})
    player.message({}, {1: 6}, interrupted=True)
    player.message({}, {2: 7, 3: 9})
    trainer.update()
    # 1 and 2 reach the horizon together: 1 + 4 / 2 + 8 / 4 and 4 + 8 / 2, the same with 2 and 5; then 1 is interrupted
    # after 6: 6 + 8 / 2; 2 ends after 7; 3 ends after 3 and 9: 3 + 9 / 2 and 9
    returns = batches[0].target.returns[:, 0].tolist()
    assert returns == [5, 8, 6.5, 9, 10, 7, 7.5, 9]
    assert batches[0].inputs[:, 0].tolist() == [1, 1, 2, 2, 1, 2, 3, 3]
    assert batches[0].target.values[:, 0].tolist() == [8] * 8


def test_strength_scales_what_is_learnt_from_but_not_what_is_shown(batches: list[ppo.Batch], tmp_path: Path) -> None:
    trainer = make_trainer(reward_signals={"extrinsic": {"strength": 3.0, "gamma": 0.0}})
    set_value(trainer, 0.0)
    trainer.report = Report(tmp_path, "Ball")
    player = Player(trainer)
    player.message({1: 0})
    player.message({}, {1: 2}, group_reward=5)
    trainer.update()
    assert batches[0].target.returns[:, 0].tolist() == [21]  # 3 * (2 + 5): group rewards count
    assert (trainer.episodes, trainer.reward_sum) == (1, 2)
    assert trainer.recent_reward is None  # an update uses it up


def test_advantages_are_normalised(batches: list[ppo.Batch]) -> None:
    trainer = make_trainer()
    player = Player(trainer)
    for reward in (1.0, 2.0, 5.0):
        player.episode(3, reward=reward)
    trainer.update()
    advantages = batches[0].target.advantages
    assert advantages.mean().item() == pytest.approx(0, abs=1e-6)
    assert advantages.std(unbiased=False).item() == pytest.approx(1, rel=1e-5)


def test_the_stored_log_probabilities_are_those_of_the_raw_actions(batches: list[ppo.Batch]) -> None:
    trainer = make_trainer()
    Player(trainer).episode(50)
    trainer.update()
    actions, log_probs = batches[0].target.actions.continuous, batches[0].target.log_probs
    with torch.no_grad():
        mean = trainer.policy.network(batches[0].inputs).mean
    torch.testing.assert_close(log_probs, torch.distributions.Normal(mean, 1.0).log_prob(actions))
    assert (actions.abs() > 1).any()  # not what the player got


def test_the_normaliser_sees_each_step_of_a_cut_trajectory_once() -> None:
    trainer = make_trainer(network_settings={"normalize": True})
    player = Player(trainer)
    for agent in (2, 4):
        player.episode(1, agent)
    player.message({50: 0})  # not cut yet
    trainer.take_in()
    normalizer = trainer.policy.network.actor.normalizers[0]
    assert normalizer.steps.item() == 3
    assert normalizer.mean.item() == 2  # (0 + 2 + 4) / 3


# ---- when ----


def test_an_update_needs_more_steps_than_the_buffer_size() -> None:
    trainer = make_trainer(hyperparameters={"buffer_size": 6, "batch_size": 2})
    player = Player(trainer)
    player.episode(4)
    player.episode(2)
    assert (trainer.step, trainer.ready) == (6, False)
    for _ in range(5):
        player.message({1: 0})  # open trajectories do not count
    assert (trainer.step, trainer.ready) == (6, False)
    player.message({}, {1: 0})
    assert (trainer.step, trainer.ready) == (11, True)
    before = trainer.policy.network.actor.body[0].weight.detach().clone()
    trainer.update()
    assert not trainer.ready
    assert not torch.equal(trainer.policy.network.actor.body[0].weight, before)
    player.episode(6)
    assert not trainer.ready  # the experience was used up
    player.episode(1)
    assert trainer.ready


def test_training_ends_after_more_than_max_steps_and_without_another_update() -> None:
    trainer = make_trainer(max_steps=10, hyperparameters={"buffer_size": 10})
    player = Player(trainer)
    player.episode(10)
    assert (trainer.step, trainer.finished, trainer.ready) == (10, False, False)
    player.episode(3)
    assert (trainer.step, trainer.finished, trainer.ready) == (13, True, False)


def test_the_schedules_go_down_with_the_steps_to_their_minima() -> None:
    trainer = make_trainer(max_steps=10, hyperparameters={"learning_rate": 1e-3, "epsilon": 0.3, "beta": 1e-2})
    player = Player(trainer)
    assert trainer.schedules == ppo.Schedules(1e-3, 0.3, 1e-2)
    player.episode(5)
    half = trainer.schedules
    assert half.learning_rate == pytest.approx((1e-3 + 1e-10) / 2)
    assert half.epsilon == pytest.approx((0.3 + 0.1) / 2)
    assert half.beta == pytest.approx((1e-2 + 1e-5) / 2)
    player.episode(20)
    assert trainer.schedules == ppo.Schedules(pytest.approx(1e-10), pytest.approx(0.1), pytest.approx(1e-5))


def test_summaries_stand_at_multiples_of_summary_freq(tmp_path: Path) -> None:
    trainer = make_trainer(summary_freq=10)
    trainer.report = Report(tmp_path, "Ball")
    player = Player(trainer)
    player.episode(9)
    assert trainer.summary_if_due() is None
    player.episode(4, reward=2.0)
    summary = trainer.summary_if_due()
    assert summary is not None
    assert (summary.step, summary.mean_reward, summary.episodes) == (10, (9 + 8) / 2, 2)
    assert trainer.summary_if_due() is None
    player.episode(30)
    summary = trainer.summary_if_due()
    assert summary is not None
    assert (summary.step, summary.mean_reward) == (40, 30)
    assert trainer.summary_if_due() is None


def test_without_training_episodes_are_only_counted() -> None:
    trainer = make_trainer(training=False, max_steps=5, hyperparameters={"buffer_size": 5})
    before = {name: tensor.clone() for name, tensor in trainer.policy.network.state_dict().items()}
    player = Player(trainer)
    player.episode(20)
    player.episode(10)
    trainer.take_in()
    assert (trainer.step, trainer.episodes, trainer.reward_sum) == (30, 2, 30)
    assert not trainer.ready
    assert not trainer.finished
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.policy.network.state_dict().items())


# ---- seeds ----


def weights(trainer: BehaviorTrainer) -> torch.Tensor:
    return trainer.policy.network.actor.body[0].weight.detach().clone()


def test_the_seed_decides_on_the_first_weights() -> None:
    assert torch.equal(weights(make_trainer(seed=1)), weights(make_trainer(seed=1)))
    assert not torch.equal(weights(make_trainer(seed=1)), weights(make_trainer(seed=2)))


def test_two_behaviors_do_not_start_alike() -> None:
    assert not torch.equal(weights(make_trainer(name="Red")), weights(make_trainer(name="Blue")))


# ---- what is refused ----


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (with_first(observation_type=ObservationType.GOAL_SIGNAL), "goal signal.*goal_conditioning_type: none"),
        (make_spec([]), "'Ball' has no observations"),
        (make_spec(continuous=0), "'Ball' has no actions"),
    ],
)
def test_a_behavior_that_cannot_be_learnt_is_refused(spec: BehaviorSpec, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_trainer(spec)


def test_the_encoder_match3_is_refused_where_there_are_pictures() -> None:
    make_trainer(network_settings={"vis_encode_type": "match3"})
    message = r"observation 1 \(sensor 1\) of behavior 'Ball' is a picture, and .*match3 is not supported yet; set"
    with pytest.raises(UsageError, match=message):
        make_trainer(make_spec([(2,), (3, 20, 20)]), network_settings={"vis_encode_type": "match3"})
    with pytest.raises(UsageError, match=message):
        curiosity = {"curiosity": {"network_settings": {"vis_encode_type": "match3"}}}
        make_trainer(make_spec([(2,), (3, 20, 20)]), reward_signals=curiosity)


def test_a_goal_signal_can_be_taken_as_an_ordinary_observation() -> None:
    spec = with_first(observation_type=ObservationType.GOAL_SIGNAL)
    make_trainer(spec, network_settings={"goal_conditioning_type": "none"})


@pytest.mark.parametrize(
    ("make_other", "message"),
    [
        (
            lambda: make_trainer(make_spec([(3,)])),
            r"trained with observations of size \[1\], 1 cont.* now has observations of size \[3\], 1 cont",
        ),
        (lambda: make_trainer(make_spec(branches=(2,))), r"branches \[\], but .*branches \[2\]"),
        (lambda: make_trainer(network_settings={"hidden_units": 8}), "holds another network .*network_settings"),
        (lambda: make_trainer(network_settings={"num_layers": 2}), "holds another network"),
        (lambda: make_trainer(network_settings={"normalize": True}), "holds another network"),
        (lambda: make_trainer(hyperparameters={"shared_critic": True}), "holds another network"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(make_other: Callable[[], BehaviorTrainer], message: str) -> None:
    state = make_trainer().state(with_open_trajectories=False)
    with pytest.raises(UsageError, match=r"^checkpoint\.pt .*" + message):
        make_other().load_state(state, Path("checkpoint.pt"), with_open_trajectories=False)


def test_weights_alone_start_at_step_0() -> None:
    trained, fresh = make_trainer(), make_trainer(seed=9)
    Player(trained).episode(20)
    trained.update()
    fresh.load_weights(trained.state(with_open_trajectories=False), Path("checkpoint.pt"))
    assert torch.equal(weights(fresh), weights(trained))
    assert fresh.step == 0
    assert fresh.schedules.learning_rate == 3e-4


def test_the_mean_reward_of_a_checkpoint_is_that_since_the_last_update() -> None:
    trainer = make_trainer()
    assert trainer.recent_reward is None
    player = Player(trainer)
    player.episode(1, reward=5.0)
    trainer.update()
    player.episode(1, reward=1.0)
    player.episode(1, reward=2.0)
    assert trainer.recent_reward is not None
    assert math.isclose(trainer.recent_reward, 1.5)
