"""torch.distributions.Categorical on our operators."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions.utils import lazy_property

import trainers.kernels.operators.combined  # noqa: F401  registers torch.ops.openmined
from trainers.kernels.philox import Philox

__all__ = ["Categorical"]

_operators = torch.ops.openmined


class Categorical(torch.distributions.Categorical):
    """Choices 0 to n - 1 with `probs` [..., n], which are divided by their sum, or `logits` [..., n].

    `sample` draws what torch's class draws, number for number, from torch's generator; with `random`, a Philox, it
    draws from that with our operator, the same on every machine.
    """

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
        *,
        random: Philox | None = None,
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Categorical: expected either probs or logits, got both or none of them")
        self.random = random
        given = probs if probs is not None else logits
        assert given is not None
        if given.dim() < 1:
            name = "logits" if probs is None else "probs"
            raise ValueError(f"Categorical: {name}: expected at least 1 dimension, got 0")
        if probs is not None:
            self.probs = _operators.div_elem.default(probs, _operators.sum.default(probs, -1, True))
        else:
            self.logits = _operators.log_softmax.default(given, -1)
        self._param = self.logits if probs is None else self.probs
        self._num_events = given.shape[-1]
        torch.distributions.Distribution.__init__(self, given.shape[:-1], validate_args=validate_args)

    @lazy_property
    def logits(self) -> Tensor:
        tiny = torch.finfo(self.probs.dtype).eps
        result: Tensor = _operators.log.default(_operators.clamp.default(self.probs, tiny, 1 - tiny))
        return result

    @lazy_property
    def probs(self) -> Tensor:
        result: Tensor = _operators.softmax.default(self.logits, -1)
        return result

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Categorical":
        new: Categorical = self._get_checked_instance(Categorical, _instance)  # type: ignore[no-untyped-call]
        new.random = self.random
        super().expand(batch_shape, _instance=new)  # type: ignore[no-untyped-call]
        return new

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        if self.random is None:
            result: Tensor = super().sample(torch.Size(sample_shape))  # type: ignore[no-untyped-call]
            return result
        shape = torch.Size(sample_shape) + self._param.shape
        with torch.no_grad():
            result = _operators.sample.default(self.probs.expand(shape), -1, self.random.seed, self.random.next_call())
        return result

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape, self.logits.shape[:-1])  # type: ignore[no-untyped-call]
        index = value.long().expand(shape).unsqueeze(-1)
        return self.logits.expand(*shape, self._num_events).gather(-1, index).squeeze(-1)

    def entropy(self) -> Tensor:
        smallest = torch.finfo(self.logits.dtype).min
        products = _operators.mul_elem.default(_operators.clamp.default(self.logits, smallest, None), self.probs)
        result: Tensor = _operators.neg.default(_operators.sum.default(products, -1, False))
        return result
