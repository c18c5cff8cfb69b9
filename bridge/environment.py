"""`UnityEnvironment`: one player as an `mlagents_envs.base_env.BaseEnv`, as the official class is."""

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError
from mlagents_envs.base_env import BehaviorSpec
from numpy.typing import NDArray

from bridge import API_VERSION, __version__
from bridge.codec import Steps, behavior_spec_from_message, decode_steps, encode_actions
from bridge.exceptions import UnityCommunicationException, UnityEnvironmentException, UnityTimeOutException
from bridge.launcher import Player, find_executable
from bridge.messages import (
    COMMAND_RESET,
    COMMAND_STEP,
    STATUS_OK,
    UnityMessageProto,
    capabilities,
    is_compatible,
)
from bridge.ports import describe_port_holder
from bridge.server import PlayerServer, stopped_by_player
from bridge.side_channels import SideChannel, SideChannelManager
from bridge.stepped_environment import SteppedEnvironment

if TYPE_CHECKING:
    from bridge.fast_codec import TrainerCodec

logger = logging.getLogger(__name__)


# How long a player that was told to leave may take, at most `timeout_wait`, before it is ended.
_LEAVE_SECONDS = 10.0
# How long after the end of its connection a player's own end may follow.
_EXIT_SECONDS = 1.0


def _check_ids(name: str, agent_ids: NDArray[np.int32]) -> None:
    ids = np.sort(agent_ids)
    twice = np.flatnonzero(ids[1:] == ids[:-1])
    if len(twice):
        raise UnityCommunicationException(
            f"the player sent agent {ids[twice[0]]} of behavior '{name}' twice in one message, so that nobody knows "
            "which of them an action is for; each agent needs an id of its own"
        )


def _load_fast_codec(specs: Mapping[str, BehaviorSpec]) -> "TrainerCodec | None":
    from bridge.fast_codec import TrainerCodec

    return TrainerCodec.load(specs)


class UnityEnvironment(SteppedEnvironment):
    """Starts a player (or waits for the Unity Editor's Play button) and steps it.

    Rows of every array are agents, `[agents, ...]`; an agent that is not in a step still carries out its last decision.
    Without `base_port` the first free port from 5005 + worker_id on is taken; with it, PortInUseError says who holds
    it.
    """

    API_VERSION = API_VERSION
    DEFAULT_EDITOR_PORT = 5004
    BASE_ENVIRONMENT_PORT = 5005

    def __init__(
        self,
        file_name: str | None = None,
        worker_id: int = 0,
        base_port: int | None = None,
        seed: int = 0,
        no_graphics: bool = False,
        no_graphics_monitor: bool = False,
        timeout_wait: float = 60,
        additional_args: Sequence[str] | None = None,
        side_channels: Sequence[SideChannel] | None = None,
        log_folder: str | None = None,
        num_areas: int = 1,
        *,
        wait_for_editor: bool = False,
        listen: str | None = None,
    ) -> None:
        """`file_name`: the executable; None waits for the Editor on port 5004, without limit if `wait_for_editor`.

        `timeout_wait` (s) limits every other wait for the player. `log_folder`: where player logs go. `listen`: an
        address of this machine to be reached at from others, without which it is reached from here alone.

        Raises UnityEnvironmentException (not found, ended, wrong version), UnityTimeOutException (silent) and
        PortInUseError.
        """
        if file_name is None and worker_id != 0:
            raise UnityEnvironmentException(
                f"worker_id is {worker_id}, but the Unity Editor can only be worker 0; give file_name to start players"
            )
        if not -(2**31) <= seed < 2**31:
            raise UnityEnvironmentException(f"seed is {seed}, but the protocol carries {-(2**31)} to {2**31 - 1}")
        super().__init__()
        self._timeout = timeout_wait
        self._sent = time.monotonic()  # the last message to the player
        self._side_channels = SideChannelManager(side_channels)
        self._capabilities: Any = None
        self._announced: dict[str, Any] = {}  # brain parameters of behaviors of which no agent was seen yet
        self._needs_reset = True
        self._player_hears = False  # that it is to leave: it calls
        self._player: Player | None = None
        self._fast_codec: TrainerCodec | None = None
        self._server: PlayerServer | None = None

        executable = None if file_name is None else find_executable(file_name)
        if base_port is not None:
            self._server = PlayerServer(base_port + worker_id, worker_id, listen)
        elif executable is None:
            self._server = PlayerServer(self.DEFAULT_EDITOR_PORT, listen=listen)
        else:
            self._server = PlayerServer.on_free_port(self.BASE_ENVIRONMENT_PORT + worker_id, worker_id, listen)
        self.port = self._server.port
        atexit.register(self.close)
        try:
            if executable is not None:
                self._player = Player.start(
                    executable,
                    port=self.port,
                    worker_id=worker_id,
                    no_graphics=no_graphics,
                    no_graphics_monitor=no_graphics_monitor,
                    log_folder=log_folder,
                    additional_args=list(additional_args or ()),
                )
                self._player.on_exit(lambda _: self._on_player_exit())
            else:
                logger.info(
                    f"Listening on port {self.port}. Start training by pressing the Play button in the Unity Editor."
                )
            unlimited = executable is None and wait_for_editor
            with ThreadPoolExecutor(1) as background:  # numba takes a moment to load, and the player is starting
                loading = background.submit(_load_fast_codec, self._specs)
                self._handshake(None if unlimited else timeout_wait, seed, num_areas)
                self._fast_codec = loading.result()
        except BaseException:
            self.close()
            raise

    @property
    def academy_capabilities(self) -> Any:
        """What the player said it can do (UnityRLCapabilitiesProto)."""
        return self._capabilities

    def close(self) -> None:
        """Tells the player to leave, waits for it, frees the port. Harmless when called twice."""
        self.send_close()
        atexit.unregister(self.close)
        server, self._server = self._server, None
        player, self._player = self._player, None
        if server is None:
            return
        try:
            if player is not None:
                player.stop(min(self._timeout, _LEAVE_SECONDS) if self._player_hears else 0)
        finally:
            server.close()

    def send_close(self) -> None:
        """The first half of `close`: the player is told."""
        if self._server is not None:
            self._server.stop_player()

    @property
    def ready(self) -> bool:
        """Whether `receive_steps` would return, or raise, at once."""
        return self._live_server().has_message or self._remaining() <= 0

    def on_message(self, callback: Callable[[], None]) -> None:
        """`callback` is called, from another thread, when `ready` may have become true."""
        self._live_server().on_message = callback

    def send_reset(self) -> None:
        """The first half of `reset`."""
        self._forget_actions()
        self._send(COMMAND_RESET)

    def send_step(self) -> None:
        """The first half of `step`."""
        if self._needs_reset:
            self.send_reset()
        else:
            self._send(COMMAND_STEP)

    def receive_steps(self) -> Steps:
        """The second half: waits for the player. Behaviors without news are not in the result.

        After an error in the player's message the next step has to be a reset, and `step` makes it one.
        """
        self._forget_actions()
        self._steps = {}
        self._needs_reset = True
        data = self._receive(self._remaining(), self._describe_silence)
        decoded = None if self._fast_codec is None else self._fast_codec.decode_steps(data)
        if decoded is None:
            steps = self._decode(self._parse(data).unity_output)
        else:
            steps, side_channel = decoded
            self._side_channels.process_side_channel_message(side_channel)
        for name, (decisions, _) in steps.items():
            _check_ids(name, decisions.agent_id)
        self._steps = steps
        self._needs_reset = False
        return steps

    # ---- below: one message after the other ----

    def _handshake(self, timeout: float | None, seed: int, num_areas: int) -> None:
        first = self._parse(self._receive(timeout, self._describe_absence)).unity_output.rl_initialization_output
        if not is_compatible(first.communication_version):
            raise UnityEnvironmentException(
                f"the player speaks version {first.communication_version or 'unknown'} of the ML-Agents communication "
                f"API, this side {API_VERSION}; build it with a com.unity.ml-agents package whose API is "
                f"{API_VERSION.split('.')[0]}.x (its package version: {first.package_version or 'unknown'})"
            )
        self._capabilities = first.capabilities
        logger.info(
            f"Connected to Unity environment with package version {first.package_version} "
            f"and communication version {first.communication_version}"
        )
        answer = UnityMessageProto()
        answer.header.status = STATUS_OK
        parameters = answer.unity_input.rl_initialization_input
        parameters.seed = seed
        parameters.communication_version = API_VERSION
        parameters.package_version = __version__
        parameters.num_areas = num_areas
        parameters.capabilities.CopyFrom(capabilities())
        self._live_server().send(answer.SerializeToString())
        self._parse(self._receive(self._timeout, self._describe_stall))  # held until the first reset

    def _decode(self, output: Any) -> Steps:
        self._side_channels.process_side_channel_message(output.rl_output.side_channel)
        agents = output.rl_output.agentInfos
        self._add_specs(output.rl_initialization_output.brain_parameters, agents)
        # In the order of the specifications: a map has none that could be relied on.
        return {
            name: decode_steps(name, spec, agents[name].value)
            for name, spec in self._specs.items()
            if name in agents and agents[name].value
        }

    def _add_specs(self, brain_parameters: Iterable[Any], agents: Mapping[str, Any]) -> None:
        for brain in brain_parameters:
            if brain.brain_name not in self._specs:
                self._announced[brain.brain_name] = brain
        for name in [name for name in self._announced if name in agents and agents[name].value]:
            self._specs[name] = behavior_spec_from_message(self._announced.pop(name), agents[name].value[0])
        for name in agents:
            if name not in self._specs and agents[name].value:
                raise UnityCommunicationException(
                    f"the player sent agents of behavior '{name}' before its brain parameters"
                )

    def _send(self, command: int) -> None:
        side_channel = self._side_channels.generate_side_channel_messages()
        actions, data = {}, None
        if command == COMMAND_STEP:
            actions = {name: self._action(name) for name, (decisions, _) in self._steps.items() if len(decisions)}
            if self._fast_codec is not None and self._capabilities.hybridActions:
                data = self._fast_codec.encode_actions(actions, side_channel)
        if data is None:
            message = UnityMessageProto()
            message.header.status = STATUS_OK
            rl_input = message.unity_input.rl_input
            rl_input.command = command
            rl_input.side_channel = side_channel
            for name, action in actions.items():
                encode_actions(rl_input, name, action, deprecated_too=not self._capabilities.hybridActions)
            data = message.SerializeToString()
        self._sent = time.monotonic()
        self._live_server().send(data)

    def _remaining(self) -> float:
        """Seconds that the player has left to answer."""
        return self._timeout - (time.monotonic() - self._sent)

    def _receive(self, timeout: float | None, describe_silence: Callable[[], str]) -> bytes:
        server = self._live_server()
        try:
            data = server.receive(timeout, describe_silence)
        except UnityTimeOutException:
            self._player_hears = False
            self._sent = time.monotonic()  # who calls again waits as long again
            raise
        except UnityEnvironmentException as gone:
            self._player_hears = False
            raise UnityEnvironmentException(self._describe_end(str(gone))) from None
        self._player_hears = True
        return data

    def _parse(self, data: bytes) -> Any:
        try:
            message = UnityMessageProto.FromString(data)
        except DecodeError as error:
            raise UnityCommunicationException(
                f"the player sent {len(data)} bytes that are no protocol message: {error}"
            ) from error
        if message.header.status != STATUS_OK:
            stopped = stopped_by_player(message.header.status, message.header.message)
            server = self._live_server()
            server.stop_player()  # at once: the Editor stands still until its goodbye is answered
            server.player_gone(str(stopped))
            raise stopped
        return message

    def _live_server(self) -> PlayerServer:
        if self._server is None:
            raise UnityEnvironmentException("this environment is closed; make a new one")
        return self._server

    def _on_player_exit(self) -> None:
        server = self._server
        if server is not None:
            server.player_gone("the player ended")

    def _describe_end(self, reason: str) -> str:
        """How the player ended; `reason` is what is known without its process."""
        player = self._player
        if player is None:
            return reason
        ended = threading.Event()
        player.on_exit(lambda _: ended.set())
        ended.wait(_EXIT_SECONDS)
        return player.exit_description() or f"{reason}, but its process goes on running"

    def _describe_absence(self) -> str:
        if self._player is None:
            return (
                f"no Unity Editor connected to port {self.port} within {self._timeout:g} s; press Play in a scene "
                "whose agents use ML-Agents"
            )
        return (
            f"the player was started but did not connect to port {self.port} within {self._timeout:g} s; likely "
            "causes, in this order: the executable is not a build with ML-Agents, or is another program; it is still "
            "loading (raise --timeout-wait); it shows a dialog or waits for a display (--no-graphics); the port is not "
            f"this program's alone: it is {describe_port_holder(self.port) or 'held by an unknown process'}"
        )

    def _describe_stall(self) -> str:
        return (
            f"the player connected but did not go on within {self._timeout:g} s; likely causes, in this order: it is "
            "stuck or paused; it is not a build with ML-Agents"
        )

    def _describe_silence(self) -> str:
        return (
            f"the player is connected but sent nothing within {self._timeout:g} s; likely causes, in this order: no "
            "agent ever requests a decision (is there a Decision Requester, is the Behavior Type 'Default'?); it is "
            "the wrong executable, or the scene with the agents is not loaded; the game is paused or stuck; one step "
            "takes longer than that (raise --timeout-wait)"
        )
