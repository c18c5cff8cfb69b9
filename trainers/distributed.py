"""Several processes that train one policy: who they are, and what they tell each other. torch.distributed carries it.

Every process (rank) has players of its own and a replica of the networks, as in decentralised distributed PPO (Wijmans
et al. 2020). `torchrun` starts them, and starts all of them again when one dies.
"""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from trainers import torchrun
from trainers.errors import RanksLostError, UsageError
from trainers.networks import Normalizer

Value = TypeVar("Value")
Averaging = Literal["auto", "gradients", "weights"]

# Parameters times steps of a rank's minibatch, from which on the gradients of a minibatch take much longer to find than
# to add up between processes of one machine (distributed.md).
LEAST_WORK_FOR_GRADIENTS = 10_000_000

# Seconds to wait awake for the sum of all ranks: on one machine it is there sooner than a thread that slept is as fast
# as before.
_AWAKE = 0.01
_let_others_run = getattr(os, "sched_yield", partial(time.sleep, 0))


class Ranks:
    """The processes of a training, of which this is number `rank` of `size`; the first one writes all files."""

    def __init__(self, *, cuda: bool, timeout: float) -> None:
        """Joins the others, as torchrun's environment variables say. `timeout`: seconds that one may wait for another.

        gloo between CPUs, nccl between GPUs.
        """
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        rank, size, file = torchrun.rank(), torchrun.size(), torchrun.store()
        store = None if file is None else dist.FileStore(file, size)
        with _losing_others():
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=size, timeout=timedelta(seconds=timeout)
            )
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    @property
    def first(self) -> bool:
        return self.rank == 0

    def gather(self, value: Value) -> list[Value]:
        """The value of every rank, in their order."""
        values: list[Any] = [None] * self.size
        with _losing_others():
            dist.all_gather_object(values, value)
        return values

    def from_rank(self, source: int, value: Value | None) -> Value:
        """The value that rank `source` gave."""
        values = [value]
        with _losing_others():
            dist.broadcast_object_list(values, source)
        assert values[0] is not None
        return values[0]

    def add(self, tensor: Tensor) -> Tensor:
        """Adds up the tensors of all ranks, in place."""
        with _losing_others():
            work = dist.all_reduce(tensor, async_op=True)
            if tensor.device.type == "cpu":
                patience = time.perf_counter() + _AWAKE
                while not work.is_completed() and time.perf_counter() < patience:
                    _let_others_run()
            work.wait()
        return tensor

    def each(self, numbers: Sequence[float]) -> Tensor:
        """The numbers of every rank, float64 [ranks, numbers]."""
        rows = torch.zeros(self.size, len(numbers), dtype=torch.float64)
        rows[self.rank] = torch.tensor(numbers, dtype=torch.float64)
        return self.add(rows)

    def close(self) -> None:
        dist.destroy_process_group()


@contextlib.contextmanager
def _losing_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo and nccl raise for anything that has to do with others
        raise RanksLostError(str(error).splitlines()[0]) from error


@dataclass(frozen=True)
class Share:
    """What each rank does of an update."""

    minibatches: int  # of an epoch; the same on all ranks
    rows: int  # steps, or sequences, of this rank in each of them; may be 0
    weight: float  # `rows` as a share of those of all ranks

    @staticmethod
    def of(rank: int, counts: Sequence[int], batch_size: int) -> "Share":
        """Each minibatch takes as many of `batch_size` rows from a rank as it has of all rows, `counts`."""
        total = sum(counts)
        minibatches = total // batch_size
        if minibatches == 0:
            return Share(0, 0, 0.0)
        rows = [min(round(batch_size * count / total), count // minibatches) for count in counts]
        return Share(minibatches, rows[rank], rows[rank] / max(1, sum(rows)))


class Replica:
    """A network of which every rank has one, kept the same by averaging.

    By gradients, which are averaged for every minibatch: the ranks together compute what one process would. By weights
    (and Adam's moments), which are averaged after every epoch that each rank has made on its own (local SGD, Stich
    2019): fewer messages.
    """

    def __init__(
        self, ranks: Ranks, network: nn.Module, averaging: Averaging, batch_size: int, *, agrees_on_kl: bool = False
    ) -> None:
        """`batch_size`: of all ranks together; `agrees_on_kl`: an update may end early on all ranks.

        Raises UsageError for what cannot be averaged so.
        """
        self._ranks = ranks
        work = sum(parameter.numel() for parameter in network.parameters()) * batch_size / ranks.size
        if averaging == "auto":
            averaging = "gradients" if agrees_on_kl or work >= LEAST_WORK_FOR_GRADIENTS else "weights"
        if averaging == "weights" and agrees_on_kl:
            raise UsageError(
                "torch_settings.averaging: weights does not go with hyperparameters.target_kl, which ends an update on "
                "all ranks at once; use averaging: gradients"
            )
        self.by_gradients = averaging == "gradients"
        # Adam divides by the noise of a gradient, which is that much greater in a rank's part of a minibatch; averaging
        # takes the greater noise of its steps away again. The square root rule of Malladi et al. 2022.
        self.learning_rate_factor = 1.0 if self.by_gradients else ranks.size**0.5
        self.share = Share(0, 0, 0.0)
        self._normalizers = [module for module in network.modules() if isinstance(module, Normalizer)]
        self.mark()

    # ---- the update ----

    def divide(self, count: int, batch_size: int, advantages: Tensor) -> Tensor:
        """Decides on the shares of the next update, of `count` rows here, and normalises the advantages [steps] over
        all ranks: mean 0, standard deviation 1."""
        numbers = advantages.double()
        mine = [float(count), float(len(numbers)), float(numbers.sum()), float(numbers.square().sum())]
        every = self._ranks.each(mine)
        self.share = Share.of(self._ranks.rank, [int(one) for one in every[:, 0]], batch_size)
        steps, total, squares = every[:, 1:].sum(0).tolist()
        mean = total / max(1.0, steps)
        deviation = max(0.0, squares / max(1.0, steps) - mean**2) ** 0.5
        return (advantages - mean) / (deviation + 1e-10)

    def average_gradient(self, gradient: Tensor) -> None:
        """The mean gradient of a minibatch over the rows of all ranks, in place of that over the rows of this one."""
        if self.share.rows == 0:
            gradient.zero_()
        self._ranks.add(gradient.mul_(self.share.weight))

    def average_weights(self, *tensors: Tensor) -> None:
        """Averages each tensor [parameters] over the ranks, in place, by how much they have learnt from."""
        flat = torch.cat(tensors).mul_(self.share.weight)
        for tensor, averaged in zip(tensors, self._ranks.add(flat).split([len(one) for one in tensors]), strict=True):
            tensor.copy_(averaged)

    def mean(self, number: float) -> float:
        """Of all ranks, by the same weights."""
        return float(self._ranks.add(torch.tensor([number * self.share.weight], dtype=torch.float64)))

    def average_state(self, state: Any) -> Any:
        """A state of tensors, numbers and dicts with every tensor averaged over the ranks; all count the same."""
        tensors: list[Tensor] = []

        def find(value: Any) -> None:
            if isinstance(value, Tensor):
                tensors.append(value)
            elif isinstance(value, dict):
                for item in value.values():
                    find(item)

        find(state)
        if tensors:
            flat = torch.cat([tensor.detach().double().flatten().cpu() for tensor in tensors]) / self._ranks.size
            parts = iter(self._ranks.add(flat).split([tensor.numel() for tensor in tensors]))

        def fill(value: Any) -> Any:
            if isinstance(value, Tensor):
                return next(parts).view(value.shape).to(value)
            return {key: fill(item) for key, item in value.items()} if isinstance(value, dict) else value

        return fill(state)

    # ---- normalisers ----

    def mark(self) -> None:
        """Notes what the normalisers know now, which is the same on all ranks."""
        self._known = [
            (float(one.steps), one.mean.double().clone(), one.variance_sum.double().clone())
            for one in self._normalizers
        ]

    @torch.no_grad()
    def merge_normalizers(self) -> None:
        """Lets the normalisers of all ranks know what those of each have seen since the last time.

        Around the former mean m0 the sums add up: of x - m0 it is n (m - m0), and of its square S - S0 + n (m - m0)^2
        with n steps, mean m and variance sum S (Chan, Golub and LeVeque 1983).
        """
        if not self._normalizers:
            return
        parts = []
        for one, (steps, mean, variance_sum) in zip(self._normalizers, self._known, strict=True):
            moved = one.mean.double() - mean
            first = float(one.steps) * moved
            second = one.variance_sum.double() - variance_sum + first * moved
            parts += [(one.steps - steps).reshape(1).double(), first, second]
        sums = iter(self._ranks.add(torch.cat([part.cpu() for part in parts])).split([len(part) for part in parts]))
        for one, (steps, mean, variance_sum) in zip(self._normalizers, self._known, strict=True):
            total = steps + float(next(sums))
            first, second = next(sums).to(mean.device), next(sums).to(mean.device)
            one.steps.fill_(total)
            one.mean.copy_(mean + first / total)
            one.variance_sum.copy_(variance_sum + second - first.square() / total)
            one.rescale()
        self.mark()
