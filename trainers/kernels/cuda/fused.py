"""PPO's hot path on a GPU: cuBLAS, by torch.mm, with the library's kernels before, between and after.

The counterpart of trainers/kernels/fused.py, for parameters that lie on a GPU. The same random numbers give the same
actions, the same experience the same weights, but for the rounding of the products.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.kernels.cuda.library import (
    ActArguments,
    PPOArguments,
    on,
    raise_on,
    require_library,
    stream_of,
    tensor_pointer,
)
from trainers.kernels.cuda.network import Body, layers, offset
from trainers.kernels.fused import AdamState, Experience
from trainers.kernels.fused_checks import check_count, check_heads, check_observation, count_minibatches
from trainers.kernels.fused_room import Acted
from trainers.kernels.library import check_array

Floats = NDArray[np.float32]

_ADAM = (0.9, 0.999, 1e-8, 0.0)  # betas, epsilon, weight decay: as trainers/ppo.py


def _pieces(flat: Tensor, *shapes: tuple[int, ...]) -> list[Tensor]:
    """One tensor cut into tensors of these shapes."""
    cut, at = [], 0
    for shape in shapes:
        count = int(np.prod(shape))
        cut.append(flat[at : at + count].view(shape))
        at += count
    return cut


class _ActRoom:
    """Tensors that `act` and `values` read and write, for so many agents: on the host, and on the device."""

    def __init__(self, parent: "FusedActorCritic", agents: int) -> None:
        device, sizes, branches = parent.device, parent._sizes, len(parent._branches)
        self.agents = agents
        observed = [(agents, size) for size in sizes]
        columns = (parent._dimensions, parent._dimensions, parent._dimensions + branches, parent._signals)
        floats = [*((agents, size) for size in columns), (1, 1)]

        def both(count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
            pinned = device.type == "cuda"
            return torch.empty(count, dtype=dtype, pin_memory=pinned), torch.empty(count, dtype=dtype, device=device)

        self.host_observations, self.observations = both(agents * sum(sizes), torch.float32)
        self.host_allowed, self.allowed = both(agents * parent._logits, torch.bool)
        self.host_floats, self.floats = both(sum(int(np.prod(shape)) for shape in floats), torch.float32)
        self.host_discrete, self.discrete = both(agents * branches, torch.int64)
        self.host_parts = [part.numpy() for part in _pieces(self.host_observations, *observed)]
        self.host_mask = self.host_allowed.view(agents, parent._logits).numpy()
        self.parts = _pieces(self.observations, *observed)
        self.results = _pieces(self.floats, *floats)
        self.host_results = [part.numpy() for part in _pieces(self.host_floats, *floats)]
        self.host_choices = self.host_discrete.view(agents, branches).numpy()
        self.inputs = torch.empty(agents, sum(sizes), device=device)
        self.outputs = torch.empty(agents, parent._heads, device=device)
        self.entropies = torch.empty(agents, device=device)
        self.actor, self.critic = parent._make_bodies(self.inputs, self.outputs, None)


class _UpdateRoom:
    """Tensors of a minibatch."""

    def __init__(self, parent: "FusedActorCritic", rows: int) -> None:
        device, heads = parent.device, parent._heads
        self.rows = rows
        self.inputs = torch.empty(rows, sum(parent._sizes), device=device)
        self.outputs = torch.empty(rows, heads, device=device)
        self.gradients = torch.empty(rows, heads + parent._dimensions, device=device)
        self.losses = torch.empty(rows, 2, device=device)
        self.actor, self.critic = parent._make_bodies(self.inputs, self.outputs, self.gradients)


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
        library: ctypes.CDLL | None = None,
    ) -> None:
        """As `trainers.kernels.fused.FusedActorCritic`, on the device of `parameters`; `threads` changes nothing.

        `library`: another one than that of this machine. Raises RuntimeError without one, TypeError or ValueError for
        networks it is not made for.
        """
        self._library = require_library("FusedActorCritic") if library is None else library
        self._parameters, self.device = parameters, parameters.device
        tensor_pointer("FusedActorCritic", "parameters", parameters, torch.float32, (parameters.numel(),), self.device)
        check_heads(continuous, log_sigma)
        self._sizes = list(observation_sizes)
        self._dimensions = 0 if continuous is None else continuous.out_features
        self._branches = [head.out_features for head in discrete]
        self._logits, self._signals = sum(self._branches), len(values)
        self._heads = self._dimensions + self._logits + self._signals
        inputs, width = sum(self._sizes), actor[-1].out_features
        self._actor = layers("actor", actor, inputs, parameters, stacked=True)
        self._critic = layers("critic", critic or (), inputs, parameters, stacked=True)
        policy = [*([] if continuous is None else [continuous]), *discrete]
        self._policy_heads = layers("continuous and discrete", policy, width, parameters, stacked=False)
        width = critic[-1].out_features if critic else width
        self._value_heads = layers("values", values, width, parameters, stacked=False)
        self._log_sigma = log_sigma
        # Where the sums of the heads' gradients go among the parameters: biases, then log sigma.
        places = [
            head.bias_at + index for head in (*self._policy_heads, *self._value_heads) for index in range(head.outputs)
        ]
        if log_sigma is not None:
            first = offset("log_sigma", log_sigma, (self._dimensions,), parameters)
            places += range(first, first + self._dimensions)
        self._places = torch.tensor(places, dtype=torch.int64, device=self.device)
        self._branch_sizes = torch.tensor(self._branches, dtype=torch.int64, device=self.device)
        self._normalizers = self._check_normalizers(normalizers)
        self._act_room: _ActRoom | None = None
        self._update_room: _UpdateRoom | None = None

    def _make_bodies(self, inputs: Tensor, outputs: Tensor, gradients: Tensor | None) -> tuple[Body, Body]:
        policy = self._dimensions + self._logits
        halves: list[tuple[Tensor, Tensor | None]] = [
            (outputs[:, columns], None if gradients is None else gradients[:, columns])
            for columns in (slice(0, policy), slice(policy, self._heads))
        ]
        actor = Body(self._library, self._actor, self._policy_heads, inputs, *halves[0])
        shared = None if self._critic else actor
        return actor, Body(self._library, self._critic, self._value_heads, inputs, *halves[1], shared)

    def _check_normalizers(self, normalizers: Sequence[tuple[Tensor, Tensor]] | None) -> list[tuple[Tensor, Tensor]]:
        if normalizers is None:
            return []
        check_count("FusedActorCritic: normalizers", normalizers, self._sizes)
        for index, (pair, size) in enumerate(zip(normalizers, self._sizes, strict=True)):
            for one in pair:
                name = f"normalizers[{index}]"
                tensor_pointer("FusedActorCritic", name, one, torch.float32, (size,), self.device)
        return list(normalizers)

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
        with on(self.device), torch.no_grad():
            room, stream = self._take_in(observations), stream_of(self.device)
            mask = None
            if allowed is not None and self._branches:
                check_array("act", "allowed", allowed, np.bool_, (room.agents, self._logits))
                room.host_mask[:] = allowed
                room.allowed.copy_(room.host_allowed, non_blocking=True)
                mask = room.allowed.data_ptr()
            room.actor.forward(stream)
            if values:
                room.critic.forward(stream)
                room.results[3].copy_(room.outputs[:, self._heads - self._signals :])
            continuous, for_player, log_probs, _, entropy = room.results
            arguments = ActArguments(
                room.agents,
                self._dimensions,
                len(self._branches),
                self._logits,
                self._heads,
                self._branch_sizes.data_ptr(),
                room.outputs.data_ptr(),
                None if self._log_sigma is None else self._log_sigma.data_ptr(),
                mask,
                seed,
                call,
                deterministic,
                continuous.data_ptr(),
                for_player.data_ptr(),
                room.discrete.data_ptr(),
                log_probs.data_ptr(),
                room.entropies.data_ptr(),
            )
            self._check("act", self._library.om_cuda_act(ctypes.addressof(arguments), stream))
            sums = (room.agents, 1, room.entropies.data_ptr(), 1, None, entropy.data_ptr(), stream)
            self._check("act", self._library.om_cuda_column_sums(*sums))
            self._take_out(room)
        floats, discrete = [part.copy() for part in room.host_results], room.host_choices.copy()
        mean_entropy = float(floats[4][0, 0]) / max(room.agents, 1)
        value = floats[3] if values else None
        return Acted(floats[0], floats[1], discrete, discrete.astype(np.int32), floats[2], value, mean_entropy)

    def values(self, observations: Sequence[Floats]) -> Floats:
        """The critic's values [steps, signals] of observations [steps, *shape]."""
        with on(self.device), torch.no_grad():
            room, stream = self._take_in(observations), stream_of(self.device)
            if not self._critic:
                room.actor.forward(stream)
            room.critic.forward(stream)
            room.results[3].copy_(room.outputs[:, self._heads - self._signals :])
            self._take_out(room)
        return room.host_results[3].copy()

    def _take_in(self, observations: Sequence[Floats]) -> _ActRoom:
        """Brings observations to the device, normalised, side by side."""
        check_count("act: observations", observations, self._sizes)
        agents = len(observations[0])
        room = self._act_room
        if room is None or room.agents != agents:
            room = self._act_room = _ActRoom(self, agents)
        for index, (observation, size) in enumerate(zip(observations, self._sizes, strict=True)):
            check_observation(index, observation, agents, size)
            room.host_parts[index][:] = observation.reshape(agents, size)
        room.observations.copy_(room.host_observations, non_blocking=True)
        stride, column, stream = room.inputs.shape[1], 0, stream_of(self.device)
        for index, size in enumerate(self._sizes):
            mean, scale = (one.data_ptr() for one in self._normalizers[index]) if self._normalizers else (None, None)
            from_to = (room.parts[index].data_ptr(), mean, scale, room.inputs.data_ptr() + 4 * column)
            self._check("act", self._library.om_cuda_normalize(agents, size, *from_to, stride, stream))
            column += size
        return room

    def _take_out(self, room: _ActRoom) -> None:
        """Waits for the results and brings them to the host."""
        room.host_floats.copy_(room.floats, non_blocking=True)
        room.host_discrete.copy_(room.discrete, non_blocking=True)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()

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
    ) -> tuple[Tensor, Tensor]:
        """PPO on the minibatches that `order` names: int64 [minibatches, batch_size], or flat, epoch after epoch.

        Only launches: nothing is waited for, nor allocated after the first minibatch of a size. Changes the parameters
        and Adam's tensors; `adam.gradient` is left with the last gradient. Returns the policy and the value loss of
        each minibatch, float32 [minibatches], on the device. Raises TypeError or ValueError for tensors of another
        type, shape, layout or device; an entry of `order` that is no step reads wrong memory.
        """
        minibatches = count_minibatches(order, batch_size)
        at = tensor_pointer("ppo_update", "order", order, torch.int64, tuple(order.shape), self.device)
        count = (self._parameters.numel(),)
        gradient, moment, square = (
            tensor_pointer("ppo_update", f"adam.{name}", getattr(adam, name), torch.float32, count, self.device)
            for name in ("gradient", "moment", "square")
        )
        room = self._update_room
        if room is None or room.rows != batch_size:
            room = self._update_room = _UpdateRoom(self, batch_size)
        arguments = self._arguments(experience, room, epsilon, beta, value_clipping)
        losses = torch.zeros(minibatches, 2, device=self.device)
        library, inputs, address = self._library, room.inputs, ctypes.addressof(arguments)
        sources = (inputs.shape[1], experience.inputs.data_ptr())
        head_sums = (batch_size, len(self._places), room.gradients.data_ptr(), room.gradients.stride(0))
        loss_sums = (batch_size, 2, room.losses.data_ptr(), 2, None)
        state = (self._parameters.data_ptr(), gradient, moment, square)
        with on(self.device), torch.no_grad():
            stream = stream_of(self.device)
            for minibatch in range(minibatches):
                arguments.order = rows = at + 8 * batch_size * minibatch
                code = library.om_cuda_gather_rows(batch_size, *sources, rows, inputs.data_ptr(), stream)
                room.actor.forward(stream)
                room.critic.forward(stream)
                code = code or library.om_cuda_ppo_losses(address, stream)
                to = losses.data_ptr() + 8 * minibatch
                code = code or library.om_cuda_column_sums(*loss_sums, to, stream)
                code = code or library.om_cuda_column_sums(*head_sums, self._places.data_ptr(), gradient, stream)
                room.actor.backward_heads(adam.gradient)
                room.critic.backward_heads(adam.gradient)
                room.critic.backward_stack(adam.gradient, stream)
                room.actor.backward_stack(adam.gradient, stream)
                step = (0, *count, adam.steps + minibatch + 1, learning_rate, *_ADAM, *state)
                code = code or library.om_cuda_adam(*step, stream)
                self._check("ppo_update", code)
        return losses[:, 0], losses[:, 1]

    def _arguments(
        self, experience: Experience, room: _UpdateRoom, epsilon: float, beta: float, value_clipping: bool
    ) -> PPOArguments:
        steps, columns = len(experience.inputs), self._dimensions + len(self._branches)

        def pointer(argument: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> int:
            return tensor_pointer("ppo_update", argument, getattr(experience, argument), dtype, shape, self.device)

        pointer("inputs", (steps, sum(self._sizes)))
        allowed = None
        if experience.allowed is not None and self._branches:
            allowed = pointer("allowed", (steps, self._logits), torch.bool)
        return PPOArguments(
            room.rows,
            self._dimensions,
            len(self._branches),
            self._logits,
            self._signals,
            value_clipping,
            epsilon,
            beta,
            self._branch_sizes.data_ptr(),
            room.outputs.data_ptr(),
            None if self._log_sigma is None else self._log_sigma.data_ptr(),
            None,
            pointer("continuous", (steps, self._dimensions)),
            pointer("discrete", (steps, len(self._branches)), torch.int64),
            pointer("log_probs", (steps, columns)),
            allowed,
            pointer("advantages", (steps,)),
            pointer("returns", (steps, self._signals)),
            pointer("values", (steps, self._signals)),
            room.gradients.data_ptr(),
            room.losses.data_ptr(),
        )

    def _check(self, operator: str, code: Any) -> None:
        if code:
            raise_on(operator, self._library, code)

    def __reduce__(self) -> Any:
        raise TypeError("a FusedActorCritic is bound to its parameters and cannot be copied or pickled; make a new one")
