"""Elementwise operators on CUDA: the rows of the shared table, with broadcasting and any strides."""

import ctypes
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.cuda.launch import TYPES, Implementations, Launcher, broadcast, in_place, layout_of
from trainers.kernels.operators.schemas import BINARY, ROWS

Number = int | float
UNARY, UNARY_GRADIENT, BINARY_VALUE, GRADIENT_OF_X, GRADIENT_OF_Z, RELATION = range(6)


class Elementwise:
    """The table's operators, as functions of tensors."""

    def __init__(self, launch: Launcher) -> None:
        self._launch = launch

    def run(
        self, kind: int, row: int, result: Tensor, *operands: Tensor, a: float = 0, b: float = 0, whole: int = 0
    ) -> Tensor:
        """Fills `result`; the operands broadcast to its shape."""
        tensors = [operand.expand(result.shape) for operand in operands]
        layout = layout_of([result, *tensors])
        if layout is None:  # too many dimensions: by way of dense copies
            dense = [tensor.contiguous() for tensor in tensors]
            return result.copy_(self.run(kind, row, dense_like(result), *dense, a=a, b=b, whole=whole))
        pointers = [tensor.data_ptr() for tensor in tensors] + [None] * (3 - len(tensors))
        code = TYPES[operands[0].dtype]
        where = (ctypes.addressof(layout), result.data_ptr(), *pointers)
        self._launch("elementwise", result, kind, row, code, *where, a, b, whole)
        return result

    def unary(self, name: str) -> Callable[..., Tensor]:
        def value(x: Tensor) -> Tensor:
            return self._unary_into(name, dense_like(x), x)

        return value

    def unary_(self, name: str) -> Callable[..., None]:
        def value(x: Tensor) -> None:
            self._unary_into(name, x, x)

        return value

    def _unary_into(self, name: str, result: Tensor, x: Tensor) -> Tensor:
        rows = ROWS.unary if x.dtype.is_floating_point else ROWS.integer_unary
        return self.run(UNARY, rows[name].number, result, x)

    def clamp(self, x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
        low, high = -math.inf if min is None else min, math.inf if max is None else max
        return self.run(UNARY, ROWS.unary["clamp"].number, dense_like(x), x, a=low, b=high)

    def unary_gradient(self, g: Tensor, x: Tensor, y: Tensor, row: int, a: float = 0.0, b: float = 0.0) -> Tensor:
        return self.run(UNARY_GRADIENT, row, dense_like(x), g, x, y, a=a, b=b)

    def binary(self, name: str) -> Callable[..., Tensor]:
        """With a tensor or a number beside x."""

        def value(x: Tensor, other: Tensor | Number) -> Tensor:
            shape = broadcast(x, other) if isinstance(other, Tensor) else x.shape
            return self._binary_into(name, x.new_empty(shape), x, other)

        return value

    def binary_(self, name: str) -> Callable[..., None]:
        def value(x: Tensor, other: Tensor | Number) -> None:
            if isinstance(other, Tensor) and other.untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
                other = other.clone()  # parts of x may be read after they were written
            self._binary_into(name, x, x, other)

        return value

    def _binary_into(self, name: str, result: Tensor, x: Tensor, other: Tensor | Number) -> Tensor:
        fraction = x.dtype.is_floating_point
        row = (ROWS.binary if fraction else ROWS.integer_binary)[name].number
        if isinstance(other, Tensor):
            return self.run(BINARY_VALUE, row, result, x, other)
        return self.run(BINARY_VALUE, row, result, x, **({"a": float(other)} if fraction else {"whole": int(other)}))

    def binary_gradient(self, g: Tensor, x: Tensor, other: Tensor, row: int, of: int) -> Tensor:
        shape = broadcast(g, x, other)
        return self.run(GRADIENT_OF_Z if of else GRADIENT_OF_X, row, g.new_empty(shape), g, x, other)

    def relation(self, name: str) -> Callable[..., Tensor]:
        def value(x: Tensor, other: Tensor) -> Tensor:
            shape = broadcast(x, other)
            result = torch.empty(shape, dtype=torch.bool, device=x.device)
            return self.run(RELATION, ROWS.relation[name].number, result, x, other)

        return value

    def equal(self, x: Tensor, other: Tensor) -> bool:
        return x.shape == other.shape and bool(self.relation("eq")(x, other).all())

    def implementations(self) -> Implementations:
        found: dict[str, Any] = {}
        for name in ROWS.unary:
            found[name], found[f"{name}_"] = self.unary(name), self.unary_(name)
        found["clamp"], found["clamp_"] = self.clamp, in_place(self.clamp)
        for name in BINARY:
            for form in ("elem", "scalar"):
                found[f"{name}_{form}"], found[f"{name}_{form}_"] = self.binary(name), self.binary_(name)
        for name in ROWS.relation:
            found[name], found[f"{name}_"] = self.relation(name), in_place(self.relation(name))
        found["equal"] = self.equal
        found["unary_gradient"], found["binary_gradient"] = self.unary_gradient, self.binary_gradient
        return found


def dense_like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)
