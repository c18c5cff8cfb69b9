"""Several players stepped as one batch, or as many batches as it takes for none to wait long."""

import contextlib
import threading
import time
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
    UnityObservationException,
    UnitySideChannelException,
    UnityTimeOutException,
)
from bridge.stepped_environment import SteppedEnvironment

# What a player may fail with and work again when it is started anew; a player that says goodbye does not fail.
RESTARTABLE = (
    UnityCommunicationException,
    UnityEnvironmentException,
    UnityObservationException,
    UnitySideChannelException,
    UnityTimeOutException,
)

_SLICE_SECONDS = 0.5


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
    """Players that step together.

    In lockstep all of them simulate while the trainer waits for the last one: with players and worlds that repeat
    themselves, so does the fleet. Otherwise a batch is made of those that have answered, as soon as they are half of
    all players or the first of them has waited for `patience`, and their actions are found while the others simulate.

    Attributes:
        restart: called with the number of a player that failed and its error; returns a new environment in its place,
            or raises. None: the error is raised.
        on_restart: called with the number of a player that was started again, before its first reset.
    """

    restart: Callable[[int, UnityException], SteppedEnvironment] | None = None
    on_restart: Callable[[int], None] | None = None

    def __init__(self, environments: Sequence[SteppedEnvironment], *, patience: float | None = None) -> None:
        """`patience`: seconds; None: lockstep."""
        self.environments = list(environments)
        self._patience = patience if len(self.environments) > 1 else None
        self._arrived = threading.Event()
        for environment in self.environments:
            environment.on_message(self._arrived.set)
        self._here = list(range(len(self.environments)))  # players that were received last, in their order
        self._away: dict[int, None] = {}  # players that simulate, those that were sent first before the others
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
        self.waiting = True
        try:
            self._receive_players(list(self._away))  # a player hears of a reset only when it has answered the last step
            for player, environment in enumerate(self.environments):
                self._send(player, environment.send_reset)
            return self._receive_players(list(self._away))
        finally:
            self.waiting = False

    def send_step(self) -> None:
        """Lets the players of the last batch carry out the actions that were set; `receive` has the outcome."""
        for player in self._here:
            self._send(player, self.environments[player].send_step)

    def receive(self) -> dict[str, FleetSteps]:
        """Waits for all players, or for those that make the next batch."""
        self.waiting = True
        try:
            return self._receive_players(list(self._away) if self._patience is None else self._next_batch())
        finally:
            self.waiting = False

    def _next_batch(self) -> list[int]:
        assert self._patience is not None
        give_up = None
        while True:
            self._arrived.clear()
            ready = [p for p in self._away if p in self._failed or self.environments[p].ready]
            now = time.monotonic()
            if ready and give_up is None:
                give_up = now + self._patience
            if 2 * len(ready) >= len(self.environments) or (give_up is not None and now >= give_up):
                return ready
            # In slices: a silent player is `ready` when its time is over, of which no message tells.
            self._arrived.wait(_SLICE_SECONDS if give_up is None else give_up - now)

    def _receive_players(self, players: list[int]) -> dict[str, FleetSteps]:
        received: list[Steps] = [{} for _ in self.environments]
        for player in players:
            received[player] = self._receive_steps(player)
            del self._away[player]
        self._here = sorted(players)
        return self.join(received)

    def _send(self, player: int, send: Callable[[], None]) -> None:
        self._away[player] = None
        try:
            send()
        except RESTARTABLE as error:
            if self.restart is None:
                raise
            self._failed[player] = error

    def _receive_steps(self, player: int) -> Steps:
        error = self._failed.pop(player, None)
        while True:
            try:
                if error is not None:
                    raise error
                return self.environments[player].receive_steps()
            except RESTARTABLE as failure:
                error = self._start_again(player, failure)

    def _start_again(self, player: int, failure: UnityException) -> UnityException | None:
        """A new player, and its first reset, in place of one that failed; returns its error if it fails at that.

        Raises `failure` when no more may be started.
        """
        if self.restart is None:
            raise failure
        self.environments[player].close()  # its port and its process are wanted again
        try:
            environment = self.environments[player] = self.restart(player, failure)
            environment.on_message(self._arrived.set)
            if self.on_restart is not None:
                self.on_restart(player)
            environment.send_reset()
        except RESTARTABLE as error:
            if error is failure:
                raise
            return error
        return None

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
