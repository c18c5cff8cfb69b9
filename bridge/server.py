"""The trainer's end of the wire: one gRPC server a port, one player on it.

The player calls `Exchange` with its state and the call is held until the trainer has an answer. Requests and answers
are raw bytes here.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import ParamSpec, TypeVar

import grpc
from google.protobuf.message import DecodeError

from bridge.exceptions import (
    PortInUseError,
    UnityCommunicatorStoppedException,
    UnityEnvironmentException,
    UnityTimeOutException,
)
from bridge.messages import EXCHANGE_METHOD, STATUS_STOP, UnityMessageProto
from bridge.ports import addresses_of, describe_port_holder, find_free_port, is_loopback, port_is_free

logger = logging.getLogger(__name__)

CHANNEL_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
# so_reuseport off: with it two servers share a port silently and each gets half of the calls.
_SERVER_OPTIONS = (("grpc.so_reuseport", 0), *CHANNEL_OPTIONS)

# Waits are cut into slices so that Ctrl-C gets through on Windows, where a blocked lock is not interrupted.
_SLICE_SECONDS = 0.5

# Threads that start players at the same time must not choose the same port.
_choosing_port = threading.RLock()

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class _DaemonThreads(futures.Executor):
    """Threads that do not keep the program alive.

    At its end the interpreter joins those of a ThreadPoolExecutor before it runs atexit handlers: a program that forgot
    close() would hang in the call that is being held.
    """

    def __init__(self, count: int) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._loop, name="player-server", daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(
        self, fn: Callable[_Parameters, _Result], /, *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> futures.Future[_Result]:
        future: futures.Future[_Result] = futures.Future()

        def work() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # whoever asks for the result gets it
                future.set_exception(error)

        self._work.put(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for _ in self._threads:
            self._work.put(None)

    def _loop(self) -> None:
        while (work := self._work.get()) is not None:
            work()


class _Call:
    """A call of the player, and what is needed to answer it."""

    def __init__(self) -> None:
        self.answer: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.ended = threading.Event()  # the answer went out, or there is nobody any more to send it to


class PlayerServer:
    """Listens on one port of the loopback interfaces (127.0.0.1 and ::1; Unity dials `localhost`) for one player.

    With `listen` on that address of this machine as well, which is warned of. `receive` and `send` alternate. Raises
    PortInUseError when the port is taken, UnityEnvironmentException for an address that is not this machine's.

    Attributes:
        on_message: called, from another thread, when `receive` has something to return or to raise.
    """

    on_message: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, port: int, worker_id: int = 0, listen: str | None = None) -> None:
        self.port = port
        self._addresses = addresses_of(listen)
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # None: the player can send none any more
        self._lock = threading.Lock()
        self._peer: str | None = None  # the address at the player's end
        self._held: _Call | None = None
        self._gone: str | None = None
        self._stopping = False
        with _choosing_port:
            self._listen(worker_id)

    @classmethod
    def on_free_port(cls, first: int, worker_id: int = 0, listen: str | None = None) -> "PlayerServer":
        """Listens on the first free port from `first` on."""
        addresses = addresses_of(listen)
        with _choosing_port:
            while True:
                port = find_free_port(first, addresses=addresses)
                try:
                    return cls(port, worker_id, listen)
                except PortInUseError:  # another program was looking for a port at the same moment
                    first = port + 1

    def _listen(self, worker_id: int) -> None:
        if not port_is_free(self.port, self._addresses):
            raise PortInUseError(worker_id, _port_in_use(self.port))
        # One thread is in the call that is held; the others turn down whoever calls besides.
        self._threads = _DaemonThreads(3)
        self._server = grpc.server(self._threads, options=_SERVER_OPTIONS)
        handler = grpc.unary_unary_rpc_method_handler(self._exchange)  # no (de)serialisers: bytes in, bytes out
        service, method = EXCHANGE_METHOD.strip("/").split("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        for address in self._addresses:
            try:
                bound = self._server.add_insecure_port(_with_port(address, self.port))
            except RuntimeError:
                bound = 0
            if bound == 0:  # taken between the check and now
                self.close()
                raise PortInUseError(worker_id, _port_in_use(self.port))
        self._server.start()
        exposed = [_with_port(address, self.port) for address in self._addresses if not is_loopback(address)]
        if exposed:
            logger.warning(
                "Listening on %s, which other machines can reach. ML-Agents' protocol has neither encryption (TLS) nor "
                "a password (token): anyone who reaches this port can feed the trainer data, and stop it. An SSH "
                "tunnel does without: see 'Players on another machine' in bridge/README.md.",
                " and ".join(exposed),
            )

    def _exchange(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        call, peer = _Call(), context.peer()
        with self._lock:
            if self._stopping:
                return _stop_message("the trainer is closing")
            is_known = self._peer in (None, peer)
            if self._held is not None or not (is_known or _goes_on(request)):
                return _stop_message(f"another player is already connected to port {self.port}")
            self._peer = peer
            self._held = call
        self._requests.put(request)  # before the next lines: a player's last words come before the news of its end
        self.on_message()
        if not context.add_callback(lambda: self._on_call_ended(call)):
            self._on_call_ended(call)  # it has ended already
        return call.answer.get()

    def _on_call_ended(self, call: _Call) -> None:
        """Runs when a call ends for whatever reason; by then an answered one may have been followed by the next."""
        call.ended.set()
        with self._lock:
            abandoned = self._held is call
        if abandoned:
            self.player_gone("the player closed its connection while it was waiting for an answer")
            call.answer.put(b"")  # for nobody: lets the thread go

    def player_gone(self, reason: str) -> None:
        """Whoever waits, or comes to wait, in `receive` gets this as an UnityEnvironmentException.

        Callable from any thread.
        """
        with self._lock:
            self._gone = reason
            self._held = None
        self._requests.put(None)
        self.on_message()

    @property
    def has_message(self) -> bool:
        """Whether `receive` would return or raise at once."""
        return not self._requests.empty()

    def receive(self, timeout: float | None, describe_silence: Callable[[], str] | None = None) -> bytes:
        """The player's next message. `timeout` in seconds, None waits for ever.

        Raises UnityTimeOutException (with `describe_silence()` as its text; it may be called again, to wait on) or
        UnityEnvironmentException when the player is gone.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            remaining = _SLICE_SECONDS if deadline is None else min(_SLICE_SECONDS, deadline - time.monotonic())
            try:
                request = self._requests.get(timeout=max(remaining, 0.0))
            except queue.Empty:
                if deadline is None or time.monotonic() < deadline:
                    continue
                default = f"no message from the player within {timeout:g} s"
                raise UnityTimeOutException(describe_silence() if describe_silence else default) from None
            if request is None:
                self._requests.put(None)  # it stays gone
                raise UnityEnvironmentException(self._gone)
            return request

    def send(self, answer: bytes) -> None:
        """Answers the message that `receive` returned last. A player that is gone gets nothing: `receive` says so.

        Raises UnityEnvironmentException when that message was answered before.
        """
        with self._lock:
            call, self._held = self._held, None
            gone = self._gone is not None
        if call is not None:
            call.answer.put(answer)
        elif not gone:
            raise UnityEnvironmentException(
                "the player is still busy with the last step or reset: wait for it with receive_steps(), or close this "
                "environment and make a new one"
            )

    def stop_player(self, timeout: float = 1.0) -> None:
        """Tells the player to leave (status 400): at once if it waits for an answer, else as soon as it calls again.

        Waits up to `timeout` seconds for the answer to go out.
        """
        with self._lock:
            self._stopping = True
            call, self._held = self._held, None
        if call is not None:
            call.answer.put(_stop_message("the trainer is closing"))
            call.ended.wait(timeout)

    def close(self) -> None:
        """Frees the port."""
        self.stop_player()
        self._server.stop(grace=None).wait()
        self._threads.shutdown()


def _with_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _stop_message(reason: str) -> bytes:
    message = UnityMessageProto()
    message.header.status = STATUS_STOP
    message.header.message = reason
    encoded: bytes = message.SerializeToString()
    return encoded


def _goes_on(request: bytes) -> bool:
    """Whether a message from another address comes from the same player, which connected anew.

    Others introduce themselves first.
    """
    try:
        message = UnityMessageProto.FromString(request)
    except DecodeError:
        return False
    return not message.unity_output.rl_initialization_output.communication_version


def _port_in_use(port: int) -> str:
    return (
        f"port {port} is in use{describe_port_holder(port, prefix=' by ')}; end that program, or choose another port "
        "with --base-port (base_port in Python)"
    )


def stopped_by_player(status: int, text: str) -> UnityCommunicatorStoppedException:
    """The error for a message whose status is not 200."""
    return UnityCommunicatorStoppedException(
        f"the player ended the communication (status {status}{': ' + text if text else ''})"
    )
