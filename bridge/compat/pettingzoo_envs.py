"""The PettingZoo wrappers as release 1.1.0 has them: a step gives four values, with `dones` instead of terminations.

`bridge.pettingzoo_env` has the wrappers for PettingZoo's own interface. One thing differs from the release: continuous
actions are floats; there, their space is one of integers, and every agent gets its first number only.
"""

import atexit
import logging
from typing import Any

import numpy as np
from gymnasium import error, spaces
from mlagents_envs.base_env import ActionTuple, BaseEnv
from pettingzoo import AECEnv, ParallelEnv

from bridge.compat import registry
from bridge.compat.env_helpers import _agent_id_to_behavior, _unwrap_batch_steps
from bridge.compat.side_channels import StatsSideChannel
from bridge.exceptions import UnityWorkerInUseException
from bridge.side_channels import EngineConfigurationChannel, EnvironmentParametersChannel

logger = logging.getLogger(__name__)


class UnityPettingzooBaseEnv:
    """What both wrappers share. Agents are named `BEHAVIOR?agent_id=NUMBER` and come and go as the player says."""

    def __init__(self, env: BaseEnv, seed: int | None = None, metadata: dict[str, Any] | None = None) -> None:
        """`seed`: for the action spaces' `sample()`."""
        super().__init__()
        self._env: BaseEnv | None = env
        atexit.register(self.close)
        self.metadata = metadata or {}
        self._seed = seed
        self._agent_index = 0
        self._possible_agents: set[str] = set()
        self._action_spaces: dict[str, Any] = {}  # by behavior, as the next two
        self._observation_spaces: dict[str, Any] = {}
        self._current_action: dict[str, ActionTuple] = {}
        self._reset_states()
        if not env.behavior_specs:
            env.step()
        for name in env.behavior_specs:
            self._batch_update(name)

    def _reset_states(self) -> None:
        self._live_agents: list[str] = []  # that still act
        self._agents: list[str] = []  # all that were heard of in this step
        self._agent_id_to_index: dict[str, int] = {}
        self._observations: dict[str, Any] = {}
        self._dones: dict[str, bool] = {}
        self._rewards: dict[str, float] = {}
        self._cumm_rewards: dict[str, float] = {}
        self._infos: dict[str, Any] = {}

    def _assert_loaded(self) -> BaseEnv:
        if self._env is None:
            raise error.Error("this environment is closed; make a new one")
        return self._env

    def _assert_live_agents(self) -> None:
        self._assert_loaded()
        if not self._live_agents:
            raise error.Error("no agent waits for an action: call reset() before step()")

    def _update_spaces(self, name: str) -> None:
        spec = self._assert_loaded().behavior_specs[name]
        seen = [spaces.Box(-np.inf, np.inf, one.shape, np.float32) for one in spec.observation_specs]
        self._observation_spaces[name] = seen[0] if len(seen) == 1 else spaces.Tuple(seen)
        continuous, branches = spec.action_spec.continuous_size, list(map(int, spec.action_spec.discrete_branches))
        parts: list[spaces.Space[Any]] = []
        if continuous:
            parts.append(spaces.Box(-1, 1, (continuous,), np.float32))
        if branches:
            parts.append(spaces.Discrete(branches[0]) if len(branches) == 1 else spaces.MultiDiscrete(branches))
        if not parts:
            raise error.Error(f"the agents of behavior '{name}' have no actions")
        self._action_spaces[name] = parts[0] if len(parts) == 1 else spaces.Tuple(parts)
        if self._seed is not None:
            self._action_spaces[name].seed(self._seed)

    def _batch_update(self, name: str) -> None:
        env = self._assert_loaded()
        if name not in self._action_spaces:
            self._update_spaces(name)
        steps = env.get_steps(name)
        self._current_action[name] = env.behavior_specs[name].action_spec.empty_action(len(steps[0]))
        agents, observations, dones, rewards, cumulative, infos, rows = _unwrap_batch_steps(steps, name)
        self._live_agents += agents
        self._agents += agents
        self._possible_agents.update(agents)
        self._observations.update(observations)
        self._dones.update(dones)
        self._rewards.update(rewards)
        self._cumm_rewards.update(cumulative)
        self._infos.update(infos)
        self._agent_id_to_index.update(rows)

    def _process_action(self, agent: str, action: Any) -> None:
        """Notes the action for the next step; None, or any for an agent that is done, takes it off the list."""
        if self._dones[agent]:
            self._live_agents.remove(agent)
            for by_agent in (self._observations, self._dones, self._rewards, self._cumm_rewards, self._infos):
                del by_agent[agent]
            return
        if action is None:
            return
        space = self.action_space(agent)
        if isinstance(space, spaces.Tuple):
            action = tuple(np.asarray(one, dtype=part.dtype) for one, part in zip(action, space, strict=True))
        else:
            action = np.asarray(action, dtype=space.dtype)
        if not space.contains(action):
            raise error.Error(f"the action {action} of {agent} is not in its action space {space}")
        parts = action if isinstance(space, spaces.Tuple) else (action,)
        actions = self._current_action[_agent_id_to_behavior(agent)]
        row = self._agent_id_to_index[agent]
        for part in parts:
            kind = actions.continuous if np.issubdtype(part.dtype, np.floating) else actions.discrete
            kind[row] = part

    def _step(self) -> None:
        env = self._assert_loaded()
        for name, actions in self._current_action.items():
            env.set_actions(name, actions)
        env.step()
        self._reset_states()
        for name in env.behavior_specs:
            self._batch_update(name)
        self._agent_index = 0
        self._live_agents.sort()

    def reset(self) -> Any:
        """Starts all episodes anew."""
        env = self._assert_loaded()
        self._agent_index = 0
        self._reset_states()
        self._possible_agents = set()
        env.reset()
        for name in env.behavior_specs:
            self._batch_update(name)
        self._live_agents.sort()
        self._dones = dict.fromkeys(self._agents, False)
        self._rewards = dict.fromkeys(self._agents, 0)
        self._cumm_rewards = dict.fromkeys(self._agents, 0)

    def observation_space(self, agent: str) -> Any:
        return self._observation_spaces[_agent_id_to_behavior(agent)]

    def action_space(self, agent: str) -> Any:
        return self._action_spaces[_agent_id_to_behavior(agent)]

    @property
    def observation_spaces(self) -> dict[str, Any]:
        return {agent: self.observation_space(agent) for agent in self._possible_agents}

    @property
    def action_spaces(self) -> dict[str, Any]:
        return {agent: self.action_space(agent) for agent in self._possible_agents}

    @property
    def side_channel(self) -> dict[str, Any]:
        """The environment's side channels by the names of their classes."""
        env = self._assert_loaded()
        manager = getattr(env, "_side_channels", None) or getattr(env, "_side_channel_manager", None)
        return {} if manager is None else {type(channel).__name__: channel for channel in manager._channels.values()}

    @property
    def agents(self) -> list[str]:
        return sorted(self._live_agents)

    @property
    def possible_agents(self) -> list[str]:
        return sorted(self._possible_agents)

    @property
    def dones(self) -> dict[str, bool]:
        return dict(self._dones)

    @property
    def rewards(self) -> dict[str, float]:
        return dict(self._rewards)

    @property
    def _cumulative_rewards(self) -> dict[str, float]:
        return self._cumm_rewards

    @property
    def infos(self) -> dict[str, Any]:
        return dict(self._infos)

    def seed(self, seed: int | None = None) -> None:
        """For the action spaces that are made from now on; a player gets its own seed at its start."""
        self._seed = seed

    def render(self, mode: str = "human") -> None:
        """Not supported: the player shows itself."""

    def state(self) -> None:
        """Not supported."""

    def close(self) -> None:
        """Closes the environment, too. Harmless when called twice."""
        env, self._env = self._env, None
        atexit.unregister(self.close)
        if env is not None:
            env.close()


class UnityParallelEnv(UnityPettingzooBaseEnv, ParallelEnv):  # type: ignore[misc]
    """All agents act at once."""

    def __init__(self, env: BaseEnv, seed: int | None = None) -> None:
        super().__init__(env, seed)

    def reset(self) -> dict[str, Any]:
        """The first observations by agent."""
        super().reset()
        return self._observations

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, Any]]:
        """(observations, rewards, dones, infos), each by agent. Agents without an action get zeros."""
        self._assert_loaded()
        if actions:
            self._assert_live_agents()
        for agent, action in actions.items():
            self._process_action(agent, action)
        self._step()
        self._live_agents = [agent for agent in self._live_agents if not self._dones[agent]]
        return self._observations, self._rewards, self._dones, self._infos


class UnityAECEnv(UnityPettingzooBaseEnv, AECEnv):  # type: ignore[misc]
    """The agents act one after the other; the player steps when the last one has."""

    def __init__(self, env: BaseEnv, seed: int | None = None) -> None:
        super().__init__(env, seed)

    def step(self, action: Any) -> None:
        """The action of the agent that `agent_selection` names; None for one that is done."""
        self._assert_live_agents()
        self._process_action(self._agents[self._agent_index], action)
        self._agent_index += 1
        self._rewards = dict.fromkeys(self._rewards, 0)
        if self._agent_index >= len(self._agents) and self._live_agents:
            self._step()

    def observe(self, agent_id: str) -> tuple[Any, float, bool, Any]:
        """(observation, reward, done, info) of an agent."""
        return (
            self._observations[agent_id],
            self._cumm_rewards[agent_id],
            self._dones[agent_id],
            self._infos[agent_id],
        )

    def last(self, observe: bool = True) -> tuple[Any, float, bool, Any]:
        """The same of the agent whose turn it is."""
        observation, reward, done, info = self.observe(self._agents[self._agent_index])
        return observation if observe else None, reward, done, info

    @property
    def agent_selection(self) -> str:
        """Whose turn it is; when no agent acts any more, the first one that ended."""
        return self._agents[self._agent_index if self._live_agents else 0]


class PettingZooEnvFactory:
    """Makes a `UnityAECEnv` of an environment in the registry; `mlagents_envs.envs.NAME` is one of these."""

    def __init__(self, env_id: str) -> None:
        self.env_id = env_id

    def env(self, seed: int | None = None, **kwargs: Any) -> UnityAECEnv:
        """`kwargs`: arguments of UnityEnvironment but file_name. Without base_port, a free port from 6000 on is taken.

        Without side_channels it has those for engine configuration, environment parameters and statistics.
        """
        entry = registry.default_registry[self.env_id]
        kwargs.setdefault(
            "side_channels", [EngineConfigurationChannel(), EnvironmentParametersChannel(), StatsSideChannel()]
        )
        if "base_port" in kwargs:
            return UnityAECEnv(entry.make(**kwargs), seed)
        for port in range(6000, 6100):
            try:
                return UnityAECEnv(entry.make(**kwargs, base_port=port), seed)
            except UnityWorkerInUseException:
                logger.debug(f"port {port} is in use")
        raise UnityWorkerInUseException(0)
