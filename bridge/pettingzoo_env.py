"""All agents of all behaviors for PettingZoo: `UnityParallelEnv`, where they act together, and `UnityAECEnv`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mlagents_envs.base_env import ActionTuple

try:
    from pettingzoo import AECEnv, ParallelEnv
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("this wrapper needs PettingZoo: pip install 'mlagents-bridge[pettingzoo]'") from error

from bridge.exceptions import UnityActionException, UnityEnvironmentException
from bridge.gymnasium_spaces import BehaviorSpaces
from bridge.seeded_environment import MOST_SILENT_STEPS, Opener, SeededEnvironment


class _UnityAgents:
    """What both have in common.

    Agents are named as by the official wrappers, "3DBall?team=0?agent_id=7", and have the spaces of `BehaviorSpaces`.

    - Rewards are the agent's own and its group's together; infos have "behavior_name", "group_id", "group_reward" and,
      of agents with discrete actions, "action_mask" as `action_space(agent).sample(mask)` takes it: int8, 1 for what
      may be chosen. An interrupted episode is truncated, any other end a termination.
    - An agent lives for one episode, as PettingZoo wants it: from its end to the next `reset`, it gets zeros as
      actions and is not seen. When all have ended, `agents` is empty.
    - Agents that the player brings in later join `agents` and `possible_agents` with their first decision.
    - `reset()` starts all episodes anew; `reset(seed=...)` starts a new player, or world, as a seed is a player's from
      its start. An environment that was handed over open cannot do that, and says so in a warning.
    """

    # Of AECEnv, and the messages' contents of both: by name.
    rewards: dict[str, float]
    terminations: dict[str, bool]
    truncations: dict[str, bool]
    infos: dict[str, dict[str, Any]]
    agents: list[str]
    possible_agents: list[str]
    render_mode: str | None = None

    def __init__(
        self, environment: Opener, *, seed: int | None = None, uint8_pictures: bool = False, **player_arguments: Any
    ) -> None:
        """`environment`: the path of a player, a function of a seed that returns an environment, or one that is open.

        `seed`: of the first player, None draws one. `uint8_pictures`: pictures in 0..255 instead of 0..1.
        `player_arguments`: of UnityEnvironment, for a path.
        """
        self._world = SeededEnvironment(environment, seed, player_arguments)
        self._uint8_pictures = uint8_pictures
        self._spaces: dict[str, BehaviorSpaces] = {}  # by behavior
        self.possible_agents = []
        try:
            self._forget()
            self._take()
        except BaseException:
            self._world.close()
            raise
        self.agents = []  # until the reset

    def observation_space(self, agent: str) -> Any:
        """The same object for all agents of a behavior."""
        return self._spaces_of(agent).observation

    def action_space(self, agent: str) -> Any:
        """The same object for all agents of a behavior."""
        return self._spaces_of(agent).action

    def render(self) -> None:
        """Nothing: a player that renders has a window of its own."""

    def close(self) -> None:
        """Ends the player. Harmless when called twice."""
        self._world.close()

    def _spaces_of(self, agent: str) -> BehaviorSpaces:
        behavior = agent.rpartition("?agent_id=")[0]
        if behavior not in self._spaces:
            raise UnityEnvironmentException(
                f"no agent '{agent}'; the behaviors are {', '.join(map(repr, self._spaces))}, and an agent's name is "
                "its behavior's and '?agent_id=' and a number"
            )
        return self._spaces[behavior]

    def _forget(self) -> None:
        self.agents = []
        self._observations: dict[str, Any] = {}
        self.rewards, self.terminations, self.truncations, self.infos = {}, {}, {}, {}
        self._deciding: list[str] = []  # in the last message
        self._ended: set[str] = set()  # since the reset

    def _begin(self, seed: int | None) -> None:
        """Up to the first decisions."""
        self._forget()
        self._world.reset(seed)
        self._take()
        for _ in range(MOST_SILENT_STEPS):
            if self._deciding:
                return
            self._advance({})
        raise self._silent()

    def _advance(self, actions: Mapping[str, ActionTuple]) -> None:
        """One message; zeros are sent for agents that `actions` does not have."""
        environment = self._world.environment
        for behavior, spaces in self._spaces.items():
            ids = environment.get_steps(behavior)[0].agent_id.tolist()
            if not ids:
                continue
            nothing = spaces.spec.action_spec.empty_action(1)
            each = [actions.get(_name(behavior, agent), nothing) for agent in ids]
            continuous = np.concatenate([action.continuous for action in each])
            discrete = np.concatenate([action.discrete for action in each])
            environment.set_actions(behavior, ActionTuple(continuous, discrete))
        self._world.step()
        self._take()

    def _take(self) -> None:
        """What the last message says; rewards are added up."""
        self._deciding = []
        for behavior, spec in self._world.environment.behavior_specs.items():
            if behavior not in self._spaces:
                self._spaces[behavior] = BehaviorSpaces(behavior, spec, uint8_pictures=self._uint8_pictures)
            spaces = self._spaces[behavior]
            decisions, terminals = self._world.environment.get_steps(behavior)
            for row, agent in enumerate(terminals.agent_id.tolist()):
                name = _name(behavior, agent)
                if name not in self.rewards or name in self._ended:
                    continue
                self._ended.add(name)
                interrupted = bool(terminals.interrupted[row])
                self.terminations[name], self.truncations[name] = not interrupted, interrupted
                self._report(name, behavior, terminals, row)
            for row, agent in enumerate(decisions.agent_id.tolist()):
                name = _name(behavior, agent)
                if name in self._ended:
                    continue
                self._deciding.append(name)
                if new := name not in self.rewards:
                    self.agents.append(name)
                    self.terminations[name] = self.truncations[name] = False
                    if name not in self.possible_agents:
                        self.possible_agents.append(name)
                self._report(name, behavior, decisions, row)
                if new:
                    self.rewards[name] = 0.0
                if len(spaces.branches):
                    masks = decisions.action_mask and [mask[row : row + 1] for mask in decisions.action_mask]
                    self.infos[name]["action_mask"] = spaces.sample_mask(spaces.allowed(masks, 1)[0])

    def _report(self, name: str, behavior: str, steps: Any, row: int) -> None:
        reward, group_reward = float(steps.reward[row]), float(steps.group_reward[row])
        self._observations[name] = self._spaces[behavior].row(steps.obs, row)
        self.rewards[name] = self.rewards.get(name, 0.0) + reward + group_reward
        group = int(steps.group_id[row])
        self.infos[name] = {"behavior_name": behavior, "group_id": group, "group_reward": group_reward}

    def _silent(self) -> UnityEnvironmentException:
        living = [name for name in self.agents if name not in self._ended]
        return UnityEnvironmentException(
            f"{len(living)} agents, {', '.join(living[:3]) or 'none of them known'}, are waited for, but did not "
            f"decide in {MOST_SILENT_STEPS} messages; are they disabled, or destroyed?"
        )


class UnityParallelEnv(_UnityAgents, ParallelEnv[str, Any, Any]):
    """All agents act at the same time.

    A step lasts until each agent has carried out its action and then decides again, or ends. Agents that decide more
    often than others meanwhile repeat their action, and their rewards are added up; where agents take turns, use
    UnityAECEnv.
    """

    metadata: dict[str, Any] = {"name": "mlagents_bridge_parallel", "render_modes": []}  # noqa: RUF012

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Observations and infos of the agents that decide first. There are no `options`."""
        self._begin(seed)
        return dict(self._observations), dict(self.infos)

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """`actions`: one for each of `agents`. Raises UnityActionException for others, and for wrong shapes."""
        if set(actions) != set(self.agents):
            wrong = sorted(set(actions) ^ set(self.agents))
            raise UnityActionException(
                f"actions are for the {len(self.agents)} agents in env.agents, no more and no less; wrong or missing: "
                f"{', '.join(wrong[:5])}" + ("" if self.agents else "; all episodes are over: call reset()")
            )
        chosen = {name: self._spaces_of(name).actions(action) for name, action in actions.items()}
        for told in (self._observations, self.rewards, self.terminations, self.truncations, self.infos):
            told.clear()
        for name in self.agents:
            self.rewards[name], self.terminations[name], self.truncations[name] = 0.0, False, False
        waiting, acted = set(self.agents), set[str]()
        for _ in range(MOST_SILENT_STEPS):
            if not waiting:
                break
            acted.update(self._deciding)
            self._advance(chosen)
            waiting -= self._ended
            waiting -= acted.intersection(self._deciding)
        else:
            raise self._silent()
        self.agents = [name for name in self.agents if name not in self._ended]
        return (
            dict(self._observations),
            dict(self.rewards),
            dict(self.terminations),
            dict(self.truncations),
            dict(self.infos),
        )


class UnityAECEnv(_UnityAgents, AECEnv[str, Any, Any]):
    """One agent acts after the other: those that ask for a decision in a message, in its order, then the player moves.

    It is what suits agents that take turns, or decide at different times: no action is repeated.
    """

    metadata: dict[str, Any] = {"name": "mlagents_bridge", "render_modes": [], "is_parallelizable": False}  # noqa: RUF012

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Selects the first agent. There are no `options`."""
        self._begin(seed)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self._chosen: dict[str, ActionTuple] = {}
        self._queue = list(self._deciding)
        self.agent_selection = self._queue[0]

    def observe(self, agent: str) -> Any:
        """What `agent` saw in its last message."""
        return self._observations[agent]

    def step(self, action: Any) -> None:
        """`action`: of `agent_selection`; None, and nothing else, once its episode is over."""
        if not self.agents:
            raise UnityActionException("all episodes are over, or none has begun: call reset()")
        agent = self.agent_selection
        if agent in self._ended:
            if action is not None:
                raise ValueError(f"the episode of '{agent}' is over: its only action is None")
            self.agents.remove(agent)
            for told in (self.rewards, self.terminations, self.truncations, self.infos, self._cumulative_rewards):
                del told[agent]
        else:
            self._chosen[agent] = self._spaces_of(agent).actions(action)
            self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        self._queue.pop(0)
        if not self._queue and self.agents:
            self._move()
        if self._queue:
            self.agent_selection = self._queue[0]

    def _move(self) -> None:
        for _ in range(MOST_SILENT_STEPS):
            self._advance(self._chosen)
            ended = [name for name in self.agents if name in self._ended]
            self._queue = ended + self._deciding
            if self._queue:
                break
        else:
            raise self._silent()
        for name in self.agents:
            self._cumulative_rewards.setdefault(name, 0.0)
        self._accumulate_rewards()


def _name(behavior: str, agent: int) -> str:
    return f"{behavior}?agent_id={agent}"
