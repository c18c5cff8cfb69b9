"""Linear layers one after the other in one call: the operator `mlp`, a part of combined.py."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.library import library
from trainers.kernels.operators import REFERENCES, combined_native
from trainers.kernels.operators.checks import ACTIVATIONS, FLOATS, check_like, check_shape, check_type, fail
from trainers.kernels.operators.native import NATIVE

ours: Any = torch.ops.openmined


def on_cpu(name: str) -> Callable[..., Any]:
    """The library's kernel, where there is a library and it takes what it is given; else the reference."""
    kernel, fallback = NATIVE[name], REFERENCES[name]

    def run(*arguments: Any) -> Any:
        result = NotImplemented if library() is None else kernel(*arguments)
        return fallback(*arguments) if result is NotImplemented else result

    return run


def check_mlp(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], activations: Sequence[str]
) -> None:
    """Whether the layers fit x and each other; raises TypeError or ValueError."""
    if not len(weights) == len(biases) == len(activations) != 0:
        fail("mlp", "weights", "as many weights, biases and activations, 1 or more",
             f"{len(weights)}, {len(biases)} and {len(activations)}")  # fmt: skip
    check_type("mlp", "x", x, FLOATS)
    if x.dim() < 1:
        fail("mlp", "x", "at least 1 dimension", 0)
    width = x.shape[-1]
    for index, (weight, bias, activation) in enumerate(zip(weights, biases, activations, strict=True)):
        check_like("mlp", f"weights[{index}]", weight, x)
        if weight.dim() != 2 or weight.shape[1] != width:
            fail("mlp", f"weights[{index}]", f"shape [any, {width}]", list(weight.shape))
        width = weight.shape[0]
        if bias is not None:
            check_like("mlp", f"biases[{index}]", bias, x)
            check_shape("mlp", f"biases[{index}]", bias, (width,))
        if activation not in ACTIVATIONS:
            fail("mlp", f"activations[{index}]", "one of " + ", ".join(ACTIVATIONS), repr(activation))


def layers_by(linear: Callable[..., Tensor]) -> Callable[..., list[Tensor]]:
    """`mlp_layers` made of `linear`."""

    def mlp_layers(
        x: Tensor, weights: list[Tensor], biases: list[Tensor | None], activations: list[str]
    ) -> list[Tensor]:
        check_mlp(x, weights, biases, activations)
        outputs = []
        for weight, bias, activation in zip(weights, biases, activations, strict=True):
            x = linear(x, weight, bias, activation)
            outputs.append(x)
        return outputs

    return mlp_layers


def gradients_by(linear_gradient: Callable[..., Sequence[Tensor]]) -> Callable[..., list[Tensor]]:
    """`mlp_gradient` made of `linear_gradient`."""

    def mlp_gradient(
        g: Tensor,
        x: Tensor,
        weights: list[Tensor],
        biases: list[Tensor | None],
        outputs: list[Tensor],
        activations: list[str],
        wanted: list[bool],
    ) -> list[Tensor]:
        count = len(weights)
        of_weights, of_biases = [x.new_empty(0) for _ in weights], [x.new_empty(0) for _ in weights]
        for index in reversed(range(count)):
            before = any(wanted[1 : 1 + index]) or any(wanted[1 + count : 1 + count + index])
            of = [before or wanted[0], wanted[1 + index], wanted[1 + count + index]]
            input, output = outputs[index - 1] if index else x, outputs[index]
            g, of_weights[index], of_biases[index] = linear_gradient(
                g, input, weights[index], biases[index], output, activations[index], of
            )
            if not of[0]:
                break
        return [g if wanted[0] else x.new_empty(0), *of_weights, *of_biases]

    return mlp_gradient


def _first(native_function: Callable[..., Any], general: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        result = native_function(*arguments)
        return general(*arguments) if result is NotImplemented else result

    return run


layers_on_cpu = _first(combined_native.mlp_layers, layers_by(on_cpu("linear")))
gradients_on_cpu = _first(combined_native.mlp_gradient, gradients_by(on_cpu("linear_gradient")))


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, direct: bool, x: Tensor, activations: Sequence[str], *parameters: Tensor | None) -> Tensor:
        """`direct`: nothing watches, so the dispatcher can be left out."""
        count = len(activations)
        weights, biases = parameters[:count], parameters[count:]
        ctx.fields = None
        if not direct:
            with torch._C._AutoDispatchBelowAutograd():
                outputs = ours.mlp_layers.default(x, weights, biases, activations)
        elif (found := combined_native.forward(x, weights, biases, activations)) is not None:  # type: ignore[arg-type]
            outputs, ctx.fields = found
        else:
            outputs = layers_on_cpu(x, weights, biases, activations)
        ctx.save_for_backward(x, *parameters, *outputs)
        ctx.activations = activations
        result: Tensor = outputs[-1]
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, *rest = ctx.saved_tensors
        count = len(ctx.activations)
        weights, biases, outputs = rest[:count], rest[count : 2 * count], rest[2 * count :]
        wanted = [ctx.needs_input_grad[1], *ctx.needs_input_grad[3:]]
        results: Any = None
        if torch.is_grad_enabled():  # somebody wants gradients of these gradients, which torch's own layers have
            results = _differentiable_gradients(gradients[0], x, weights, biases, ctx.activations, wanted)
        elif ctx.fields is not None and unwatched(gradients[0]):
            results = combined_native.backward(gradients[0], x, weights, biases, ctx.fields, wanted)
        if results is None:
            given = ours.mlp_gradient.default(gradients[0], x, weights, biases, outputs, ctx.activations, wanted)
            results = [one if want else None for one, want in zip(given, wanted, strict=True)]
        return None, results[0], None, *results[1:]


def _differentiable_gradients(
    g: Tensor,
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor | None],
    activations: list[str],
    wanted: list[bool],
) -> list[Tensor | None]:
    y = x
    for weight, bias, activation in zip(weights, biases, activations, strict=True):
        y = REFERENCES["linear"](y, weight, bias, activation)
    inputs = [one for one, want in zip((x, *weights, *biases), wanted, strict=True) if want and one is not None]
    found = iter(torch.autograd.grad(y, inputs, g, create_graph=True))
    return [next(found) if want else None for want in wanted]


def unwatched(x: Tensor) -> bool:
    """Whether an operator can be computed right here: x is plain, on the CPU, and no mode or compiler looks on."""
    return (
        not torch.compiler.is_compiling()  # first: the compiler cannot follow the others
        and x.is_cpu
        and type(x) in (Tensor, torch.nn.Parameter)
        and not torch._C._len_torch_dispatch_stack()
    )


def mlp(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], activations: Sequence[str]) -> Tensor:
    """torch.ops.openmined.mlp, without the dispatcher where nothing watches it."""
    if not unwatched(x) or torch._C._are_functorch_transforms_active():
        result: Tensor = ours.mlp.default(x, weights, biases, activations)
    elif torch.is_grad_enabled():
        result = _Mlp.apply(True, x, activations, *weights, *biases)  # type: ignore[no-untyped-call]
    else:
        result = layers_on_cpu(x, weights, biases, activations)[-1]
    return result


def mlp_operator(x: Tensor, weights: list[Tensor], biases: list[Tensor | None], activations: list[str]) -> Tensor:
    result: Tensor = ours.mlp_layers.default(x, weights, biases, activations)[-1]
    return result


def mlp_autograd(x: Tensor, weights: list[Tensor], biases: list[Tensor | None], activations: list[str]) -> Tensor:
    if torch.is_grad_enabled():
        result: Tensor = _Mlp.apply(False, x, activations, *weights, *biases)  # type: ignore[no-untyped-call]
        return result
    with torch._C._AutoDispatchBelowAutograd():
        return mlp_operator(x, weights, biases, activations)


def fake_layers(x: Tensor, weights: list[Tensor], biases: list[Tensor | None], activations: list[str]) -> list[Tensor]:
    check_mlp(x, weights, biases, activations)
    return [x.new_empty((*x.shape[:-1], weight.shape[0])) for weight in weights]


def fake_gradient(
    g: Tensor,
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor | None],
    outputs: list[Tensor],
    activations: list[str],
    wanted: list[bool],
) -> list[Tensor]:
    of = [x, *weights, *(weight.new_empty(weight.shape[0]) for weight in weights)]
    return [one.new_empty(one.shape if want else (0,)) for one, want in zip(of, wanted, strict=True)]
