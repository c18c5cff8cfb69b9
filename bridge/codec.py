"""Protocol messages to arrays for all agents at once, and back; both sides.

Trainer: `behavior_spec_from_message`, `decode_steps`, `encode_actions`. Player: `encode_brain_parameters`,
`StepsEncoder`, `decode_actions`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

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

from bridge.exceptions import InvalidObservationError, UnityCommunicationException, UnityObservationException
from bridge.images import decode_png_observation
from bridge.messages import COMPRESSION_NONE, COMPRESSION_PNG, AgentInfoProto

Steps = dict[str, tuple[DecisionSteps, TerminalSteps]]

FloatArray = NDArray[np.float32]

_MOST_NUMBERS = 2**29  # in an observation: those of 2 GiB, protobuf's limit
_MOST_DIMENSIONS = 32  # numpy's limit until 2.0
_MOST_ACTIONS = 2**20  # of an agent, all branches together


# ---- the trainer's side ----


def behavior_spec_from_message(brain: Any, agent: Any) -> BehaviorSpec:
    """The specification of a behavior from its BrainParametersProto and the first AgentInfoProto seen of it.

    Raises UnityCommunicationException that names the behavior for what no game can mean, as a negative size.
    """
    observations = [
        _observation_spec(f"observation {index} of behavior '{brain.brain_name}'", observation)
        for index, observation in enumerate(agent.observations)
    ]
    proto = brain.action_spec
    if proto.num_continuous_actions == 0 and proto.num_discrete_actions == 0:  # a player from before API 1.3
        sizes = tuple(brain.vector_action_size_deprecated)
        if brain.vector_action_space_type_deprecated == 1:
            actions = ActionSpec(sizes[0] if sizes else 0, ())
        else:
            actions = ActionSpec(0, sizes)
    else:
        actions = ActionSpec(proto.num_continuous_actions, tuple(proto.discrete_branch_sizes))
    sizes = (actions.continuous_size, *actions.discrete_branches)
    if min(sizes) < 0 or 0 in actions.discrete_branches or sum(sizes) > _MOST_ACTIONS:
        raise UnityCommunicationException(
            f"behavior '{brain.brain_name}' is announced with the actions {actions}, which no agent can have"
        )
    return BehaviorSpec(observations, actions)


def _observation_spec(what: str, observation: Any) -> ObservationSpec:
    shape = tuple(observation.shape)
    properties = tuple(DimensionProperty(flag) for flag in observation.dimension_properties)
    numbers = math.prod(max(size, 1) for size in shape)  # numpy minds the others even beside a 0
    if any(size < 0 for size in shape) or numbers > _MOST_NUMBERS or len(shape) > _MOST_DIMENSIONS:
        raise UnityCommunicationException(f"{what} is announced with the shape {shape}, which no observation can have")
    if properties and len(properties) != len(shape):
        raise UnityCommunicationException(
            f"{what} is announced with properties of {len(properties)} dimensions, but its shape is {shape}"
        )
    if observation.observation_type not in [each.value for each in ObservationType]:
        raise UnityCommunicationException(
            f"{what} is announced with the type {observation.observation_type}, which ML-Agents does not have"
        )
    return ObservationSpec(
        name=observation.name,
        shape=shape,
        observation_type=ObservationType(observation.observation_type),
        dimension_property=properties or (DimensionProperty.UNSPECIFIED,) * len(shape),
    )


def decode_steps(name: str, spec: BehaviorSpec, agents: Sequence[Any]) -> tuple[DecisionSteps, TerminalSteps]:
    """AgentInfoProtos of one behavior to arrays; rows keep the message's order within decisions and within terminals.

    Raises UnityObservationException that names the behavior, observation and agent for a wrong shape; for NaN or
    infinity it is an InvalidObservationError.
    """
    deciding = [agent for agent in agents if not agent.done]
    ended = [agent for agent in agents if agent.done]
    decisions = DecisionSteps(
        _decode_observations(name, spec, deciding),
        _floats(agent.reward for agent in deciding),
        _integers(agent.id for agent in deciding),
        _decode_masks(spec.action_spec, deciding),
        _integers(agent.group_id for agent in deciding),
        _floats(agent.group_reward for agent in deciding),
    )
    terminals = TerminalSteps(
        _decode_observations(name, spec, ended),
        _floats(agent.reward for agent in ended),
        np.fromiter((agent.max_step_reached for agent in ended), dtype=np.bool_),
        _integers(agent.id for agent in ended),
        _integers(agent.group_id for agent in ended),
        _floats(agent.group_reward for agent in ended),
    )
    check_steps(name, spec, decisions, terminals)
    return decisions, terminals


def _floats(values: Any) -> FloatArray:
    return np.fromiter(values, dtype=np.float32)


def _integers(values: Any) -> NDArray[np.int32]:
    return np.fromiter(values, dtype=np.int32)


def _all_finite(values: FloatArray) -> bool:
    # The sum of their squares is infinite or NaN if any of them is; it also is where the sum overflows.
    return math.isfinite(np.vdot(values, values)) or bool(np.isfinite(values).all())


def check_finite(values: FloatArray, what: str, name: str, agent_ids: Sequence[int] | NDArray[np.int32]) -> None:
    """Raises InvalidObservationError that names all three if any of `values` [agents, ...] is NaN or infinite."""
    if _all_finite(values):
        return
    rows = values.reshape(len(agent_ids), -1)
    worst = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
    kind = "NaN" if np.isnan(rows[worst]).any() else "infinite"
    raise InvalidObservationError(
        f"{what} of agent {agent_ids[worst]} of behavior '{name}' is {kind}; look for a division by zero or a body "
        "that left the world in the environment's code"
    )


def check_steps(name: str, spec: BehaviorSpec, decisions: DecisionSteps, terminals: TerminalSteps) -> None:
    """The same for everything a behavior reported."""
    for steps in (decisions, terminals):
        if len(steps) == 0:
            continue
        for index, observation in enumerate(steps.obs):
            if _all_finite(observation):
                continue
            what = f"observation {index} ({spec.observation_specs[index].name or 'no name'})"
            check_finite(observation, what, name, steps.agent_id)
        check_finite(steps.reward, "the reward", name, steps.agent_id)
        check_finite(steps.group_reward, "the group reward", name, steps.agent_id)


def _decode_observations(name: str, spec: BehaviorSpec, agents: Sequence[Any]) -> list[FloatArray]:
    count = len(spec.observation_specs)
    for agent in agents:
        if len(agent.observations) != count:
            raise UnityObservationException(
                f"agent {agent.id} of behavior '{name}' sent {len(agent.observations)} observations, its specification "
                f"has {count}"
            )
    return [
        _decode_observation(name, index, observation, agents)
        for index, observation in enumerate(spec.observation_specs)
    ]


def _decode_observation(name: str, index: int, spec: ObservationSpec, agents: Sequence[Any]) -> FloatArray:
    shape = (len(agents), *spec.shape)
    if not agents:
        return np.zeros(shape, dtype=np.float32)
    what = f"observation {index} ({spec.name or 'no name'})"
    if agents[0].observations[index].compression_type == COMPRESSION_PNG:
        return np.stack([_decode_image(name, what, agent.observations[index], spec, agent.id) for agent in agents])
    size = math.prod(spec.shape)
    values: list[float] = []
    for row, agent in enumerate(agents, start=1):
        values.extend(agent.observations[index].float_data.data)
        if len(values) != row * size:
            count = len(values) - (row - 1) * size
            raise UnityObservationException(
                f"{what} of agent {agent.id} of behavior '{name}' has {count} values, its shape {spec.shape} has {size}"
            )
    return np.array(values, dtype=np.float32).reshape(shape)


def _decode_image(name: str, what: str, observation: Any, spec: ObservationSpec, agent_id: int) -> FloatArray:
    mapping = list(observation.compressed_channel_mapping)
    try:
        return decode_png_observation(observation.compressed_data, spec.shape, mapping, spec.dimension_property)
    except UnityObservationException as error:
        raise UnityObservationException(f"{what} of agent {agent_id} of behavior '{name}': {error}") from error


def _decode_masks(spec: ActionSpec, agents: Sequence[Any]) -> list[NDArray[np.bool_]] | None:
    """One [agents, branch_size] each, True = forbidden. A mask of another length than their sum is ignored."""
    if spec.discrete_size == 0:
        return None
    branches = [int(size) for size in spec.discrete_branches]
    total = sum(branches)
    masks = np.zeros((len(agents), total), dtype=np.bool_)
    for row, agent in enumerate(agents):
        if len(agent.action_mask) == total:
            masks[row] = agent.action_mask
    return np.split(masks, np.cumsum(branches)[:-1], axis=1)


def encode_actions(rl_input: Any, name: str, action: ActionTuple, *, deprecated_too: bool) -> None:
    """Appends the actions of one behavior, in the order of its decision rows.

    `deprecated_too` also fills the field that players before API 1.3 read.
    """
    continuous = action.continuous.tolist() if action.continuous.shape[1] else None
    discrete = action.discrete.tolist() if action.discrete.shape[1] else None
    add = rl_input.agent_actions[name].value.add
    for row in range(len(action.continuous)):
        message = add()
        if continuous is not None:
            message.continuous_actions.extend(continuous[row])
            if deprecated_too:
                message.vector_actions_deprecated.extend(continuous[row])
        if discrete is not None:
            message.discrete_actions.extend(discrete[row])
            if deprecated_too:
                message.vector_actions_deprecated.extend(discrete[row])


# ---- the player's side ----


def encode_brain_parameters(message: Any, name: str, spec: BehaviorSpec) -> None:
    """Fills a BrainParametersProto."""
    message.brain_name = name
    message.is_training = True
    message.action_spec.num_continuous_actions = spec.action_spec.continuous_size
    message.action_spec.num_discrete_actions = spec.action_spec.discrete_size
    message.action_spec.discrete_branch_sizes.extend(int(size) for size in spec.action_spec.discrete_branches)


class StepsEncoder:
    """Arrays of one behavior to AgentInfoProtos; what is the same for every agent is written once and copied."""

    def __init__(self, spec: BehaviorSpec) -> None:
        self.template = AgentInfoProto()
        for observation_spec in spec.observation_specs:
            observation = self.template.observations.add()
            observation.shape.extend(observation_spec.shape)
            observation.compression_type = COMPRESSION_NONE
            observation.dimension_properties.extend(int(flag) for flag in observation_spec.dimension_property)
            observation.observation_type = observation_spec.observation_type.value
            observation.name = observation_spec.name

    def encode(self, agents: Any, decisions: DecisionSteps, terminals: TerminalSteps) -> None:
        """Appends to a repeated AgentInfoProto: terminals first, then decisions, each in row order."""
        self._append(agents, terminals, interrupted=terminals.interrupted.tolist(), masks=None)
        masks = decisions.action_mask
        joined = None
        if masks is not None and any(mask.any() for mask in masks):
            joined = np.concatenate(masks, axis=1).tolist()
        self._append(agents, decisions, interrupted=None, masks=joined)

    def _append(
        self,
        agents: Any,
        steps: DecisionSteps | TerminalSteps,
        *,
        interrupted: list[bool] | None,
        masks: list[list[bool]] | None,
    ) -> None:
        count = len(steps.agent_id)
        observations = [array.reshape(count, -1).tolist() for array in steps.obs] if count else []
        rewards, ids = steps.reward.tolist(), steps.agent_id.tolist()
        groups, group_rewards = steps.group_id.tolist(), steps.group_reward.tolist()
        for row in range(count):
            agent = agents.add()
            agent.CopyFrom(self.template)
            agent.reward = rewards[row]
            agent.id = ids[row]
            agent.group_id = groups[row]
            agent.group_reward = group_rewards[row]
            for index, values in enumerate(observations):
                agent.observations[index].float_data.data.extend(values[row])
            if interrupted is not None:
                agent.done = True
                agent.max_step_reached = interrupted[row]
            if masks is not None:
                agent.action_mask.extend(masks[row])


def decode_actions(
    agent_actions: Any, specs: Mapping[str, BehaviorSpec], counts: Mapping[str, int]
) -> dict[str, ActionTuple]:
    """The actions for `counts[name]` waiting agents of each behavior.

    They are continuous [agents, size] and discrete [agents, branches]. Raises UnityCommunicationException when the
    trainer sent another number of actions or of values than asked for.
    """
    actions = {}
    for name, count in counts.items():
        if count == 0:
            continue
        spec = specs[name].action_spec
        values = agent_actions[name].value if name in agent_actions else ()
        if len(values) != count:
            raise UnityCommunicationException(
                f"the trainer sent {len(values)} actions for {count} waiting agents of behavior '{name}'"
            )
        continuous: list[float] = []
        discrete: list[int] = []
        for action in values:
            continuous.extend(action.continuous_actions)
            discrete.extend(action.discrete_actions)
        if len(continuous) != count * spec.continuous_size or len(discrete) != count * spec.discrete_size:
            raise UnityCommunicationException(
                f"the trainer sent {len(continuous)} continuous and {len(discrete)} discrete values for {count} agents "
                f"of behavior '{name}', whose action specification is {spec}"
            )
        actions[name] = ActionTuple(
            np.array(continuous, dtype=np.float32).reshape(count, spec.continuous_size),
            np.array(discrete, dtype=np.int32).reshape(count, spec.discrete_size),
        )
    return actions
