"""Several players stepped as one batch."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mlagents_envs.base_env import ActionTuple, BehaviorSpec, DecisionSteps, TerminalSteps
from numpy.typing import NDArray

from bridge.codec import Steps
from bridge.exceptions import (
    UnityActionException,
    UnityCommunicationException,
    UnityEnvironmentException,
    UnityException,
    UnityTimeOutException,
)
from bridge.stepped_environment import SteppedEnvironment

# What a player may fail with and work again when it is started anew; a player that says goodbye does not fail.
RESTARTABLE = (UnityCommunicationException, UnityEnvironmentException, UnityTimeOutException)


@dataclass
class FleetSteps:
    """The steps of one behavior from all players together.

    `decision_players` and `terminal_players` [agents] say whose each row is.
    """

    decisions: DecisionSteps
    terminals: TerminalSteps
    decision_players: NDArray[np.int64]
    terminal_players: NDArray[np.int64]


class Fleet:
    """Players that step together: all of them simulate while the trainer waits for the last one.

    Attributes:
        restart: called with the number of a player that failed and its error; returns a new environment in its place,
            or raises. None: the error is raised.
        on_restart: called with the number of a player that was started again, before its first reset.
    """

    restart: Callable[[int, UnityException], SteppedEnvironment] | None = None
    on_restart: Callable[[int], None] | None = None

    def __init__(self, environments: Sequence[SteppedEnvironment]) -> None:
        self.environments = list(environments)
        self._failed: dict[int, UnityException] = {}  # players that could not be sent to
        self.waiting = False  # whether a call is waiting for players at this moment
        self._received: list[Steps] = [{} for _ in self.environments]
        self._zeros = np.zeros(0, np.int64)

    @property
    def behavior_specs(self) -> dict[str, BehaviorSpec]:
        """Specifications of all behaviors seen so far, by full name."""
        specs: dict[str, BehaviorSpec] = {}
        for environment in self.environments:
            specs.update(environment.behavior_specs)
        return specs

    def reset(self) -> dict[str, FleetSteps]:
        """Starts all episodes anew."""
        for player, environment in enumerate(self.environments):
            self._send(player, environment.send_reset)
        return self.receive()

    def send_step(self) -> None:
        """Lets all players carry out the actions that were set; `receive` has the outcome."""
        for player, environment in enumerate(self.environments):
            self._send(player, environment.send_step)

    def receive(self) -> dict[str, FleetSteps]:
        """Waits for all players."""
        self.waiting = True
        try:
            return self.join([self._receive_steps(player) for player in range(len(self.environments))])
        finally:
            self.waiting = False

    def _send(self, player: int, send: Callable[[], None]) -> None:
        try:
            send()
        except RESTARTABLE as error:
            if self.restart is None:
                raise
            self._failed[player] = error

    def _receive_steps(self, player: int) -> Steps:
        error = self._failed.pop(player, None)
        try:
            if error is not None:
                raise error
            return self.environments[player].receive_steps()
        except RESTARTABLE as error:
            if self.restart is None:
                raise
            self.environments[player].close()  # its port and its process are wanted again
            environment = self.environments[player] = self.restart(player, error)
            if self.on_restart is not None:
                self.on_restart(player)
            environment.send_reset()
            return environment.receive_steps()

    def set_actions(self, behavior_name: str, action: ActionTuple) -> None:
        """`action`: one row for each row of the behavior's decisions in the last steps, else UnityActionException."""
        if len(self.environments) == 1:
            self.environments[0].set_actions(behavior_name, action)
            return
        waiting = sum(len(steps[behavior_name][0]) for steps in self._received if behavior_name in steps)
        if len(action.continuous) != waiting:
            raise UnityActionException(
                f"{len(action.continuous)} actions for {waiting} waiting agents of behavior '{behavior_name}'"
            )
        start = 0
        for environment, steps in zip(self.environments, self._received, strict=True):
            if behavior_name not in steps or len(steps[behavior_name][0]) == 0:
                continue
            end = start + len(steps[behavior_name][0])
            part = ActionTuple(action.continuous[start:end], action.discrete[start:end])
            environment.set_actions(behavior_name, part)
            start = end

    def close(self) -> None:
        """Ends all players, each even where another cannot be ended."""
        with contextlib.ExitStack() as closing:
            for environment in self.environments:
                closing.callback(environment.close)
            for environment in self.environments:  # so that they leave at the same time
                environment.send_close()

    def join(self, received: list[Steps]) -> dict[str, FleetSteps]:
        """The steps of each player as one batch a behavior."""
        self._received = received
        if len(received) == 1:
            nobody = self._first_player
            return {
                name: FleetSteps(decisions, terminals, nobody(len(decisions)), nobody(len(terminals)))
                for name, (decisions, terminals) in received[0].items()
            }
        joined = {}
        for name in dict.fromkeys(name for steps in received for name in steps):
            parts = [(player, *steps[name]) for player, steps in enumerate(received) if name in steps]
            joined[name] = FleetSteps(
                _join_decisions([decisions for _, decisions, _ in parts]),
                _join_terminals([terminals for _, _, terminals in parts]),
                np.repeat([player for player, _, _ in parts], [len(decisions) for _, decisions, _ in parts]),
                np.repeat([player for player, _, _ in parts], [len(terminals) for _, _, terminals in parts]),
            )
        return joined

    def _first_player(self, count: int) -> NDArray[np.int64]:
        """For steps that are all the first player's. Nobody writes to it, so it is kept."""
        if count > len(self._zeros):
            self._zeros = np.zeros(count, np.int64)
        return self._zeros[:count]


def _join(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(arrays)


def _join_decisions(parts: list[DecisionSteps]) -> DecisionSteps:
    if len(parts) == 1:
        return parts[0]
    masks = None
    if parts[0].action_mask is not None:
        masks = [_join(branch) for branch in zip(*(part.action_mask for part in parts), strict=True)]
    return DecisionSteps(
        [_join(observation) for observation in zip(*(part.obs for part in parts), strict=True)],
        _join([part.reward for part in parts]),
        _join([part.agent_id for part in parts]),
        masks,
        _join([part.group_id for part in parts]),
        _join([part.group_reward for part in parts]),
    )


def _join_terminals(parts: list[TerminalSteps]) -> TerminalSteps:
    if len(parts) == 1:
        return parts[0]
    return TerminalSteps(
        [_join(observation) for observation in zip(*(part.obs for part in parts), strict=True)],
        _join([part.reward for part in parts]),
        _join([part.interrupted for part in parts]),
        _join([part.agent_id for part in parts]),
        _join([part.group_id for part in parts]),
        _join([part.group_reward for part in parts]),
    )
