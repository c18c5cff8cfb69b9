"""The trainer's fast codec writes the bytes that protobuf writes; and what is compiled, and when not."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_st
from mlagents_envs.base_env import ActionSpec, ActionTuple, BehaviorSpec

from bridge.codec import encode_actions
from bridge.messages import UnityMessageProto

examples = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
int32 = st.integers(-(2**31), 2**31 - 1)
names = st.text(max_size=6)


class TestActions:
    @examples
    @given(st.data())
    def test_are_the_bytes_of_protobuf(self, wire_codec, draw) -> None:
        specs, actions = {}, {}
        for name in draw.draw(st.lists(names, unique=True, max_size=3)):
            continuous, discrete, count = (draw.draw(st.integers(0, 3)) for _ in range(3))
            specs[name] = BehaviorSpec([], ActionSpec(continuous, (2,) * discrete))
            actions[name] = ActionTuple(
                draw.draw(numpy_st.arrays(np.float32, (count, continuous), elements=st.floats(width=32))),
                draw.draw(numpy_st.arrays(np.int32, (count, discrete), elements=int32)),
            )
        side_channel = draw.draw(st.binary(max_size=200))
        seen = wire_codec.TrainerCodec(specs).encode_actions(actions, side_channel)
        assert UnityMessageProto.FromString(seen) == UnityMessageProto.FromString(written(actions, side_channel))
        if len(actions) <= 1:  # else their order is up to protobuf
            assert seen == written(actions, side_channel)

    def test_may_be_read_only_and_of_any_layout(self, wire_codec) -> None:
        continuous = np.arange(12, dtype=np.float32).reshape(2, 6).T
        continuous.flags.writeable = False
        action = ActionTuple(continuous, np.arange(24)[::2].reshape(6, 2))
        specs = {"A": BehaviorSpec([], ActionSpec(2, (2, 2)))}
        assert wire_codec.TrainerCodec(specs).encode_actions({"A": action}, b"") == written({"A": action}, b"")

    def test_of_an_unknown_behavior_are_left_to_protobuf(self, wire_codec) -> None:
        assert wire_codec.TrainerCodec({}).encode_actions({"A": ActionTuple(np.zeros((1, 1), np.float32))}, b"") is None


def written(actions, side_channel: bytes) -> bytes:
    made = UnityMessageProto(header={"status": 200})
    made.unity_input.rl_input.side_channel = side_channel
    for name, action in actions.items():
        encode_actions(made.unity_input.rl_input, name, action, deprecated_too=False)
    return made.SerializeToString()


# ---- with and without numba ----


def test_each_function_is_compiled_once() -> None:
    """A second time would cost seconds in the middle of a run."""
    from bridge import fast_codec, fast_player_codec, wire_reading, wire_writing

    if not hasattr(wire_reading.scan, "signatures"):
        pytest.skip("nothing is compiled here")
    fast_codec.TrainerCodec.load({})
    fast_player_codec.PlayerCodec.load({})
    functions = [each for module in (wire_reading, wire_writing) for each in vars(module).values()]
    compiled = {each.__name__: each.signatures for each in functions if hasattr(each, "signatures")}
    assert len(compiled) > 5
    assert {name: signatures for name, signatures in compiled.items() if len(signatures) > 1} == {}


def test_without_numba_there_is_none(plain_codec, caplog) -> None:
    with caplog.at_level("DEBUG"):
        assert plain_codec.TrainerCodec.load({}) is None
    assert [record.message for record in caplog.records] == [
        "all messages go through protobuf: numba is missing, or this machine is big-endian"
    ]
