"""torch.optim's SGD, RMSprop, Adam and AdamW, a step for all parameters in one call of an operator.

They are subclasses of torch's own, with the same groups and state dicts both ways. Options that the operators do not
have are refused by name.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from trainers.kernels.operators import combined

__all__ = ["SGD", "Adam", "AdamW", "RMSprop"]


class _OneCall(torch.optim.Optimizer):
    """What the optimizers share: which groups can be taken, and the way to a group's step."""

    UNSUPPORTED: ClassVar[tuple[str, ...]]

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        self._check(self.param_groups[-1])

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            self._check(group)

    def _check(self, group: dict[str, Any]) -> None:
        if problem := unsupported(group, self.UNSUPPORTED):
            raise ValueError(f"{type(self).__name__}: {problem}; torch.optim.{type(self).__name__} has that")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step with the gradients that are there; parameters without one stay. Gives what `closure` gives."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if not params:
                continue
            grads = [param.grad for param in params]
            if group["maximize"]:
                grads = list(torch._foreach_neg(grads))
            self._step(group, params, grads)
        return loss

    def _step(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        raise NotImplementedError

    def _counted(self, params: list[Tensor], keys: Sequence[str]) -> list[tuple[int, list[int], list[list[Tensor]]]]:
        """Counts this step in the state of each parameter, making it first where there is none.

        Gives (steps so far, places in `params`, tensors of each key) for each number of steps; nearly always one.
        """
        states = [self.state[param] for param in params]
        for param, state in zip(params, states, strict=True):
            if not state:
                state["step"] = torch.tensor(0.0, dtype=torch.float32)
            for key in keys:
                if key not in state:
                    state[key] = torch.zeros_like(param, memory_format=torch.preserve_format)
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        places = defaultdict(list)
        for place, step in enumerate(steps):
            places[int(step.item())].append(place)
        return [(count, at, [[states[place][key] for place in at] for key in keys]) for count, at in places.items()]


def unsupported(group: dict[str, Any], options: Sequence[str]) -> str | None:
    """The first option of a group that the operators do not have, as "name: expected ..., got ..."."""
    for name in (*options, "differentiable", "fused"):
        if group.get(name):
            return f"{name}: expected {None if name == 'fused' else False}, got {group[name]!r}"
    for name, value in group.items():
        if name != "params" and any(isinstance(one, Tensor) for one in (value if name == "betas" else (value,))):
            return f"{name}: expected a number, got a tensor"
    return None


class SGD(_OneCall, torch.optim.SGD):
    UNSUPPORTED = ()

    def _step(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        settings = [group[name] for name in ("lr", "momentum", "dampening", "weight_decay", "nesterov")]
        if not group["momentum"]:
            combined.step("sgd_all_", params, grads, [], *settings)
            return
        fresh = {param for param in params if self.state[param].get("momentum_buffer") is None}
        for param in fresh:
            self.state[param]["momentum_buffer"] = torch.zeros_like(param, memory_format=torch.preserve_format)
        for first in (True, False):
            chosen = [(p, g) for p, g in zip(params, grads, strict=True) if (p in fresh) is first]
            if not chosen:
                continue
            buffers = [self.state[param]["momentum_buffer"] for param, _ in chosen]
            combined.step("sgd_all_", [p for p, _ in chosen], [g for _, g in chosen], buffers, *settings, first)


class RMSprop(_OneCall, torch.optim.RMSprop):
    UNSUPPORTED = ("centered", "capturable")

    def _step(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        keys = ["square_avg", "momentum_buffer"] if group["momentum"] > 0 else ["square_avg"]
        settings = [group[name] for name in ("lr", "alpha", "eps", "weight_decay", "momentum")]
        for _, at, (squares, *buffers) in self._counted(params, keys):
            combined.step(
                "rmsprop_all_",
                [params[place] for place in at],
                [grads[place] for place in at],
                squares,
                buffers[0] if buffers else [],
                *settings,
            )


class _AdamSteps(_OneCall):
    UNSUPPORTED = ("amsgrad", "capturable")

    def _step(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None:
        lr, decay = group["lr"], group["weight_decay"]
        if decay and group.get("decoupled_weight_decay"):  # Loshchilov and Hutter 2019
            torch._foreach_mul_(params, 1 - lr * decay)
            decay = 0.0
        for count, at, (averages, squares) in self._counted(params, ["exp_avg", "exp_avg_sq"]):
            combined.step(
                "adam_all_",
                [params[place] for place in at],
                [grads[place] for place in at],
                averages,
                squares,
                count,
                lr,
                *group["betas"],
                group["eps"],
                decay,
            )


class Adam(_AdamSteps, torch.optim.Adam):
    """Kingma and Ba 2015, algorithm 1."""


class AdamW(_AdamSteps, torch.optim.AdamW):
    """Adam whose weight decay is no part of the gradient."""
