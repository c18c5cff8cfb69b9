"""Gradients: against torch's of the reference on each instruction set, by finite differences, and gradients of them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.kernels.operators import REFERENCES


def inputs_of(arguments: tuple[Any, ...]) -> tuple[list[Any], list[Tensor]]:
    """The arguments with gradients wanted, and those that have them."""
    given = [
        one.detach().clone().requires_grad_() if isinstance(one, Tensor) and one.dtype.is_floating_point else one
        for one in arguments
    ]
    return given, [one for one in given if isinstance(one, Tensor) and one.requires_grad]


def gradients(function: Any, arguments: tuple[Any, ...], transposed: bool = False) -> list[Tensor | None]:
    given, wanted = inputs_of(arguments)
    y = function(*given)
    weights = torch.arange(1.0, y.numel() + 1, dtype=y.dtype).reshape(y.shape) / max(y.numel(), 1)
    if transposed and y.dim() > 1:
        weights = weights.transpose(0, -1).contiguous().transpose(0, -1)
    return list(torch.autograd.grad((y * weights).sum(), wanted, allow_unused=True))


def test_gradients_are_those_of_torch(case: Any, instruction_set: str) -> None:
    if not case.gradient:
        for arguments in case.arguments(torch.float64):
            given, _ = inputs_of(arguments)
            result = case.operator(*given)
            assert not isinstance(result, Tensor) or not result.requires_grad
        return
    for dtype, tolerance in ((torch.float32, 5e-5), (torch.float64, 1e-10)):
        for arguments in case.arguments(dtype):
            shapes = [tuple(one.shape) if isinstance(one, Tensor) else one for one in arguments]
            expected = gradients(REFERENCES[case.name], arguments)
            for transposed in (False, True):
                for one, other in zip(gradients(case.operator, arguments, transposed), expected, strict=True):
                    assert one is not None
                    other = torch.zeros_like(one) if other is None else other
                    torch.testing.assert_close(
                        one, other, rtol=tolerance, atol=tolerance, msg=lambda m, s=shapes: f"{case.name} {s}: {m}"
                    )


def test_gradients_by_finite_differences(case: Any) -> None:
    if not case.gradient or case.name in ("ceil", "floor", "round", "trunc", "sign", "remainder_elem"):
        return  # none, or one that is 0 but where it jumps
    for arguments in case.arguments(torch.float64):
        if sum(one.numel() for one in arguments if isinstance(one, Tensor)) > 60:
            continue
        given, _ = inputs_of(arguments)
        assert torch.autograd.gradcheck(case.operator, tuple(given)), case.name


def test_in_place_gradients_are_those_out_of_place(case: Any) -> None:
    if not case.in_place or not case.gradient:
        return
    for arguments in case.arguments(torch.float64):
        if case.operator(*arguments).shape != arguments[0].shape:
            continue

        def in_place(x: Tensor, *rest: Any) -> Tensor:
            y = x * 1
            getattr(torch.ops.openmined, case.name + "_")(y, *rest)
            return y

        for one, other in zip(gradients(in_place, arguments), gradients(case.operator, arguments), strict=True):
            torch.testing.assert_close(one, other)


def test_special_cases_of_gradients() -> None:
    ours = torch.ops.openmined

    def both(name: str, x: Tensor, *rest: Any) -> None:
        expected, got = (
            torch.autograd.grad(function(leaf, *rest).sum(), leaf)[0]
            for function in (REFERENCES[name], getattr(ours, name))
            for leaf in [x.clone().requires_grad_()]
        )
        torch.testing.assert_close(got, expected, equal_nan=True, msg=lambda m: f"{name} {x}: {m}")

    for zeros in ([2.0, 0.0, 3.0, 4.0], [2.0, 0.0, 3.0, 0.0], [0.0, 0.0, 1.0, 2.0], [1.0, 2.0, 3.0, 0.0], [0.0]):
        both("prod", torch.tensor(zeros))
        both("cumprod", torch.tensor(zeros), 0)
    both("max", torch.tensor([1.0, 3.0, 3.0]))
    both("min", torch.tensor([[1.0, 3.0], [1.0, 0.0]]), 0)
    both("norm", torch.zeros(3))
    both("std", torch.ones(3))
    both("var", torch.ones(1))
    both("pow_scalar", torch.tensor([0.0, -2.0, 3.0]), 3)
    both("pow_scalar", torch.tensor([0.0, -2.0, 3.0]), 0)
    both("sqrt", torch.tensor([0.0]))
    both("relu", torch.tensor([0.0, -0.0, 1.0]))
    both("clamp", torch.tensor([-1.0, 0.0, 1.0]), -1.0, 0.5)


def test_second_gradients_work_or_raise(case: Any) -> None:
    """Never silently wrong: either finite differences agree or there is an error that says so."""
    if not case.gradient or case.name in ("ceil", "floor", "round", "trunc", "sign", "remainder_elem"):
        return
    arguments = next(
        one for one in case.arguments(torch.float64) if 0 < sum(a.numel() for a in one if isinstance(a, Tensor)) < 60
    )
    given, wanted = inputs_of(arguments)
    g = torch.autograd.grad(case.operator(*given).sum(), wanted, create_graph=True, allow_unused=True)
    total = sum(one.sum() for one in g if one is not None)
    if not isinstance(total, Tensor) or not total.requires_grad:
        return  # constant gradients: the second ones are 0
    try:
        torch.autograd.grad(total, wanted, allow_unused=True)
    except NotImplementedError as error:
        assert "gradients of gradients are not to be had" in str(error)
        return
    assert torch.autograd.gradgradcheck(case.operator, tuple(given)), case.name


def test_a_tensor_that_a_gradient_needs_may_not_be_changed() -> None:
    x = torch.rand(3, requires_grad=True)
    y = x * 1
    z = torch.ops.openmined.sin(y)
    with torch.no_grad():
        torch.ops.openmined.zero_(y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()
    with pytest.raises(RuntimeError, match="leaf Variable"):
        torch.ops.openmined.sin_(x)
    with pytest.raises(RuntimeError, match=r"openmined::adam_: expected torch.no_grad\(\) around a step"):
        torch.ops.openmined.adam_(x, torch.rand(3), torch.zeros(3), torch.zeros(3), 1, 0.1)
