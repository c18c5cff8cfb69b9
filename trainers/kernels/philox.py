"""Random numbers by counting: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

A number depends on the seed, the call, the stream and its place only, so a state is two integers and any part of it can
be drawn alone. The library's `act` draws the same numbers, bit for bit: every step below is one that IEEE 754 defines,
in the same order there.

Word i of a stream is word i % 4 of the block with counter (i / 4, stream, call's lower half, its upper half).
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

NORMALS, CHOICES, ORDERS = 0, 1, 2  # streams: continuous actions, discrete ones, orders of minibatches

Words = NDArray[np.uint32]
Floats = NDArray[np.float32]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOWER = np.uint64(0xFFFFFFFF)
_HALF_WORD = np.uint64(32)
_f = np.float32
_LOGARITHM = tuple(
    map(
        _f,
        (
            7.0376836292e-2,
            -1.1514610310e-1,
            1.1676998740e-1,
            -1.2420140846e-1,
            1.4249322787e-1,
            -1.6668057665e-1,
            2.0000714765e-1,
            -2.4999993993e-1,
            3.3333331174e-1,
        ),
    )
)
_SINE = tuple(map(_f, (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)))
_COSINE = tuple(map(_f, (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)))


class Philox:
    """A seed and a count of calls: each draw is a call of its own. Both go into a checkpoint."""

    def __init__(self, seed: int, call: int = 0) -> None:
        """`seed` 0 to 2^64 - 1."""
        self.seed = seed
        self.call = call

    def next_call(self) -> int:
        """The number of a call that nothing else gets."""
        self.call += 1
        return self.call - 1

    def part(self, calls: int) -> "Philox":
        """One that makes the next `calls` calls, which this one leaves out: for work in another thread."""
        part = Philox(self.seed, self.call)
        self.call += calls
        return part

    def order(self, steps: int) -> torch.Tensor:
        """A shuffled order int64 [steps] of 0 ... steps - 1."""
        return order(self.seed, self.next_call(), steps)

    def state_dict(self) -> dict[str, int]:
        return {"seed": self.seed, "call": self.call}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seed, self.call = int(state["seed"]), int(state["call"])


def block(counter: NDArray[np.uint32], key: tuple[int, int]) -> Words:
    """The generator itself: counters uint32 [blocks, 4] to words [blocks, 4]."""
    c0, c1, c2, c3 = (counter[:, index].astype(np.uint64) for index in range(4))
    k0, k1 = key
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = (second >> _HALF_WORD) ^ c1 ^ np.uint64(k0)
        c1 = second & _LOWER
        c2 = (first >> _HALF_WORD) ^ c3 ^ np.uint64(k1)
        c3 = first & _LOWER
        k0, k1 = (k0 + _KEY_STEPS[0]) & 0xFFFFFFFF, (k1 + _KEY_STEPS[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def words(seed: int, call: int, stream: int, count: int) -> Words:
    """The first `count` words of a stream, uint32 [count]."""
    counter = np.empty(((count + 3) // 4, 4), np.uint32)
    counter[:, 0] = np.arange(len(counter), dtype=np.uint32)
    counter[:, 1] = stream
    counter[:, 2] = call & 0xFFFFFFFF
    counter[:, 3] = call >> 32
    return block(counter, (seed & 0xFFFFFFFF, seed >> 32)).ravel()[:count]


def uniforms(seed: int, call: int, stream: int, count: int) -> Floats:
    """Numbers in (0, 1), float32 [count]: the middles of 2^23 equal parts."""
    return _uniform(words(seed, call, stream, count))


def normals(seed: int, call: int, stream: int, count: int) -> Floats:
    """Standard normal numbers, float32 [count], two of each pair of words (Box and Muller 1958)."""
    drawn = _uniform(words(seed, call, stream, count + count % 2)).reshape(-1, 2)
    radius = np.sqrt(_f(-2.0) * _logarithm(drawn[:, 0]))
    quarters = drawn[:, 1] * _f(4.0)
    quarter = quarters.astype(np.int32)
    x = ((quarters - quarter.astype(np.float32)) - _f(0.5)) * _f(1.57079637)
    square = x * x
    sine = (_SINE[0] * square + _SINE[1]) * square + _SINE[2]
    sine = sine * square * x + x
    cosine = (_COSINE[0] * square + _COSINE[1]) * square + _COSINE[2]
    cosine = cosine * square * square - _f(0.5) * square + _f(1.0)
    across, up = (cosine - sine) * _f(0.70710678), (cosine + sine) * _f(0.70710678)
    first = np.choose(quarter, [across, -up, -across, up])
    second = np.choose(quarter, [up, across, -up, -across])
    return np.stack([radius * first, radius * second], axis=1).ravel()[:count]


def order(seed: int, call: int, steps: int) -> torch.Tensor:
    """A shuffled order int64 [steps] of 0 ... steps - 1: by random keys, equal ones in their old order."""
    keys = words(seed, call, ORDERS, steps).astype(np.uint64) << _HALF_WORD | np.arange(steps, dtype=np.uint64)
    keys.sort()
    return torch.from_numpy((keys & _LOWER).astype(np.int64))


def choices(probabilities: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """Actions int64 [agents] by inverting the distribution: the first whose cumulative probability exceeds `drawn`.

    probabilities float32 [agents, actions], drawn float32 [agents] in (0, 1).
    """
    reached = drawn.unsqueeze(1) < probabilities.cumsum(1)
    possible = probabilities > 0
    actions = probabilities.shape[1]
    last = actions - 1 - possible.flip(1).to(torch.uint8).argmax(1)
    found = reached & possible
    return torch.where(found.any(1), found.to(torch.uint8).argmax(1), last)


def _uniform(drawn: Words) -> Floats:
    return ((drawn >> np.uint32(9)).astype(np.float32) + _f(0.5)) * _f(2.0**-23)


def _logarithm(x: Floats) -> Floats:
    bits = x.view(np.uint32)
    exponent = ((bits >> np.uint32(23)).astype(np.int32) - 126).astype(np.float32)
    m = ((bits & np.uint32(0x007FFFFF)) | np.uint32(0x3F000000)).view(np.float32)
    small = m < _f(0.70710678)
    exponent = np.where(small, exponent - _f(1.0), exponent)
    m = np.where(small, m + m, m) - _f(1.0)
    square = m * m
    y = np.full_like(m, _LOGARITHM[0])
    for factor in _LOGARITHM[1:]:
        y = y * m + factor
    y = y * m * square
    y = y + exponent * _f(-2.12194440e-4)
    y = y - _f(0.5) * square
    return (m + y) + exponent * _f(0.693359375)
