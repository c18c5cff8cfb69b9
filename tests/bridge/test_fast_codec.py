"""The trainer's fast codec reads what protobuf reads and writes what protobuf writes, or leaves it to protobuf."""

import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
)

from bridge.codec import decode_steps
from bridge.exceptions import InvalidObservationError
from bridge.in_process import InProcessEnvironment
from bridge.messages import STATUS_OK, UnityMessageProto

pytestmark = pytest.mark.filterwarnings("error")

examples = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

# ---- messages, byte by byte ----

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
int32 = st.integers(-(2**31), 2**31 - 1)
names = st.text(max_size=6)


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    encoded = bytearray()
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])


def integer(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def floating(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def part(field: int, *payload: bytes) -> bytes:
    joined = b"".join(payload)
    return varint(field << 3 | 2) + varint(len(joined)) + joined


def packed(values) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def observation(values, shape=(), name: str = "", others: bytes = b"") -> bytes:
    size = part(1, b"".join(map(varint, shape))) if shape else b""
    return part(13, size, part(4, part(1, packed(values))), part(8, name.encode()), others)


def entry(name: str, *agents: bytes) -> bytes:
    return part(2, part(1, name.encode()), part(2, *(part(1, agent) for agent in agents)))


def message(*parts: bytes, status: int = 200) -> bytes:
    return part(1, integer(1, status)) + part(2, part(1, *parts))


@st.composite
def unknown(draw) -> bytes:
    """A field that no message has."""
    field = draw(st.sampled_from([16, 99, 2047]))
    return draw(
        st.one_of(
            st.integers(-1, 2**62).map(lambda value: integer(field, value)),
            numbers.map(lambda value: floating(field, value)),
            st.binary(max_size=5).map(lambda payload: part(field, payload)),
            st.just(varint(field << 3 | 1) + bytes(8)),
        )
    )


@st.composite
def specifications(draw) -> BehaviorSpec:
    shapes = draw(st.lists(st.lists(st.integers(0, 3), max_size=3).map(tuple), max_size=3))
    observations = [
        ObservationSpec(shape, (DimensionProperty.NONE,) * len(shape), ObservationType.DEFAULT, draw(names))
        for shape in shapes
    ]
    return BehaviorSpec(observations, ActionSpec(draw(st.integers(0, 2)), tuple(draw(st.lists(st.integers(1, 3))))))


@st.composite
def agents(draw, spec: BehaviorSpec) -> bytes:
    """Fields in any order, scalars sometimes twice, unknown ones in between."""
    scalars = st.one_of(
        numbers.map(lambda value: floating(7, value)),
        st.booleans().map(lambda value: integer(8, value)),
        st.booleans().map(lambda value: integer(9, value)),
        int32.map(lambda value: integer(10, value)),
        int32.map(lambda value: integer(14, value)),
        numbers.map(lambda value: floating(15, value)),
        unknown(),
    )
    fields = draw(st.lists(scalars, max_size=12))
    total = sum(spec.action_spec.discrete_branches)
    if total and draw(st.booleans()):
        mask = draw(st.lists(st.booleans(), min_size=total, max_size=total))
        fields.insert(draw(st.integers(0, len(fields))), part(11, bytes(mask)))
    position = 0
    for each in spec.observation_specs:
        size = int(np.prod(each.shape))
        values = draw(st.lists(numbers, min_size=size, max_size=size))
        others = draw(st.sampled_from([b"", part(6, b"\1\2"), integer(7, 1), integer(2, 0)])) + draw(
            unknown() | st.just(b"")
        )
        position = draw(st.integers(position, len(fields)))
        fields.insert(position, observation(values, each.shape, draw(names), others))
        position += 1
    return b"".join(fields)


@st.composite
def messages(draw, agent=agents) -> tuple[dict[str, BehaviorSpec], bytes]:
    specs = draw(st.dictionaries(names, specifications(), max_size=3))
    parts = [entry(name, *draw(st.lists(agent(spec), max_size=4))) for name, spec in specs.items()]
    parts = draw(st.permutations([*parts, part(3, draw(st.binary(max_size=8))), draw(unknown())]))
    return specs, message(*parts)


TWO = {
    "A": BehaviorSpec(
        [ObservationSpec((2,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "x")], ActionSpec(1, (2, 3))
    )
}
VECTOR = {
    "A": BehaviorSpec(
        [ObservationSpec((40,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "x")], ActionSpec(1, ())
    )
}


def agent(value: float, identity: int = 0, *others: bytes) -> bytes:
    return observation([value, value], (2,), "x") + floating(7, value) + integer(10, identity) + b"".join(others)


# ---- what protobuf makes of them ----


def by_protobuf(specs, data: bytes):
    """The steps and the side channel; fails unless it is a message that holds nothing else."""
    parsed = UnityMessageProto.FromString(data)
    output = parsed.unity_output
    assert parsed.header.status == STATUS_OK
    assert not output.HasField("rl_initialization_output")
    infos = output.rl_output.agentInfos
    assert {name for name in infos if infos[name].value} <= set(specs)
    steps = {
        name: decode_steps(name, spec, infos[name].value)
        for name, spec in specs.items()
        if name in infos and infos[name].value
    }
    return steps, output.rl_output.side_channel


def assert_same(seen, expected) -> None:
    """To the last bit."""
    (steps, side_channel), (expected_steps, expected_side_channel) = seen, expected
    assert side_channel == expected_side_channel
    assert list(steps) == list(expected_steps)
    for name in steps:
        for ours, theirs in zip(steps[name], expected_steps[name], strict=True):
            arrays, expected_arrays = arrays_of(ours), arrays_of(theirs)
            assert [array.shape for array in arrays] == [array.shape for array in expected_arrays]
            assert [array.dtype for array in arrays] == [array.dtype for array in expected_arrays]
            assert [array.tobytes() for array in arrays] == [array.tobytes() for array in expected_arrays]
            assert (getattr(ours, "action_mask", 0) is None) == (getattr(theirs, "action_mask", 0) is None)


def arrays_of(steps) -> list[np.ndarray]:
    rest = getattr(steps, "action_mask", None) or []
    rest += [steps.interrupted] if hasattr(steps, "interrupted") else []
    return [*steps.obs, steps.reward, steps.agent_id, steps.group_id, steps.group_reward, *rest]


def check(codec, specs, data: bytes) -> None:
    """The message may be anything; what is not left to protobuf is the same."""
    seen = codec.decode_steps(data)
    if seen is not None:
        assert_same(seen, by_protobuf(specs, data))


# ---- reading ----


class TestSteps:
    @examples
    @given(messages())
    def test_are_those_of_protobuf(self, wire_codec, example) -> None:
        specs, data = example
        seen = wire_codec.TrainerCodec(specs).decode_steps(data)
        assert seen is not None
        assert_same(seen, by_protobuf(specs, data))

    @examples
    @given(messages(), st.data())
    def test_of_damaged_messages_are_those_of_protobuf_or_left_to_it(self, wire_codec, example, draw) -> None:
        specs, data = example
        codec = wire_codec.TrainerCodec(specs)
        for _ in range(5):
            check(codec, specs, draw.draw(damage(data)))

    def test_of_messages_with_one_wrong_byte(self, wire_codec) -> None:
        codec = wire_codec.TrainerCodec(TWO)
        data = message(entry("A", agent(1.0, -1, part(11, bytes(5))), agent(2.0, 9, integer(8, 1))), part(3, b"xyz"))
        for at, byte in enumerate(data):
            check(codec, TWO, data[:at])
            for changed in {0, 1, 2, 0x0A, 0x7F, 0x80, 0xFF, *(byte ^ 1 << bit for bit in range(8))} - {byte}:
                check(codec, TWO, data[:at] + bytes([changed]) + data[at + 1 :])

    @pytest.mark.parametrize("agents", [1, 12, 300])
    def test_of_any_number_of_agents(self, wire_codec, agents: int) -> None:
        data = message(
            entry(
                "A",
                *(
                    observation(np.arange(40) * (k + 1), (40,), "größe") + integer(8, k % 3 == 1) + integer(10, -k)
                    for k in range(agents)
                ),
            )
        )
        seen = wire_codec.TrainerCodec(VECTOR).decode_steps(data)
        assert_same(seen, by_protobuf(VECTOR, data))

    def test_stay_as_they_are_when_the_next_message_comes(self, wire_codec) -> None:
        codec = wire_codec.TrainerCodec(TWO)
        first = codec.decode_steps(message(entry("A", agent(1.0), agent(2.0, 3)), part(3, b"side")))
        codec.decode_steps(message(entry("A", agent(7.0), agent(8.0, 9)), part(3, b"other")))
        (decisions, _), side_channel = first[0]["A"], first[1]
        assert decisions.obs[0].tolist() == [[1.0, 1.0], [2.0, 2.0]]
        assert decisions.agent_id.tolist() == [0, 3]
        assert side_channel == b"side"
        for array in arrays_of(decisions):
            array[...] = 0  # they are the caller's

    @pytest.mark.parametrize("bits", [0x80000000, 1, 0x007FFFFF, 0x7F7FFFFF, 0xFF7FFFFF], ids=hex)
    def test_have_every_bit_of_a_number(self, wire_codec, bits: int) -> None:
        (value,) = struct.unpack("<f", struct.pack("<I", bits))
        steps, _ = wire_codec.TrainerCodec(TWO).decode_steps(message(entry("A", agent(value))))
        assert steps["A"][0].obs[0].view(np.uint32).tolist() == [[bits, bits]]
        assert steps["A"][0].reward.view(np.uint32).tolist() == [bits]


@st.composite
def damage(draw, data: bytes) -> bytes:
    """Cut short, bytes changed, pieces taken out, put in or moved."""
    kind = draw(st.sampled_from(["cut", "change", "remove", "insert", "repeat"]))
    at = draw(st.integers(0, len(data)))
    to = draw(st.integers(at, min(len(data), at + 12)))
    if kind == "cut":
        return data[:at]
    if kind == "remove":
        return data[:at] + data[to:]
    if kind == "insert":
        return data[:at] + draw(st.binary(min_size=1, max_size=12)) + data[at:]
    if kind == "repeat":
        return data[:to] + data[at:]
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        changed[draw(st.integers(0, len(data) - 1))] = draw(
            st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x12, 0x22]) | st.integers(0, 255)
        )
    return bytes(changed)


GROUP = b"\x83\x01\x84\x01"  # of an unknown field

RARE = {
    "no bytes": b"",
    "no header": part(2, part(1, entry("A", agent(0)))),
    "a stop": message(entry("A", agent(0)), status=400),
    "a text in the header": part(1, integer(1, 200), part(2, b"x")) + part(2, part(1)),
    "no body": part(1, integer(1, 200)),
    "two headers": message(entry("A", agent(0))) + part(1, integer(1, 200)),
    "two bodies": message(entry("A", agent(0))) + part(2, part(1)),
    "brain parameters": part(1, integer(1, 200))
    + part(2, part(1, entry("A", agent(0))), part(2, part(5, part(7, b"A")))),
    "an unknown behavior": message(entry("B", agent(0))),
    "a name in no encoding": message(part(2, part(1, b"\xff"), part(2))),
    "a behavior twice": message(entry("A", agent(0)), entry("A", agent(1))),
    "no key": message(part(2, part(2, part(1, agent(0))))),
    "no value": message(part(2, part(1, b"A"))),
    "a field that no map has": message(part(2, part(1, b"A"), part(2), part(3))),
    "a number in place of an agent": message(part(2, part(1, b"A"), part(2, integer(1, 2**60)))),
    "too many behaviors": message(*(entry("A") for _ in range(70))),
    "NaN": message(entry("A", agent(np.nan))),
    "infinity": message(entry("A", agent(-np.inf))),
    "a NaN among the rewards": message(entry("A", agent(0, 0, floating(7, np.nan)))),
    "an image": message(entry("A", part(13, integer(2, 1), part(3, b"PNG")))),
    "compressed data after numbers": message(entry("A", observation([1, 2], (2,), "x", part(3, b"PNG")))),
    "a channel mapping": message(entry("A", observation([1, 2], (2,), "x", part(5, b"\0")))),
    "numbers that are not packed": message(entry("A", part(13, part(4, floating(1, 1), floating(1, 2))))),
    "numbers in two pieces": message(entry("A", part(13, part(4, part(1, packed([1])), part(1, packed([2])))))),
    "numbers in two messages": message(
        entry("A", part(13, part(4, part(1, packed([1]))), part(4, part(1, packed([2])))))
    ),
    "numbers missing": message(entry("A", part(13, part(1, b"\2")))),
    "a number too many": message(entry("A", observation([1, 2, 3], (3,)))),
    "three quarters of a number": message(entry("A", part(13, part(4, part(1, b"\0\0\0"))))),
    "no observation": message(entry("A", integer(10, 1))),
    "an observation too many": message(entry("A", agent(0, 0, observation([1, 2])))),
    "a name that is no text": message(entry("A", observation([1, 2], (2,), "x", part(8, b"\xc3")))),
    "a shape that is cut off": message(entry("A", observation([1, 2], (2,), "x", part(1, b"\x80")))),
    "a mask of another length": message(entry("A", agent(0, 0, part(11, b"\1\1\1\1")))),
    "a mask of two pieces": message(entry("A", agent(0, 0, part(11, b"\1\1"), part(11, b"\1\1\1")))),
    "two masks that would do": message(entry("A", agent(0, 0, part(11, bytes(5)), part(11, b"\1\0\0\0\0")))),
    "a mask that is not packed": message(entry("A", agent(0, 0, integer(11, 1)))),
    "a flag of 2": message(entry("A", agent(0, 0, integer(8, 2)))),
    "an id that is a float": message(entry("A", agent(0, 0, floating(10, 1)))),
    "a group": message(entry("A", agent(0, 0, GROUP))),
    "field 0": message(entry("A", agent(0, 0, b"\0\0"))),
    "a number of 11 bytes": message(entry("A", agent(0, 0, b"\x50" + b"\xff" * 10 + b"\0"))),
    "a number of 65 bits": message(entry("A", agent(0, 0, b"\x50" + b"\xff" * 9 + b"\2"))),
    "a length beyond the end": part(1, integer(1, 200)) + part(2, b"\x0a\x7f"),
    "a length of 64 bits": part(1, integer(1, 200)) + part(2, b"\x0a" + b"\xff" * 9 + b"\1"),
    "a length of many bytes": part(1, integer(1, 200)) + part(2, b"\x0a\x80\x80\x80\x80\x80\0"),
}


@pytest.mark.parametrize("what", RARE)
def test_what_is_rare_is_left_to_protobuf(wire_codec, what: str) -> None:
    assert wire_codec.TrainerCodec(TWO).decode_steps(RARE[what]) is None


@pytest.mark.parametrize("what", ["NaN", "infinity", "a NaN among the rewards"])
def test_protobuf_then_names_the_agent(what: str) -> None:
    with pytest.raises(InvalidObservationError, match="of agent 0 of behavior 'A'"):
        by_protobuf(TWO, RARE[what])


USUAL = {
    "no behaviors": message(),
    "no agents": message(entry("A")),
    "an empty mask of one that is done": message(entry("A", agent(0, 0, integer(8, 1), part(11)))),
    "a mask of one that is done": message(entry("A", agent(0, 0, integer(8, 1), part(11, b"\1\1\1\1")))),
    "one that ended and decides": message(entry("A", agent(0, 0, integer(8, 1), integer(9, 1)), agent(1))),
    "flags of 0": message(entry("A", agent(0, 0, integer(8, 0), integer(9, 0)))),
    "a status in two pieces": part(1, integer(1, 400), integer(1, 200)) + part(2, part(1, entry("A", agent(0)))),
    "side channels twice": message(part(3, b"first"), entry("A", agent(0)), part(3, b"second")),
    "an id of 64 bits": message(entry("A", agent(0, 2**63 + 5))),
    "padded numbers": message(entry("A", agent(0, 0, b"\x50\x85\x80\x80\x00"))),
    "unknown fields": part(9, b"x") + message(part(9, b"x"), entry("A", agent(0, 0, part(1, b"\xff"))), integer(1, 7)),
}


@pytest.mark.parametrize("what", USUAL)
def test_what_is_usual_is_not(wire_codec, what: str) -> None:
    seen = wire_codec.TrainerCodec(TWO).decode_steps(USUAL[what])
    assert seen is not None
    assert_same(seen, by_protobuf(TWO, USUAL[what]))


# ---- in use ----


class TestInAnEnvironment:
    @pytest.mark.parametrize(("trainer", "player"), [(True, True), (True, False), (False, True)])
    def test_steps_are_those_of_the_world(
        self, toy, program, unity_environment, monkeypatch, trainer: bool, player: bool
    ) -> None:
        """With numba in the trainer, in the player, and in both."""
        monkeypatch.setattr("bridge.fast_codec.COMPILED", trainer)
        decoded = []
        monkeypatch.setattr(
            "bridge.environment.decode_steps", lambda *each: decoded.append(each) or decode_steps(*each)
        )
        hide = "" if player else "sys.modules['numba'] = None\n"
        environment = unity_environment(program(hide + "sys.exit(run_player(toy_worlds.ToyWorld, port))"), seed=5)
        world = InProcessEnvironment(toy.ToyWorld, seed=5)
        for _ in range(12):
            environment.step()
            world.step()
            assert list(environment._steps) == list(world._steps)
            assert_same((environment._steps, b""), (world._steps, b""))
            for name, (decisions, _) in world._steps.items():
                action = world.behavior_specs[name].action_spec.random_action(len(decisions))
                environment.set_actions(name, action)
                world.set_actions(name, action)
        assert (len(decoded) <= 2) == trainer  # what came with brain parameters
