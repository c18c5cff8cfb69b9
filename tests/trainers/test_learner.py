"""What a learner makes of experience: rewards of its signals, values along a memory, sequences for the update."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

from trainers import ppo
from trainers.config import TrainerSettings
from trainers.distributions import Actions
from trainers.experience import ExperienceBuffer, sequence_lengths
from trainers.learner import Learner
from trainers.losses import Target
from trainers.rollout import CutTrajectories

SMALL = {"hidden_units": 4, "num_layers": 1}
MEMORY = {"memory": {"sequence_length": 2, "memory_size": 4}}
SPEC = BehaviorSpec(
    [ObservationSpec((2,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "sensor")], ActionSpec(1, (2,))
)


def make_learner(**settings: Any) -> Learner:
    network = {**SMALL, **settings.pop("network_settings", {})}
    hyperparameters = {"batch_size": 4, "buffer_size": 8, **settings.pop("hyperparameters", {})}
    values = {"trainer_type": "ppo", "network_settings": network, "hyperparameters": hyperparameters, **settings}
    return Learner(
        "Ball",
        SPEC,
        TrainerSettings.model_validate(values),
        seed=1,
        device=torch.device("cpu"),
        backend="auto",
        threads=1,
    )


def lived(learner: Learner, *lengths: int, terminated: bool = False) -> CutTrajectories:
    """Trajectories of agents that began with nothing remembered, with rewards 1, 2, 3, ..."""
    random, steps, count = np.random.default_rng(1), sum(lengths), len(lengths)
    observations = random.normal(size=(steps, 2)).astype(np.float32)
    after = random.normal(size=(count, 2)).astype(np.float32)
    columns = {
        "continuous": random.normal(size=(steps, 1)).astype(np.float32),
        "discrete": random.integers(2, size=(steps, 1)),
        "log_probs": np.full((steps, 2), -1, np.float32),
        "allowed": np.ones((steps, 2), np.bool_),
    }
    network = learner.policy.network
    size = network.memory_size
    before, now = np.zeros((steps, size), np.float32), np.zeros((count, size), np.float32)
    first = 0
    for trajectory, length in enumerate(lengths):
        memory = torch.zeros(1, size)
        for row in range(first, first + length):
            before[row] = memory.numpy()
            if size:
                with torch.no_grad():
                    memory = network.act(network.prepare([torch.from_numpy(observations[row : row + 1])], memory))[2]
        now[trajectory] = memory.numpy()
        first += length
    if size:
        columns["memories"] = before
    ended = np.full(count, terminated)
    rewards = 1 + np.arange(steps, dtype=np.float32)
    return CutTrajectories(
        [observations], columns, rewards, np.array(lengths), [after], now, ended, ended, np.arange(count)
    )


def test_trajectories_are_cut_into_sequences() -> None:
    assert sequence_lengths(np.array([5, 2]), 2).tolist() == [2, 2, 1, 2]
    assert sequence_lengths(np.array([1, 3, 4]), 4).tolist() == [1, 3, 4]
    assert sequence_lengths(np.array([3]), 1).tolist() == [1, 1, 1]


def test_a_batch_of_sequences_gives_whole_ones_in_the_order_that_is_asked_for() -> None:
    numbers = torch.arange(6.0)
    target = Target(
        Actions(numbers[:, None], torch.zeros(6, 0, dtype=torch.int64)),
        numbers[:, None],
        None,
        numbers,
        numbers[:, None],
        numbers[:, None],
    )
    batch = ppo.Batch(numbers[:, None], target, torch.tensor([3, 1, 2]))
    taken = batch.take(torch.tensor([2, 0]))
    assert batch.count == 3
    assert taken.lengths.tolist() == [2, 3]
    assert taken.inputs[:, 0].tolist() == taken.target.advantages.tolist() == [4, 5, 0, 1, 2]


@pytest.mark.parametrize("shared", [False, True])
def test_values_of_a_network_with_memory_are_those_along_the_trajectory(shared: bool) -> None:
    learner = make_learner(network_settings=MEMORY, hyperparameters={"shared_critic": shared})
    network = learner.policy.network
    assert network.memory_size == (4 if shared else 8)
    cut = lived(learner, 5, 2)
    _, values, next_values = learner.evaluate(cut)
    for first, length, trajectory in ((0, 5, 0), (5, 2, 1)):
        # The whole trajectory as one sequence from nothing, with what came after it as its last step.
        seen = np.concatenate([cut.observations[0][first : first + length], cut.next_observations[0][trajectory, None]])
        inputs = network.prepare([torch.from_numpy(seen)], torch.zeros(length + 1, network.memory_size))
        with torch.no_grad():
            expected = network.values(inputs, torch.tensor([length + 1])).numpy()
        np.testing.assert_allclose(values[first : first + length], expected[:-1], atol=1e-6)
        np.testing.assert_allclose(next_values[trajectory], expected[-1], atol=1e-6)


def test_nothing_comes_after_an_episode_but_for_what_is_curious() -> None:
    learner = make_learner(reward_signals={"extrinsic": {}, "rnd": {"network_settings": SMALL}})
    _, _, goes_on = learner.evaluate(lived(learner, 3))
    _, _, ended = learner.evaluate(lived(learner, 3, terminated=True))
    assert (goes_on != 0).all()
    assert ended[0, 0] == 0
    assert ended[0, 1] == goes_on[0, 1]


def test_each_signal_has_a_column_of_rewards_times_its_strength() -> None:
    signals = {"rnd": {"strength": 0.5, "network_settings": SMALL}, "extrinsic": {"strength": 3.0}}
    learner = make_learner(reward_signals=signals)
    cut = lived(learner, 4)
    rewards, values, _ = learner.evaluate(cut)
    assert rewards.shape == values.shape == (4, 2)
    new, paid = learner.signals.index("rnd"), learner.signals.index("extrinsic")
    assert rewards[:, paid].tolist() == [3, 6, 9, 12]
    signals["rnd"]["strength"] = 1.0
    other, _, _ = make_learner(reward_signals=signals).evaluate(cut)
    np.testing.assert_allclose(other[:, new], 2 * rewards[:, new], rtol=1e-6)
    assert (rewards[:, new] > 0).all()


def test_curiosity_learns_in_an_update_and_says_how_well() -> None:
    learner = make_learner(reward_signals={"extrinsic": {}, "curiosity": {"network_settings": SMALL}})
    cut = lived(learner, 5, 4)
    rewards, values, next_values = learner.evaluate(cut)
    assert (rewards[:, 1] == 0).all()  # nothing is known, so nothing is new yet
    experience = ExperienceBuffer(SPEC, 9, 2, learner.policy.columns(), keeps_next=True)
    experience.append(cut, rewards, values, next_values)
    schedules = ppo.Schedules(learning_rate=3e-4, epsilon=0.2, beta=5e-3)
    figures = learner.begin_update(experience, schedules, diagnosed=False).result()
    assert figures.keys() == {
        "Losses/Policy Loss",
        "Losses/Value Loss",
        "Losses/Curiosity Forward Loss",
        "Losses/Curiosity Inverse Loss",
    }
    assert (learner.evaluate(cut)[0][:, 1] > 0).all()


def test_the_sequences_of_a_minibatch_are_as_many_as_make_batch_size_steps() -> None:
    learner = make_learner(network_settings=MEMORY)  # two sequences of two steps
    cut = lived(learner, 2, 2, 2, 2, 1)
    experience = ExperienceBuffer(SPEC, 9, 1, learner.policy.columns())
    experience.append(cut, *learner.evaluate(cut))
    learner.begin_update(experience, ppo.Schedules(3e-4, 0.2, 5e-3), diagnosed=True)
    assert learner.weights()["optimizer"]["step"] == 3 * 2  # epochs of two whole minibatches each


@pytest.mark.parametrize("network_settings", [{}, MEMORY], ids=["kernels", "torch"])
def test_a_threaded_update_gives_the_same_weights_and_leaves_the_policy_alone_until_it_ends(
    network_settings: dict[str, Any],
) -> None:
    settings = {"network_settings": {**network_settings, "normalize": True}}
    at_once, threaded = make_learner(**settings), make_learner(**settings, threaded=True)
    seen = [np.ones((3, 2), np.float32)]
    memories = np.zeros((3, at_once.policy.network.memory_size), np.float32) if network_settings else None
    values = []
    for learner in (at_once, threaded):
        cut = lived(learner, 5, 4)
        experience = ExperienceBuffer(SPEC, 9, 1, learner.policy.columns())
        experience.append(cut, *learner.evaluate(cut))
        before = learner.policy.values(seen, memories)
        update = learner.begin_update(experience, ppo.Schedules(3e-4, 0.2, 5e-3), diagnosed=True)
        update.result()
        values.append((before, learner.policy.values(seen, memories)))
        learner.end_update()
        values[-1] += (learner.policy.values(seen, memories),)
    assert (values[0][1] != values[0][0]).all()
    np.testing.assert_array_equal(values[1][1], values[1][0])
    for left, right in zip(values[0][::2], values[1][::2], strict=True):
        np.testing.assert_array_equal(left, right)
    assert at_once.generator.call == threaded.generator.call


def test_a_threaded_run_learns_and_goes_on_from_its_checkpoint(train: Callable[..., Any], toy_world: Any) -> None:
    settings = {
        "trainer_type": "ppo",
        "hyperparameters": {"batch_size": 16, "buffer_size": 64, "learning_rate": 0.003},
        "network_settings": {"hidden_units": 8, "num_layers": 1},
        "max_steps": 3000,
        "time_horizon": 8,
        "summary_freq": 1000,
        "threaded": True,
    }
    train(toy_world, settings)
    resumed = train(toy_world, {**settings, "max_steps": 6000}, resume=True)
    lines = resumed.output.splitlines()
    assert any("Resuming 'Toy' from step 30" in line for line in lines)
    rewards = [float(line.split("Mean Reward: ")[1].split()[0].rstrip(".")) for line in lines if "Mean Reward" in line]
    assert rewards[-1] > 0.9 * 2  # two decisions an episode, 1 for each right one


def test_a_run_reports_the_tags_of_its_signals(train: Callable[..., Any], toy_world: Any) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    signals = {name: {"network_settings": SMALL} for name in ("extrinsic", "curiosity", "rnd")}
    run = train(
        toy_world,
        {
            "trainer_type": "ppo",
            "hyperparameters": {"batch_size": 16, "buffer_size": 64},
            "network_settings": SMALL,
            "reward_signals": signals,
            "max_steps": 400,
            "time_horizon": 2,
            "summary_freq": 100,
        },
    )
    events = EventAccumulator(str(run.folder.behavior("Toy"))).Reload()
    tags = set(events.Tags()["scalars"])
    for name in ("Extrinsic", "Curiosity", "Rnd"):
        assert {f"Policy/{name} Reward", f"Policy/{name} Value Estimate"} <= tags
    assert {"Losses/Curiosity Forward Loss", "Losses/Curiosity Inverse Loss", "Losses/RND Loss"} <= tags
    assert events.Scalars("Policy/Rnd Reward")[0].value > 0
