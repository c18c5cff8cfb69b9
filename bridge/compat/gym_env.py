"""`UnityToGymWrapper` as release 1.1.0 has it: the interface of Gym before 0.26, with Gymnasium's spaces.

`step` returns (observation, reward, done, info) and `reset` the observation alone, so that code written for it goes
on working. `bridge.gymnasium_env` is the wrapper for Gymnasium's own interface.
"""

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import error, spaces
from mlagents_envs.base_env import ActionTuple, BaseEnv, DecisionSteps, TerminalSteps
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

GymStepResult = tuple[Any, float, bool, dict[str, Any]]


class UnityGymException(error.Error):
    """The environment is none that this wrapper can show, or is used in the wrong order."""


class UnityToGymWrapper(gymnasium.Env[Any, Any]):
    """One behavior with one agent. Closes `unity_env` when it is closed itself.

    Observations: the first picture, or all vectors side by side if there is none; with `allow_multiple_obs` a list of
    all pictures and these vectors. Actions: a number for one discrete branch, numbers for several (or one number for
    all their combinations with `flatten_branched`), floats in [-1, 1] for continuous ones.
    """

    metadata: dict[str, Any] = {"render.modes": ["rgb_array"], "render_modes": ["rgb_array"]}  # noqa: RUF012
    reward_range = (-float("inf"), float("inf"))

    def __init__(
        self,
        unity_env: BaseEnv,
        uint8_visual: bool = False,
        flatten_branched: bool = False,
        allow_multiple_obs: bool = False,
        action_space_seed: int | None = None,
    ) -> None:
        """`uint8_visual`: pictures as uint8 in [0, 255] instead of float32 in [0, 1]."""
        self._env = unity_env
        if not self._env.behavior_specs:
            self._env.step()  # behaviors are known from the first step on
        names = list(self._env.behavior_specs)
        if len(names) != 1:
            raise UnityGymException(
                f"a Gym environment has one behavior, this environment has {len(names)}: {', '.join(names)}"
            )
        self.name = names[0]
        self.group_spec = self._env.behavior_specs[self.name]
        shapes = [spec.shape for spec in self.group_spec.observation_specs]
        self._pictures = [index for index, shape in enumerate(shapes) if len(shape) == 3]
        self._vectors = [index for index, shape in enumerate(shapes) if len(shape) == 1]
        size = sum(shapes[index][0] for index in self._vectors)
        self._vectors = self._vectors if size else []
        if not self._pictures and not size:
            raise UnityGymException(
                f"behavior '{self.name}' has neither pictures nor vector observations (shapes: {shapes})"
            )
        if uint8_visual and not self._pictures:
            logger.warning("uint8_visual has no effect: the environment has no visual observations")
        if len(self._pictures) + bool(size) > 1 and not allow_multiple_obs:
            logger.warning("only the first visual observation is returned; allow_multiple_obs=True returns all")
        self.uint8_visual = uint8_visual
        self._allow_multiple_obs = allow_multiple_obs
        self.game_over = False  # read by wrappers for Atari games
        self.visual_obs: NDArray[Any] | None = None

        self._env.reset()
        self._check_agents(len(self._env.get_steps(self.name)[0]))
        self._flattener: ActionFlattener | None = None
        self.action_space = self._make_action_space(flatten_branched)
        if action_space_seed is not None:
            self.action_space.seed(action_space_seed)
        parts: list[spaces.Space[Any]] = [
            spaces.Box(0, 255, shapes[index], np.uint8) if uint8_visual else spaces.Box(0, 1, shapes[index], np.float32)
            for index in self._pictures
        ]
        if size:
            parts.append(spaces.Box(-np.inf, np.inf, (size,), np.float32))
        self.observation_space = spaces.Tuple(parts) if allow_multiple_obs else parts[0]

    def _make_action_space(self, flatten_branched: bool) -> spaces.Space[Any]:
        spec = self.group_spec.action_spec
        if spec.is_continuous():
            if flatten_branched:
                logger.warning("flatten_branched has no effect: the actions are continuous")
            self.action_size = spec.continuous_size
            return spaces.Box(-1, 1, (spec.continuous_size,), np.float32)
        if not spec.is_discrete():
            raise UnityGymException(
                f"behavior '{self.name}' has both continuous and discrete actions, which this wrapper does not support"
            )
        self.action_size = spec.discrete_size
        branches = [int(size) for size in spec.discrete_branches]
        if len(branches) == 1:
            return spaces.Discrete(branches[0])
        if not flatten_branched:
            return spaces.MultiDiscrete(branches)
        self._flattener = ActionFlattener(branches)
        return self._flattener.action_space

    def reset(self) -> Any:  # type: ignore[override]  # as Gym's was
        """Starts an episode and returns its first observation."""
        self._env.reset()
        decisions, _ = self._env.get_steps(self.name)
        self._check_agents(len(decisions))
        self.game_over = False
        return self._single_step(decisions)[0]

    def step(self, action: Any) -> GymStepResult:  # type: ignore[override]  # as Gym's was
        """(observation, reward, done, {"step": the DecisionSteps or TerminalSteps}); after `done` comes a reset."""
        if self.game_over:
            raise UnityGymException("the episode is over (done was True): call reset() before the next step()")
        if self._flattener is not None:
            action = self._flattener.lookup_action(action)
        row = np.array(action).reshape(1, self.action_size)
        continuous = self.group_spec.action_spec.is_continuous()
        self._env.set_actions(self.name, ActionTuple(row if continuous else None, None if continuous else row))
        self._env.step()
        decisions, terminals = self._env.get_steps(self.name)
        self._check_agents(max(len(decisions), len(terminals)))
        self.game_over = len(terminals) > 0
        return self._single_step(terminals if self.game_over else decisions)

    def _single_step(self, info: DecisionSteps | TerminalSteps) -> GymStepResult:
        pictures = [self._picture(info.obs[index][0]) for index in self._pictures]
        if pictures:
            self.visual_obs = pictures[0]
        vector = [np.concatenate([info.obs[index][0] for index in self._vectors])] if self._vectors else []
        observations = pictures + vector
        observation = observations if self._allow_multiple_obs else observations[0]
        return observation, info.reward[0], isinstance(info, TerminalSteps), {"step": info}

    def _picture(self, values: NDArray[Any]) -> NDArray[Any]:
        return (255.0 * values).astype(np.uint8) if self.uint8_visual else values

    def render(self, mode: str = "rgb_array") -> Any:
        """The last picture observed; nothing is drawn anew."""
        return self.visual_obs

    def close(self) -> None:
        self._env.close()

    def seed(self, seed: Any = None) -> None:
        """Not supported: a player gets its seed at its start."""
        logger.warning(f"environment {self.name} cannot be seeded now; give UnityEnvironment the seed")

    @staticmethod
    def _check_agents(n_agents: int) -> None:
        if n_agents > 1:
            raise UnityGymException(f"a Gym environment has one agent, this environment has {n_agents}")


class ActionFlattener:
    """All combinations of the choices of several discrete branches, numbered; the last branch changes fastest."""

    def __init__(self, branched_action_space: Sequence[int]) -> None:
        combinations = itertools.product(*(range(size) for size in branched_action_space))
        self.action_lookup: Mapping[int, list[int]] = {number: list(one) for number, one in enumerate(combinations)}
        self.action_space = spaces.Discrete(len(self.action_lookup))

    def lookup_action(self, action: int) -> list[int]:
        """The choice of each branch."""
        return self.action_lookup[int(action)]
