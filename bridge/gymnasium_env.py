"""One agent as a `gymnasium.Env`. For many agents at once see `bridge.gymnasium_vector_env`."""

from typing import Any

import numpy as np
from mlagents_envs.base_env import DecisionSteps, TerminalSteps
from numpy.typing import NDArray

from bridge.exceptions import UnityEnvironmentException
from bridge.gymnasium_spaces import BehaviorSpaces
from bridge.seeded_environment import MOST_SILENT_STEPS, Opener, SeededEnvironment

try:
    import gymnasium
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("this wrapper needs Gymnasium: pip install 'mlagents-bridge[gymnasium]'") from error


class UnityGymnasiumEnv(gymnasium.Env[Any, Any]):
    """The only agent of a behavior, from one of its decisions to the next.

    Spaces are those of `BehaviorSpaces`: a Box or, of several observations, a Dict by their names; Box, Discrete,
    MultiDiscrete, or a Dict of "continuous" and "discrete".

    - The reward is the sum of what came since the last decision, the agent's own and its group's.
    - An episode that is interrupted, by a time limit for one, is truncated; every other end is a termination. The
      observation is then the episode's last.
    - `info["action_mask"]`, of agents with discrete actions, is what `action_space.sample(mask)` takes: int8, 1 for
      what may be chosen, an array for each branch. `action_masks()` has the same as sb3-contrib's MaskablePPO wants it.
    - A player takes up the next episode by itself, so `reset()` after an episode's end just goes on with it. At
      other times it starts the whole player's episodes anew; `reset(seed=...)` starts a new player, or world, as a seed
      is a player's from its start. An environment that was handed over open cannot do that, and says so in a warning.
    - Agents of other behaviors get zeros as actions.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        environment: Opener,
        behavior_name: str | None = None,
        *,
        seed: int | None = None,
        uint8_pictures: bool = False,
        **player_arguments: Any,
    ) -> None:
        """`environment`: the path of a player, a function of a seed that returns an environment, or one that is open.

        `behavior_name`: with or without its team; None where there is only one. `seed`: of the first player, None
        draws one. `uint8_pictures`: pictures in 0..255 instead of 0..1. `player_arguments`: of UnityEnvironment, for a
        path. Raises UnityEnvironmentException when there is no such behavior, or when it has several agents.
        """
        self._world = SeededEnvironment(environment, seed, player_arguments)
        try:
            self._behavior = self._world.find_behavior(behavior_name)
            spec = self._world.environment.behavior_specs[self._behavior]
            self._spaces = BehaviorSpaces(self._behavior, spec, uint8_pictures=uint8_pictures)
            self.observation_space, self.action_space = self._spaces.observation, self._spaces.action
            self._agent: int | None = None  # that takes the next action
            self._over = False  # its episode, by itself
            self._steps()
        except BaseException:
            self._world.close()
            raise

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The first observation of an episode. There are no `options`."""
        super().reset(seed=seed)
        if seed is not None or not self._over:
            self._world.reset(seed)
        self._agent, self._over = None, False
        for _ in range(MOST_SILENT_STEPS):
            decisions, _ = self._steps()
            if len(decisions):
                self._agent = int(decisions.agent_id[0])
                return self._spaces.row(decisions.obs, 0), self._info(decisions)
            self._world.step()
        raise self._silent()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Until the agent decides again, or its episode ends."""
        if self._agent is None:
            raise gymnasium.error.ResetNeeded("call reset() first: there is no episode, or it has ended")
        self._world.environment.set_actions(self._behavior, self._spaces.actions(action))
        for _ in range(MOST_SILENT_STEPS):
            self._world.step()
            decisions, terminals = self._steps()
            if self._agent in terminals:
                row = int(terminals.agent_id_to_index[self._agent])
                self._agent, self._over = None, True
                interrupted = bool(terminals.interrupted[row])
                observation = self._spaces.row(terminals.obs, row)
                reward = float(terminals.reward[row] + terminals.group_reward[row])
                return observation, reward, not interrupted, interrupted, {}
            if len(decisions):
                if decisions.agent_id[0] != self._agent:
                    raise self._several(decisions, terminals, self._agent)
                reward = float(decisions.reward[0] + decisions.group_reward[0])
                return self._spaces.row(decisions.obs, 0), reward, False, False, self._info(decisions)
        raise self._silent()

    def action_masks(self) -> NDArray[np.bool_]:
        """bool [sum of the branches' sizes], True for what may be chosen in the decision at hand."""
        decisions, _ = self._world.environment.get_steps(self._behavior)
        allowed: NDArray[np.int8] = self._spaces.allowed(decisions.action_mask, 1)[0]
        return allowed.view(np.bool_)

    def close(self) -> None:
        """Ends the player. Harmless when called twice."""
        self._world.close()

    def _steps(self) -> tuple[DecisionSteps, TerminalSteps]:
        decisions, terminals = self._world.environment.get_steps(self._behavior)
        if len(decisions) > 1:
            raise self._several(decisions, terminals)
        return decisions, terminals

    def _info(self, decisions: DecisionSteps) -> dict[str, Any]:
        if not len(self._spaces.branches):
            return {}
        return {"action_mask": self._spaces.sample_mask(self._spaces.allowed(decisions.action_mask, 1)[0])}

    def _several(self, decisions: DecisionSteps, terminals: TerminalSteps, *agents: int) -> UnityEnvironmentException:
        ids = sorted({*agents, *decisions.agent_id.tolist(), *terminals.agent_id.tolist()})
        return UnityEnvironmentException(
            f"behavior '{self._behavior}' has several agents, {', '.join(map(str, ids[:5]))}"
            f"{', ...' if len(ids) > 5 else ''}, and this wrapper is for one; take bridge.gymnasium_vector_env."
            "UnityGymnasiumVectorEnv, in which each is a sub-environment, or bridge.pettingzoo_env"
        )

    def _silent(self) -> UnityEnvironmentException:
        return UnityEnvironmentException(
            f"the agent of behavior '{self._behavior}' was in none of the last {MOST_SILENT_STEPS} messages, while "
            "others went on; is it disabled, or destroyed and not replaced?"
        )
