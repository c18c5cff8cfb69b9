"""Steps of optimizers for all parameters in one call: `sgd_all_` and its like, a part of combined.py."""

from collections.abc import Callable
from typing import Any

import torch

from trainers.kernels.operators import combined_native
from trainers.kernels.operators.checks import CHECKS, fail
from trainers.kernels.operators.combined_layers import on_cpu, unwatched

Step = Callable[..., None]
ours: Any = torch.ops.openmined


SCHEMAS = {
    # as sgd_, rmsprop_ and adam_, tensor by tensor; momentum_buffers is empty where there is no momentum
    "sgd_all_": "(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] momentum_buffers, float lr, float momentum=0.0, "
    "float dampening=0.0, float weight_decay=0.0, bool nesterov=False, bool first=False) -> ()",
    "rmsprop_all_": "(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] square_avgs, Tensor(c!)[] momentum_buffers, "
    "float lr, float alpha=0.99, float eps=1e-08, float weight_decay=0.0, float momentum=0.0) -> ()",
    "adam_all_": "(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs, int step, "
    "float lr, float beta1=0.9, float beta2=0.999, float eps=1e-08, float weight_decay=0.0) -> ()",
}
STEPS = {"sgd_all_": "sgd_", "rmsprop_all_": "rmsprop_", "adam_all_": "adam_"}
_LISTS = {name: schema.partition(" ->")[0].count("[]") for name, schema in SCHEMAS.items()}
_ON_CPU: dict[str, Step] = {}


def step(name: str, *arguments: Any) -> None:
    """The operator `name`, one of STEPS, without the dispatcher where nothing watches it."""
    if not arguments[0] or torch.is_grad_enabled() or not unwatched(arguments[0][0]):
        getattr(ours, name).default(*arguments)
        return
    _ON_CPU[name](*arguments)
    for tensors in (arguments[0], *arguments[2 : _LISTS[name]]):
        torch.autograd.graph.increment_version(tensors)


def each(name: str, one: Step) -> Step:
    """`one`, a step for a tensor, for lists of them; the lists come first, an empty one stands for None."""
    names = [part.split()[1] for part in SCHEMAS[name].split(", ")[: _LISTS[name]]]

    def all_(*arguments: Any) -> None:
        tensors, settings = arguments[: _LISTS[name]], arguments[_LISTS[name] :]
        count = len(tensors[0])
        for argument, given in zip(names[1:], tensors[1:], strict=True):
            if len(given) != count and not (argument == "momentum_buffers" and not given):
                fail(name, argument, f"{count} tensors, as many as params", len(given))
        for index in range(count):
            of = [given[index] if given else None for given in tensors]
            one(*of, *settings)

    return all_


def step_on_cpu(name: str) -> Step:
    """In one call of the library, where it takes what it is given."""
    general = each(name, _checked(STEPS[name]))
    defaults = [one.default_value for one in getattr(ours, name).default._schema.arguments]
    lists = _LISTS[name]

    def step(*arguments: Any) -> None:
        given = (*arguments, *defaults[len(arguments) :])
        uneven = len({len(one) for one in given[:lists] if one}) > 1
        unbuffered = name == "sgd_all_" and given[lists + 1] and not given[2]
        if uneven or unbuffered:  # what the checks of the general way put into words
            result = NotImplemented
        else:
            result = combined_native.step(name.removesuffix("_"), given[:lists], given[lists:])
        if result is NotImplemented:
            general(*arguments)

    _ON_CPU[name] = step
    return step


def _checked(name: str) -> Step:
    function, check = on_cpu(name), CHECKS[name]

    def step(*arguments: Any) -> None:
        check(name, *arguments)
        function(*arguments)

    return step


def written(name: str) -> Step:
    """Runs the operator `name`; what it has written is marked as changed, for gradients that wait for it."""
    operator = getattr(ours, name).default
    places = [index for index, one in enumerate(operator._schema.arguments) if one.is_write]

    def step(*arguments: Any) -> None:
        tensors = [tensor for index in places for tensor in arguments[index]]
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            raise RuntimeError(
                f"openmined::{name}: expected torch.no_grad() around a step, got gradients being recorded"
            )
        with torch._C._AutoDispatchBelowAutograd():
            operator(*arguments)
        torch.autograd.graph.increment_version(tensors)

    return step
