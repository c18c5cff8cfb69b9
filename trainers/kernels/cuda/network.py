"""What the fused pieces work on: where the layers' numbers are, and the tensors between the layers."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from trainers.kernels.cuda.library import raise_on, tensor_pointer


@dataclass(frozen=True)
class Layer:
    """One linear layer: views of the parameters, and where they begin there."""

    weight: Tensor  # [outputs, inputs]
    bias: Tensor  # [outputs]
    weight_at: int
    bias_at: int

    @property
    def outputs(self) -> int:
        return len(self.weight)

    def weight_of(self, flat: Tensor) -> Tensor:
        """The part of a tensor like the parameters (their gradient, say) that belongs to the weight."""
        return flat[self.weight_at : self.weight_at + self.weight.numel()].view(self.weight.shape)


def offset(name: str, tensor: Tensor, shape: tuple[int, ...], parameters: Tensor) -> int:
    """Where a tensor begins among the parameters; raises TypeError or ValueError if it is no view of them."""
    address = tensor_pointer("FusedActorCritic", name, tensor, torch.float32, shape, parameters.device)
    found = (address - parameters.data_ptr()) // 4
    if not 0 <= found <= parameters.numel() - tensor.numel():
        raise ValueError(f"FusedActorCritic: {name}: expected a view of parameters, got a tensor of its own")
    return found


def layers(name: str, modules: Sequence[nn.Linear], inputs: int, parameters: Tensor, *, stacked: bool) -> list[Layer]:
    """Layers of modules that are views of the parameters. `stacked`: each reads the one before, else all the same."""
    found = []
    for module in modules:
        if module.bias is None:
            raise ValueError(f"FusedActorCritic: {name}: expected layers with a bias, got one without")
        shape = (module.out_features, inputs)
        weight_at = offset(f"{name} weight", module.weight, shape, parameters)
        bias_at = offset(f"{name} bias", module.bias, shape[:1], parameters)
        found.append(Layer(module.weight.detach(), module.bias.detach(), weight_at, bias_at))
        if stacked:
            inputs = module.out_features
    return found


class Body:
    """A stack of layers with swish, and heads that read its last one, for a given number of rows.

    Heads without layers of their own read the encoding of another body.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        stack: Sequence[Layer],
        heads: Sequence[Layer],
        inputs: Tensor,
        outputs: Tensor,
        gradients: Tensor | None,
        encoded_by: "Body | None" = None,
    ) -> None:
        """inputs [rows, inputs]; outputs [rows, of all heads] and gradients, of the same shape, are parts of larger
        matrices; without gradients there is no backward pass."""
        self._library = library
        self._stack, self._heads = stack, heads
        rows = len(inputs)
        self._activations = [inputs, *(inputs.new_empty(rows, layer.outputs) for layer in stack)]
        self._encoded_by = encoded_by
        self.encoding: Tensor = self._activations[-1] if encoded_by is None else encoded_by.encoding
        ends = [0]
        for head in heads:
            ends.append(ends[-1] + head.outputs)
        self._outputs = [outputs[:, start:end] for start, end in pairwise(ends)]
        self._slopes: list[Tensor] = []
        if gradients is not None:
            self._head_gradients = [gradients[:, start:end] for start, end in pairwise(ends)]
            self._slopes = [torch.empty_like(values) for values in self._activations[1:]]
            self._gradients = [torch.empty_like(values) for values in self._activations[1:]]
            self.encoding_gradient: Tensor = self._gradients[-1] if encoded_by is None else encoded_by.encoding_gradient

    def forward(self, stream: int | None) -> None:
        """From the inputs to the outputs of the heads."""
        for index, layer in enumerate(self._stack):
            values = self._activations[index + 1]
            torch.mm(self._activations[index], layer.weight.t(), out=values)
            slopes = self._slopes[index].data_ptr() if self._slopes else None
            size = (len(values), layer.outputs, layer.bias.data_ptr())
            self._check(self._library.om_cuda_bias_swish(*size, values.data_ptr(), slopes, stream))
        for head, outputs in zip(self._heads, self._outputs, strict=True):
            torch.addmm(head.bias, self.encoding, head.weight.t(), out=outputs)

    def backward_heads(self, gradient: Tensor) -> None:
        """Writes the heads' weight gradients, and adds up that of the encoding; the biases' are not done here."""
        for index, (head, gradients) in enumerate(zip(self._heads, self._head_gradients, strict=True)):
            torch.mm(gradients.t(), self.encoding, out=head.weight_of(gradient))
            if index == 0 and self._encoded_by is None:
                torch.mm(gradients, head.weight, out=self.encoding_gradient)
            else:
                self.encoding_gradient.addmm_(gradients, head.weight)

    def backward_stack(self, gradient: Tensor, stream: int | None) -> None:
        """Writes the gradients of the stack into `gradient` [parameters], after those of the heads."""
        for index in range(len(self._stack) - 1, -1, -1):
            layer, values = self._stack[index], self._gradients[index]
            code = self._library.om_cuda_swish_backward(
                len(values),
                layer.outputs,
                self._slopes[index].data_ptr(),
                values.data_ptr(),
                gradient.data_ptr() + 4 * layer.bias_at,
                stream,
            )
            self._check(code)
            torch.mm(values.t(), self._activations[index], out=layer.weight_of(gradient))
            if index > 0:
                torch.mm(values, layer.weight, out=self._gradients[index - 1])

    def _check(self, code: Any) -> None:
        if code:
            raise_on("FusedActorCritic", self._library, code)
