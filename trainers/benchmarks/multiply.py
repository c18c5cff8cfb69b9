"""Whether a BLAS would make PPO's updates faster: a whole update beside torch.mm doing its matrix products and no more.

An update by way of a BLAS takes at least as long as the peer here, whatever it does about losses, swish and Adam: a
ratio above 0.87 says that it could not win more than 15 %.

Why the library has no way to a BLAS: measured on two cores of an AMD EPYC (Zen 3, AVX2) with torch 2.13 and MKL 2024.2,
medians of 7 rounds; "products" is the share of ours that a profiler gave to the products.

    shape           ours       torch.mm   ratio   products of ours
    64x2 b64        160 us     108 us     0.68    93 us (58 %)
    128x2 b64       372 us     322 us     0.87    265 us (71 %)
    128x2 b2048     7.6 ms     8.9 ms     1.16
    256x3 b64       1.72 ms    1.56 ms    0.90    1.40 ms (82 %)
    256x3 b2048     51 ms      49 ms      0.96
    512x3 b64       7.5 ms     6.9 ms     0.91
    512x3 b1024     98 ms      92 ms      0.94
    1024x3 b64      36 ms      29 ms      0.79    26 ms (72 %)
    1024x3 b2048    745 ms     705 ms     0.95

Before src/gemm.h had an order of work of its own for layers from 512 units on, MKL would have won there (1024x3 b2048:
1.4 times as long, 512x3 b1024: 1.25 times). The portable build reaches 26 GFLOP/s in a whole update of 256x3 b2048,
OpenBLAS 24 in such products where it is kept to instructions as old. And a choice by timing in each run would make
trainings differ in their last digits.
"""

from collections.abc import Callable
from itertools import pairwise

import torch

from trainers.benchmarks import Context
from trainers.benchmarks.kernels import (
    _ACTIONS,
    _OBSERVATION,
    _batch,
    _fused_update,
    _microseconds,
    _network,
    _one_core,
)
from trainers.benchmarks.kernels import _rows as rows_of
from trainers.benchmarks.rows import Row
from trainers.errors import UsageError
from trainers.kernels import status

SHAPES = (  # units of a layer, layers, batch
    (64, 2, 64),
    (128, 2, 64),
    (128, 2, 2048),
    (256, 3, 64),
    (256, 3, 2048),
    (512, 3, 64),
    (512, 3, 1024),
    (1024, 3, 64),
    (1024, 3, 2048),
)


def run(context: Context) -> list[Row]:
    """A row for each of SHAPES. Raises UsageError where there is no library to measure."""
    found = status()
    if not found.native:
        raise UsageError(f"--only multiply: {found.reason}")
    context.say(f"kernels: {found.reason}")
    with _one_core():
        return [row for shape in SHAPES for row in _shape_rows(context, *shape)]


def _shape_rows(context: Context, hidden: int, layers: int, batch_size: int) -> list[Row]:
    name = f"ppo_step {hidden}x{layers} b{batch_size}"
    update = _fused_update(_network(hidden, layers), _batch(batch_size), torch.randperm(batch_size), batch_size, 1)
    sides = {
        f"{name}, ours": _microseconds(update),
        f"{name}, torch.mm": _microseconds(_products(hidden, layers, batch_size)),
    }
    pairs = {f"{name} vs its products by torch.mm": (f"{name}, ours", f"{name}, torch.mm", 1)}
    return rows_of(context, pairs, sides)


def _products(hidden: int, layers: int, batch_size: int) -> Callable[[], None]:
    """All matrix products of an update of actor and critic, each in the layout that autograd gives it."""
    work: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def add(left: torch.Tensor, right: torch.Tensor) -> None:
        work.append((left, right, torch.empty(left.shape[0], right.shape[1])))

    for outputs_of_net in (_ACTIONS, 1):
        sizes = [_OBSERVATION, *[hidden] * layers, outputs_of_net]
        for index, (inputs, outputs) in enumerate(pairwise(sizes)):
            x, weight, gradient = (
                torch.randn(shape) for shape in ((batch_size, inputs), (outputs, inputs), (batch_size, outputs))
            )
            add(x, weight.t())
            add(gradient.t(), x)
            if index > 0:
                add(gradient, weight)

    def multiply() -> None:
        for left, right, out in work:
            torch.mm(left, right, out=out)

    return multiply
