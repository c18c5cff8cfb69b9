"""A world stepped in the trainer's own process: the same interface as a player behind gRPC, without the wire."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bridge.codec import Steps, check_steps
from bridge.exceptions import UnityEnvironmentException
from bridge.player import EnvironmentParameters, MakeWorld, World, player_side_channels
from bridge.side_channels import SideChannel, SideChannelManager
from bridge.stepped_environment import SteppedEnvironment


class InProcessEnvironment(SteppedEnvironment):
    """Steps `make_world(seed, num_areas, parameters)` directly. Side channels work as they do over the wire.

    The arrays of a step may be overwritten by the next one: copy what is to be kept.
    """

    def __init__(
        self, make_world: MakeWorld, *, seed: int = 0, num_areas: int = 1, side_channels: Sequence[SideChannel] = ()
    ) -> None:
        super().__init__()
        parameters = EnvironmentParameters()
        self._trainer_channels = SideChannelManager(side_channels)
        self._player_channels = player_side_channels(parameters)
        self._world: World | None = make_world(seed, num_areas, parameters)
        self._specs = dict(self._world.behavior_specs)
        self._fresh = True

    def send_reset(self) -> None:
        """Simulates until the first decisions."""
        self._fresh = False
        self._actions.clear()
        self._exchange_side_channels()
        self._next = self._live_world().reset()

    def send_step(self) -> None:
        """Simulates until at least one agent has something to report."""
        if self._fresh:
            self.send_reset()
            return
        actions = {name: self._action(name) for name, (decisions, _) in self._steps.items() if len(decisions)}
        self._exchange_side_channels()
        self._next = self._live_world().step(actions)

    def receive_steps(self) -> Steps:
        """What the first half has simulated."""
        for name, (decisions, terminals) in self._next.items():
            check_steps(name, self._specs[name], decisions, terminals)
        self._steps = self._next
        self._actions.clear()
        return self._steps

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """The world's state, to go on from bit for bit."""
        return self._live_world().state()

    def load_state(self, state: Mapping[str, np.ndarray[Any, Any]]) -> Steps:
        """Takes up `state`; the steps that were outstanding then are the current ones again."""
        self._fresh = False
        self._exchange_side_channels()
        self._next = self._live_world().load_state(state)
        return self.receive_steps()

    def close(self) -> None:
        """Drops the world."""
        self._world = None

    def _exchange_side_channels(self) -> None:
        self._player_channels.process_side_channel_message(self._trainer_channels.generate_side_channel_messages())
        self._trainer_channels.process_side_channel_message(self._player_channels.generate_side_channel_messages())

    def _live_world(self) -> World:
        if self._world is None:
            raise UnityEnvironmentException("this environment is closed; make a new one")
        return self._world
