"""What the generated modules of `communicator_objects` hold: message classes, enumerations, and the gRPC service."""

from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from bridge.messages import EXCHANGE_METHOD, PACKAGE, UnityMessageProto

_FILE = UnityMessageProto.DESCRIPTOR.file


def from_descriptors(name: str) -> Any:
    """The message class, the enumeration or the enumeration's value `name` of the protocol."""
    for enumeration in _FILE.enum_types_by_name.values():
        if name == enumeration.name:
            return EnumTypeWrapper(enumeration)
        if name in enumeration.values_by_name:
            return enumeration.values_by_name[name].number
    return message_factory.GetMessageClass(_FILE.pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


class UnityToExternalProtoStub:
    """The player's side: calls `Exchange`."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.Exchange = channel.unary_unary(
            EXCHANGE_METHOD,
            request_serializer=UnityMessageProto.SerializeToString,
            response_deserializer=UnityMessageProto.FromString,
        )


class UnityToExternalProtoServicer:
    """The trainer's side: a subclass answers `Exchange`."""

    def Exchange(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "a subclass of UnityToExternalProtoServicer implements Exchange")


def add_UnityToExternalProtoServicer_to_server(servicer: UnityToExternalProtoServicer, server: grpc.Server) -> None:
    service, _, method = EXCHANGE_METHOD.removeprefix("/").partition("/")
    handler = grpc.unary_unary_rpc_method_handler(
        servicer.Exchange,
        request_deserializer=UnityMessageProto.FromString,
        response_serializer=UnityMessageProto.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
