"""The trainer's end of the wire: one gRPC server a port, one player on it.

The player calls `Exchange` with its state and the call is held until the trainer has an answer. Requests and answers are raw bytes here.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent import futures

import grpc

from bridge.exceptions import (
    PortInUseError,
    UnityCommunicatorStoppedException,
    UnityEnvironmentException,
    UnityTimeOutException,
)
from bridge.messages import EXCHANGE_METHOD, STATUS_STOP, UnityMessageProto
from bridge.ports import describe_port_holder, ipv6_loopback_exists, port_is_free

# so_reuseport off: with it two servers share a port silently and each gets half of the calls.
CHANNEL_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
_SERVER_OPTIONS = (("grpc.so_reuseport", 0), *CHANNEL_OPTIONS)

# Waits are cut into slices so that Ctrl-C gets through on Windows, where a blocked lock is not interrupted.
_SLICE_SECONDS = 0.5


def _stop_message(reason: str) -> bytes:
    message = UnityMessageProto()
    message.header.status = STATUS_STOP
    message.header.message = reason
    encoded: bytes = message.SerializeToString()
    return encoded


class _PlayerGone(Exception):
    """Put in the queue of requests when the player can send none any more; carries the reason."""


class PlayerServer:
    """Listens on one port of the loopback interfaces (127.0.0.1 and ::1; Unity dials `localhost`) for one player.

    `receive` and `send` alternate. Raises PortInUseError when the port is taken.
    """

    def __init__(self, port: int, worker_id: int = 0) -> None:
        self.port = port
        self._requests: queue.SimpleQueue[bytes | _PlayerGone] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._call_open = False
        self._stopping = False
        self._idle = threading.Event()  # set while no call is open
        self._idle.set()
        if not port_is_free(port):
            raise PortInUseError(worker_id, _port_in_use(port))
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=_SERVER_OPTIONS)
        handler = grpc.unary_unary_rpc_method_handler(self._exchange)  # no (de)serialisers: bytes in, bytes out
        service, method = EXCHANGE_METHOD.strip("/").split("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        addresses = [f"127.0.0.1:{port}"] + ([f"[::1]:{port}"] if ipv6_loopback_exists() else [])
        for address in addresses:
            try:
                bound = self._server.add_insecure_port(address)
            except RuntimeError:
                bound = 0
            if bound == 0:  # taken between the check and now
                self._server.stop(grace=None)
                raise PortInUseError(worker_id, _port_in_use(port))
        self._server.start()

    def _exchange(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self._lock:
            if self._stopping:
                return _stop_message("the trainer is closing")
            if self._call_open:
                return _stop_message(f"another player is already connected to port {self.port}")
            self._call_open = True
            self._idle.clear()
        # Called when the call ends for whatever reason: answered, or the player is gone.
        context.add_callback(self._on_call_ended)
        self._requests.put(request)
        answer = self._wait_for_answer()
        with self._lock:
            self._call_open = False
        return answer

    def _wait_for_answer(self) -> bytes:
        # At its exit the interpreter joins this thread before it runs atexit handlers: a program that forgot close() must not hang here.
        while threading.main_thread().is_alive():
            try:
                return self._answers.get(timeout=_SLICE_SECONDS)
            except queue.Empty:
                continue
        return _stop_message("the trainer has ended")

    def _on_call_ended(self) -> None:
        with self._lock:
            abandoned = self._call_open
        if abandoned:
            self.player_gone("the player closed its connection while it was waiting for an answer")
        self._idle.set()

    def player_gone(self, reason: str) -> None:
        """Whoever waits, or comes to wait, in `receive` gets this as an UnityEnvironmentException. Callable from any thread."""
        self._requests.put(_PlayerGone(reason))

    def receive(self, timeout: float | None, describe_silence: Callable[[], str] | None = None) -> bytes:
        """The player's next message. `timeout` in seconds, None waits for ever.

        Raises UnityTimeOutException (with `describe_silence()` as its text) or UnityEnvironmentException when the player is gone.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            remaining = _SLICE_SECONDS if deadline is None else min(_SLICE_SECONDS, deadline - time.monotonic())
            try:
                request = self._requests.get(timeout=max(remaining, 0.0))
            except queue.Empty:
                if deadline is not None and time.monotonic() >= deadline:
                    text = (
                        describe_silence() if describe_silence else f"no message from the player within {timeout:g} s"
                    )
                    raise UnityTimeOutException(text) from None
                continue
            if isinstance(request, _PlayerGone):
                self._requests.put(request)  # it stays gone
                raise UnityEnvironmentException(str(request))
            return request

    def send(self, answer: bytes) -> None:
        """Answers the message that `receive` returned last."""
        self._answers.put(answer)

    def stop_player(self, timeout: float = 1.0) -> None:
        """Tells the player to leave (status 400): at once if it waits for an answer, else as soon as it calls again. Waits for the answer to go out."""
        with self._lock:
            self._stopping = True
            waiting = self._call_open
        if waiting:
            self._answers.put(_stop_message("the trainer is closing"))
        self._idle.wait(timeout)

    def close(self) -> None:
        """Frees the port."""
        self.stop_player(timeout=0.0)
        self._server.stop(grace=0.2).wait()


def _port_in_use(port: int) -> str:
    return (
        f"port {port} is in use{describe_port_holder(port, prefix=' by ')}; end that program, or choose another port with --base-port "
        "(base_port in Python)"
    )


def stopped_by_player(status: int, text: str) -> UnityCommunicatorStoppedException:
    """The error for a message whose status is not 200."""
    return UnityCommunicatorStoppedException(
        f"the player ended the communication (status {status}{': ' + text if text else ''})"
    )
