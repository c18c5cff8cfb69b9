"""A world stepped in the trainer's own process: the same interface as a player behind gRPC, without the wire."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
from mlagents_envs.base_env import BehaviorSpec, DecisionSteps
from numpy.typing import NDArray

from bridge.agent_world import AgentWorld
from bridge.codec import Steps, check_steps
from bridge.exceptions import UnityEnvironmentException
from bridge.player import EnvironmentParameters, MakeWorld, World, player_side_channels
from bridge.side_channels import SideChannel, SideChannelManager
from bridge.stepped_environment import SteppedEnvironment

_SAMPLER = "sampler of "  # before the names of what a state holds of parameters


class InProcessEnvironment(SteppedEnvironment):
    """Steps `make_world(seed, num_areas, parameters)` directly; `side_channels` reach the world's parameters.

    The arrays of a step may be overwritten by the next one: copy what is to be kept. Specifications are known from the
    start, not only from the first reset on.
    """

    def __init__(
        self,
        make_world: MakeWorld,
        *,
        seed: int = 0,
        num_areas: int = 1,
        side_channels: Sequence[SideChannel] = (),
        threads: Executor | None = None,
    ) -> None:
        """`threads`: where the world is reset and stepped, beside other worlds."""
        super().__init__()
        self._threads = threads
        self._coming: Future[Steps] | None = None
        parameters = self._parameters = EnvironmentParameters()
        self._side_channels = SideChannelManager(side_channels)
        self._world_channels = player_side_channels(parameters)
        self._world: World | None = make_world(seed, num_areas, parameters)
        self._specs = dict(self._world.behavior_specs)
        self._next: Steps = {}
        self._needs_reset = True
        self._has_stepped = False  # since the last message was received, by `step_quietly`

    def send_reset(self) -> None:
        """Simulates until the first decisions."""
        self._has_stepped = False
        self._forget_actions()
        self._send_side_channels()
        self._simulate(self._live_world().reset)

    def send_step(self) -> None:
        """Simulates until at least one agent has something to report."""
        if self._needs_reset:
            self.send_reset()
            return
        world = self._live_world()
        if self._has_stepped and isinstance(world, AgentWorld):
            self._has_stepped = False
            self._next = world.message()
            return
        actions = {name: self._action(name) for name, (decisions, _) in self._steps.items() if len(decisions)}
        self._send_side_channels()
        self._simulate(world.step, actions)

    @property
    def can_be_quiet(self) -> bool:
        """Whether `step_quietly` may be called: for worlds that are an AgentWorld whose agents all wait."""
        return not self._needs_reset and isinstance(self._world, AgentWorld) and self._world.can_be_quiet

    def step_quietly(self, continuous: NDArray[np.float32], discrete: NDArray[np.int32]) -> bool:
        """Steps with these actions, [agents, size] and [agents, branches], in a fraction of the time that `step` takes.

        True: nothing ended, and the arrays of the current decisions hold what the agents see and get now; this may be
        called again. In any case `send_step` and `receive_steps` then give the outcome of the last of these steps
        without another one. Nothing is checked here, and side channels wait.
        """
        self._has_stepped = True
        quiet: bool = self._world.step_quietly(continuous, discrete)  # type: ignore[union-attr]
        return quiet

    def receive_steps(self) -> Steps:
        """What the first half has simulated."""
        if self._coming is not None:
            coming, self._coming = self._coming, None
            self._next = coming.result()
        self._specs.update(self._live_world().behavior_specs)
        self._forget_actions()
        self._steps = {}
        self._needs_reset = True  # unless everything is right
        steps: Steps = {}
        for name, (decisions, terminals) in self._next.items():
            if len(decisions) + len(terminals) == 0:
                continue
            check_steps(name, self._specs[name], decisions, terminals)
            steps[name] = _with_masks(self._specs[name], decisions), terminals
        self._steps = steps
        self._needs_reset = False
        return steps

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        """The world's state and that of its parameters' samplers, to go on from bit for bit."""
        samplers = {_SAMPLER + name: array for name, array in self._parameters.state().items()}
        return {**self._live_world().state(), **samplers}

    def load_state(self, state: Mapping[str, np.ndarray[Any, Any]]) -> Steps:
        """Takes up `state`; the steps that were outstanding then are the current ones again."""
        self._send_side_channels()
        samplers = {name: array for name, array in state.items() if name.startswith(_SAMPLER)}
        self._parameters.load_state({name.removeprefix(_SAMPLER): array for name, array in samplers.items()})
        self._next = self._live_world().load_state({name: state[name] for name in state.keys() - samplers.keys()})
        return self.receive_steps()

    def close(self) -> None:
        """Drops the world."""
        self._world = None

    def _simulate(self, call: Callable[..., Steps], *arguments: Any) -> None:
        if self._threads is None:
            self._next = call(*arguments)
        else:
            self._coming = self._threads.submit(call, *arguments)

    def _send_side_channels(self) -> None:
        self._world_channels.process_side_channel_message(self._side_channels.generate_side_channel_messages())

    def _live_world(self) -> World:
        if self._world is None:
            raise UnityEnvironmentException("this environment is closed; make a new one")
        return self._world


def _with_masks(spec: BehaviorSpec, decisions: DecisionSteps) -> DecisionSteps:
    """Discrete actions always come with masks; a world may leave them out where it forbids nothing."""
    if decisions.action_mask is None and spec.action_spec.discrete_size:
        decisions.action_mask = [
            np.zeros((len(decisions), size), np.bool_) for size in spec.action_spec.discrete_branches
        ]
    return decisions
