"""Side channels of the official package that this one has no use for, or that show a private part of theirs."""

import sys
import uuid
from collections.abc import Iterable

from google.protobuf.any_pb2 import Any as AnyMessage

from bridge import __version__
from bridge.compat.messages import from_descriptors
from bridge.exceptions import UnityCommunicationException
from bridge.side_channels import (
    EnvironmentStats,
    IncomingMessage,
    OutgoingMessage,
    SideChannel,
)
from bridge.side_channels import SideChannelManager as _SideChannelManager
from bridge.side_channels import StatsSideChannel as _StatsSideChannel


class FloatPropertiesChannel(SideChannel):
    """Numbers by name, both ways; what players had before environment parameters."""

    def __init__(self, channel_id: uuid.UUID | None = None) -> None:
        super().__init__(channel_id or uuid.UUID("60ccf7d0-4f7e-11ea-b238-784f4387d1f7"))
        self._properties: dict[str, float] = {}

    def on_message_received(self, msg: IncomingMessage) -> None:
        key = msg.read_string()
        self._properties[key] = msg.read_float32()

    def set_property(self, key: str, value: float) -> None:
        """Tells the player, and is what `get_property` returns until the player says otherwise."""
        self._properties[key] = value
        message = OutgoingMessage()
        message.write_string(key)
        message.write_float32(value)
        self.queue_message_to_send(message)

    def get_property(self, key: str) -> float | None:
        return self._properties.get(key)

    def list_properties(self) -> list[str]:
        return list(self._properties)

    def get_property_dict_copy(self) -> dict[str, float]:
        return dict(self._properties)


class StatsSideChannel(_StatsSideChannel):
    """Also shows what arrived so far as `stats`."""

    @property
    def stats(self) -> EnvironmentStats:
        return self._stats


class SideChannelManager(_SideChannelManager):
    """Also shows the channels by id under the official private name, which wrappers read."""

    def __init__(self, side_channels: Iterable[SideChannel] | None = None) -> None:
        super().__init__(side_channels)
        self._side_channels_dict = self._channels


class DefaultTrainingAnalyticsSideChannel(SideChannel):
    """Tells the player which Python it talks to, for the statistics of Unity's package."""

    CHANNEL_ID = uuid.UUID("b664a4a9-d86f-5a5f-95cb-e8353a7e8356")

    def __init__(self) -> None:
        super().__init__(self.CHANNEL_ID)

    def on_message_received(self, msg: IncomingMessage) -> None:
        raise UnityCommunicationException("the player sent training analytics, which only a trainer sends")

    def environment_initialized(self) -> None:
        """Queues the message, a packed TrainingEnvironmentInitialized."""
        details = from_descriptors("TrainingEnvironmentInitialized")(
            python_version=".".join(map(str, sys.version_info[:3])),
            mlagents_version="Custom",
            mlagents_envs_version=__version__,
            torch_version="Unknown",
            torch_device_type="Unknown",
        )
        packed = AnyMessage()
        packed.Pack(details)
        message = OutgoingMessage()
        message.set_raw_bytes(packed.SerializeToString())
        self.queue_message_to_send(message)
