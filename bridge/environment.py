"""`UnityEnvironment`: one player as an `mlagents_envs.base_env.BaseEnv`, with the arguments and methods of the official class."""

import atexit
import logging
from collections.abc import Sequence
from typing import Any

from bridge import API_VERSION, __version__
from bridge.codec import Steps, behavior_spec_from_message, decode_steps, encode_actions
from bridge.exceptions import (
    PortInUseError,
    UnityCommunicationException,
    UnityEnvironmentException,
)
from bridge.launcher import Player, PlayerExit, find_executable
from bridge.messages import COMMAND_RESET, COMMAND_STEP, STATUS_OK, UnityMessageProto
from bridge.ports import find_free_port
from bridge.server import PlayerServer, stopped_by_player
from bridge.side_channels import SideChannel, SideChannelManager
from bridge.stepped_environment import SteppedEnvironment

logger = logging.getLogger(__name__)

_CAPABILITIES = (
    "baseRLCapabilities",
    "concatenatedPngObservations",
    "compressedChannelMapping",
    "hybridActions",
    "variableLengthObservation",
    "multiAgentGroups",
)


class UnityEnvironment(SteppedEnvironment):
    """Starts a player (or waits for the Unity Editor's Play button) and steps it.

    Rows of every array are agents, `[agents, ...]`; an agent that is not in a step is still carrying out its last decision.
    Without `base_port` the first free port from 5005 + worker_id on is taken; with it, PortInUseError says who holds it.
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
    ) -> None:
        """`file_name`: the executable; None waits for the Editor on port 5004, for `timeout_wait` seconds, or without limit if
        `wait_for_editor`. `timeout_wait` (s) also limits each later wait for the player. `log_folder`: where player logs go.

        Raises UnityEnvironmentException (not found, ended, wrong version), UnityTimeOutException (silent), PortInUseError.
        """
        if file_name is None and worker_id != 0:
            raise UnityEnvironmentException(
                f"worker_id is {worker_id}, but the Unity Editor can only be worker 0; give file_name to start players"
            )
        super().__init__()
        self._timeout = timeout_wait
        self._side_channels = SideChannelManager(side_channels)
        self._capabilities: Any = None
        self._fresh = True
        self._player: Player | None = None
        self._server: PlayerServer | None = None

        executable = None if file_name is None else find_executable(file_name)
        if executable is None:
            port = self.DEFAULT_EDITOR_PORT if base_port is None else base_port
        else:
            port = None if base_port is None else base_port + worker_id
        self._server = self._listen(port, worker_id)
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
                self._player.on_exit(self._on_player_exit)
            else:
                logger.info(
                    f"Listening on port {self.port}. "
                    "Start training by pressing the Play button in the Unity Editor."
                )
            unlimited = executable is None and wait_for_editor
            self._handshake(None if unlimited else timeout_wait, seed, num_areas)
        except BaseException:
            self.close()
            raise

    @property
    def academy_capabilities(self) -> Any:
        """What the player said it can do (UnityRLCapabilitiesProto)."""
        return self._capabilities

    def close(self) -> None:
        """Tells the player to leave, waits for it, frees the port. Harmless when called twice."""
        atexit.unregister(self.close)
        server, self._server = self._server, None
        player, self._player = self._player, None
        if server is None:
            return
        server.stop_player()
        if player is not None:
            player.stop(self._timeout)
        server.close()

    def send_reset(self) -> None:
        """The first half of `reset`."""
        self._fresh = False
        self._actions.clear()
        self._send(COMMAND_RESET)

    def send_step(self) -> None:
        """The first half of `step`."""
        if self._fresh:
            self.send_reset()
        else:
            self._send(COMMAND_STEP)

    def receive_steps(self) -> Steps:
        """The second half: waits for the player. Behaviors without news are not in the result."""
        message = self._receive(self._timeout, self._describe_silence)
        output = message.unity_output
        specs = self._specs
        for brain in output.rl_initialization_output.brain_parameters:
            agents = output.rl_output.agentInfos
            if brain.brain_name not in specs and brain.brain_name in agents and agents[brain.brain_name].value:
                specs[brain.brain_name] = behavior_spec_from_message(brain, agents[brain.brain_name].value[0])
        self._side_channels.process_side_channel_message(output.rl_output.side_channel)
        steps: Steps = {}
        for name, agents in output.rl_output.agentInfos.items():
            if name not in specs:
                if not agents.value:
                    continue
                raise UnityCommunicationException(
                    f"the player sent agents of behavior '{name}' before its brain parameters"
                )
            steps[name] = decode_steps(name, specs[name], agents.value)
        self._steps = steps
        self._actions.clear()
        return steps

    # ---- below: one message after the other ----

    def _listen(self, port: int | None, worker_id: int) -> PlayerServer:
        if port is not None:
            return PlayerServer(port, worker_id)
        first = self.BASE_ENVIRONMENT_PORT + worker_id
        while True:
            port = find_free_port(first)
            try:
                return PlayerServer(port, worker_id)
            except PortInUseError:  # somebody else was looking for a free port at the same moment
                first = port + 1

    def _handshake(self, timeout: float | None, seed: int, num_areas: int) -> None:
        first = self._receive(timeout, self._describe_absence).unity_output.rl_initialization_output
        if first.communication_version.split(".")[0] != API_VERSION.split(".")[0]:
            raise UnityEnvironmentException(
                f"the player speaks version {first.communication_version or 'unknown'} of the ML-Agents communication API, this side {API_VERSION}; "
                f"build it with a com.unity.ml-agents package whose API is {API_VERSION.split('.')[0]}.x (package version here: "
                f"{first.package_version or 'unknown'})"
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
        for capability in _CAPABILITIES:
            setattr(parameters.capabilities, capability, True)
        self._live_server().send(answer.SerializeToString())
        self._receive(self._timeout, self._describe_silence)  # held until the first reset

    def _send(self, command: int) -> None:
        message = UnityMessageProto()
        message.header.status = STATUS_OK
        rl_input = message.unity_input.rl_input
        rl_input.command = command
        rl_input.side_channel = self._side_channels.generate_side_channel_messages()
        if command == COMMAND_STEP:
            for name, (decisions, _) in self._steps.items():
                if len(decisions) == 0:
                    continue
                encode_actions(rl_input, name, self._action(name), deprecated_too=not self._capabilities.hybridActions)
        self._live_server().send(message.SerializeToString())

    def _receive(self, timeout: float | None, describe_silence: Any) -> Any:
        data = self._live_server().receive(timeout, describe_silence)
        try:
            message = UnityMessageProto.FromString(data)
        except Exception as error:  # protobuf's DecodeError differs between its implementations
            raise UnityCommunicationException(
                f"the player sent {len(data)} bytes that are no protocol message: {error}"
            ) from error
        if message.header.status != STATUS_OK:
            raise stopped_by_player(message.header.status, message.header.message)
        return message

    def _live_server(self) -> PlayerServer:
        if self._server is None:
            raise UnityEnvironmentException("this environment is closed; make a new one")
        return self._server

    def _on_player_exit(self, ended: PlayerExit) -> None:
        server = self._server
        if server is not None:
            server.player_gone(self._player.exit_description() if self._player else str(ended))

    def _describe_absence(self) -> str:
        if self._player is None:
            return f"no Unity Editor connected to port {self.port} within {self._timeout:g} s; press Play in a scene whose agents use ML-Agents"
        return (
            f"the player was started but did not connect to port {self.port} within {self._timeout:g} s; likely causes, in this order: the executable "
            "is not a build with ML-Agents, or is another program; it is still loading (raise --timeout-wait); it shows a dialog or waits for a "
            "display (--no-graphics)"
        )

    def _describe_silence(self) -> str:
        return (
            f"the player is connected but sent nothing within {self._timeout:g} s; likely causes, in this order: no agent ever requests a decision "
            "(is there a Decision Requester, is the Behavior Type 'Default'?); the scene with the agents is not loaded; the game is paused or stuck; "
            "one step takes longer than that (raise --timeout-wait)"
        )
