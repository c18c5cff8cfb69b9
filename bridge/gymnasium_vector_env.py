"""All agents of a behavior as a `gymnasium.vector.VectorEnv`: each agent is one sub-environment."""

from typing import Any

import numpy as np
from mlagents_envs.base_env import ActionTuple, DecisionSteps, TerminalSteps
from numpy.typing import NDArray

from bridge.exceptions import UnityEnvironmentException
from bridge.gymnasium_spaces import BehaviorSpaces
from bridge.seeded_environment import MOST_SILENT_STEPS, Opener, SeededEnvironment

try:
    import gymnasium
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("this wrapper needs Gymnasium: pip install 'mlagents-bridge[gymnasium]'") from error


class UnityGymnasiumVectorEnv(VectorEnv[Any, Any, NDArray[Any]]):
    """Every agent of a behavior, stepped together; all arrays are `[num_envs, ...]`, in the order of the agents' ids.

    Spaces, rewards, ends of episodes and seeds are those of `UnityGymnasiumEnv`, for each agent.

    - Autoreset is SAME_STEP, which is how players work: what is returned for an agent whose episode has ended is the
      first observation of its next one, and `info["final_obs"]` has the last of the old one (an array of objects, None
      for the others; `info["_final_obs"]` says whose).
    - `info["action_mask"]`, with discrete actions: int8 [num_envs, sum of the branches' sizes], 1 for what may be
      chosen. `action_masks()` has the same as bool.
    - A step lasts until every agent has carried out its action and decides again. Agents that decide more often than
      others meanwhile repeat their action, and their rewards are added up; new episodes begin with zeros.
    - An agent that is replaced by one with another id keeps its place.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        environment: Opener,
        behavior_name: str | None = None,
        *,
        num_envs: int | None = None,
        seed: int | None = None,
        uint8_pictures: bool = False,
        **player_arguments: Any,
    ) -> None:
        """`num_envs`: of agents, None for as many as decide in the first message; the rest as in UnityGymnasiumEnv.

        Raises UnityEnvironmentException when there is no such behavior, or when it has other than `num_envs` agents.
        """
        self._world = SeededEnvironment(environment, seed, player_arguments)
        try:
            self._behavior = self._world.find_behavior(behavior_name)
            spec = self._world.environment.behavior_specs[self._behavior]
            self._spaces = BehaviorSpaces(self._behavior, spec, uint8_pictures=uint8_pictures)
            decisions, _ = self._get_steps()
            self.num_envs = len(decisions) if num_envs is None else num_envs
            if self.num_envs < max(len(decisions), 1):
                raise UnityEnvironmentException(
                    f"num_envs is {self.num_envs}, but {len(decisions)} agents of behavior '{self._behavior}' decide"
                )
        except BaseException:
            self._world.close()
            raise
        self.single_observation_space, self.single_action_space = self._spaces.observation, self._spaces.action
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._shapes = [each.shape for each in spec.observation_specs]
        self._every, self._nobody = np.arange(self.num_envs), np.arange(0)
        self._needs_reset = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """The first observations of all agents. One seed is for all of them, as they share a player.

        Raises ValueError for the option "reset_mask": players begin an agent's next episode by themselves.
        """
        if options and "reset_mask" in options:
            raise ValueError("agents cannot be reset one by one: a player begins an agent's next episode by itself")
        super().reset(seed=seed)
        self._needs_reset = True
        self._world.reset(seed)
        for _ in range(MOST_SILENT_STEPS):
            decisions, _ = self._get_steps()
            if len(decisions):
                break
            self._world.step()
        else:
            raise self._silent(self._every)
        # Agents of which nothing was seen yet have the ids -1, -2, ..., and are waited for.
        ids = np.sort(np.concatenate([decisions.agent_id.astype(np.int64), -1 - self._every])[: self.num_envs])
        self._set_ids(np.roll(ids, np.count_nonzero(ids >= 0)))
        self._vacant = self._ids < 0
        self._allowed = self._spaces.allowed(None, self.num_envs)
        self._last_actions = self._spaces.spec.action_spec.empty_action(self.num_envs)
        step = _Step(self.num_envs, self._shapes)
        step.waiting[...] = True
        step.ended[...] = True  # so that nothing is asked of an agent but to decide
        self._take(step)
        self._finish(step)
        self._needs_reset = False
        return self._spaces.observations(step.observations), self._info(step)

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """`actions`: of all agents, as in `action_space`. Returns what is said above of an agent's step."""
        if self._needs_reset:
            raise gymnasium.error.ResetNeeded("call reset() first")
        self._last_actions = self._spaces.actions(actions, self.num_envs)
        self._needs_reset = True  # unless everything is right
        step = _Step(self.num_envs, self._shapes)
        self._advance(step)
        self._finish(step)
        self._needs_reset = False
        observations = self._spaces.observations(step.observations)
        terminated = step.ended & ~step.interrupted
        return observations, step.rewards, terminated, step.interrupted, self._info(step)

    def action_masks(self) -> NDArray[np.bool_]:
        """bool [num_envs, sum of the branches' sizes], True for what may be chosen in the decisions at hand."""
        return self._allowed.view(np.bool_)

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the player."""
        self._world.close()

    # ---- one message after the other ----

    def _get_steps(self) -> tuple[DecisionSteps, TerminalSteps]:
        return self._world.environment.get_steps(self._behavior)

    def _finish(self, step: "_Step") -> None:
        """Until nobody is waited for."""
        for _ in range(MOST_SILENT_STEPS):
            if not step.waiting.any():
                return
            self._advance(step)
        raise self._silent(np.flatnonzero(step.waiting))

    def _advance(self, step: "_Step") -> None:
        """Sends the actions of those that decide."""
        slots = self._deciding
        if len(slots):
            continuous, discrete = self._last_actions.continuous, self._last_actions.discrete
            if slots is not self._every:
                continuous, discrete = continuous[slots], discrete[slots]
            if step.anyone_ended and (begun := step.ended[slots]).any():
                continuous, discrete = continuous.copy(), discrete.copy()
                continuous[begun], discrete[begun] = 0, 0
            self._world.environment.set_actions(self._behavior, ActionTuple(continuous, discrete))
            step.acted[slots] = True
        self._world.step()
        self._take(step)

    def _take(self, step: "_Step") -> None:
        """What the last message says."""
        decisions, terminals = self._get_steps()
        if len(terminals):
            slots, known = self._find(terminals.agent_id)
            step.end(terminals, slots, known, self._spaces)
            self._vacant[slots[known]] = True
        if len(decisions) == 0:
            self._deciding = self._nobody
            return
        slots = self._deciding = self._slots_of_deciding(decisions.agent_id)
        going_on = ~step.ended[slots]
        step.rewards[slots] += np.where(going_on, decisions.reward + decisions.group_reward, 0)
        for array, observation in zip(step.observations, decisions.obs, strict=True):
            if slots is self._every:
                array[...] = observation
            else:
                array[slots] = observation
        step.waiting[slots] &= going_on & ~step.acted[slots]
        if len(self._spaces.branches):
            allowed = self._spaces.allowed(decisions.action_mask, len(slots))
            if slots is self._every:
                self._allowed = allowed
            else:
                self._allowed = self._allowed.copy()  # the last was returned
                self._allowed[slots] = allowed

    def _slots_of_deciding(self, ids: NDArray[np.int32]) -> NDArray[np.int64]:
        slots, known = self._find(ids)
        if slots is not self._every or self._vacant.any():
            self._vacant[slots[known]] = False
            new = np.flatnonzero(~known)
            if len(new):
                free = np.flatnonzero(self._vacant)
                if len(free) < len(new):
                    raise UnityEnvironmentException(
                        f"agent {ids[new[len(free)]]} of behavior '{self._behavior}' has appeared, but there "
                        f"are num_envs={self.num_envs} others already; give num_envs as the most there will be, or "
                        "take bridge.pettingzoo_env for agents that come and go"
                    )
                self._ids[free[: len(new)]] = ids[new]
                self._set_ids(self._ids)
                self._vacant[free[: len(new)]] = False
                slots = slots.copy()
                slots[new] = free[: len(new)]
        return slots

    def _set_ids(self, ids: NDArray[np.int64]) -> None:
        self._ids = ids
        self._order = np.argsort(ids)
        self._sorted_ids = ids[self._order].astype(np.int32)

    def _find(self, ids: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Where the agents of these ids are, and whether they are anywhere, [agents] each."""
        if len(ids) == self.num_envs and np.array_equal(ids, self._ids):
            return self._every, np.ones(len(ids), np.bool_)
        places = np.searchsorted(self._sorted_ids, ids)
        slots = self._order[np.minimum(places, self.num_envs - 1)]
        return slots, self._ids[slots] == ids

    def _info(self, step: "_Step") -> dict[str, Any]:
        info: dict[str, Any] = {}
        if len(self._spaces.branches):
            info["action_mask"], info["_action_mask"] = self._allowed, np.ones(self.num_envs, np.bool_)
        if step.final is not None:
            info["final_obs"], info["_final_obs"] = step.final, step.ended.copy()
            info["final_info"], info["_final_info"] = {}, step.ended.copy()
        return info

    def _silent(self, slots: NDArray[np.int64]) -> UnityEnvironmentException:
        ids = [f"{self._ids[slot]}" if self._ids[slot] >= 0 else "one never seen" for slot in slots[:5]]
        return UnityEnvironmentException(
            f"{len(slots)} of the {self.num_envs} agents of behavior '{self._behavior}' ({', '.join(ids)}) did not "
            f"decide in {MOST_SILENT_STEPS} messages; a vector environment needs all of its agents at all times: "
            "lower num_envs, or take bridge.pettingzoo_env for agents that come and go"
        )


class _Step:
    """What is gathered of one step, [num_envs] each.

    Attributes:
        waiting: for whose next decision the step lasts.
        acted: who was sent this step's action.
        ended, interrupted: whose episode ended in this step, and how.
        final: the last observations of these episodes, None without any.
    """

    def __init__(self, count: int, shapes: list[tuple[int, ...]]) -> None:
        self.observations = [np.empty((count, *shape), np.float32) for shape in shapes]
        self.rewards = np.zeros(count)
        self.waiting = np.ones(count, np.bool_)
        self.acted, self.ended, self.interrupted = (np.zeros(count, np.bool_) for _ in range(3))
        self.final: NDArray[np.object_] | None = None

    @property
    def anyone_ended(self) -> bool:
        return self.final is not None

    def end(
        self, terminals: TerminalSteps, slots: NDArray[np.int64], known: NDArray[np.bool_], spaces: BehaviorSpaces
    ) -> None:
        """Takes in the terminals; whoever ends for a second time in one step just has to decide once more."""
        rows = np.flatnonzero(known)
        self.waiting[slots[rows]] = True
        rows = rows[~self.ended[slots[rows]]]
        slots = slots[rows]
        if len(rows) == 0:
            return
        self.rewards[slots] += terminals.reward[rows] + terminals.group_reward[rows]
        self.ended[slots] = True
        self.interrupted[slots] = terminals.interrupted[rows]
        if self.final is None:
            self.final = np.full(len(self.ended), None, np.object_)
        last = [observation[rows] for observation in terminals.obs]
        for index, slot in enumerate(slots.tolist()):  # Gymnasium wants an object for each
            self.final[slot] = spaces.observations([observation[index] for observation in last])
