"""Worlds that fit in a head, for tests in this process and for the player programs that tests write."""

import numpy as np
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
    TerminalSteps,
)

ECHO = "Echo?team=0"
WALKER = "Walker?team=0"
JUMPER = "Jumper?team=1"


def vector_spec(name, *shape):
    properties = (DimensionProperty.NONE,) * len(shape)
    return ObservationSpec(
        name=name, shape=shape, dimension_property=properties, observation_type=ObservationType.DEFAULT
    )


def decision_steps(spec, observations, ids, rewards=0.0, masks=None, groups=0, group_rewards=0.0):
    """DecisionSteps of the agents `ids`; numbers stand for all agents."""
    count = len(ids)
    return DecisionSteps(
        [np.asarray(o, np.float32).reshape(count, *s.shape) for o, s in zip(observations, spec[0], strict=True)],
        np.full(count, rewards, np.float32),
        np.asarray(ids, np.int32),
        masks,
        np.full(count, groups, np.int32),
        np.full(count, group_rewards, np.float32),
    )


def terminal_steps(spec, observations, ids, rewards=0.0, interrupted=False, groups=0, group_rewards=0.0):
    """The same for TerminalSteps."""
    steps = decision_steps(spec, observations, ids, rewards, None, groups, group_rewards)
    flags = np.full(len(ids), interrupted, np.bool_)
    return TerminalSteps(steps.obs, steps.reward, flags, steps.agent_id, steps.group_id, steps.group_reward)


class EchoWorld:
    """Two agents that observe their last action (2 numbers); the reward is the number of steps since the reset."""

    def __init__(self, seed, num_areas, parameters):
        self.seed, self.num_areas, self.parameters = seed, num_areas, parameters
        self.spec = BehaviorSpec([vector_spec("last_action", 2)], ActionSpec.create_continuous(2))
        self.behavior_specs = {ECHO: self.spec}

    def reset(self):
        self.steps = 0
        return self.report(np.zeros((2, 2)))

    def step(self, actions):
        self.steps += 1
        return self.report(actions[ECHO].continuous)

    def report(self, observation):
        decisions = decision_steps(self.spec, [observation], [0, 1], rewards=self.steps)
        return {ECHO: (decisions, TerminalSteps.empty(self.spec))}


class ToyWorld:
    """Two behaviors; agents that come and go, end and decide in one message, in groups, with masks and random numbers.

    A function of `arrays` alone, but for the environment parameter "wind", which is read at each reset.

    - Walker, two agents an area: a vector and a matrix; two continuous actions and branches of 3 and 2. Walker 0 ends
      in every third message, and decides in it as well. In every fifth message no walker decides.
    - Jumper, one agent: a number; one branch of 4, of which the last is forbidden. It is in every second message, and
      is interrupted and replaced by one with a new id in every sixth.
    """

    def __init__(self, seed, num_areas, parameters):
        self.parameters = parameters
        self.walkers = BehaviorSpec([vector_spec("position", 2), vector_spec("action", 2, 2)], ActionSpec(2, (3, 2)))
        self.jumpers = BehaviorSpec([vector_spec("height", 1)], ActionSpec.create_discrete((4,)))
        self.behavior_specs = {WALKER: self.walkers, JUMPER: self.jumpers}
        self.arrays = {
            "random": np.array([seed], np.int64),
            "tick": np.zeros(1, np.int64),
            "position": np.zeros((2 * num_areas, 2), np.float32),
            "action": np.zeros((2 * num_areas, 2, 2), np.float32),
            "height": np.zeros(1, np.float32),
            "wind": np.zeros(1, np.float32),
        }

    def reset(self):
        self.arrays["tick"][0] = 0
        self.arrays["wind"][0] = self.parameters.get_with_default("wind", 0.5)
        for name in ("position", "action", "height"):
            self.arrays[name][...] = 0
        return self.report()

    def step(self, actions):
        arrays = self.arrays
        arrays["tick"] += 1
        arrays["random"][0] = (arrays["random"][0] * 1103515245 + 12345) % 2**31
        arrays["position"] += arrays["wind"] + arrays["random"][0] / 2**31
        assert set(actions) == {name for name, (decisions, _) in self.reported.items() if len(decisions)}
        if WALKER in actions:
            arrays["position"] += actions[WALKER].continuous
            arrays["action"][:, 0] = actions[WALKER].continuous
            arrays["action"][:, 1] = actions[WALKER].discrete
        if JUMPER in actions:
            arrays["height"] += actions[JUMPER].discrete[:, 0]
        return self.report()

    def state(self):
        return {name: array.copy() for name, array in self.arrays.items()}

    def load_state(self, state):
        for name, array in self.arrays.items():
            array[...] = state[name]
        return self.report()

    def report(self):
        tick, position, action = int(self.arrays["tick"][0]), self.arrays["position"], self.arrays["action"]
        all_walkers = np.arange(len(position))
        deciding = all_walkers[: 0 if tick % 5 == 4 else None]
        ended = all_walkers[: 1 if tick % 3 == 2 or len(deciding) == 0 else 0]
        self.reported = {
            WALKER: (
                decision_steps(self.walkers, [position[deciding], action[deciding]], deciding, tick, groups=1),
                terminal_steps(self.walkers, [position[ended] + 100, action[ended]], ended, -tick, group_rewards=tick),
            )
        }
        if tick % 2 == 0:
            jumper = 100 + tick // 6
            gone = [jumper] if tick % 6 == 4 else []
            height = self.arrays["height"]
            masks = [np.array([[False, False, False, True]])]
            self.reported[JUMPER] = (
                decision_steps(self.jumpers, [height], [jumper + len(gone)], masks=masks),
                terminal_steps(self.jumpers, [height[: len(gone)]], gone, 1.5, interrupted=True),
            )
        return self.reported
