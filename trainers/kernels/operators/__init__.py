"""The tensor operators, `torch.ops.openmined.*`: importing this registers them.

Each has a schema (schemas.py), checks of what it is given (checks.py), a reference in plain torch (reference.py), a
kernel of the library (native.py) that runs on the CPU where there is one, and a gradient (gradients.py). README.md
beside trainers/kernels says how to add one; operators.md lists them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.library import library
from trainers.kernels.operators import gradient_reference, reference
from trainers.kernels.operators.checks import CHECKS, PROMOTED
from trainers.kernels.operators.gradients import GRADIENTS
from trainers.kernels.operators.native import NATIVE
from trainers.kernels.operators.schemas import IN_PLACE, SCHEMAS

__all__ = ["REFERENCES", "SCHEMAS", "implementation"]

REFERENCES: dict[str, Callable[..., Any]] = {**reference.REFERENCES, **gradient_reference.REFERENCES}
# Steps and fills take no gradient; these give none.
NOT_DIFFERENTIABLE = ("eq", "lt", "equal", "sample", "dropout_mask")
PROMOTED_TOO = (*PROMOTED, "div_elem", "div_scalar")

_registered: list[torch.library.Library] = []  # a Library undoes its registrations when it is collected


def implementation(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` behind the checks of the operator `name`, as a device's kernel is registered."""
    check = CHECKS.get(name)
    promotes = name in PROMOTED_TOO

    def checked(x: Tensor, *arguments: Any) -> Any:
        if check is not None:
            check(name, x, *arguments)
        if promotes and not x.dtype.is_floating_point:
            kind = torch.get_default_dtype()
            return function(x.to(kind), *(a.to(kind) if isinstance(a, Tensor) else a for a in arguments))
        return function(x, *arguments)

    return checked


def dense(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with a result that is dense and shares no memory with what it was given."""

    def made(x: Tensor, *arguments: Any) -> Any:
        result = function(x, *arguments)
        return result.contiguous() if isinstance(result, Tensor) else result

    return made


def _on_cpu(name: str) -> Callable[..., Any]:
    """The library's kernel, where there is a library and it takes what it is given; else the reference."""
    kernel, fallback = NATIVE.get(name), dense(REFERENCES[name])

    def run(x: Tensor, *arguments: Any) -> Any:
        result = kernel(x, *arguments) if kernel is not None and library() is not None else NotImplemented
        return fallback(x, *arguments) if result is NotImplemented else result

    return run


def _fake(name: str) -> Callable[..., Any]:
    """What the operator would give, without data."""
    function = REFERENCES[name]

    def fake(x: Tensor, *arguments: Any) -> Any:
        if name.endswith("_"):
            return None
        if name in ("sample", "dropout_mask"):
            shape = list(x.shape)
            if name == "sample" and shape:
                del shape[arguments[0]]
            return torch.empty(shape, dtype=torch.int64 if name == "sample" else x.dtype, device=x.device)
        if name in ("unary_gradient", "binary_gradient"):
            return torch.empty_like(x, memory_format=torch.contiguous_format)
        if name.endswith("_gradient") and name != "linear_gradient":
            like = x if name == "softmax_gradient" else arguments[0]
            return torch.empty_like(like, memory_format=torch.contiguous_format)
        result = function(x, *arguments)
        if isinstance(result, tuple):
            return tuple(torch.empty_like(one, memory_format=torch.contiguous_format) for one in result)
        return torch.empty(result.shape, dtype=result.dtype, device=result.device)

    return fake


def _below_autograd(name: str, bump: bool) -> Callable[..., Any]:
    """Runs the operator itself; `bump` marks what it has written as changed, for gradients that wait for it."""
    operator = getattr(torch.ops.openmined, name).default
    written = [index for index, one in enumerate(operator._schema.arguments) if one.is_write]

    def run(*arguments: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            result = operator(*arguments)
        if bump:
            for index in written:
                if index < len(arguments) and isinstance(arguments[index], Tensor):
                    torch.autograd.graph.increment_version(arguments[index])
        return result

    return run


def _in_place_autograd(name: str) -> Callable[..., Any]:
    run = _below_autograd(name, bump=True)
    base = name.removesuffix("_")

    def in_place(x: Tensor, *arguments: Any) -> None:
        tracked = torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in (x, *arguments))
        if not tracked:
            run(x, *arguments)
        elif base in IN_PLACE:
            # The copy keeps what the gradient needs; torch itself records the writing.
            CHECKS[name](name, x, *arguments)
            value = getattr(torch.ops.openmined, base)(x.clone(), *arguments)
            x.copy_(value)
        elif name in ("fill_", "zero_", "uniform_", "random_"):
            value = torch.empty_like(x, requires_grad=False)
            run(value, *arguments)
            x.copy_(value)
        else:
            raise RuntimeError(
                f"openmined::{name}: expected torch.no_grad() around a step, got gradients being recorded"
            )

    return in_place


def _register() -> None:
    ours: Any = torch.library.Library("openmined", "FRAGMENT")  # type: ignore[no-untyped-call]
    _registered.append(ours)
    for name, schema in SCHEMAS.items():
        ours.define(name + schema)
    for name in SCHEMAS:
        ours.impl(name, implementation(name, _on_cpu(name)), "CPU")
        qualified = f"openmined::{name}"
        if name != "equal":  # its result is a number of the data
            torch.library.register_fake(qualified, implementation(name, _fake(name)), lib=ours)
        if name in GRADIENTS:
            setup, backward = GRADIENTS[name]
            torch.library.register_autograd(qualified, backward, setup_context=setup, lib=ours)
        elif name in NOT_DIFFERENTIABLE:
            ours.impl(name, _below_autograd(name, bump=False), "Autograd")
        else:
            ours.impl(name, _in_place_autograd(name), "Autograd")
    if torch.cuda.is_available():
        from trainers.kernels.cuda.register import register

        register(ours)


if not _registered:
    _register()
