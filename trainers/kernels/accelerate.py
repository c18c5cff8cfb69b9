"""One added line that makes an existing torch script run on our operators.

    model, optimizer = ...                # torch's own, as ever
    accelerate(model, optimizer)          # the line

Modules and the optimizer are changed in place: parameters, hooks, modes, groups and state stay the same objects.
"""

import functools
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch

from trainers.kernels import nn, optim

__all__ = ["MOST_WORK", "Report", "accelerate"]

# Multiplications of a forward pass above which a run of linear layers is quicker in torch: `accelerate_measure` gives
# it. Below it the calls cost more than the numbers, above it the products of matrices do.
MOST_WORK = 16_000_000

_SAME_RESULTS: dict[type[torch.nn.Module], type[torch.nn.Module]] = {
    torch.nn.Linear: nn.Linear,
    torch.nn.ReLU: nn.ReLU,
    torch.nn.Sigmoid: nn.Sigmoid,
    torch.nn.Tanh: nn.Tanh,
    torch.nn.SiLU: nn.SiLU,
    torch.nn.Softmax: nn.Softmax,
    torch.nn.LogSoftmax: nn.LogSoftmax,
    torch.nn.Embedding: nn.Embedding,
    torch.nn.MSELoss: nn.MSELoss,
    torch.nn.CrossEntropyLoss: nn.CrossEntropyLoss,
    torch.nn.NLLLoss: nn.NLLLoss,
}
_OPTIMIZERS: dict[type[torch.optim.Optimizer], type[Any]] = {
    torch.optim.SGD: optim.SGD,
    torch.optim.RMSprop: optim.RMSprop,
    torch.optim.Adam: optim.Adam,
    torch.optim.AdamW: optim.AdamW,
}
_OURS = (*_SAME_RESULTS.values(), *_OPTIMIZERS.values(), nn.Sequential, nn.Dropout)
# Attributes that an operator does not have, with the only value it takes.
_ONLY: dict[str, Any] = {
    "inplace": False,
    "padding_idx": None,
    "max_norm": None,
    "scale_grad_by_freq": False,
    "sparse": False,
    "weight": None,
    "ignore_index": -100,
    "label_smoothing": 0.0,
}


@dataclass
class Report:
    """What `accelerate` did; `str` of it is for people.

    Attributes:
        swapped: name of a module ("" is the model itself), or "optimizer", to what it became.
        left: the same to the reason why it stayed what it was.
    """

    swapped: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"accelerate: {len(self.swapped)} swapped, {len(self.left)} left alone"]
        lines += [f"  swapped  {name or '(model)'}: {what}" for name, what in self.swapped.items()]
        lines += [f"  left     {name or '(model)'}: {why}" for name, why in self.left.items()]
        return "\n".join(lines)


def accelerate(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    slower_too: bool = False,
    quiet: bool = False,
) -> Report:
    """Swaps in place what of `model` and `optimizer` runs at least as fast on our operators and gives the same numbers.

    That is each torch.nn.Sequential with linear layers, whose runs of such layers and their activations become one
    call, and SGD, RMSprop, Adam and AdamW, whose steps do. Single layers stay: a call of an operator of ours costs more
    there than it saves. Subclasses with code of their own and what the operators do not take stay as well.

    slower_too: swaps single layers nevertheless. quiet: prints nothing; otherwise the report is printed.
    """
    report = Report()
    in_runs: set[torch.nn.Module] = set()
    for name, module in model.named_modules():
        if module in in_runs:
            continue
        if type(module) is torch.nn.Sequential:
            in_runs |= _swap_sequential(name, module, None if slower_too else MOST_WORK, report)
        elif type(module) in _OURS:
            report.left[name] = f"{type(module).__name__} of trainers.kernels already"
        elif (reason := _reason_to_leave(module, slower_too)) is None:
            ours = _SAME_RESULTS[type(module)]
            module.__class__ = ours
            report.swapped[name] = f"{ours.__name__}, by itself"
        elif reason:
            report.left[name] = reason
    if optimizer is not None:
        _swap_optimizer(optimizer, report)
    if not quiet:
        print(report)
    return report


def _swap_sequential(
    name: str, module: torch.nn.Sequential, most_work: int | None, report: Report
) -> set[torch.nn.Module]:
    """The children that are part of a run from now on."""
    if "forward" in module.__dict__:
        report.left[name] = "Sequential with a forward of its own"
        return set()
    runs = [run for run in nn.runs(module) if run[1]]
    if not runs:
        return set()
    for problem in filter(None, (_tensor_problem(layer) for run in runs for layer in run[0])):
        report.left[name] = f"Sequential with {problem}"
        return set()
    module.__class__ = nn.Sequential
    module.most_work = most_work  # type: ignore[assignment]
    layers = sum(len(run[1]) for run in runs)
    report.swapped[name] = (
        f"Sequential, {layers} linear layer{'s' * (layers > 1)} in {len(runs)} call{'s' * (len(runs) > 1)}"
        + ("" if most_work is None else f" up to {most_work:,} multiplications, above that as torch has it")
    )
    return {layer for run in runs for layer in run[0]}


def _reason_to_leave(module: torch.nn.Module, slower_too: bool) -> str | None:
    """Why a module stays; "" where nothing need be said, None if it can be swapped."""
    kind = type(module)
    if kind not in _SAME_RESULTS:
        if kind is torch.nn.Dropout:
            return "Dropout: ours draws other random numbers; trainers.kernels.nn.Dropout is there for who wants it"
        if kind.__module__.startswith("torch.nn."):
            is_container = kind in (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict, torch.nn.Identity)
            return "" if is_container else f"{kind.__name__}: no operator of ours"
        if base := next((one for one in kind.__mro__[1:] if one in _SAME_RESULTS or one is torch.nn.Sequential), None):
            return f"{kind.__name__}: a subclass of {base.__name__} with code of its own"
        return f"{kind.__name__}: a forward of its own; layers in a torch.nn.Sequential could be one call"
    if "forward" in module.__dict__:
        return f"{kind.__name__} with a forward of its own"
    for attribute, only in _ONLY.items():
        if attribute == "weight" and isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            continue
        if (value := getattr(module, attribute, only)) is not only and value != only:
            return f"{kind.__name__} with {attribute}={value!r}, which the operator does not have"
    if kind in (torch.nn.Softmax, torch.nn.LogSoftmax) and module.dim is None:
        return f"{kind.__name__} without dim"
    if problem := _tensor_problem(module):
        return f"{kind.__name__} with {problem}"
    return None if slower_too else f"{kind.__name__} by itself: torch's is quicker"


def _tensor_problem(module: torch.nn.Module) -> str | None:
    for name, parameter in module.named_parameters(recurse=False):
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            kind = str(parameter.dtype).removeprefix("torch.")
            return f"{name} of {kind} on {parameter.device.type}; measured is float32 on the cpu"
    return None


def _swap_optimizer(optimizer: torch.optim.Optimizer, report: Report) -> None:
    kind = type(optimizer)
    if kind in _OURS:
        report.left["optimizer"] = f"{kind.__name__} of trainers.kernels already"
        return
    if kind not in _OPTIMIZERS:
        report.left["optimizer"] = f"{kind.__name__}: neither SGD, RMSprop, Adam nor AdamW of torch.optim"
        return
    ours = _OPTIMIZERS[kind]
    for group in optimizer.param_groups:
        problem = optim.unsupported(group, ours.UNSUPPORTED)
        tensors = [one for one in group["params"] if one.dtype != torch.float32 or one.device.type != "cpu"]
        if problem is None and tensors:
            problem = f"a parameter of {tensors[0].dtype} on {tensors[0].device.type}; measured is float32 on the cpu"
        if problem is not None:
            report.left["optimizer"] = f"{kind.__name__} with {problem}"
            return
    replaced = vars(optimizer).get("step")  # a scheduler that is there already has put a wrapper around the step
    if replaced is not None and not hasattr(replaced, "_wrapped_by_lr_sched"):
        report.left["optimizer"] = f"{kind.__name__} whose step somebody has replaced"
        return
    optimizer.__class__ = ours
    optimizer._patch_step_function()
    if replaced is not None:
        _count_for_scheduler(optimizer)
    report.swapped["optimizer"] = f"{ours.__name__}, one call for all parameters"


def _count_for_scheduler(optimizer: Any) -> None:
    """Puts around our step what a scheduler has put around torch's, by which it knows that steps are taken."""
    del optimizer.step
    step, reference = type(optimizer).step, weakref.ref(optimizer)

    @functools.wraps(step)
    def counted(*arguments: Any, **options: Any) -> Any:
        of: Any = reference()
        of._opt_called = True
        return step(of, *arguments, **options)

    counted._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = counted
