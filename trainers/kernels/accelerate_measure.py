"""What `accelerate` goes by: how long torch and our operators take, side by side, and the limits that follow.

    python -m trainers.kernels.accelerate_measure [--threads 1] [--rounds 9]

prints a row for each network and batch: microseconds of a forward and a backward pass in torch's eager mode, with the
library's tiles, and with torch's BLAS under our operator; then for single layers and the optimizers; then the largest
number of multiplications up to which each way wins throughout. `MOST_WORK` in accelerate.py and in
operators/combined_native.py are these two numbers, rounded down.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from trainers.kernels import nn, optim, status
from trainers.kernels.operators import combined_native

_SHAPES = [(8, 32, 2), (8, 128, 2), (64, 64, 3), (32, 256, 3), (128, 512, 2)]  # inputs, width, layers
_BATCHES = (1, 12, 64, 256, 1024)
_EACH = 0.02  # seconds of a measurement


@dataclass(frozen=True)
class Row:
    """Medians in microseconds.

    Attributes:
        work: multiplications of a forward pass, 0 where that does not matter.
        ours, with_blas: what our operator takes with the library's tiles, and with torch's BLAS; the same where there
            is one way only.
    """

    name: str
    work: int
    torch: float
    ours: float
    with_blas: float


def alternate(ways: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Median microseconds of a call of each, measured in turns."""
    # Time of this thread alone is not disturbed by what else the machine does.
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    counts = []
    for way in ways:
        way()
        begin = time.perf_counter()
        way()
        counts.append(max(1, int(_EACH / max(time.perf_counter() - begin, 1e-7))))
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, count, times in zip(ways, counts, taken, strict=True):
            begin = clock()
            for _ in range(count):
                way()
            times.append((clock() - begin) / count * 1e6)
    return [statistics.median(times) for times in taken]


def networks(rounds: int) -> Iterator[Row]:
    """Sequences of linear layers with ReLU, forwards and backwards."""
    for inputs, width, layers in _SHAPES:
        for batch in _BATCHES:
            theirs = torch.nn.Sequential()
            size = inputs
            for _ in range(layers):
                theirs.extend([torch.nn.Linear(size, width), torch.nn.ReLU()])
                size = width
            theirs.append(torch.nn.Linear(size, 4))
            ours = nn.Sequential(*theirs)
            x = torch.randn(batch, inputs)
            ways = [_pass(theirs, x), _with_limit(_pass(ours, x), 1 << 62), _with_limit(_pass(ours, x), 0)]
            work = batch * sum(one.numel() for one in theirs.parameters() if one.dim() == 2)
            yield Row(f"{inputs}-{width}x{layers} batch {batch}", work, *alternate(ways, rounds))


def single(rounds: int) -> Iterator[Row]:
    """Layers by themselves, and steps of optimizers for a 128x2 network."""
    for name, batch in (("Linear", 1), ("Linear", 64), ("Linear", 1024), ("ReLU", 64), ("Softmax", 64)):
        options = {"Linear": (128, 128), "Softmax": (-1,)}.get(name, ())
        layers = [getattr(kind, name)(*options) for kind in (torch.nn, nn)]
        x = torch.randn(batch, 128, requires_grad=True)
        theirs, ours = alternate([_pass(layer, x) for layer in layers], rounds)
        yield Row(f"{name} by itself, batch {batch}", 0, theirs, ours, ours)
    for name in ("SGD", "RMSprop", "Adam"):
        steps = []
        for kind in (torch.optim, optim):
            model = torch.nn.Sequential(torch.nn.Linear(8, 128), torch.nn.Linear(128, 128), torch.nn.Linear(128, 4))
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter)
            steps.append(getattr(kind, name)(model.parameters(), lr=1e-3).step)
        theirs, ours = alternate(steps, rounds)
        yield Row(f"{name}'s step, 128x2", 0, theirs, ours, ours)


def limits(rows: Sequence[Row]) -> tuple[int, int]:
    """Multiplications up to which the library's tiles beat torch's BLAS, and up to which the better beats torch."""

    def up_to(wins: Callable[[Row], bool]) -> int:
        most = 0
        for row in sorted((row for row in rows if row.work), key=lambda row: row.work):
            if not wins(row):
                break
            most = row.work
        return most

    tiles = up_to(lambda row: row.ours <= row.with_blas * 1.05)
    return tiles, up_to(lambda row: (row.ours if row.work <= tiles else row.with_blas) <= row.torch * 1.05)


def _pass(model: torch.nn.Module, x: Tensor) -> Callable[[], None]:
    def run() -> None:
        model.zero_grad()
        model(x).sum().backward()

    return run


def _with_limit(run: Callable[[], None], most_work: int) -> Callable[[], None]:
    def limited() -> None:
        before, combined_native.MOST_WORK = combined_native.MOST_WORK, most_work
        try:
            run()
        finally:
            combined_native.MOST_WORK = before

    return limited


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what accelerate goes by.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{status().reason}; {arguments.threads} thread(s); microseconds")
    print(f"{'':34}{'multiplications':>16}{'torch':>10}{'ours':>10}{'with BLAS':>11}{'torch/best':>12}")
    rows = []
    for row in chain(networks(arguments.rounds), single(arguments.rounds)):
        best = row.torch / min(row.ours, row.with_blas)
        print(f"{row.name:34}{row.work:16,}{row.torch:10.1f}{row.ours:10.1f}{row.with_blas:11.1f}{best:12.2f}")
        rows.append(row)
    tiles, all_of_it = limits(rows)
    print(f"the library's tiles win up to {tiles:,} multiplications, our operators up to {all_of_it:,}")


if __name__ == "__main__":
    main()
