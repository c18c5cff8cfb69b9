"""PPO's hot path in single calls of the library: acting, advantages, and a whole update.

Everything is for actor-critics of linear layers with swish whose parameters lie side by side in one tensor.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.kernels.fused_checks import check_count, check_heads, check_observation, count_minibatches
from trainers.kernels.fused_room import Acted, Room
from trainers.kernels.library import (
    ActArguments,
    NetworkDescription,
    PPOBatch,
    PPOSettings,
    check_array,
    integers,
    pointers,
    raise_on,
    require_library,
    tensor_pointer,
)

Floats = NDArray[np.float32]

_FLOAT32 = np.dtype(np.float32)
_FIRST_ROOM = 16  # agents; grows as needed


Repeated = tuple[Acted, Callable[[int], float]]


class Experience(NamedTuple):
    """What an update learns from, dense tensors on the CPU; first dimension: steps."""

    inputs: Tensor  # float32 [steps, inputs], normalised
    continuous: Tensor  # float32 [steps, continuous]
    discrete: Tensor  # int64 [steps, branches]
    log_probs: Tensor  # float32 [steps, continuous + branches]
    allowed: Tensor | None  # bool [steps, sum of branches]
    advantages: Tensor  # float32 [steps]
    returns: Tensor  # float32 [steps, signals]
    values: Tensor  # float32 [steps, signals]


class AdamState(NamedTuple):
    """Adam's tensors, float32 [parameters] each in the order of the parameters; `steps` are those taken before."""

    gradient: Tensor
    moment: Tensor
    square: Tensor
    steps: int


class FusedActorCritic:
    """Acts and learns on parameters that belong to torch modules: both always see the same numbers.

    The modules must stay views of `parameters`; an assignment of another tensor to one of them goes unnoticed.
    """

    def __init__(
        self,
        parameters: Tensor,
        *,
        observation_sizes: Sequence[int],
        actor: Sequence[nn.Linear],
        continuous: nn.Linear | None,
        log_sigma: Tensor | None,
        discrete: Sequence[nn.Linear],
        critic: Sequence[nn.Linear] | None,
        values: Sequence[nn.Linear],
        normalizers: Sequence[tuple[Tensor, Tensor]] | None = None,
        threads: int = 1,
    ) -> None:
        """`parameters` float32 [parameters] holds all of the rest.

        actor, critic: layers with swish between them, the critic's None if it reads the actor's last one; continuous
        with log_sigma [dimensions], discrete (one a branch) and values (one a signal, 1 output): heads.
        normalizers: mean and 1 / standard deviation [size] of each observation. `threads`: 2 runs the critic beside
        the actor in an update, and more share the agents of `act` if there are many.

        Raises RuntimeError without the library, ValueError for networks it is not made for.
        """
        self._library = require_library("FusedActorCritic")
        self._handle = ctypes.c_void_p()
        self._parameters = parameters
        self._threads = threads
        count = parameters.numel()
        self._base = tensor_pointer("FusedActorCritic", "parameters", parameters, torch.float32, (count,))
        check_heads(continuous, log_sigma)
        self._sizes = list(observation_sizes)
        self._dimensions = 0 if continuous is None else continuous.out_features
        self._branches = [head.out_features for head in discrete]
        self._logits = sum(self._branches)
        self._signals = len(values)
        widths = [layer.out_features for layer in actor]
        if critic is not None and [layer.out_features for layer in critic] != widths:
            raise ValueError(
                f"FusedActorCritic: critic: expected layers of {widths} units like the actor's, "
                f"got {[layer.out_features for layer in critic]}"
            )

        offsets: list[int] = []
        for name, layers in (("actor", actor), ("continuous", [continuous] if continuous is not None else [])):
            inputs = sum(self._sizes) if name == "actor" else widths[-1]
            for layer in layers:
                offsets += self._offsets(name, layer, inputs)
                inputs = layer.out_features
        if log_sigma is not None:
            offsets.append(self._offset("log_sigma", log_sigma, (self._dimensions,)))
        for head in discrete:
            offsets += self._offsets("discrete", head, widths[-1])
        inputs = sum(self._sizes)
        for layer in critic or ():
            offsets += self._offsets("critic", layer, inputs)
            inputs = layer.out_features
        for head in values:
            offsets += self._offsets("values", head, widths[-1])

        arrays = [integers(numbers) for numbers in (self._sizes, widths, self._branches, offsets)]
        sizes, width_array, branches, offset_array = map(ctypes.addressof, arrays)
        description = NetworkDescription(
            len(self._sizes),
            sizes,
            len(widths),
            width_array,
            self._dimensions,
            len(self._branches),
            branches,
            self._signals,
            int(critic is None),
            count,
            len(offsets),
            offset_array,
        )
        code = self._library.om_network_create(ctypes.addressof(description), ctypes.addressof(self._handle))
        raise_on("FusedActorCritic", code)
        self._point_to_normalizers(normalizers)
        self._make_room(_FIRST_ROOM)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.om_network_destroy(self._handle)

    def __reduce__(self) -> Any:
        raise TypeError("a FusedActorCritic is bound to its parameters and cannot be copied or pickled; make a new one")

    # ---- acting ----

    def act(
        self,
        observations: Sequence[Floats],
        allowed: NDArray[np.bool_] | None = None,
        *,
        seed: int,
        call: int,
        deterministic: bool = False,
        values: bool = False,
    ) -> Acted:
        """Actions for all agents. observations: float32 [agents, *shape] each; allowed: bool [agents, sum of branches].

        `seed` and `call` name the random numbers (philox.py): the same ones give the same actions. Raises TypeError
        or ValueError for observations or masks of another type or shape.
        """
        agents = self._take_in(observations)
        room, arguments = self._room, self._arguments
        arguments.agents = agents
        arguments.seed, arguments.call = seed, call
        arguments.deterministic = deterministic
        arguments.values = self._value_address if values else None
        arguments.allowed = None
        if allowed is not None and self._branches:
            check_array("act", "allowed", allowed, np.bool_, (agents, self._logits))
            room.allowed[:agents] = allowed
            arguments.allowed = self._allowed_address
        code = self._library.om_act(self._handle, self._arguments_address)
        if code:
            raise_on("act", code)
        views = room.acted(agents)
        return Acted(*views[:5], views.values if values else None, room.entropy.item())

    def repeated(self, observations: Sequence[Floats], *, seed: int, deterministic: bool) -> Repeated:
        """`act` without its preparations, for observations that are written to the same arrays each time.

        Returns the results' arrays and what acts with the random numbers of a call and returns the entropy: both are
        valid until `act` or `values` are called.
        """
        agents = self._take_in(observations)
        room, arguments = self._room, self._arguments
        arguments.agents, arguments.seed, arguments.deterministic = agents, seed, deterministic
        arguments.values = arguments.allowed = None
        pairs = [
            (own[:agents].reshape(new.shape), new) for own, new in zip(room.observations, observations, strict=True)
        ]
        om_act, handle, address = self._library.om_act, self._handle, self._arguments_address

        def again(call: int) -> float:
            for to, of in pairs:
                to[...] = of
            arguments.call = call
            if code := om_act(handle, address):
                raise_on("act", code)
            return room.entropy.item()

        return room.acted(agents), again

    def values(self, observations: Sequence[Floats]) -> Floats:
        """The critic's values [steps, signals] of observations [steps, *shape]."""
        steps = self._take_in(observations)
        arguments = self._value_arguments
        arguments.agents = steps
        raise_on("values", self._library.om_act(self._handle, ctypes.addressof(arguments)))
        return self._room.values[:steps].copy()

    def _take_in(self, observations: Sequence[Floats]) -> int:
        """Copies observations to where the library reads them, whatever their strides; returns the number of agents.

        Finding an array's address takes NumPy longer than copying an ordinary observation.
        """
        check_count("act: observations", observations, self._sizes)
        agents = len(observations[0])
        if agents > self._room.agents:
            self._make_room(max(agents, 2 * self._room.agents))
        for index, (observation, size) in enumerate(zip(observations, self._sizes, strict=True)):
            if observation.shape == (agents, size) and observation.dtype == _FLOAT32:
                self._room.observations[index][:agents] = observation
                continue
            check_observation(index, observation, agents, size)
            self._room.observations[index][:agents] = observation.reshape(agents, size)
        return agents

    def _make_room(self, agents: int) -> None:
        """Arrays for so many agents, and their addresses where the library looks for them."""
        room = self._room = Room(agents, self._sizes, self._dimensions, self._branches, self._signals)
        self._observations = pointers([one.ctypes.data for one in room.observations])
        shared = {"observations": ctypes.addressof(self._observations), "parameters": self._base}
        shared["threads"] = self._threads
        if self._means is not None:
            shared |= {"means": ctypes.addressof(self._means), "scales": ctypes.addressof(self._scales)}
        names = ("continuous", "continuous_for_player", "discrete", "discrete_for_player", "log_probs", "entropy")
        self._arguments = ActArguments(**shared, **{name: getattr(room, name).ctypes.data for name in names})
        self._arguments_address = ctypes.addressof(self._arguments)
        self._allowed_address, self._value_address = room.allowed.ctypes.data, room.values.ctypes.data
        self._value_arguments = ActArguments(**shared, deterministic=1, values=self._value_address)

    def _point_to_normalizers(self, normalizers: Sequence[tuple[Tensor, Tensor]] | None) -> None:
        self._means: Any = None
        self._scales: Any = None
        if normalizers is None:
            return
        check_count("FusedActorCritic: normalizers", normalizers, self._sizes)
        self._normalizers = list(normalizers)  # the tensors have to live as long as their addresses
        self._means, self._scales = (
            pointers(
                [
                    tensor_pointer("FusedActorCritic", f"normalizers[{index}]", pair[part], torch.float32, (size,))
                    for index, (pair, size) in enumerate(zip(normalizers, self._sizes, strict=True))
                ]
            )
            for part in (0, 1)
        )

    # ---- learning ----

    def update(
        self,
        experience: Experience,
        adam: AdamState,
        order: Tensor,
        *,
        batch_size: int,
        learning_rate: float,
        epsilon: float,
        beta: float,
        value_clipping: bool = False,
        step: Callable[[], None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """PPO on the minibatches that `order` names: int64 [minibatches, batch_size], or flat, epoch after epoch.

        Changes the parameters and Adam's tensors; `adam.gradient` is left with the last gradient. With `step` it is
        called after each minibatch instead, to change the parameters by `adam.gradient`. Returns the policy and the
        value loss of each minibatch, float32 [minibatches]. Raises TypeError or ValueError for tensors of another type,
        shape, layout or device.
        """
        steps, columns = len(experience.inputs), self._dimensions + len(self._branches)

        def pointer(argument: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> int:
            return tensor_pointer("ppo_update", argument, getattr(experience, argument), dtype, shape)

        allowed = None
        if experience.allowed is not None and self._branches:
            allowed = pointer("allowed", (steps, self._logits), torch.bool)
        batch = PPOBatch(
            steps,
            pointer("inputs", (steps, sum(self._sizes))),
            pointer("continuous", (steps, self._dimensions)),
            pointer("discrete", (steps, len(self._branches)), torch.int64),
            pointer("log_probs", (steps, columns)),
            allowed,
            pointer("advantages", (steps,)),
            pointer("returns", (steps, self._signals)),
            pointer("values", (steps, self._signals)),
        )
        minibatches = count_minibatches(order, batch_size)
        order_pointer = tensor_pointer("ppo_update", "order", order, torch.int64, tuple(order.shape))
        count = (self._parameters.numel(),)
        settings = PPOSettings(
            learning_rate,
            epsilon,
            beta,
            int(value_clipping),
            self._threads,
            batch_size,
            minibatches,
            adam.steps,
            self._base,
            tensor_pointer("ppo_update", "adam.gradient", adam.gradient, torch.float32, count),
            tensor_pointer("ppo_update", "adam.moment", adam.moment, torch.float32, count),
            tensor_pointer("ppo_update", "adam.square", adam.square, torch.float32, count),
        )
        losses = torch.empty(2, minibatches)
        pointers_to_all = ctypes.addressof(batch), ctypes.addressof(settings)
        each = [0]
        if step is not None:
            settings.minibatches, settings.moment, settings.square = 1, None, None
            each = list(range(minibatches))
        for first in each:
            code = self._library.om_ppo_update(
                self._handle,
                *pointers_to_all,
                order_pointer + 8 * batch_size * first,
                losses[0].data_ptr() + 4 * first,
                losses[1].data_ptr() + 4 * first,
            )
            raise_on("ppo_update", code)
            if step is not None:
                step()
        return losses[0], losses[1]

    # ---- where the parameters are ----

    def _offsets(self, name: str, layer: nn.Linear, inputs: int) -> list[int]:
        shape = (layer.out_features, inputs)
        if layer.bias is None:
            raise ValueError(f"FusedActorCritic: {name}: expected layers with a bias, got one without")
        return [
            self._offset(f"{name} weight", layer.weight, shape),
            self._offset(f"{name} bias", layer.bias, (layer.out_features,)),
        ]

    def _offset(self, name: str, tensor: Tensor, shape: tuple[int, ...]) -> int:
        address = tensor_pointer("FusedActorCritic", name, tensor, torch.float32, shape)
        offset = (address - self._base) // 4
        if not 0 <= offset <= self._parameters.numel() - tensor.numel():
            raise ValueError(f"FusedActorCritic: {name}: expected a view of parameters, got a tensor of its own")
        return offset
