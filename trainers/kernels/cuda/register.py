"""Tells torch which operators run on GPUs. The kernels are found, or built, when the first of them is called."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def register(to: torch.library.Library) -> None:
    """Registers every operator for tensors on GPUs: our kernels, or the reference where they are not to be had."""
    from trainers.kernels.operators import SCHEMAS, implementation  # which imports this module

    for name in SCHEMAS:
        to.impl(name, implementation(name, _when_called(name)), "CUDA")  # type: ignore[no-untyped-call]


def _when_called(name: str) -> Callable[..., Any]:
    return lambda *arguments: _functions()[name](*arguments)


@functools.cache
def _functions() -> dict[str, Callable[..., Any]]:
    from trainers.kernels.cuda.library import require_library, status
    from trainers.kernels.cuda.operators import implementations
    from trainers.kernels.operators import REFERENCES

    found = {name: _dense(function) for name, function in REFERENCES.items()}
    return found | implementations(require_library("operators")) if status()[0] else found


def _dense(function: Callable[..., Any]) -> Callable[..., Any]:
    def made(*arguments: Any) -> Any:
        result = function(*arguments)
        return result.contiguous() if isinstance(result, Tensor) else result

    return made
