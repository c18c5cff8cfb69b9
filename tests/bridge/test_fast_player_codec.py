"""The player's fast codec writes what protobuf writes and reads what protobuf reads, or leaves it to protobuf."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
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

from bridge.codec import StepsEncoder, decode_actions, encode_actions
from bridge.messages import COMMAND_RESET, STATUS_OK, UnityMessageProto

pytestmark = pytest.mark.filterwarnings("error")

examples = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

# ---- what hypothesis makes up ----

numbers = st.floats(width=32)
int32 = st.integers(-(2**31), 2**31 - 1)
names = st.text(max_size=6)


@st.composite
def specifications(draw) -> BehaviorSpec:
    shapes = draw(st.lists(st.lists(st.integers(0, 3), max_size=3).map(tuple), max_size=3))
    observations = [
        ObservationSpec(
            shape,
            tuple(draw(st.sampled_from([*DimensionProperty])) for _ in shape),
            draw(st.sampled_from([*ObservationType])),
            draw(names),
        )
        for shape in shapes
    ]
    branches = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    return BehaviorSpec(observations, ActionSpec(draw(st.integers(0, 3)), branches))


def array(draw, dtype, elements, *shape: int) -> np.ndarray:
    return draw(numpy_st.arrays(dtype, shape, elements=elements))


@st.composite
def reports(draw, spec: BehaviorSpec) -> tuple[DecisionSteps, TerminalSteps]:
    parts = []
    for count in (draw(st.integers(0, 3)), draw(st.integers(0, 2))):
        observations = [array(draw, np.float32, numbers, count, *each.shape) for each in spec.observation_specs]
        floats = [array(draw, np.float32, numbers, count) for _ in range(2)]
        integers = [array(draw, np.int32, int32, count) for _ in range(2)]
        parts.append((count, observations, floats, integers))
    (count, observations, (reward, group_reward), (identity, group)), ended = parts
    masks = None
    if draw(st.booleans()):
        sizes = spec.action_spec.discrete_branches
        masks = [array(draw, np.bool_, st.booleans(), count, size) for size in sizes] or None
    decisions = DecisionSteps(observations, reward, identity, masks, group, group_reward)
    count, observations, (reward, group_reward), (identity, group) = ended
    interrupted = array(draw, np.bool_, st.booleans(), count)
    return decisions, TerminalSteps(observations, reward, interrupted, identity, group, group_reward)


def by_protobuf(specs, steps, side_channel: bytes) -> bytes:
    made = UnityMessageProto(header={"status": STATUS_OK})
    output = made.unity_output.rl_output
    for name, (decisions, terminals) in steps.items():
        if len(decisions) + len(terminals):
            StepsEncoder(specs[name]).encode(output.agentInfos[name].value, decisions, terminals)
    output.side_channel = side_channel
    return made.SerializeToString()


# ---- writing ----


class TestSteps:
    @examples
    @given(st.data())
    def test_are_the_bytes_of_protobuf(self, wire_codec, draw) -> None:
        specs = draw.draw(st.dictionaries(names, specifications(), max_size=3))
        codec = wire_codec.PlayerCodec(specs)
        for _ in range(2):
            steps = {name: draw.draw(reports(spec)) for name, spec in specs.items()}
            side_channel = draw.draw(st.binary(max_size=200))
            seen, expected = codec.encode_steps(steps, side_channel), by_protobuf(specs, steps, side_channel)
            assert len(seen) == len(expected)
            if sum(len(decisions) + len(terminals) > 0 for decisions, terminals in steps.values()) > 1:
                # In which order behaviors come is up to protobuf.
                assert sorted(seen) == sorted(expected)
                seen, expected = UnityMessageProto.FromString(seen), UnityMessageProto.FromString(expected)
                seen, expected = (each.SerializeToString(deterministic=True) for each in (seen, expected))
            assert seen == expected

    def test_may_be_in_wider_numbers_of_any_layout(self, wire_codec) -> None:
        decisions, terminals = echo(3)
        decisions.obs = [np.asfortranarray(decisions.obs[0].astype(np.float64))]
        decisions.reward = np.array([1e300, 0.1, -0.0])
        decisions.agent_id = np.array([-1, 2**31 - 1, 5])
        decisions.group_id = np.arange(6, dtype=np.uint8)[::2]
        decisions.group_reward.flags.writeable = False
        steps = {"Echo": (decisions, terminals)}
        assert wire_codec.PlayerCodec(ECHO).encode_steps(steps, b"") == by_protobuf(ECHO, steps, b"")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("obs", []),
            ("obs", [np.zeros((3, 4), np.float32)]),
            ("obs", [np.zeros((3, 1, 2), np.float32)]),
            ("obs", [np.zeros((3, 2), np.int32)]),
            ("reward", np.zeros(1, np.float32)),
            ("agent_id", np.array([1, 2, 2**31])),
            ("group_id", np.zeros(3, np.float32)),
            ("action_mask", []),
            ("action_mask", [np.zeros((3, 3), np.bool_)]),
            ("action_mask", [np.zeros((3, 2), np.int32)]),
        ],
    )
    def test_that_break_the_specification_are_left_to_protobuf(self, wire_codec, field: str, value) -> None:
        decisions, terminals = echo(3)
        setattr(decisions, field, value)
        assert wire_codec.PlayerCodec(ECHO).encode_steps({"Echo": (decisions, terminals)}, b"") is None

    def test_of_an_unknown_behavior_are_left_to_protobuf(self, wire_codec) -> None:
        assert wire_codec.PlayerCodec({}).encode_steps({"Echo": echo(1)}, b"") is None

    def test_may_be_of_more_agents_and_of_fewer(self, wire_codec) -> None:
        codec = wire_codec.PlayerCodec(ECHO)
        for agents in (1, 50, 3, 0, 50):
            steps = {"Echo": echo(agents)}
            assert codec.encode_steps(steps, b"x") == by_protobuf(ECHO, steps, b"x")


ECHO = {
    "Echo": BehaviorSpec(
        [ObservationSpec((2,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "last action")], ActionSpec(2, (2,))
    )
}


def echo(agents: int) -> tuple[DecisionSteps, TerminalSteps]:
    floats = np.arange(agents, dtype=np.float32)
    mask = [np.arange(2 * agents).reshape(agents, 2) % 3 == 1]
    integers = np.arange(agents, dtype=np.int32)
    decisions = DecisionSteps([np.ones((agents, 2), np.float32)], floats, integers, mask, integers, floats)
    return decisions, TerminalSteps.empty(ECHO["Echo"])


# ---- reading ----


def written(actions, side_channel: bytes = b"", command: int = 0, deprecated_too: bool = False) -> bytes:
    made = UnityMessageProto(header={"status": STATUS_OK})
    rl_input = made.unity_input.rl_input
    rl_input.side_channel, rl_input.command = side_channel, command
    for name, action in actions.items():
        encode_actions(rl_input, name, action, deprecated_too=deprecated_too)
    return made.SerializeToString()


def check(codec, specs, counts, data: bytes) -> None:
    """The message may be anything; what is not left to protobuf is the same."""
    seen = codec.decode_actions(data, counts)
    if seen is None:
        return
    parsed = UnityMessageProto.FromString(data)
    assert parsed.header.status == STATUS_OK
    rl_input = parsed.unity_input.rl_input
    assert (rl_input.command, rl_input.side_channel) == (0, seen[1])
    expected = decode_actions(rl_input.agent_actions, specs, counts)
    assert list(seen[0]) == list(expected)
    for name, action in expected.items():
        for ours, theirs in ((seen[0][name].continuous, action.continuous), (seen[0][name].discrete, action.discrete)):
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            np.testing.assert_array_equal(ours, theirs)


class TestActions:
    @examples
    @given(st.data())
    def test_are_those_of_protobuf(self, wire_codec, draw) -> None:
        specs = draw.draw(st.dictionaries(names, specifications(), max_size=3))
        counts = {name: draw.draw(st.integers(0, 3)) for name in specs}
        actions = {
            name: ActionTuple(
                array(draw.draw, np.float32, numbers, counts[name], spec.action_spec.continuous_size),
                array(draw.draw, np.int32, int32, counts[name], spec.action_spec.discrete_size),
            )
            for name, spec in specs.items()
            if counts[name]
        }
        data = written(actions, draw.draw(st.binary(max_size=9)), deprecated_too=draw.draw(st.booleans()))
        codec = wire_codec.PlayerCodec(specs)
        assert codec.decode_actions(data, counts) is not None
        check(codec, specs, counts, data)

    def test_of_messages_with_one_wrong_byte(self, wire_codec) -> None:
        codec = wire_codec.PlayerCodec(ECHO)
        action = ActionTuple(np.ones((2, 2), np.float32), np.array([[-1], [300]]))
        data = written({"Echo": action}, b"xyz", deprecated_too=True)
        for at, byte in enumerate(data):
            check(codec, ECHO, {"Echo": 2}, data[:at])
            for changed in {0, 1, 2, 0x0A, 0x7F, 0x80, 0xFF, *(byte ^ 1 << bit for bit in range(8))} - {byte}:
                check(codec, ECHO, {"Echo": 2}, data[:at] + bytes([changed]) + data[at + 1 :])

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            written({}, command=COMMAND_RESET),
            written({}),
            written({"Echo": ActionTuple(np.ones((2, 2), np.float32))}),
            written({"Echo": ActionTuple(np.ones((3, 2), np.float32), np.ones((3, 1), np.int32))}),
            written({"Other": ActionTuple(np.ones((2, 2), np.float32), np.ones((2, 1), np.int32))}),
            UnityMessageProto(header={"status": 400}).SerializeToString(),
            UnityMessageProto(unity_input={"rl_initialization_input": {}}, header={"status": 200}).SerializeToString(),
        ],
        ids=["nothing", "reset", "no actions", "too few values", "too many agents", "others", "stop", "start"],
    )
    def test_what_is_rare_is_left_to_protobuf(self, wire_codec, data: bytes) -> None:
        assert wire_codec.PlayerCodec(ECHO).decode_actions(data, {"Echo": 2}) is None

    def test_stay_as_they_are_when_the_next_message_comes(self, wire_codec) -> None:
        codec = wire_codec.PlayerCodec(ECHO)
        first, second = (ActionTuple(np.full((1, 2), k, np.float32), np.array([[k]])) for k in (1, 2))
        seen, _ = codec.decode_actions(written({"Echo": first}), {"Echo": 1})
        codec.decode_actions(written({"Echo": second}), {"Echo": 1})
        assert seen["Echo"].continuous.tolist() == [[1.0, 1.0]]
        assert seen["Echo"].discrete.tolist() == [[1]]
