"""A player's end of the wire for tests that say each message; also for the programs that they write."""

from concurrent.futures import Future

import grpc

from bridge.messages import EXCHANGE_METHOD, UnityMessageProto, capabilities

LIMIT = 20  # seconds that a call may take


class RawPlayer:
    """A player's end of the wire that sends what it is told, right or wrong."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),  # else players of one process share a connection
            ("grpc.initial_reconnect_backoff_ms", 50),  # some dial before anybody listens
            ("grpc.max_reconnect_backoff_ms", 50),
        ]
        self._channel = grpc.insecure_channel(f"{host}:{port}", options=options)
        self._call = self._channel.unary_unary(EXCHANGE_METHOD)

    def begin(self, message=None, status: int = 200) -> Future:
        """Sends a message; the call's future gives the answer's bytes."""
        message = UnityMessageProto() if message is None else message
        message.header.status = status
        self._last = self._call.future(message.SerializeToString(), timeout=LIMIT, wait_for_ready=True)
        return self._last  # kept, since a call that nobody holds is cancelled

    def exchange(self, message=None, status: int = 200):
        return UnityMessageProto.FromString(self.begin(message, status).result())

    def introduce(self, version: str = "1.5.0", **capable: bool):
        """Message 1 of the handshake; returns the answer."""
        message = UnityMessageProto()
        hello = message.unity_output.rl_initialization_output
        hello.name, hello.communication_version, hello.package_version = "AcademySingleton", version, "3.0.0"
        hello.capabilities.CopyFrom(capabilities())
        for name, value in capable.items():
            setattr(hello.capabilities, name, value)
        return self.exchange(message)

    def connect(self):
        """The whole handshake; returns the answer to message 2, the first reset."""
        self.introduce()
        return self.exchange()

    def observe(self, *agents, name: str = "Echo?team=0", brain: bool = False, side_channel: bytes = b""):
        """Sends agents, dicts of the fields of an AgentInfoProto and `obs`, a list of lists; returns the answer."""
        message = UnityMessageProto()
        output = message.unity_output
        if brain:
            parameters = output.rl_initialization_output.brain_parameters.add()
            parameters.brain_name = name
            parameters.action_spec.num_continuous_actions = 2
        infos = output.rl_output.agentInfos[name].value
        for agent in agents:
            info = infos.add()
            for observation in agent.pop("obs"):
                proto = info.observations.add()
                proto.shape.append(len(observation))
                proto.float_data.data.extend(observation)
            for field, value in agent.items():
                setattr(info, field, value)
        output.rl_output.side_channel = side_channel
        return self.exchange(message)

    def close(self) -> None:
        self._channel.close()
