"""Operators over several tensors in one call, where there would be many small ones: importing this registers them.

    mlp         linear layers with their activations, one after the other
    dropout     a mask with a seed from torch's generator, and its product
    sgd_all_, rmsprop_all_, adam_all_     a step of an optimizer for all of its parameters

They are made of the operators of the table (`linear`, `adam_`, ...), so they run on every device that has those. On the
CPU the library has functions for all of it. `mlp` and `step` here are the same without torch's dispatcher, which costs
as much as a small network (6 to 30 us a call), where nothing watches it.
"""

from typing import Any

import torch
from torch import Tensor

from trainers.kernels.operators import combined_layers as layers
from trainers.kernels.operators import combined_steps as steps
from trainers.kernels.operators.combined_layers import mlp
from trainers.kernels.operators.combined_steps import step

__all__ = ["SCHEMAS", "mlp", "step"]

SCHEMAS = {
    # x [..., inputs]; of each layer weight [outputs, inputs], bias [outputs] or None, and activation as of `linear`
    "mlp": "(Tensor x, Tensor[] weights, Tensor?[] biases, str[] activations) -> Tensor",
    # the same, giving what each layer gave
    "mlp_layers": "(Tensor x, Tensor[] weights, Tensor?[] biases, str[] activations) -> Tensor[]",
    # of x, then of all weights, then of all biases; empty where it is not wanted
    "mlp_gradient": "(Tensor g, Tensor x, Tensor[] weights, Tensor?[] biases, Tensor[] outputs, str[] activations, "
    "bool[] wanted) -> Tensor[]",
    # x with zeros in places drawn with this probability, the rest times 1 / (1 - rate); and the mask
    "dropout": "(Tensor x, float rate) -> (Tensor, Tensor)",
    **steps.SCHEMAS,
}

ours: Any = torch.ops.openmined
_registered: list[torch.library.Library] = []  # a Library undoes its registrations when it is collected


def _dropout(x: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    seed = int(torch.randint(0, 2**63 - 1, ()))  # on the CPU's generator, whatever the device
    mask = ours.dropout_mask.default(x, rate, seed, 0)
    return ours.mul_elem.default(x, mask), mask


def _keep_mask(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _dropout_gradient(ctx: Any, g: Tensor, of_mask: Tensor) -> tuple[Tensor, None]:
    return ours.mul_elem(g, ctx.saved_tensors[0]), None


def _register() -> None:
    fragment: Any = torch.library.Library("openmined", "FRAGMENT")  # type: ignore[no-untyped-call]
    _registered.append(fragment)
    for name, schema in SCHEMAS.items():
        fragment.define(name + schema, tags=(torch.Tag.nondeterministic_seeded,) if name == "dropout" else ())
    everywhere = "CompositeExplicitAutograd"
    fragment.impl("mlp", layers.mlp_operator, everywhere)
    fragment.impl("mlp", layers.mlp_autograd, "Autograd")
    fragment.impl("mlp_layers", layers.layers_by(ours.linear.default), everywhere)
    fragment.impl("mlp_layers", layers.layers_on_cpu, "CPU")
    fragment.impl("mlp_gradient", layers.gradients_by(ours.linear_gradient.default), everywhere)
    fragment.impl("mlp_gradient", layers.gradients_on_cpu, "CPU")
    fragment.impl("dropout", _dropout, everywhere)
    fakes: dict[str, Any] = {
        "mlp": lambda *a: layers.fake_layers(*a)[-1],
        "mlp_layers": layers.fake_layers,
        "mlp_gradient": layers.fake_gradient,
        "dropout": lambda x, rate: (torch.empty_like(x), torch.empty_like(x)),
        **{name: lambda *a: None for name in steps.SCHEMAS},
    }
    for name, fake in fakes.items():
        torch.library.register_fake(f"openmined::{name}", fake, lib=fragment)
    torch.library.register_autograd("openmined::dropout", _dropout_gradient, setup_context=_keep_mask, lib=fragment)
    for name, one in steps.STEPS.items():
        fragment.impl(name, steps.each(name, getattr(ours, one).default), everywhere)
        fragment.impl(name, steps.step_on_cpu(name), "CPU")
        fragment.impl(name, steps.written(name), "Autograd")


if not _registered:
    _register()
