"""Steps and actions survive the wire, and what cannot be right is refused by name."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st
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

from bridge.codec import (
    StepsEncoder,
    behavior_spec_from_message,
    decode_actions,
    decode_steps,
    encode_actions,
    encode_brain_parameters,
)
from bridge.exceptions import InvalidObservationError, UnityCommunicationException, UnityObservationException
from bridge.messages import AgentInfoProto, BrainParametersProto, UnityMessageProto

NAME = "Walker?team=0"
FLAGS = DimensionProperty

examples = settings(deadline=None, max_examples=60)


# ---- what hypothesis makes up ----

shapes = st.lists(st.integers(1, 4), min_size=0, max_size=3).map(tuple)
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
int32 = st.integers(-(2**31), 2**31 - 1)


@st.composite
def observation_specs(draw):
    shape = draw(shapes)
    properties = tuple(draw(st.sampled_from([*FLAGS])) for _ in shape)
    kind = draw(st.sampled_from([*ObservationType]))
    return ObservationSpec(shape, properties, kind, draw(st.text(max_size=8)))


action_specs = st.builds(ActionSpec, st.integers(0, 3), st.lists(st.integers(1, 4), max_size=3).map(tuple)).filter(
    lambda spec: spec.continuous_size or spec.discrete_size
)
behavior_specs = st.builds(BehaviorSpec, st.lists(observation_specs(), max_size=3), action_specs)


def arrays(count, *shape, dtype=np.float32, elements=numbers):
    return numpy_st.arrays(dtype, (count, *shape), elements=elements)


@st.composite
def behaviors(draw):
    """A specification with decisions and terminals of it; an agent may be in both."""
    spec = draw(behavior_specs)
    ids = st.lists(int32, unique=True, max_size=4).map(lambda each: np.array(each, np.int32))
    parts = []
    for agent_ids in (draw(ids), draw(ids)):
        count = len(agent_ids)
        observations = [draw(arrays(count, *observation.shape)) for observation in spec.observation_specs]
        rewards, group_rewards = draw(arrays(count)), draw(arrays(count))
        groups = draw(arrays(count, dtype=np.int32, elements=int32))
        parts.append((observations, rewards, agent_ids, groups, group_rewards))
    (observations, rewards, agent_ids, groups, group_rewards), ended = parts
    masks = None
    if spec.action_spec.discrete_size:
        flags = st.booleans()
        masks = [draw(arrays(len(agent_ids), size, dtype=np.bool_, elements=flags)) for size in spec[1][1]]
    decisions = DecisionSteps(observations, rewards, agent_ids, masks, groups, group_rewards)
    interrupted = draw(arrays(len(ended[2]), dtype=np.bool_, elements=st.booleans()))
    return spec, decisions, TerminalSteps(*ended[:2], interrupted, *ended[2:])


def over_the_wire(spec: BehaviorSpec, decisions: DecisionSteps, terminals: TerminalSteps) -> UnityMessageProto:
    message = UnityMessageProto()
    output = message.unity_output
    encode_brain_parameters(output.rl_initialization_output.brain_parameters.add(), NAME, spec)
    StepsEncoder(spec).encode(output.rl_output.agentInfos[NAME].value, decisions, terminals)
    return UnityMessageProto.FromString(message.SerializeToString())


def assert_equal(seen, sent) -> None:
    names = ["reward", "agent_id", "group_id", "group_reward"]
    names += ["interrupted"] if isinstance(sent, TerminalSteps) else []
    for name in names:
        np.testing.assert_array_equal(getattr(seen, name), getattr(sent, name), err_msg=name)
        assert getattr(seen, name).dtype == getattr(sent, name).dtype
    assert len(seen.obs) == len(sent.obs)
    for ours, theirs in zip(seen.obs, sent.obs, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)


class TestRoundTrip:
    @examples
    @given(behaviors())
    def test_of_steps(self, behavior) -> None:
        spec, decisions, terminals = behavior
        output = over_the_wire(spec, decisions, terminals).unity_output
        seen_decisions, seen_terminals = decode_steps(NAME, spec, output.rl_output.agentInfos[NAME].value)
        assert_equal(seen_decisions, decisions)
        assert_equal(seen_terminals, terminals)
        if decisions.action_mask is None:
            assert seen_decisions.action_mask is None
        else:
            assert [mask.dtype for mask in seen_decisions.action_mask] == [np.bool_] * len(decisions.action_mask)
            for ours, theirs in zip(seen_decisions.action_mask, decisions.action_mask, strict=True):
                np.testing.assert_array_equal(ours, theirs)

    @examples
    @given(behaviors().filter(lambda behavior: len(behavior[1]) + len(behavior[2])))
    def test_of_specifications(self, behavior) -> None:
        output = over_the_wire(*behavior).unity_output
        (brain,) = output.rl_initialization_output.brain_parameters
        seen = behavior_spec_from_message(brain, output.rl_output.agentInfos[NAME].value[0])
        assert brain.brain_name == NAME
        assert seen == behavior[0]

    @examples
    @given(action_specs, st.integers(1, 4), st.data())
    def test_of_actions(self, spec: ActionSpec, agents: int, data) -> None:
        continuous = data.draw(arrays(agents, spec.continuous_size))
        discrete = data.draw(arrays(agents, spec.discrete_size, dtype=np.int32, elements=st.integers(0, 3)))
        message = UnityMessageProto()
        encode_actions(message.unity_input.rl_input, NAME, ActionTuple(continuous, discrete), deprecated_too=False)
        rl_input = UnityMessageProto.FromString(message.SerializeToString()).unity_input.rl_input
        seen = decode_actions(rl_input.agent_actions, {NAME: BehaviorSpec([], spec)}, {NAME: agents, "Other": 0})
        assert list(seen) == [NAME]
        np.testing.assert_array_equal(seen[NAME].continuous, continuous)
        np.testing.assert_array_equal(seen[NAME].discrete, discrete)
        assert (seen[NAME].continuous.dtype, seen[NAME].discrete.dtype) == (np.float32, np.int32)


# ---- single messages ----


def agent(*observations, **fields) -> AgentInfoProto:
    """An AgentInfoProto with vector observations."""
    info = AgentInfoProto(**fields)
    for index, values in enumerate(observations):
        observation = info.observations.add(name=f"Sensor{index}", shape=[len(values)], dimension_properties=[1])
        observation.float_data.data.extend(values)
    return info


def vectors(*sizes: int) -> list[ObservationSpec]:
    return [
        ObservationSpec((size,), (FLAGS.NONE,), ObservationType.DEFAULT, f"Sensor{index}")
        for index, size in enumerate(sizes)
    ]


def decode(spec: BehaviorSpec, *agents: AgentInfoProto) -> tuple[DecisionSteps, TerminalSteps]:
    return decode_steps(NAME, spec, agents)


TWO = BehaviorSpec(vectors(2, 1), ActionSpec.create_continuous(1))


def test_an_agent_that_ended_and_decides_in_one_message_is_in_both() -> None:
    decisions, terminals = decode(
        TWO,
        agent([1, 2], [3], id=7, reward=0.5, done=True, max_step_reached=True, group_id=2, group_reward=4),
        agent([5, 6], [7], id=8, reward=1.0),
        agent([9, 9], [9], id=7, reward=0.0),
    )
    assert terminals.agent_id.tolist() == [7]
    assert terminals.interrupted.tolist() == [True]
    assert (terminals.group_id.tolist(), terminals.group_reward.tolist()) == ([2], [4])
    assert terminals.obs[0].tolist() == [[1, 2]]
    assert decisions.agent_id.tolist() == [8, 7]
    assert decisions.obs[1].tolist() == [[7], [9]]
    assert decisions[7].reward == 0.0


def test_a_player_writes_terminals_first() -> None:
    decisions, terminals = decode(TWO, agent([1, 2], [3], id=4), agent([1, 2], [3], id=4, done=True))
    message = over_the_wire(TWO, decisions, terminals)
    assert [info.done for info in message.unity_output.rl_output.agentInfos[NAME].value] == [True, False]


def test_no_agents_give_arrays_of_no_rows() -> None:
    decisions, terminals = decode(BehaviorSpec(vectors(2), ActionSpec(0, (3, 2))))
    assert decisions.obs[0].shape == terminals.obs[0].shape == (0, 2)
    assert [mask.shape for mask in decisions.action_mask] == [(0, 3), (0, 2)]
    assert len(decisions) == len(terminals) == 0


class TestMasks:
    SPEC = BehaviorSpec(vectors(1), ActionSpec(0, (2, 3)))

    def test_true_forbids_and_branches_follow_each_other(self) -> None:
        decisions, _ = decode(self.SPEC, agent([0], action_mask=[True, False, False, False, True]))
        assert [mask.tolist() for mask in decisions.action_mask] == [[[True, False]], [[False, False, True]]]

    @pytest.mark.parametrize("length", [0, 2, 4, 6])
    def test_one_of_another_length_is_ignored(self, length: int) -> None:
        decisions, _ = decode(
            self.SPEC, agent([0], id=0, action_mask=[True] * length), agent([0], id=1, action_mask=[True] * 5)
        )
        assert [mask.any(axis=1).tolist() for mask in decisions.action_mask] == [[False, True], [False, True]]

    def test_there_is_none_without_discrete_actions(self) -> None:
        decisions, _ = decode(TWO, agent([0, 0], [0], action_mask=[True]))
        assert decisions.action_mask is None


class TestWhatIsNoNumber:
    @pytest.mark.parametrize(
        ("value", "kind"), [(math.nan, "NaN"), (math.inf, "infinite"), (-math.inf, "infinite")], ids=str
    )
    @pytest.mark.parametrize("done", [False, True])
    def test_in_an_observation_is_an_error_that_names_it(self, value: float, kind: str, done: bool) -> None:
        with pytest.raises(InvalidObservationError) as error:
            decode(
                TWO,
                agent([0, 0], [0], id=3),
                agent([0, 0], [0], id=3, done=True),
                agent([0, 0], [value], id=12, done=done),
            )
        text = str(error.value)
        assert text.startswith(f"observation 1 (Sensor1) of agent 12 of behavior '{NAME}' is {kind}")
        assert "\n" not in text

    @pytest.mark.parametrize(("field", "words"), [("reward", "the reward"), ("group_reward", "the group reward")])
    def test_in_a_reward(self, field: str, words: str) -> None:
        with pytest.raises(InvalidObservationError, match=f"^{words} of agent 5 of behavior"):
            decode(TWO, agent([0, 0], [0], id=4), agent([0, 0], [0], id=5, **{field: math.nan}))

    def test_infinities_do_not_cancel_out(self) -> None:
        with pytest.raises(InvalidObservationError, match="observation 0"):
            decode(TWO, agent([math.inf, -math.inf], [0]))

    def test_is_a_runtime_error_as_in_the_official_client(self) -> None:
        with pytest.raises(RuntimeError):
            decode(TWO, agent([math.nan, 0], [0]))

    def test_huge_numbers_are_numbers(self) -> None:
        huge = float(np.finfo(np.float32).max)
        decisions, _ = decode(TWO, *(agent([huge, huge], [-huge], id=k, reward=huge) for k in range(100)))
        assert np.isfinite(decisions.obs[0]).all()


class TestWrongCounts:
    def test_of_values(self) -> None:
        message = (
            r"^observation 1 \(Sensor1\) of agent 9 of behavior 'Walker\?team=0' has 2 values, its shape \(1,\) has 1$"
        )
        with pytest.raises(UnityObservationException, match=message):
            decode(TWO, agent([0, 0], [0], id=8), agent([0, 0], [0, 0], id=9))

    def test_a_surplus_does_not_make_up_for_a_lack(self) -> None:
        with pytest.raises(UnityObservationException, match=r"agent 8 .* has 1 values"):
            decode(TWO, agent([0], [0], id=8), agent([0, 0, 0], [0], id=9))

    def test_of_observations(self) -> None:
        with pytest.raises(UnityObservationException, match=r"agent 9 of .* sent 1 observations, .* has 2"):
            decode(TWO, agent([0, 0], id=9))

    @pytest.mark.parametrize(("actions", "sent"), [(1, "1 actions"), (3, "3 actions"), (0, "0 actions")])
    def test_of_actions(self, actions: int, sent: str) -> None:
        message = UnityMessageProto()
        if actions:
            encode_actions(
                message.unity_input.rl_input,
                NAME,
                ActionTuple(np.zeros((actions, 1), np.float32)),
                deprecated_too=False,
            )
        with pytest.raises(UnityCommunicationException, match=f"sent {sent} for 2 waiting agents of behavior"):
            decode_actions(message.unity_input.rl_input.agent_actions, {NAME: TWO}, {NAME: 2})

    @pytest.mark.parametrize(
        "action", [ActionTuple(np.zeros((2, 2), np.float32)), ActionTuple(discrete=np.zeros((2, 1)))]
    )
    def test_of_action_values(self, action: ActionTuple) -> None:
        message = UnityMessageProto()
        encode_actions(message.unity_input.rl_input, NAME, action, deprecated_too=False)
        with pytest.raises(UnityCommunicationException, match=r"continuous and . discrete values for 2 agents"):
            decode_actions(message.unity_input.rl_input.agent_actions, {NAME: TWO}, {NAME: 2})


class TestPlayersFromBeforeApi13:
    @pytest.mark.parametrize(
        ("space", "sizes", "spec"),
        [(1, [3], ActionSpec(3, ())), (0, [3, 2], ActionSpec(0, (3, 2))), (0, [4], ActionSpec(0, (4,)))],
    )
    def test_their_action_sizes_are_in_the_deprecated_fields(self, space: int, sizes: list[int], spec) -> None:
        brain = BrainParametersProto(
            brain_name=NAME, vector_action_size_deprecated=sizes, vector_action_space_type_deprecated=space
        )
        assert behavior_spec_from_message(brain, agent([1, 2])).action_spec == spec

    def test_they_get_their_actions_in_the_deprecated_field_too(self) -> None:
        action = ActionTuple(np.array([[0.5], [1.0]], np.float32), np.array([[2], [3]]))
        message = UnityMessageProto()
        encode_actions(message.unity_input.rl_input, NAME, action, deprecated_too=True)
        sent = message.unity_input.rl_input.agent_actions[NAME].value
        assert [list(each.vector_actions_deprecated) for each in sent] == [[0.5, 2], [1, 3]]
        assert [list(each.discrete_actions) for each in sent] == [[2], [3]]

    def test_their_axes_are_unspecified(self) -> None:
        info = agent([1, 2])
        del info.observations[0].dimension_properties[:]
        brain = BrainParametersProto(brain_name=NAME, action_spec={"num_continuous_actions": 1})
        (spec,) = behavior_spec_from_message(brain, info).observation_specs
        assert spec.dimension_property == (FLAGS.UNSPECIFIED,)
