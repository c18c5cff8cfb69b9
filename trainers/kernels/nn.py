"""torch.nn's layers and losses on our operators.

Each class is a subclass of torch's own of that name: same arguments, state dict and repr, and `isinstance` holds.
Exported or traced, a layer is torch's own again, so that a model leaves for ONNX without our operators.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.modules.module import _has_any_global_hook

from trainers.kernels import functional

__all__ = [
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Linear",
    "Log",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "NLLLoss",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Swish",
    "Tanh",
]

Module = torch.nn.Module


def leaves() -> bool:
    """Whether a model is being exported or traced, or transformed by torch.func, which knows torch's operators only."""
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    return torch._C._get_tracing_state() is not None or torch._C._are_functorch_transforms_active()


class Linear(torch.nn.Linear):
    """x weight^T + bias."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if leaves() else functional.linear(input, self.weight, self.bias)


class ReLU(torch.nn.ReLU):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if leaves() else functional.relu(input, self.inplace)


class Sigmoid(torch.nn.Sigmoid):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if leaves() else functional.sigmoid(input)


class Tanh(torch.nn.Tanh):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if leaves() else functional.tanh(input)


class SiLU(torch.nn.SiLU):
    """x sigmoid(x)."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if leaves() else functional.silu(input, self.inplace)


Swish = SiLU


class Softmax(torch.nn.Softmax):
    def __init__(self, dim: int) -> None:
        super().__init__(dim)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if leaves() else functional.softmax(input, self.dim)  # type: ignore[arg-type]


class LogSoftmax(torch.nn.LogSoftmax):
    def __init__(self, dim: int) -> None:
        super().__init__(dim)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) if leaves() else functional.log_softmax(input, self.dim)  # type: ignore[arg-type]


class Log(torch.nn.Module):
    """Natural logarithm, as a layer."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.log(input) if leaves() else functional.log(input)


class Dropout(torch.nn.Dropout):
    """Drawn with Philox: the same probability and scale as torch's, other random numbers."""

    def forward(self, input: Tensor) -> Tensor:
        if leaves():
            return super().forward(input)
        return functional.dropout(input, self.p, self.training, self.inplace)


class Embedding(torch.nn.Embedding):
    """Without padding_idx, max_norm, scale_grad_by_freq and sparse."""

    def forward(self, input: Tensor) -> Tensor:
        if leaves():
            return super().forward(input)
        return functional.embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )


# What `mlp` can put behind a linear layer; of torch's and of ours.
_ACTIVATIONS: dict[type[torch.nn.Module], str] = {
    torch.nn.ReLU: "relu",
    torch.nn.Sigmoid: "sigmoid",
    torch.nn.Tanh: "tanh",
    torch.nn.SiLU: "swish",
    ReLU: "relu",
    Sigmoid: "sigmoid",
    Tanh: "tanh",
    SiLU: "swish",
}
_LINEAR = (torch.nn.Linear, Linear)
_FLOATS = (torch.float32, torch.float64)

Run = tuple[list[torch.nn.Module], list[Tensor], list[Tensor | None], list[str]]  # and what `mlp` takes of them


class Sequential(torch.nn.Sequential):
    """Runs of linear layers with their activations are one operator, forwards and backwards.

    A child with hooks, a forward of its own or anything else that is not plain runs by itself, as torch would run it;
    so does everything under autocast and on other types than float32 and float64.

    Attributes:
        most_work: multiplications in a forward pass of such a run above which its children run by themselves; None:
            no limit. `accelerate` sets it to what it was measured to pay off up to.
    """

    most_work: int | None = None

    def forward(self, input: Tensor) -> Tensor:
        watched = leaves() or _has_any_global_hook()  # type: ignore[no-untyped-call]
        if watched or input.dtype not in _FLOATS or torch.is_autocast_enabled(input.device.type):
            result: Tensor = super().forward(input)  # type: ignore[no-untyped-call]
            return result
        for modules, weights, biases, activations in runs(self._modules.values()):
            if not weights or (self.most_work is not None and _work(input, weights) > self.most_work):
                for module in modules:
                    input = module(input)
            else:
                input = functional.mlp(input, weights, biases, activations)
        return input


def runs(modules: Iterable[torch.nn.Module | None]) -> list[Run]:
    """`modules` cut into linear layers with their activations that can be one call, and single other ones."""
    found: list[Run] = []
    run: Run | None = None  # that the next module may join
    for module in modules:
        if module is None:
            continue
        kind = type(module)
        if kind in _LINEAR and _is_bare(module) and (weight := module._parameters.get("weight")) is not None:
            if run is None:
                run = ([], [], [], [])
                found.append(run)
            run[0].append(module)
            run[1].append(weight)
            run[2].append(module._parameters.get("bias"))
            run[3].append("none")
        elif run is not None and kind in _ACTIVATIONS and run[3][-1] == "none" and _is_bare(module):
            run[0].append(module)
            run[3][-1] = _ACTIVATIONS[kind]
        else:
            found.append(([module], [], [], []))
            run = None
    return found


def _is_bare(module: torch.nn.Module) -> bool:
    """Whether calling a module does nothing but its class's forward."""
    return not (
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
    )


def _work(x: Tensor, weights: list[Tensor]) -> int:
    rows = x.numel() // x.shape[-1] if x.dim() and x.shape[-1] else 0
    return rows * sum(weight.numel() for weight in weights)


class MSELoss(torch.nn.MSELoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(input, target, reduction=self.reduction)


class CrossEntropyLoss(torch.nn.CrossEntropyLoss):
    """Without weight, ignore_index and label_smoothing."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(torch.nn.NLLLoss):
    """Without weight and ignore_index."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return functional.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)
