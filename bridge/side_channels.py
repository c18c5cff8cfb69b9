"""Side channels: messages beside the steps, in both directions.

On the wire: zero or more frames of a 16-byte channel id (.NET Guid byte order, Python's `UUID.bytes_le`), a
little-endian int32 length and the payload. The same classes serve the trainer and a player written in Python.
"""

import logging
import struct
import uuid
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from bridge.exceptions import UnityCommunicationException, UnitySideChannelException

logger = logging.getLogger(__name__)

_HEADER = struct.Struct("<16si")


class IncomingMessage:
    """Reads values off a payload in the order they were written. Reading past the end gives the default."""

    def __init__(self, buffer: bytes, offset: int = 0) -> None:
        self._buffer = buffer
        self._offset = offset

    def _read(self, layout: str) -> tuple[float, ...] | None:
        size = struct.calcsize(layout)
        if self._offset + size > len(self._buffer):
            return None
        values = struct.unpack_from(layout, self._buffer, self._offset)
        self._offset += size
        return values

    def read_bool(self, default_value: bool = False) -> bool:
        values = self._read("<?")
        return default_value if values is None else bool(values[0])

    def read_int32(self, default_value: int = 0) -> int:
        values = self._read("<i")
        return default_value if values is None else int(values[0])

    def read_float32(self, default_value: float = 0.0) -> float:
        values = self._read("<f")
        return default_value if values is None else float(values[0])

    def read_float32_list(self, default_value: list[float] | None = None) -> list[float]:
        fallback = [] if default_value is None else default_value
        count = self._read("<i")
        if count is None or count[0] < 0:
            return fallback
        values = self._read(f"<{int(count[0])}f")
        return fallback if values is None else list(values)

    def read_string(self, default_value: str = "") -> str:
        length = self._read("<i")
        if length is None or length[0] < 0:
            return default_value
        end = self._offset + int(length[0])
        text = self._buffer[self._offset : end].decode("ascii", errors="replace")
        self._offset = end
        return text

    def get_raw_bytes(self) -> bytes:
        """The whole payload, whatever was read of it."""
        return self._buffer


class OutgoingMessage:
    """Builds a payload, value by value."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def write_bool(self, value: bool) -> None:
        self.buffer += struct.pack("<?", value)

    def write_int32(self, value: int) -> None:
        self.buffer += struct.pack("<i", value)

    def write_float32(self, value: float) -> None:
        self.buffer += struct.pack("<f", value)

    def write_float32_list(self, values: Sequence[float]) -> None:
        self.buffer += struct.pack(f"<i{len(values)}f", len(values), *values)

    def write_string(self, text: str) -> None:
        try:
            encoded = text.encode("ascii")
        except UnicodeEncodeError as error:
            raise UnitySideChannelException(f"side channels carry ASCII only, which {text!r} is not") from error
        self.buffer += struct.pack("<i", len(encoded)) + encoded

    def set_raw_bytes(self, payload: bytes | bytearray) -> None:
        if self.buffer:
            raise UnitySideChannelException(
                "set_raw_bytes replaces the whole message, but values were already written to it"
            )
        self.buffer = bytearray(payload)


class SideChannel(ABC):
    """A channel of one's own: subclass, give it an id that the other side knows too, and handle what arrives."""

    def __init__(self, channel_id: uuid.UUID) -> None:
        self._channel_id = channel_id
        self.message_queue: list[bytes] = []

    @property
    def channel_id(self) -> uuid.UUID:
        return self._channel_id

    @abstractmethod
    def on_message_received(self, msg: IncomingMessage) -> None:
        """Called once for each message that arrives, before the step it came with is visible."""

    def queue_message_to_send(self, msg: OutgoingMessage) -> None:
        """The message leaves with the next step or reset."""
        self.message_queue.append(bytes(msg.buffer))


class SideChannelManager:
    """Splits incoming bytes among channels and gathers what they want to send."""

    def __init__(self, side_channels: Iterable[SideChannel] | None = None) -> None:
        self._channels: dict[uuid.UUID, SideChannel] = {}
        for channel in side_channels or ():
            if channel.channel_id in self._channels:
                raise UnitySideChannelException(
                    f"two side channels have the same id {channel.channel_id}; give each its own"
                )
            self._channels[channel.channel_id] = channel
        self.unknown: set[uuid.UUID] = set()

    def process_side_channel_message(self, data: bytes) -> None:
        """Hands each frame to its channel. A frame of an unknown channel is skipped and its id noted in `unknown`.

        Raises UnitySideChannelException for a frame that is cut short.
        """
        offset = 0
        while offset < len(data):
            if offset + _HEADER.size > len(data):
                raise UnitySideChannelException(
                    f"a side channel frame of {len(data) - offset} bytes is shorter than its {_HEADER.size}-byte header"
                )
            identifier, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            channel_id = uuid.UUID(bytes_le=identifier)
            if length < 0 or offset + length > len(data):
                raise UnitySideChannelException(
                    f"a message of side channel {channel_id} announces {length} bytes, but {len(data) - offset} came"
                )
            channel = self._channels.get(channel_id)
            if channel is None:
                if channel_id not in self.unknown:
                    logger.warning(f"messages of the unknown side channel {channel_id} are skipped")
                self.unknown.add(channel_id)
            else:
                channel.on_message_received(IncomingMessage(data[offset : offset + length]))
            offset += length

    def generate_side_channel_messages(self) -> bytes:
        """Everything that is queued, framed; the queues are empty afterwards."""
        frames = bytearray()
        for channel_id, channel in self._channels.items():
            for message in channel.message_queue:
                frames += _HEADER.pack(channel_id.bytes_le, len(message)) + message
            channel.message_queue = []
        return bytes(frames)


class EngineConfig(NamedTuple):
    """Settings of the game engine; None leaves a setting as it is."""

    width: int | None
    height: int | None
    quality_level: int | None
    time_scale: float | None
    target_frame_rate: int | None
    capture_frame_rate: int | None

    @staticmethod
    def default_config() -> "EngineConfig":
        return EngineConfig(80, 80, 1, 20.0, -1, 60)


class EngineConfigurationChannel(SideChannel):
    """Resolution (pixels), quality level, time scale (1 = real time) and frame rates (1/s, -1 = unlimited)."""

    class ConfigurationType(IntEnum):
        SCREEN_RESOLUTION = 0
        QUALITY_LEVEL = 1
        TIME_SCALE = 2
        TARGET_FRAME_RATE = 3
        CAPTURE_FRAME_RATE = 4

    def __init__(self) -> None:
        super().__init__(uuid.UUID("e951342c-4f7e-11ea-b238-784f4387d1f7"))

    def on_message_received(self, msg: IncomingMessage) -> None:
        raise UnityCommunicationException("the player sent an engine configuration, which only a trainer sends")

    def set_configuration_parameters(
        self,
        width: int | None = None,
        height: int | None = None,
        quality_level: int | None = None,
        time_scale: float | None = None,
        target_frame_rate: int | None = None,
        capture_frame_rate: int | None = None,
    ) -> None:
        """Queues the settings that are given. Width and height go together."""
        kinds = self.ConfigurationType
        if (width is None) != (height is None):
            raise UnitySideChannelException("give width and height together: a resolution has both")
        if width is not None and height is not None:
            message = OutgoingMessage()
            message.write_int32(kinds.SCREEN_RESOLUTION)
            message.write_int32(width)
            message.write_int32(height)
            self.queue_message_to_send(message)
        for kind, value in (
            (kinds.QUALITY_LEVEL, quality_level),
            (kinds.TIME_SCALE, time_scale),
            (kinds.TARGET_FRAME_RATE, target_frame_rate),
            (kinds.CAPTURE_FRAME_RATE, capture_frame_rate),
        ):
            if value is None:
                continue
            message = OutgoingMessage()
            message.write_int32(kind)
            if kind == kinds.TIME_SCALE:
                message.write_float32(value)
            else:
                message.write_int32(int(value))
            self.queue_message_to_send(message)

    def set_configuration(self, config: EngineConfig) -> None:
        self.set_configuration_parameters(*config)


class EnvironmentParametersChannel(SideChannel):
    """Numbers that a player reads with `GetWithDefault`: constants, or samplers that it evaluates at each read."""

    class EnvironmentDataTypes(IntEnum):
        FLOAT = 0
        SAMPLER = 1

    class SamplerTypes(IntEnum):
        UNIFORM = 0
        GAUSSIAN = 1
        MULTIRANGEUNIFORM = 2

    def __init__(self) -> None:
        super().__init__(uuid.UUID("534c891e-810f-11ea-a9d0-822485860400"))

    def on_message_received(self, msg: IncomingMessage) -> None:
        raise UnityCommunicationException("the player sent environment parameters, which only a trainer sends")

    def set_float_parameter(self, key: str, value: float) -> None:
        message = OutgoingMessage()
        message.write_string(key)
        message.write_int32(self.EnvironmentDataTypes.FLOAT)
        message.write_float32(value)
        self.queue_message_to_send(message)

    def _start_sampler(self, key: str, seed: int, kind: SamplerTypes) -> OutgoingMessage:
        message = OutgoingMessage()
        message.write_string(key)
        message.write_int32(self.EnvironmentDataTypes.SAMPLER)
        message.write_int32(seed)
        message.write_int32(kind)
        return message

    def set_uniform_sampler_parameters(self, key: str, min_value: float, max_value: float, seed: int) -> None:
        message = self._start_sampler(key, seed, self.SamplerTypes.UNIFORM)
        message.write_float32(min_value)
        message.write_float32(max_value)
        self.queue_message_to_send(message)

    def set_gaussian_sampler_parameters(self, key: str, mean: float, st_dev: float, seed: int) -> None:
        message = self._start_sampler(key, seed, self.SamplerTypes.GAUSSIAN)
        message.write_float32(mean)
        message.write_float32(st_dev)
        self.queue_message_to_send(message)

    def set_multirangeuniform_sampler_parameters(
        self, key: str, intervals: Sequence[tuple[float, float]], seed: int
    ) -> None:
        message = self._start_sampler(key, seed, self.SamplerTypes.MULTIRANGEUNIFORM)
        message.write_float32_list([edge for interval in intervals for edge in interval])
        self.queue_message_to_send(message)


class StatsAggregationMethod(IntEnum):
    AVERAGE = 0
    MOST_RECENT = 1
    SUM = 2
    HISTOGRAM = 3


EnvironmentStats = Mapping[str, list[tuple[float, StatsAggregationMethod]]]


class StatsSideChannel(SideChannel):
    """Numbers that a player wants to see in TensorBoard under its own key."""

    def __init__(self) -> None:
        super().__init__(uuid.UUID("a1d8f7b7-cec8-50f9-b78b-d3e165a78520"))
        self._stats: dict[str, list[tuple[float, StatsAggregationMethod]]] = defaultdict(list)

    def on_message_received(self, msg: IncomingMessage) -> None:
        key = msg.read_string()
        value, aggregation = msg.read_float32(), msg.read_int32()
        if aggregation not in list(StatsAggregationMethod):
            raise UnitySideChannelException(f"the statistic '{key}' has the unknown aggregation {aggregation}")
        self._stats[key].append((value, StatsAggregationMethod(aggregation)))

    def get_and_reset_stats(self) -> EnvironmentStats:
        """What arrived since the last call: key to a list of (value, aggregation)."""
        stats, self._stats = self._stats, defaultdict(list)
        return stats

    def add(self, key: str, value: float, aggregation: StatsAggregationMethod = StatsAggregationMethod.AVERAGE) -> None:
        """The player's side: report a number."""
        message = OutgoingMessage()
        message.write_string(key)
        message.write_float32(value)
        message.write_int32(aggregation)
        self.queue_message_to_send(message)


class RawBytesChannel(SideChannel):
    """Bytes both ways, under an id that both sides agree on."""

    def __init__(self, channel_id: uuid.UUID) -> None:
        super().__init__(channel_id)
        self._received: list[bytes] = []

    def on_message_received(self, msg: IncomingMessage) -> None:
        self._received.append(msg.get_raw_bytes())

    def get_and_clear_received_messages(self) -> list[bytes]:
        received, self._received = self._received, []
        return received

    def send_raw_data(self, data: bytes | bytearray) -> None:
        message = OutgoingMessage()
        message.set_raw_bytes(data)
        self.queue_message_to_send(message)
