"""A base for worlds: like agents that decide together, with Unity's timing. `bridge.player` offers it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from mlagents_envs.base_env import (
    ActionSpec,
    ActionTuple,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
    TerminalSteps,
)
from numpy.typing import NDArray

from bridge.codec import Steps
from bridge.exceptions import UnityEnvironmentException

GOES_ON, TERMINATED, INTERRUPTED = 0, 1, 2  # values of AgentWorld.ended


class _Parameters(Protocol):
    def get_with_default(self, key: str, default: float) -> float: ...


class AgentWorld:
    """A `World` of `agents` times `num_areas` agents of one behavior; a world of this kind writes what differs:

    - `begin(agents)` starts an episode for the agents of these numbers, by changing their rows of `self.agents`.
    - `tick()` lets every agent act once (Unity's OnActionReceived): it reads `self.continuous` and `self.discrete`,
      changes `self.agents`, sets or adds to `self.rewards`, and marks in `self.ended` the episodes that are over.
    - `observe(agents, observations)` writes what the agents of these numbers see.
    - `mask_actions(masks)`, only if some discrete actions are forbidden at times, says which ones are.

    Attributes:
        agents: the state of all agents, a structured array [agents] of the dtype given.
        continuous: actions float32 [agents, size], held from decision to decision; zeros as an episode begins.
        discrete: actions int32 [agents, branches], likewise.
        rewards: float64 [agents], since the agent last sent something. Assign for Unity's SetReward, add for AddReward.
        group_rewards: float64 [agents], likewise, with a `group_size`: what each agent has of its group.
        ended: int8 [agents], GOES_ON, TERMINATED or INTERRUPTED (cut by a time limit: its value does not end there).
        step_counts: int64 [agents], ticks of the episode with the one at hand, Unity's StepCount: for time limits.
        random_state: uint64 [1], the state of SplitMix64, for worlds that draw in compiled code.

    Timing, as in Unity: ticks are counted for all agents together, and every `decision_period` of them all agents
    decide. A terminal goes out in the tick after its episode's end: with the decisions of that tick, or else alone.
    Until its first decision a new episode executes zero actions. `reset()` sends no terminals, and one tick of zero
    actions passes before all decide.

    Arrays in returned steps are reused: they hold until the next call.
    """

    def __init__(
        self,
        name: str,
        seed: int,
        num_areas: int,
        parameters: _Parameters,
        *,
        agents: int,
        observation_specs: Sequence[ObservationSpec],
        action_spec: ActionSpec,
        agent_type: np.dtype[Any],
        decision_period: int = 1,
        team: int = 0,
        group_size: int = 0,
    ) -> None:
        """`group_size`: so many neighbours are a group each, with the ids 1, 2, ...; 0 is for agents without groups."""
        if agents < 1 or num_areas < 1:
            raise ValueError(f"{name} needs 1 agent and 1 area or more, got {agents} agents and {num_areas} areas")
        if group_size < 0 or (group_size and agents % group_size):
            raise ValueError(f"{name}: groups of {group_size} cannot be made of {agents} agents")
        self.name = name
        self.behavior = f"{name}?team={team}"
        self.behavior_specs = {self.behavior: BehaviorSpec(list(observation_specs), action_spec)}
        self.decision_period = decision_period
        count = agents * num_areas
        self.agents: NDArray[Any] = np.zeros(count, agent_type)
        self.continuous = np.zeros((count, action_spec.continuous_size), np.float32)
        self.discrete = np.zeros((count, action_spec.discrete_size), np.int32)
        kinds = {"continuous": self.continuous, "discrete": self.discrete}
        self._held = [(kind, actions) for kind, actions in kinds.items() if actions.shape[1]]
        self.rewards, self.group_rewards = np.zeros(count), np.zeros(count)
        self.ended = np.zeros(count, np.int8)
        self.step_counts = np.zeros(count, np.int64)
        self.random_state = np.array([int(seed) & 0xFFFFFFFFFFFFFFFF], np.uint64)
        from bridge import agent_world_loops  # only here, so that `import bridge.player` stays light

        self._loops = agent_world_loops
        self._any_ended = agent_world_loops.any_ended
        self._send_rewards = agent_world_loops.send_rewards
        self._parameters = parameters
        self._tick = -1  # before the first reset
        self._all = np.arange(count)
        self._over, self._told = np.zeros(count, np.int64), np.zeros(count, np.int64)
        # A terminal was sent, or is about to be, and no decision since: Unity then sends no second one.
        self._reported = np.zeros(count, np.bool_)
        # The outstanding message. Terminals fill the first rows of theirs.
        shapes = [(count, *spec.shape) for spec in observation_specs]
        self._observations = [np.zeros(shape, np.float32) for shape in shapes]
        self._sent_rewards = np.zeros(count, np.float32)
        self._terminals = 0
        self._terminal_observations = [np.zeros(shape, np.float32) for shape in shapes]
        self._terminal_rewards = np.zeros(count, np.float32)
        self._terminal_interrupted = np.zeros(count, np.bool_)
        self._terminal_ids = np.zeros(count, np.int32)
        self._terminal_group_ids = np.zeros(count, np.int32)
        self._terminal_group_rewards = np.zeros(count, np.float32)
        self._sent_group_rewards = np.zeros(count, np.float32)
        branches = [int(size) for size in action_spec.discrete_branches]
        self._masks = np.zeros((count, sum(branches)), np.bool_)
        masked = branches and type(self).mask_actions is not AgentWorld.mask_actions
        self._branch_masks = np.split(self._masks, np.cumsum(branches)[:-1], axis=1) if masked else []
        # What never changes.
        self._ids = np.arange(count, dtype=np.int32)
        self._grouped = group_size > 0
        self._group_ids = (1 + self._ids // group_size if group_size else np.zeros_like(self._ids)).astype(np.int32)
        self._no_decisions, self._all_decisions = self._decision_steps(0), self._decision_steps(count)
        self._views: dict[int, tuple[Any, ...]] = {}
        self._no_terminals = TerminalSteps(*self._terminal_views(0))

    # ---- what a world writes ----

    def begin(self, agents: NDArray[np.int64]) -> None:
        """Begin an episode for the agents numbered in `agents`."""
        raise NotImplementedError

    def tick(self) -> None:
        """Let every agent act once."""
        raise NotImplementedError

    def observe(self, agents: NDArray[np.int64], observations: list[NDArray[np.float32]]) -> None:
        """Write what the agents numbered in `agents` see to `observations`: an array [len(agents), *shape] for each."""
        raise NotImplementedError

    def mask_actions(self, masks: list[NDArray[np.bool_]]) -> None:
        """Mark what no agent may choose in the decision at hand, Unity's WriteDiscreteActionMask.

        `masks`: an array [agents, size] for each branch, all False as it comes; True is forbidden.
        """

    def advance(self, ticks: int) -> int:
        """Up to `ticks` ticks, no further than the first in which an episode ends; returns how many were done.

        A world may write this instead of `tick`, to do several ticks in one compiled call; it then adds to
        `self.step_counts` too, if it has a time limit.
        """
        for done in range(1, ticks + 1):
            self.step_counts += 1
            self.tick()
            if self.ended.any():
                return done
        return ticks

    def actions_changed(self, agents: NDArray[np.int64]) -> None:
        """Called when `self.continuous` and `self.discrete` of these agents have changed.

        For what a world computes from them; most just read them in `tick`.
        """

    def simulate(self, agents: NDArray[np.int64]) -> None:
        """The rest of the tick in which `agents` began anew: what a game engine simulates after all have acted.

        A world that moves nothing between the actions leaves this as it is.
        """

    # ---- what a world may use ----

    def uniform(self, low: float, high: float, count: int) -> NDArray[np.float64]:
        """The next `count` numbers of U(low, high)."""
        drawn: NDArray[np.float64] = low + (high - low) * self._loops.fractions(self.random_state, count)
        return drawn

    def parameter(self, key: str, default: float) -> float:
        """The environment parameter `key`. Raises UnityEnvironmentException when it is not finite."""
        value = float(self._parameters.get_with_default(key, default))
        if not math.isfinite(value):
            raise UnityEnvironmentException(f"{self.name}: environment parameter {key} must be finite, got {value}")
        return value

    @property
    def clock(self) -> int:
        """Ticks since the last reset, -1 before the first."""
        return self._tick

    # ---- the World ----

    def reset(self) -> Steps:
        """Begin an episode for every agent, without terminals, and let one tick pass; returns the decisions of tick 0.

        As in Unity, where the tick in which a reset arrives goes on: it executes zero actions, does not count for time
        limits, and adds its rewards to those not sent yet. The terminals in the result are of episodes that it ended.
        """
        self._tick = self._terminals = 0
        for _, actions in self._held:
            actions[...] = 0
        self.ended[...] = 0
        self.step_counts[...] = -1
        self.actions_changed(self._all)
        self.begin(self._all)
        self.advance(1)
        if self._any_ended(self.ended):
            self._end_episodes()
        self._collect()
        return self.message()

    def step(self, actions: Mapping[str, ActionTuple]) -> Steps:
        """Apply `actions` and run to the next message.

        `actions[behavior]` holds continuous float32 [agents, size] and discrete int32 [agents, branches] after a
        message with decisions, and is not looked at after another.
        """
        self._require_reset()
        if self._tick % self.decision_period == 0:
            self._take_actions(actions)
        self._terminals = 0
        self._advance_to_message()
        return self.message()

    def message(self) -> Steps:
        """The outstanding message once more: what `step`, `reset` or `load_state` returned, or `step_quietly` left."""
        decisions = self._no_decisions if self._tick % self.decision_period else self._all_decisions
        terminals = TerminalSteps(*self._terminal_views(self._terminals)) if self._terminals else self._no_terminals
        return {self.behavior: (decisions, terminals)}

    @property
    def can_be_quiet(self) -> bool:
        """Whether `step_quietly` may be called: all agents wait for a decision, and there are no groups or masks."""
        return self._tick >= 0 and not (self._tick % self.decision_period or self._grouped or self._branch_masks)

    def step_quietly(self, continuous: NDArray[np.float32], discrete: NDArray[np.int32]) -> bool:
        """`step` with the actions of all agents, for as long as its message would hold nothing but decisions.

        True: the arrays of the last message's decisions hold the new ones. False: `message()` tells of an end.
        """
        for held, new in zip((self.continuous, self.discrete), (continuous, discrete), strict=True):
            if held.shape[1]:
                held[...] = new
        self.actions_changed(self._all)
        self._terminals = 0
        return self._advance_to_message()

    def _advance_to_message(self) -> bool:
        """Runs until there is something to tell; returns whether no episode ended on the way."""
        left, quiet = self.decision_period - self._tick % self.decision_period, True  # ticks until all decide
        while True:
            done = self.advance(left)
            self._tick += done
            left -= done
            # Before the last tick, only an end stops it.
            if left or self._any_ended(self.ended):
                self._end_episodes()
                quiet = False
            if not left:
                self._collect()
                return quiet
            if self._terminals:
                return False

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of all that is needed to go on bit for bit, in dtypes that torch holds too; without the parameters.

        The fields of `agents` are called agent_FIELD. Raises RuntimeError before the first reset.
        """
        self._require_reset()
        state = {name: array.copy() for name, array in self._arrays().items()}
        state["clock"] = np.array([self._tick, self._terminals], np.int64)
        return state

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> Steps:
        """Continue from the `state()` of a world with as many agents; returns the message that was outstanding then."""
        saved = len(state["rewards"])
        if saved != len(self.agents):
            raise ValueError(f"the saved {self.name} world has {saved} agents, this one has {len(self.agents)}")
        for name, array in self._arrays().items():
            array[...] = state[name]
        self._tick, self._terminals = (int(value) for value in state["clock"])
        self.actions_changed(self._all)
        return self.message()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """Views of all that changes, except for the clock."""
        arrays: dict[str, NDArray[Any]] = {f"agent_{name}": self.agents[name] for name in self.agents.dtype.names or ()}
        for index, (observation, terminal) in enumerate(
            zip(self._observations, self._terminal_observations, strict=True)
        ):
            arrays |= {f"observation_{index}": observation, f"terminal_observation_{index}": terminal}
        arrays |= {
            "random": self.random_state.view(np.int64),
            "continuous": self.continuous,
            "discrete": self.discrete,
            "rewards": self.rewards,
            "step_counts": self.step_counts,
            "reported": self._reported,
            "sent_rewards": self._sent_rewards,
            "terminal_rewards": self._terminal_rewards,
            "terminal_interrupted": self._terminal_interrupted,
            "terminal_ids": self._terminal_ids,
        }
        if self._branch_masks:
            arrays["masks"] = self._masks
        if self._grouped:
            arrays |= {
                "group_rewards": self.group_rewards,
                "sent_group_rewards": self._sent_group_rewards,
                "terminal_group_rewards": self._terminal_group_rewards,
                "terminal_group_ids": self._terminal_group_ids,
            }
        return arrays

    def _require_reset(self) -> None:
        if self._tick < 0:
            raise RuntimeError(f"{self.name}: call reset() first")

    def _take_actions(self, actions: Mapping[str, ActionTuple]) -> None:
        given = actions.get(self.behavior)
        if given is None:
            raise ValueError(f"no actions for behavior {self.behavior}, whose agents wait for them")
        for kind, held in self._held:
            new = getattr(given, kind)
            if new.shape != held.shape:
                raise ValueError(f"{self.behavior}: {kind} actions must be {held.shape}, got {new.shape}")
            held[...] = new
        self.actions_changed(self._all)

    def _end_episodes(self) -> None:
        """Note the terminals of the episodes that have just ended, and begin the next ones."""
        overs, self._terminals = self._loops.end_episodes(
            self.ended,
            self._reported,
            self.rewards,
            self._terminal_rewards,
            self._terminal_interrupted,
            self._terminal_ids,
            self._over,
            self._told,
        )
        if self._terminals:
            told = self._told[: self._terminals]
            self.observe(told, self._terminal_views(self._terminals)[0])
            if self._grouped:
                self._terminal_group_ids[: len(told)] = self._group_ids[told]
                self._terminal_group_rewards[: len(told)] = self.group_rewards[told]
                self.group_rewards[told] = 0
        over = self._over[:overs]
        for _, actions in self._held:
            self._loops.clear_rows(actions, over)
        self.step_counts[over] = 0
        self.actions_changed(over)
        self.begin(over)
        self.simulate(over)

    def _collect(self) -> None:
        """Writes the message of a tick in which all decide."""
        self.observe(self._all, self._observations)
        self._send_rewards(self.rewards, self._sent_rewards, self._reported)
        if self._grouped:
            self._sent_group_rewards[...] = self.group_rewards
            self.group_rewards[...] = 0
        if self._branch_masks:
            self._masks[...] = False
            self.mask_actions(self._branch_masks)
            self._loops.require_choices(self.name, self._branch_masks)

    def _decision_steps(self, count: int) -> DecisionSteps:
        """Views of the first rows of the message's arrays."""
        return DecisionSteps(
            [observation[:count] for observation in self._observations],
            self._sent_rewards[:count],
            self._ids[:count],
            [mask[:count] for mask in self._branch_masks] or None,
            self._group_ids[:count],
            self._sent_group_rewards[:count],
        )

    def _terminal_views(self, count: int) -> tuple[Any, ...]:
        """The fields of TerminalSteps as views of their arrays' first rows, kept: most messages hold few terminals."""
        views = self._views.get(count)
        if views is None:
            views = self._views[count] = (
                [observation[:count] for observation in self._terminal_observations],
                self._terminal_rewards[:count],
                self._terminal_interrupted[:count],
                self._terminal_ids[:count],
                self._terminal_group_ids[:count],
                self._terminal_group_rewards[:count],
            )
        return views


def vector_observation(size: int) -> ObservationSpec:
    """The specification of Unity's vector of `size` numbers, as its VectorSensor names it."""
    return ObservationSpec((size,), (DimensionProperty.NONE,), ObservationType.DEFAULT, f"VectorSensor_size{size}")
