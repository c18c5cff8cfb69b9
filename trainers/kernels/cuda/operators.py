"""The tensor operators on CUDA, as functions of tensors: `implementations`."""

import ctypes

import torch
from torch import Tensor

from trainers.kernels.cuda.elementwise import Elementwise
from trainers.kernels.cuda.launch import TYPES, Implementations, Launcher, in_place, lines_of, without
from trainers.kernels.cuda.lines import AlongLines, check_range, reciprocal_of_kept
from trainers.kernels.operators.schemas import ROWS


class Operators:
    """Products, places, random numbers and steps of optimizers; with the others, every operator."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._launch = Launcher(library)
        self._elementwise = Elementwise(self._launch)
        self._lines = AlongLines(self._launch, self._elementwise)

    # ---- products: cuBLAS, by torch ----

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str = "none") -> Tensor:
        outputs = torch.mm(x.reshape(-1, weight.shape[1]), weight.t())
        row = -1 if activation == "none" else ROWS.unary[activation].number
        if bias is not None or row >= 0:
            address = None if bias is None else bias.contiguous().data_ptr()
            size = (TYPES[x.dtype], *outputs.shape)
            self._launch("bias_activation", outputs, *size, row, address, outputs.data_ptr())
        return outputs.view(*x.shape[:-1], weight.shape[0])

    def linear_gradient(
        self,
        g: Tensor,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        y: Tensor,
        activation: str,
        wanted: list[bool],
    ) -> tuple[Tensor, Tensor, Tensor]:
        if activation != "none":
            before = self.linear(x, weight, bias) if activation == "swish" else y
            g = self._elementwise.unary_gradient(g, before, y, ROWS.unary[activation].number)
        rows, inputs = g.reshape(-1, weight.shape[0]), x.reshape(-1, weight.shape[1])
        return (
            torch.mm(rows, weight).view(x.shape) if wanted[0] else x.new_empty(0),
            torch.mm(rows.t(), inputs) if wanted[1] else x.new_empty(0),
            self._lines.reduce("sum", rows, 0, False) if wanted[2] else x.new_empty(0),
        )

    # ---- places ----

    def index_select(self, x: Tensor, dim: int, index: Tensor) -> Tensor:
        x, index = x.contiguous(), index.contiguous().reshape(-1)
        lines, shape = lines_of(x, dim), list(x.shape)
        check_range("index_select", "index", index, lines.size)
        if shape:
            shape[dim] = len(index)
        result = x.new_empty(shape)
        pointers = (x.data_ptr(), index.data_ptr(), result.data_ptr())
        self._launch("index_select", x, TYPES[x.dtype], *lines, len(index), *pointers)
        return result

    def index_add(self, x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
        result, index, source = x.clone(memory_format=torch.contiguous_format), index.reshape(-1), source.contiguous()
        index, lines = index.contiguous(), lines_of(x, dim)
        check_range("index_add", "index", index, lines.size)
        pointers = (index.data_ptr(), source.data_ptr(), result.data_ptr())
        self._launch("index_add", x, TYPES[x.dtype], *lines, len(index), *pointers)
        return result

    def embedding(self, weight: Tensor, index: Tensor) -> Tensor:
        return self.index_select(weight, 0, index.reshape(-1)).view(*index.shape, weight.shape[1])

    def triu(self, x: Tensor, diagonal: int = 0) -> Tensor:
        x = x.contiguous()
        result, (rows, columns) = torch.empty_like(x), x.shape[-2:]
        size = (x.shape[:-2].numel(), rows, columns, diagonal)
        self._launch("triu", x, TYPES[x.dtype], *size, x.data_ptr(), result.data_ptr())
        return result

    # ---- random numbers ----

    def sample(self, probabilities: Tensor, dim: int, seed: int, call: int) -> Tensor:
        x = probabilities.contiguous()
        result = torch.empty(without(x, dim), dtype=torch.int64, device=x.device)
        size = (TYPES[x.dtype], *lines_of(x, dim))
        self._launch("sample", x, *size, seed, call, x.data_ptr(), result.data_ptr())
        return result

    def dropout_mask(self, x: Tensor, rate: float, seed: int, call: int, rescale: bool = True) -> Tensor:
        result = torch.empty_like(x, memory_format=torch.contiguous_format)
        settings = (rate, reciprocal_of_kept(rate, rescale), seed, call)
        self._launch("dropout_mask", x, TYPES[x.dtype], x.numel(), *settings, result.data_ptr())
        return result

    def _fill(self, function: str, x: Tensor, *settings: float) -> None:
        dense = x if x.is_contiguous() else torch.empty_like(x, memory_format=torch.contiguous_format)
        self._launch(function, x, TYPES[x.dtype], x.numel(), *settings, dense.data_ptr())
        if dense is not x:
            x.copy_(dense)

    def uniform_(self, x: Tensor, low: float, high: float, seed: int, call: int) -> None:
        self._fill("fill_uniform", x, low, high, seed, call)

    def random_(self, x: Tensor, low: int, high: int, seed: int, call: int) -> None:
        self._fill("fill_random", x, low, high - low, seed, call)

    # ---- optimizers ----

    def _step(self, function: str, settings: tuple[float, ...], *tensors: Tensor | None) -> None:
        """Tensors: the parameter, its gradient, and what the optimizer keeps."""
        dense = [None if tensor is None else tensor.contiguous() for tensor in tensors]
        first = dense[0]
        assert first is not None
        pointers = [None if tensor is None else tensor.data_ptr() for tensor in dense]
        self._launch(function, first, TYPES[first.dtype], first.numel(), *settings, *pointers)
        for index, (tensor, copy) in enumerate(zip(tensors, dense, strict=True)):
            if tensor is not None and copy is not None and copy is not tensor and index != 1:
                tensor.copy_(copy)

    def sgd_(
        self,
        param: Tensor,
        grad: Tensor,
        momentum_buffer: Tensor | None,
        lr: float,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        first: bool = False,
    ) -> None:
        settings = (lr, momentum, dampening, weight_decay, nesterov, first)
        self._step("sgd", settings, param, grad, momentum_buffer)

    def rmsprop_(
        self,
        param: Tensor,
        grad: Tensor,
        square_avg: Tensor,
        momentum_buffer: Tensor | None,
        lr: float,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        settings = (lr, alpha, eps, weight_decay, momentum)
        self._step("rmsprop", settings, param, grad, square_avg, momentum_buffer)

    def adam_(
        self,
        param: Tensor,
        grad: Tensor,
        exp_avg: Tensor,
        exp_avg_sq: Tensor,
        step: int,
        lr: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self._step("adam", (step, lr, beta1, beta2, eps, weight_decay), param, grad, exp_avg, exp_avg_sq)

    def implementations(self) -> Implementations:
        here = ("linear", "linear_gradient", "index_select", "index_add", "embedding", "triu", "sample", "dropout_mask")
        steps = ("uniform_", "random_", "sgd_", "rmsprop_", "adam_")
        return {
            **self._elementwise.implementations(),
            **self._lines.implementations(),
            **{name: getattr(self, name) for name in (*here, *steps)},
            **{f"{name}_": in_place(getattr(self, name)) for name in ("triu", "index_add")},
        }


def implementations(library: ctypes.CDLL) -> Implementations:
    """Every operator that has kernels of its own; the others (products, fills) are torch's."""
    return Operators(library).implementations()
