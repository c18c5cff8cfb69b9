"""The protocol's message classes, built at run time from the committed descriptor set.

They live in a descriptor pool of their own, so that the official mlagents_envs, which registers the same names in
protobuf's default pool, can be imported beside them, and one source serves every protobuf from 5.29 on. `make proto`
writes the descriptor set anew.
"""

from importlib.resources import files
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from bridge import API_VERSION

PACKAGE = "communicator_objects"
EXCHANGE_METHOD = f"/{PACKAGE}.UnityToExternalProto/Exchange"


def _load() -> dict[str, Any]:
    descriptor_set = descriptor_pb2.FileDescriptorSet.FromString(
        files("bridge").joinpath("protos", "descriptor_set.binpb").read_bytes()
    )
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_set.file:
        pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for file in descriptor_set.file
        for name in (message.name for message in file.message_type)
    }


_classes = _load()

UnityMessageProto: Any = _classes["UnityMessageProto"]
AgentInfoProto: Any = _classes["AgentInfoProto"]
BrainParametersProto: Any = _classes["BrainParametersProto"]
ObservationProto: Any = _classes["ObservationProto"]
UnityRLCapabilitiesProto: Any = _classes["UnityRLCapabilitiesProto"]

STATUS_OK = 200
STATUS_STOP = 400
COMMAND_STEP, COMMAND_RESET, COMMAND_QUIT = 0, 1, 2
COMPRESSION_NONE, COMPRESSION_PNG = 0, 1


def capabilities() -> Any:
    """What both sides here can do (UnityRLCapabilitiesProto): all but telling about the training."""
    return UnityRLCapabilitiesProto(
        baseRLCapabilities=True,
        concatenatedPngObservations=True,
        compressedChannelMapping=True,
        hybridActions=True,
        variableLengthObservation=True,
        multiAgentGroups=True,
    )


def is_compatible(version: str) -> bool:
    """Whether the other side's version of the communication API goes with ours: the major number has to be the same."""
    return version.split(".")[0] == API_VERSION.split(".")[0]
