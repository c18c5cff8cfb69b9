"""Side channels: the bytes, the standard channels, and whole trips over a real connection."""

import logging
import math
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.exceptions import UnityCommunicationException, UnityException, UnitySideChannelException
from bridge.player import EnvironmentParameters, player_side_channels
from bridge.side_channels import (
    EngineConfig,
    EngineConfigurationChannel,
    EnvironmentParametersChannel,
    IncomingMessage,
    OutgoingMessage,
    RawBytesChannel,
    SideChannel,
    SideChannelManager,
    StatsAggregationMethod,
    StatsSideChannel,
)

# The id of the engine configuration channel, e951342c-4f7e-11ea-b238-784f4387d1f7, as .NET writes a Guid: the first
# three groups with their bytes in reverse.
ENGINE = bytes.fromhex("2c3451e9 7e4f ea11 b238 784f4387d1f7")
PARAMETERS = bytes.fromhex("1e894c53 0f81 ea11 a9d0 822485860400")
STATS = bytes.fromhex("b7f7d8a1 c8ce f950 b78b d3e165a78520")
MINE = uuid.UUID("621f0a70-4f87-11ea-a6bf-784f4387d1f7")


def frame(identifier: bytes, payload: bytes) -> bytes:
    return identifier + len(payload).to_bytes(4, "little") + payload


class Recorder(SideChannel):
    """Remembers what arrives."""

    def __init__(self, identifier: uuid.UUID = MINE) -> None:
        super().__init__(identifier)
        self.received: list[bytes] = []

    def on_message_received(self, msg: IncomingMessage) -> None:
        self.received.append(msg.get_raw_bytes())

    def send(self, payload: bytes) -> None:
        message = OutgoingMessage()
        message.set_raw_bytes(payload)
        self.queue_message_to_send(message)


class TestValues:
    def test_layout(self) -> None:
        message = OutgoingMessage()
        message.write_bool(True)
        message.write_int32(-2)
        message.write_float32(1.0)
        message.write_string("mass")
        message.write_float32_list([1.0, -2.0])
        assert message.buffer == bytes.fromhex(
            "01 feffffff 0000803f 04000000 6d617373 02000000 0000803f 000000c0".replace(" ", "")
        )

    @settings(deadline=None)
    @given(
        st.booleans(),
        st.integers(-(2**31), 2**31 - 1),
        st.floats(width=32, allow_nan=False),
        st.text(st.characters(codec="ascii")),
        st.lists(st.floats(width=32, allow_nan=False), max_size=5),
    )
    def test_come_back_in_the_order_in_which_they_were_written(self, flag, number, real, text, reals) -> None:
        message = OutgoingMessage()
        message.write_string(text)
        message.write_float32_list(reals)
        message.write_bool(flag)
        message.write_float32(real)
        message.write_int32(number)
        incoming = IncomingMessage(bytes(message.buffer))
        assert incoming.read_string() == text
        assert incoming.read_float32_list() == reals
        assert incoming.read_bool() is flag
        assert incoming.read_float32() == real
        assert incoming.read_int32() == number

    def test_reading_past_the_end_gives_defaults(self) -> None:
        incoming = IncomingMessage(b"")
        assert incoming.read_bool() is False
        assert incoming.read_bool(default_value=True) is True
        assert (incoming.read_int32(), incoming.read_int32(3)) == (0, 3)
        assert (incoming.read_float32(), incoming.read_float32(2.5)) == (0.0, 2.5)
        assert (incoming.read_string(), incoming.read_string("x")) == ("", "x")
        assert (incoming.read_float32_list(), incoming.read_float32_list([1.0])) == ([], [1.0])

    def test_a_value_that_is_cut_short_is_the_default(self) -> None:
        assert IncomingMessage(b"\x01\x00\x00").read_int32(9) == 9
        assert IncomingMessage(b"\x02\x00\x00\x00" + b"\x00" * 7).read_float32_list([9.0]) == [9.0]

    @pytest.mark.parametrize("length", [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"])
    def test_absurd_lengths_do_no_harm(self, length: bytes) -> None:
        assert IncomingMessage(length + b"abc").read_string("default") in ("default", "abc")
        assert IncomingMessage(length + b"abc").read_float32_list([9.0]) == [9.0]

    def test_raw_bytes_are_the_whole_message(self) -> None:
        message = OutgoingMessage()
        message.set_raw_bytes(b"\x00\x01")
        assert IncomingMessage(bytes(message.buffer)).get_raw_bytes() == b"\x00\x01"
        message = OutgoingMessage()
        message.write_int32(1)
        with pytest.raises(UnitySideChannelException, match="already written"):
            message.set_raw_bytes(b"\x00")

    def test_text_other_than_ascii_is_refused(self) -> None:
        with pytest.raises(UnitySideChannelException, match="ASCII only, which 'größe' is not"):
            OutgoingMessage().write_string("größe")


class TestFrames:
    def test_layout_and_order(self) -> None:
        first, second = Recorder(uuid.UUID(bytes_le=ENGINE)), Recorder()
        manager = SideChannelManager([first, second])
        second.send(b"two")
        first.send(b"one")
        first.send(b"")
        sent = manager.generate_side_channel_messages()
        assert sent == frame(ENGINE, b"one") + frame(ENGINE, b"") + frame(MINE.bytes_le, b"two")
        assert manager.generate_side_channel_messages() == b""

        manager.process_side_channel_message(sent)
        assert (first.received, second.received) == ([b"one", b""], [b"two"])

    def test_an_unknown_id_is_skipped_and_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        channel = Recorder()
        manager = SideChannelManager([channel])
        with caplog.at_level(logging.WARNING):
            manager.process_side_channel_message(frame(STATS, b"zzz") * 2 + frame(MINE.bytes_le, b"mine"))
        assert channel.received == [b"mine"]
        assert manager.unknown == {uuid.UUID(bytes_le=STATS)}
        (record,) = caplog.records
        assert str(uuid.UUID(bytes_le=STATS)) in record.getMessage()

    @pytest.mark.parametrize(
        "data",
        [
            b"\x01",
            frame(MINE.bytes_le, b"abc")[:19],
            frame(MINE.bytes_le, b"abc")[:-1],
            frame(MINE.bytes_le, b"abc") + b"\x00" * 19,
            MINE.bytes_le + b"\xff\xff\xff\xff",
        ],
        ids=["a byte", "in the header", "in the payload", "in the second", "negative length"],
    )
    def test_one_that_is_cut_short_is_an_error(self, data: bytes) -> None:
        with pytest.raises(UnitySideChannelException, match="side channel"):
            SideChannelManager([Recorder()]).process_side_channel_message(data)

    def test_two_channels_with_one_id_are_refused(self) -> None:
        with pytest.raises(UnitySideChannelException, match=str(MINE)):
            SideChannelManager([Recorder(), Recorder()])


class TestEngineConfiguration:
    def test_layout(self) -> None:
        channel = EngineConfigurationChannel()
        channel.set_configuration(EngineConfig(84, 90, 5, 20.0, -1, 60))
        payloads = ["00000000 54000000 5a000000", "01000000 05000000", "02000000 0000a041", "03000000 ffffffff"]
        payloads.append("04000000 3c000000")
        sent = SideChannelManager([channel]).generate_side_channel_messages()
        assert sent == b"".join(frame(ENGINE, bytes.fromhex(each)) for each in payloads)

    def test_what_is_not_given_is_not_sent(self) -> None:
        channel = EngineConfigurationChannel()
        channel.set_configuration_parameters(time_scale=1.0)
        assert channel.message_queue == [bytes.fromhex("02000000 0000803f")]

    def test_defaults(self) -> None:
        assert EngineConfig.default_config() == EngineConfig(80, 80, 1, 20.0, -1, 60)

    def test_half_a_resolution_is_refused(self) -> None:
        with pytest.raises(UnitySideChannelException, match="width and height together"):
            EngineConfigurationChannel().set_configuration_parameters(width=3)

    @pytest.mark.parametrize("channel", [EngineConfigurationChannel(), EnvironmentParametersChannel()])
    def test_a_player_does_not_send_it(self, channel: SideChannel) -> None:
        with pytest.raises(UnityCommunicationException, match="only a trainer"):
            SideChannelManager([channel]).process_side_channel_message(frame(channel.channel_id.bytes_le, b""))


class TestEnvironmentParameters:
    @pytest.mark.parametrize(
        ("method", "arguments", "payload"),
        [
            ("set_float_parameter", ("m", 1.0), "01000000 6d 00000000 0000803f"),
            (
                "set_uniform_sampler_parameters",
                ("m", 1.0, 2.0, 7),
                "01000000 6d 01000000 07000000 00000000 0000803f 00000040",
            ),
            (
                "set_gaussian_sampler_parameters",
                ("m", 1.0, 2.0, 7),
                "01000000 6d 01000000 07000000 01000000 0000803f 00000040",
            ),
            (
                "set_multirangeuniform_sampler_parameters",
                ("m", [(1.0, 2.0)], 7),
                "01000000 6d 01000000 07000000 02000000 02000000 0000803f 00000040",
            ),
        ],
    )
    def test_layout(self, method: str, arguments: tuple, payload: str) -> None:
        channel = EnvironmentParametersChannel()
        getattr(channel, method)(*arguments)
        sent = SideChannelManager([channel]).generate_side_channel_messages()
        assert sent == frame(PARAMETERS, bytes.fromhex(payload))

    def received(self, method: str, *arguments) -> EnvironmentParameters:
        """The parameters on the player's side after one call on the trainer's."""
        channel, parameters = EnvironmentParametersChannel(), EnvironmentParameters()
        getattr(channel, method)("key", *arguments)
        sent = SideChannelManager([channel]).generate_side_channel_messages()
        player_side_channels(parameters).process_side_channel_message(sent)
        return parameters

    def test_a_constant(self) -> None:
        parameters = self.received("set_float_parameter", 0.5)
        assert parameters.get_with_default("key", 3.0) == 0.5
        assert parameters.get_with_default("other", 3.0) == 3.0
        assert parameters.keys() == ["key"]

    def draws(self, method: str, *arguments) -> list[float]:
        parameters = self.received(method, *arguments)
        return [parameters.get_with_default("key", math.nan) for _ in range(2000)]

    def test_a_uniform_sampler_draws_anew_at_each_read(self) -> None:
        draws = self.draws("set_uniform_sampler_parameters", 2.0, 4.0, 11)
        assert 2.0 <= min(draws) < 2.05 and 3.95 < max(draws) <= 4.0
        assert draws == self.draws("set_uniform_sampler_parameters", 2.0, 4.0, 11)
        assert draws != self.draws("set_uniform_sampler_parameters", 2.0, 4.0, 12)

    def test_a_gaussian_sampler(self) -> None:
        draws = self.draws("set_gaussian_sampler_parameters", 10.0, 2.0, 11)
        mean = sum(draws) / len(draws)
        deviation = math.sqrt(sum((draw - mean) ** 2 for draw in draws) / len(draws))
        assert abs(mean - 10.0) < 0.2 and abs(deviation - 2.0) < 0.2

    def test_a_sampler_of_several_ranges_draws_by_their_widths(self) -> None:
        draws = self.draws("set_multirangeuniform_sampler_parameters", [(0.0, 1.0), (10.0, 13.0)], 11)
        low = [draw for draw in draws if 0 <= draw <= 1]
        high = [draw for draw in draws if 10 <= draw <= 13]
        assert len(low) + len(high) == len(draws)
        assert 0.2 < len(low) / len(draws) < 0.3

    @pytest.mark.parametrize(
        ("payload", "words"),
        [
            ("01000000 6d 05000000", "'m' has the unknown type 5"),
            ("01000000 6d 01000000 00000000 09000000", "unknown sampler 9"),
        ],
    )
    def test_what_the_player_does_not_know_is_an_error(self, payload: str, words: str) -> None:
        data = frame(PARAMETERS, bytes.fromhex(payload))
        with pytest.raises(UnityException, match=words):
            player_side_channels(EnvironmentParameters()).process_side_channel_message(data)


def test_statistics() -> None:
    channel = StatsSideChannel()
    manager = SideChannelManager([channel])
    manager.process_side_channel_message(
        frame(STATS, bytes.fromhex("01000000 61 0000803f 00000000"))
        + frame(STATS, bytes.fromhex("01000000 61 00000040 03000000"))
        + frame(STATS, bytes.fromhex("01000000 62 00000040 02000000"))
    )
    assert channel.get_and_reset_stats() == {
        "a": [(1.0, StatsAggregationMethod.AVERAGE), (2.0, StatsAggregationMethod.HISTOGRAM)],
        "b": [(2.0, StatsAggregationMethod.SUM)],
    }
    assert channel.get_and_reset_stats() == {}


def test_raw_bytes() -> None:
    here, there = RawBytesChannel(MINE), RawBytesChannel(MINE)
    here.send_raw_data(b"\x00\xff")
    here.send_raw_data(bytearray(b"two"))
    sent = SideChannelManager([here]).generate_side_channel_messages()
    SideChannelManager([there]).process_side_channel_message(sent)
    assert there.get_and_clear_received_messages() == [b"\x00\xff", b"two"]
    assert there.get_and_clear_received_messages() == []


def test_a_player_ignores_what_only_a_game_engine_needs(caplog: pytest.LogCaptureFixture) -> None:
    analytics = uuid.UUID("b664a4a9-d86f-5a5f-95cb-e8353a7e8356").bytes_le
    channels = player_side_channels(EnvironmentParameters())
    channels.process_side_channel_message(frame(ENGINE, bytes.fromhex("02000000 0000a041")) + frame(analytics, b"any"))
    assert not channels.unknown
    assert not caplog.records


def test_a_channel_of_ones_own_and_statistics_over_a_real_connection(unity_environment, program) -> None:
    player = program(
        f"""
        import uuid
        from bridge.side_channels import OutgoingMessage, RawBytesChannel, StatsSideChannel

        class Echo(RawBytesChannel):
            def on_message_received(self, msg):
                self.send_raw_data(msg.get_raw_bytes()[::-1])

        stats = StatsSideChannel()

        class World(toy_worlds.EchoWorld):
            def step(self, actions):
                steps = super().step(actions)
                stats.add("Steps", self.steps)
                return steps

        sys.exit(run_player(World, port, side_channels=[Echo(uuid.UUID({str(MINE)!r})), stats]))
        """
    )
    mine, stats = Recorder(), StatsSideChannel()
    environment = unity_environment(player, side_channels=[mine, stats])
    mine.send(b"abc")
    environment.reset()
    assert mine.received == [b"cba"]
    mine.send(b"12")
    mine.send(b"34")
    environment.step()
    assert mine.received == [b"cba", b"21", b"43"]
    assert stats.get_and_reset_stats() == {"Steps": [(1.0, StatsAggregationMethod.AVERAGE)]}
    environment.step()
    assert stats.get_and_reset_stats() == {"Steps": [(2.0, StatsAggregationMethod.AVERAGE)]}
    assert len(mine.received) == 3
