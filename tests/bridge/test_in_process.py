"""A world in the trainer's process gives what it gives over the wire."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from mlagents_envs.base_env import BaseEnv

from bridge.exceptions import InvalidObservationError, UnityActionException, UnityEnvironmentException
from bridge.in_process import InProcessEnvironment
from bridge.side_channels import EngineConfigurationChannel, EnvironmentParametersChannel

pytestmark = pytest.mark.timeout(60)


def assert_same_steps(ours, theirs) -> None:
    """Two (DecisionSteps, TerminalSteps) hold the same."""
    for part, other in zip(ours, theirs, strict=True):
        names = {"obs", "reward", "agent_id", "group_id", "group_reward"} & set(vars(part))
        names |= {"interrupted", "action_mask"} & set(vars(part))
        for name in names:
            left, right = getattr(part, name), getattr(other, name)
            if isinstance(left, list):
                assert len(left) == len(right)
                for one, two in zip(left, right, strict=True):
                    np.testing.assert_array_equal(one, two, err_msg=name)
                    assert one.dtype == two.dtype
            elif left is None:
                assert right is None
            else:
                np.testing.assert_array_equal(left, right, err_msg=name)
                assert left.dtype == right.dtype, name


def act(environment: BaseEnv, generator: np.random.Generator) -> None:
    """Sets random actions, the same for the same generator."""
    for name in sorted(environment.behavior_specs):
        decisions, _ = environment.get_steps(name)
        action = environment.behavior_specs[name].action_spec.empty_action(len(decisions))
        action.continuous[...] = generator.normal(size=action.continuous.shape)
        action.discrete[...] = generator.integers(0, 2, size=action.discrete.shape)
        environment.set_actions(name, action)


@pytest.mark.parametrize("player", ["toy_player", "compiled_toy_player"])
@pytest.mark.slow
def test_the_same_world_gives_the_same_steps_as_over_the_wire(unity_environment, request, player: str, toy) -> None:
    channels = [EnvironmentParametersChannel() for _ in range(2)]
    there = unity_environment(
        request.getfixturevalue(player), seed=5, num_areas=2, side_channels=[EngineConfigurationChannel(), channels[0]]
    )
    here = InProcessEnvironment(toy.ToyWorld, seed=5, num_areas=2, side_channels=[channels[1]])
    generators = [np.random.default_rng(1) for _ in range(2)]
    for wind in (None, 2.0):
        for channel in channels if wind else ():
            channel.set_float_parameter("wind", wind)
        here.reset()
        there.reset()
        for _ in range(40):
            assert here.behavior_specs.keys() == there.behavior_specs.keys()
            for name in there.behavior_specs:
                assert here.behavior_specs[name] == there.behavior_specs[name]
                assert_same_steps(here.get_steps(name), there.get_steps(name))
            for environment, generator in zip((here, there), generators, strict=True):
                act(environment, generator)
                environment.step()


def test_steps_without_news_are_left_out_as_over_the_wire(toy) -> None:
    environment = InProcessEnvironment(toy.ToyWorld)
    environment.reset()
    assert set(environment._steps) == {toy.WALKER, toy.JUMPER}
    environment.step()
    assert set(environment._steps) == {toy.WALKER}
    environment.send_step()
    assert set(environment.receive_steps()) == {toy.WALKER, toy.JUMPER}


def test_the_first_step_is_a_reset(toy) -> None:
    environment = InProcessEnvironment(toy.EchoWorld)
    assert list(environment.behavior_specs) == [toy.ECHO]
    assert len(environment.get_steps(toy.ECHO)[0]) == 0
    environment.step()
    assert environment.get_steps(toy.ECHO)[0].reward.tolist() == [0, 0]
    environment.step()
    assert environment.get_steps(toy.ECHO)[0].reward.tolist() == [1, 1]
    environment.reset()
    assert environment.get_steps(toy.ECHO)[0].reward.tolist() == [0, 0]


def test_a_world_goes_on_from_its_state_bit_for_bit(toy) -> None:
    environment = InProcessEnvironment(toy.ToyWorld, seed=3)
    generator = np.random.default_rng(2)
    for _ in range(8):
        act(environment, generator)
        environment.step()
    state = environment.state()
    marker = generator.bit_generator.state
    outstanding = {name: environment.get_steps(name) for name in environment.behavior_specs}
    outstanding = {name: steps for name, steps in outstanding.items() if len(steps[0]) + len(steps[1])}

    def go_on(environment) -> list:
        generator.bit_generator.state = marker
        seen = []
        for _ in range(12):
            act(environment, generator)
            environment.step()
            seen.append({name: environment.get_steps(name) for name in environment.behavior_specs})
        return seen

    expected = go_on(environment)
    resumed = InProcessEnvironment(toy.ToyWorld, seed=99)
    steps = resumed.load_state(state)
    assert steps.keys() == outstanding.keys()
    for name in steps:
        assert_same_steps(steps[name], outstanding[name])
    for ours, theirs in zip(go_on(resumed), expected, strict=True):
        for name in theirs:
            assert_same_steps(ours[name], theirs[name])


def test_a_nan_is_an_error_as_over_the_wire(toy) -> None:
    class World(toy.EchoWorld):
        def step(self, actions):
            steps = super().step(actions)
            steps[toy.ECHO][0].obs[0][1, 0] = np.nan
            return steps

    environment = InProcessEnvironment(World)
    environment.reset()
    with pytest.raises(
        InvalidObservationError, match=r"observation 0 \(last_action\) of agent 1 of behavior 'Echo\?team=0'"
    ):
        environment.step()
    environment.step()
    assert environment.get_steps(toy.ECHO)[0].reward.tolist() == [0, 0], "the next step resets"


def test_a_behavior_that_appears_later_is_known_then(toy) -> None:
    class World(toy.EchoWorld):
        def step(self, actions):
            steps = super().step(actions)
            self.behavior_specs["Late?team=0"] = self.spec
            return {"Late?team=0": steps.pop(toy.ECHO)}

    environment = InProcessEnvironment(World)
    environment.reset()
    assert list(environment.behavior_specs) == [toy.ECHO]
    environment.step()
    assert list(environment.behavior_specs) == [toy.ECHO, "Late?team=0"]
    assert len(environment.get_steps("Late?team=0")[0]) == 2


def test_masks_are_there_for_discrete_actions_even_where_a_world_has_none(toy) -> None:
    class World(toy.ToyWorld):
        def report(self):
            steps = super().report()
            for decisions, _ in steps.values():
                decisions.action_mask = None
            return steps

    environment = InProcessEnvironment(World)
    environment.reset()
    masks = environment.get_steps(toy.WALKER)[0].action_mask
    assert [mask.shape for mask in masks] == [(2, 3), (2, 2)]
    assert not any(mask.any() for mask in masks)


def test_mistakes_are_refused_as_over_the_wire(toy) -> None:
    with InProcessEnvironment(toy.EchoWorld) as environment:
        environment.reset()
        with pytest.raises(UnityActionException, match="no behavior 'Nobody'"):
            environment.get_steps("Nobody")
        with pytest.raises(UnityActionException):
            environment.set_actions(toy.ECHO, environment.behavior_specs[toy.ECHO].action_spec.empty_action(3))
    environment.close()
    for call in (environment.reset, environment.step, environment.state):
        with pytest.raises(UnityEnvironmentException, match="closed"):
            call()


def test_worlds_step_beside_each_other_and_give_the_same(toy) -> None:
    """All of them at once: each waits for the others in the middle of its step."""
    together = threading.Barrier(3, timeout=20)

    class Meeting(toy.ToyWorld):
        def step(self, actions):
            together.wait()
            return super().step(actions)

    generators = [np.random.default_rng(1) for _ in range(2)]
    with ThreadPoolExecutor(3) as pool:
        alone = [InProcessEnvironment(toy.ToyWorld, seed=seed) for seed in range(3)]
        beside = [InProcessEnvironment(Meeting, seed=seed, threads=pool) for seed in range(3)]
        for environments in (alone, beside):
            for environment in environments:
                environment.reset()
        for _ in range(20):
            for environments, generator in zip((alone, beside), generators, strict=True):
                for environment in environments:
                    act(environment, generator)
                for environment in environments:
                    environment.send_step()
                for environment in environments:
                    environment.receive_steps()
            for one, other in zip(alone, beside, strict=True):
                for name in one.behavior_specs:
                    assert_same_steps(one.get_steps(name), other.get_steps(name))


def test_what_fails_in_a_thread_is_told_where_it_is_received(toy) -> None:
    class Broken(toy.ToyWorld):
        def step(self, actions):
            raise ZeroDivisionError("a world of the test")

    with ThreadPoolExecutor(1) as pool:
        environment = InProcessEnvironment(Broken, threads=pool)
        environment.reset()
        environment.send_step()
        with pytest.raises(ZeroDivisionError, match="a world of the test"):
            environment.receive_steps()
