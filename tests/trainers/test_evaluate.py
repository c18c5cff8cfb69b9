"""`mlbridge evaluate`: which episodes it counts and what it prints."""

import argparse
import json
import subprocess
import sys

import numpy as np
import pytest
from mlagents_envs.base_env import (
    ActionSpec,
    ActionTuple,
    BaseEnv,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
    TerminalSteps,
)

from bridge.exceptions import InvalidModelError
from bridge.onnx_policy import OnnxPolicy
from trainers.commands import evaluate
from trainers.errors import UsageError
from trainers.evaluation import EpisodeStatistics, play_episodes
from trainers.export import export_onnx

NAME = "Walker?team=0"


def make_spec(size=2, branches=()):
    observation = ObservationSpec((size,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "")
    return BehaviorSpec([observation], ActionSpec(1, branches))


class FakeEnvironment(BaseEnv):
    """Agents that live `length_of(agent, episode)` decisions, with a reward of 1 after each of them.

    `pause_of(agent, episode)`: messages from an episode's end to the next decision (0: both in one; None: it never
    comes back). `new_ids`: each episode is played under a new id.
    """

    def __init__(self, agents, length_of, pause_of=lambda agent, episode: 0, new_ids=False, specs=None):
        self.specs = specs or {NAME: make_spec()}
        self._agents, self._length_of, self._pause_of, self._new_ids = agents, length_of, pause_of, new_ids
        self.actions = []
        self.closed = False

    @property
    def behavior_specs(self):
        return self.specs

    def reset(self):
        self._ids = np.arange(self._agents)
        self._episode = np.zeros(self._agents, dtype=int)
        self._age = np.zeros(self._agents, dtype=int)
        self._pause = np.zeros(self._agents)
        # What comes with the first decision of an episode must not be counted.
        self._steps = self._message(range(self._agents), [], np.full(self._agents, 99.0))

    def step(self):
        ended, deciding, rewards = [], [], []
        for agent in range(self._agents):
            if self._pause[agent] > 0:
                self._pause[agent] -= 1
                if self._pause[agent] > 0:
                    continue
                reward = 99.0
            else:
                self._age[agent] += 1
                reward = 1.0
                if self._age[agent] == self._length_of(agent, self._episode[agent]):
                    ended.append((agent, self._ids[agent]))
                    pause = self._pause_of(agent, self._episode[agent])
                    self._age[agent] = 0
                    self._episode[agent] += 1
                    self._ids[agent] += 1000 if self._new_ids else 0
                    self._pause[agent] = np.inf if pause is None else pause
                    if pause != 0:
                        continue
                    reward = 99.0
            deciding.append(agent)
            rewards.append(reward)
        self._steps = self._message(deciding, ended, np.array(rewards))

    def _message(self, deciding, ended, rewards):
        ids = np.array([self._ids[agent] for agent in deciding], dtype=np.int32)
        branches = self.specs[NAME].action_spec.discrete_branches
        masks = [np.tile(np.arange(size) == 0, (len(ids), 1)) for size in branches]  # choice 0 is forbidden
        decisions = DecisionSteps(
            [np.ones((len(ids), 2), dtype=np.float32)], rewards, ids, masks or None, np.zeros_like(ids), 2 * rewards
        )
        ids = np.array([id for _, id in ended], dtype=np.int32)
        ones = np.ones(len(ids), dtype=np.float32)
        observations = [np.zeros((len(ids), 2), dtype=np.float32)]
        return decisions, TerminalSteps(observations, ones, ones == 0, ids, np.zeros_like(ids), 2 * ones)

    def get_steps(self, behavior_name):
        assert behavior_name == NAME
        return self._steps

    def set_actions(self, behavior_name, action):
        assert len(action.continuous) == len(self._steps[0])
        self.actions.append(action)

    def set_action_for_agent(self, behavior_name, agent_id, action):
        raise NotImplementedError

    def close(self):
        self.closed = True


class FakePolicy:
    def __init__(self):
        self.calls = []

    def forget(self, agent_ids=None):
        pass

    def act(self, observations, allowed_mask, deterministic, agent_ids):
        self.calls.append((allowed_mask, deterministic))
        return ActionTuple(continuous=np.zeros((len(observations[0]), 1), dtype=np.float32))


def play(environment, episodes):
    return play_episodes(environment, NAME, FakePolicy(), episodes, True)


def test_each_agent_plays_as_many_episodes_though_some_are_short():
    statistics = play(FakeEnvironment(2, lambda agent, _: (2, 20)[agent]), 4)
    assert sorted(statistics.lengths) == [2, 2, 20, 20]
    assert sorted(statistics.rewards) == [2, 2, 20, 20]


def test_episodes_that_do_not_divide_go_to_the_first_agents():
    statistics = play(FakeEnvironment(3, lambda agent, _: (5, 6, 7)[agent]), 4)
    assert sorted(statistics.lengths) == [5, 5, 6, 7]


def test_fewer_episodes_than_agents():
    statistics = play(FakeEnvironment(5, lambda agent, _: 10 - agent), 2)
    assert sorted(statistics.lengths) == [9, 10]


@pytest.mark.parametrize("new_ids", [False, True])
def test_short_episodes_are_not_preferred(new_ids):
    random = np.random.default_rng(0)
    means = []
    for _ in range(100):
        lengths = random.choice([1, 41], size=(10, 500))
        environment = FakeEnvironment(
            10, lambda agent, episode, lengths=lengths: lengths[agent, episode], new_ids=new_ids
        )
        means.append(play(environment, 20).lengths.mean())
    # Of the first 20 episodes to be over, nearly all would have the length 1. Standard error here: 0.45.
    assert np.mean(means) == pytest.approx(21, abs=1.5)


def test_first_decision_brings_no_reward_and_group_rewards_are_apart():
    statistics = play(FakeEnvironment(1, lambda *_: 3), 2)
    assert statistics.rewards.tolist() == [3.0, 3.0]
    assert statistics.group_rewards.tolist() == [6.0, 6.0]


def test_terminals_and_next_decisions_may_come_in_different_messages():
    statistics = play(FakeEnvironment(2, lambda agent, _: 2 + agent, pause_of=lambda *_: 3), 6)
    assert sorted(statistics.lengths) == [2, 2, 2, 3, 3, 3]
    assert sorted(statistics.rewards) == [2, 2, 2, 3, 3, 3]


def test_others_take_over_from_an_agent_that_never_comes_back():
    leaves = FakeEnvironment(2, lambda agent, _: 4 + agent, pause_of=lambda agent, _: None if agent == 0 else 0)
    assert sorted(play(leaves, 8).lengths) == [4] + [5] * 7


def test_an_agent_alone_may_have_a_new_id_each_episode():
    statistics = play(FakeEnvironment(1, lambda _, episode: 2 + episode % 2, new_ids=True), 4)
    assert len(statistics.lengths) == 4


def test_policy_gets_allowed_actions_and_its_way_to_choose():
    policy = FakePolicy()
    environment = FakeEnvironment(2, lambda *_: 3, specs={NAME: make_spec(branches=(2, 3))})
    play_episodes(environment, NAME, policy, 2, False)
    for allowed, deterministic in policy.calls:
        np.testing.assert_array_equal(allowed, [[0, 1, 0, 1, 1]] * 2)
        assert deterministic is False


def test_progress_grows_to_the_number_of_episodes():
    shown = []
    play_episodes(FakeEnvironment(2, lambda agent, _: 2 + agent), NAME, FakePolicy(), 6, True, shown.append)
    assert shown == sorted(set(shown))
    assert shown[-1] == 6


def test_a_memory_lasts_as_long_as_the_episode(tmp_path):
    """The model's memory adds up the tanh of the observation, which is 1, and it acts with tanh of the sum."""
    state = {
        "actor.memory.weight_ih_l0": np.array([[0, 0], [0, 0], [1, 0], [0, 0]]),
        "actor.memory.weight_hh_l0": np.zeros((4, 1)),
        "actor.memory.bias_ih_l0": np.array([100.0, 100.0, 0.0, 100.0]),  # all gates open
        "actor.memory.bias_hh_l0": np.zeros(4),
        "actor.continuous.weight": np.array([[3.0]]),  # ML-Agents divides by 3
        "actor.continuous.bias": np.zeros(1),
        "actor.log_sigma": np.zeros(1),
    }
    export_onnx(state, make_spec(), tmp_path / "Walker.onnx")
    policy = OnnxPolicy(tmp_path / "Walker.onnx")
    for _ in range(2):  # the second evaluation knows nothing of the first
        environment = FakeEnvironment(2, lambda agent, _: (2, 3)[agent])
        play_episodes(environment, NAME, policy, 4, True)
        ages = [[1, 1], [2, 2], [1, 3], [2, 1], [1, 2]]  # of the agents, in steps of their episodes
        found = np.array([action.continuous[:, 0] for action in environment.actions[:5]])
        np.testing.assert_allclose(found, np.tanh(np.array(ages) * np.tanh(1)), atol=1e-6)


# ---- the command ----


@pytest.fixture
def model(tmp_path):
    state = {
        "actor.continuous.weight": np.array([[0.6, 0.9]]),
        "actor.continuous.bias": np.zeros(1),
        "actor.log_sigma": np.zeros(1),
    }
    export_onnx(state, make_spec(), tmp_path / "Walker.onnx")
    return tmp_path / "Walker.onnx"


@pytest.fixture
def evaluated(monkeypatch):
    """`evaluated(environment, *words)` runs the command; returns its exit code and what it asked for."""

    def run(environment, *words):
        asked = {}

        def open_environment(env, **options):
            asked.update(env=env, **options)
            return environment

        monkeypatch.setattr(evaluate, "open_environment", open_environment)
        parser = argparse.ArgumentParser()
        evaluate.add_arguments(parser)
        return evaluate.run(parser.parse_args([str(word) for word in words])), asked

    return run


def walkers(specs=None):
    return FakeEnvironment(2, lambda agent, _: (10, 20)[agent], specs=specs)


def test_prints_one_line_and_closes_the_environment(evaluated, model, capsys):
    environment = walkers()
    code, asked = evaluated(environment, model, "--env", "3DBall", "--in-process", "--episodes", 4)
    assert code == 0
    assert capsys.readouterr().out == (
        "Walker: 4 episodes, mean reward 15.000 (95 %: 10.000 to 20.000), std 5.000, min 10.000, max 20.000, "
        "mean group reward 30.000, mean length 15.0\n"
    )
    assert environment.closed
    assert asked["env"] == "3DBall"
    assert asked["in_process"] is True
    # By default the most likely action: (0.6 + 0.9) / 3 on an observation of ones.
    np.testing.assert_allclose(environment.actions[0].continuous, [[0.5], [0.5]])


def test_stochastic_samples_repeat_with_the_seed(evaluated, model):
    def actions(seed):
        environment = walkers()
        evaluated(environment, model, "--env=3DBall", "--in-process", "--episodes=2", "--stochastic", "--seed", seed)
        return np.concatenate([action.continuous for action in environment.actions])

    first = actions(3)
    assert len(np.unique(first)) > 5
    np.testing.assert_array_equal(actions(3), first)
    assert (actions(4) != first).any()


def test_options_reach_the_environment(evaluated, model):
    words = "--env=3DBall --in-process --agents=7 --base-port=6000 --seed=5 --no-graphics --timeout-wait=9 --episodes=1"
    _, asked = evaluated(walkers(), model, *words.split())
    assert asked["additional_args"] == ["--agents", "7"]
    assert (asked["base_port"], asked["seed"], asked["no_graphics"], asked["timeout_wait"]) == (6000, 5, True, 9)


def test_json_has_the_numbers(evaluated, model, tmp_path):
    evaluated(walkers(), model, "--env=3DBall", "--in-process", "--episodes=4", "--json", tmp_path / "numbers.json")
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["behavior"] == NAME
    assert numbers["episodes"] == 4
    assert (numbers["mean_reward"], numbers["std_reward"], numbers["mean_length"]) == (15.0, 5.0, 15.0)
    assert (numbers["min_reward"], numbers["max_reward"], numbers["deterministic"]) == (10.0, 20.0, True)
    assert sorted(numbers["rewards"]) == [10.0, 10.0, 20.0, 20.0]
    assert numbers["confidence_interval"] == [10.0, 20.0]


def test_the_interval_is_that_of_the_mean():
    rewards = np.random.default_rng(1).normal(50.0, 10.0, 400)
    statistics = EpisodeStatistics(rewards, np.zeros(400), np.ones(400, np.int64))
    low, high = statistics.confidence_interval()
    half = 1.96 * rewards.std() / 20
    assert low == pytest.approx(rewards.mean() - half, abs=0.05)
    assert high == pytest.approx(rewards.mean() + half, abs=0.05)
    assert statistics.confidence_interval() == (low, high)


def test_the_folder_of_a_run_stands_for_its_final_model(evaluated, model, tmp_path, capsys):
    evaluated(walkers(), tmp_path, "--env=3DBall", "--in-process", "--episodes=2")
    assert capsys.readouterr().out.startswith("Walker: 2 episodes")
    (tmp_path / "Other.onnx").write_bytes(model.read_bytes())
    with pytest.raises(UsageError, match="holds the models of Other, Walker; choose with --behavior NAME"):
        evaluated(walkers(), tmp_path, "--env=3DBall", "--in-process")
    code, _ = evaluated(walkers(), tmp_path, "--env=3DBall", "--in-process", "--episodes=2", "--behavior=Walker")
    assert code == 0
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty holds no final model; name one of its checkpoints"):
        evaluated(walkers(), empty, "--env=3DBall", "--in-process")


def test_json_in_a_missing_folder_is_refused_before_playing(evaluated, model, tmp_path):
    environment = walkers()
    with pytest.raises(UsageError, match=r"--json .*: there is no folder"):
        evaluated(environment, model, "--env=3DBall", "--in-process", "--json", tmp_path / "absent" / "numbers.json")
    assert not environment.actions


def test_missing_model_is_refused(evaluated, tmp_path):
    with pytest.raises(InvalidModelError, match=r"nothing.onnx: no such file"):
        evaluated(walkers(), tmp_path / "nothing.onnx", "--env=3DBall", "--in-process")


def test_model_that_does_not_fit_is_refused_and_the_environment_closed(evaluated, model):
    environment = walkers({NAME: make_spec(size=5)})
    with pytest.raises(UsageError, match=r"behavior Walker\?team=0 does not fit .*Walker.onnx: .*\(5,\).*\(2,\)"):
        evaluated(environment, model, "--env=3DBall", "--in-process")
    assert environment.closed


def test_behavior_is_the_one_that_fits(evaluated, model, capsys):
    specs = {"Other?team=0": make_spec(size=5), NAME: make_spec()}
    evaluated(walkers(specs), model, "--env=3DBall", "--in-process", "--episodes=2")
    assert capsys.readouterr().out.startswith("Walker: 2 episodes")


def test_behavior_is_named_by_the_file_where_several_fit(evaluated, model, capsys):
    checkpoint = model.rename(model.with_name("Walker-500.onnx"))
    specs = {"Other?team=0": make_spec(), NAME: make_spec()}
    evaluated(walkers(specs), checkpoint, "--env=3DBall", "--in-process", "--episodes=2")
    assert capsys.readouterr().out.startswith("Walker: 2 episodes")


def test_behavior_has_to_be_named_where_nothing_tells(evaluated, model):
    unnamed = model.rename(model.with_name("policy.onnx"))
    specs = {"Other?team=0": make_spec(), NAME: make_spec()}
    with pytest.raises(UsageError, match=r"fits the behaviors Other\?team=0, Walker\?team=0; choose with --behavior"):
        evaluated(walkers(specs), unnamed, "--env=3DBall", "--in-process")
    code, _ = evaluated(walkers(specs), unnamed, "--env=3DBall", "--in-process", "--episodes=2", "--behavior", "Walker")
    assert code == 0


def test_unknown_behavior_is_refused_with_the_known_ones(evaluated, model):
    with pytest.raises(UsageError, match=r"--behavior Runner: no such behavior; the environment has Walker\?team=0"):
        evaluated(walkers(), model, "--env=3DBall", "--in-process", "--behavior=Runner")


@pytest.mark.parametrize("words", [["--episodes", "0"], ["--agents", "-1"], ["--episodes", "many"]])
def test_wrong_numbers_are_refused(evaluated, model, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluated(walkers(), model, *words)
    assert f"argument {words[0]}" in capsys.readouterr().err


def test_works_without_torch():
    modules = "trainers.commands.evaluate, trainers.environments, bridge.onnx_policy, trainers.run_folder"
    code = f"import sys, {modules}, bridge.environment, bridge.in_process; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
