"""Every operator of the table against its reference, on each instruction set; in place; odd layouts and numbers."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.kernels.operators import REFERENCES
from trainers.kernels.operators.schemas import ROWS

NAN, INF = math.nan, math.inf
SPECIAL = [NAN, INF, -INF, 0.0, -0.0, 1e-40, -1e-40, 1e30, -1e30, 0.5, -0.5, 1.0, -2.0, 2.0, 88.6, 90.0, -87.5, -103.0]


def close(got: Any, expected: Any, dtype: torch.dtype, message: str) -> None:
    if not isinstance(expected, Tensor):
        assert got == expected, message
        return
    assert got.dtype == expected.dtype and got.shape == expected.shape, message
    tolerance = {torch.float32: 2e-5, torch.float64: 1e-11}.get(dtype, 0.0)
    torch.testing.assert_close(
        got, expected, rtol=tolerance, atol=tolerance, equal_nan=True, msg=lambda text: f"{message}: {text}"
    )


def strided(value: Any) -> Any:
    """The same numbers in every other place of memory."""
    if not isinstance(value, Tensor):
        return value
    spread = value.new_full((*value.shape, 2), 3)
    spread[..., 0] = value
    return spread[..., 0]


def transposed(value: Any) -> Any:
    if not isinstance(value, Tensor) or value.dim() < 2:
        return value
    return value.transpose(0, -1).contiguous().transpose(0, -1)


def copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


LAYOUTS: list[Callable[[Any], Any]] = [copied, strided, transposed]


def test_every_operator_has_a_row(untested: set[str]) -> None:
    assert untested == set()


def test_native_gives_what_the_reference_gives(case: Any, instruction_set: str) -> None:
    for dtype in case.dtypes:
        for arguments in case.arguments(dtype):
            shapes = [tuple(one.shape) if isinstance(one, Tensor) else one for one in arguments]
            message = f"{case.name} {dtype} {shapes}"
            expected = REFERENCES[case.name](*map(copied, arguments))
            for layout in LAYOUTS:
                given = [layout(one) for one in arguments]
                before = [copied(one) for one in given]
                close(case.operator(*given), expected, dtype, f"{message} {layout.__name__}")
                for one, other in zip(before, given, strict=True):
                    close(one, other, torch.int32, f"{message}: an argument has changed")
                if case.in_place and expected.shape == given[0].shape:
                    assert getattr(torch.ops.openmined, case.name + "_")(*given) is None
                    close(given[0], expected.to(dtype), dtype, f"{message} {layout.__name__} in place")


def test_what_only_changes_its_arguments(in_place_only: Any, instruction_set: str) -> None:
    case = in_place_only
    for dtype in case.dtypes:
        for arguments in case.arguments(dtype):
            expected = [copied(one) for one in arguments]
            REFERENCES[case.name](*expected)
            for layout in LAYOUTS:
                given = [layout(one) for one in arguments]
                assert case.operator(*given) is None
                for one, other in zip(given, expected, strict=True):
                    close(one, other, dtype, f"{case.name} {dtype} {layout.__name__}")


def accuracy(dtype: torch.dtype) -> dict[str, Any]:
    return {"rtol": 2e-6 if dtype == torch.float32 else 1e-12, "atol": 1e-37, "equal_nan": True}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ROWS.unary)
def test_special_numbers_go_through_as_in_torch(name: str, dtype: torch.dtype, instruction_set: str) -> None:
    ours, number = torch.ops.openmined, ROWS.unary[name].number
    x = torch.tensor(SPECIAL * 3, dtype=dtype)
    g = torch.full_like(x, 1.5)
    bounds = (-1.0, 2.0) if name == "clamp" else ()
    y = REFERENCES[name](x, *bounds)
    torch.testing.assert_close(getattr(ours, name)(x, *bounds), y, **accuracy(dtype))
    expected = REFERENCES["unary_gradient"](g, x, y, number, *bounds)
    torch.testing.assert_close(ours.unary_gradient(g, x, y, number, *bounds), expected, **accuracy(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ROWS.binary)
def test_special_numbers_meet_as_in_torch(name: str, dtype: torch.dtype, instruction_set: str) -> None:
    ours, number = torch.ops.openmined, ROWS.binary[name].number
    right = torch.tensor(SPECIAL, dtype=dtype)
    left = right.unsqueeze(1)
    if name != "squared_difference":
        got, expected = getattr(ours, f"{name}_elem")(left, right), REFERENCES[f"{name}_elem"](left, right)
        if name == "remainder":  # torch's vectors give NaN for denormal divisors, its float64 the exact rest
            expected = torch.remainder(left.double(), right.double()).to(dtype)
        torch.testing.assert_close(got, expected, **accuracy(dtype))
    wide = left.expand(len(SPECIAL), len(SPECIAL)).contiguous()
    both = torch.full_like(wide, 1.5), wide, right.expand_as(wide)
    for of in (0, 1):
        expected = REFERENCES["binary_gradient"](*both, number, of)
        torch.testing.assert_close(ours.binary_gradient(*both, number, of), expected, **accuracy(dtype))


@pytest.mark.parametrize(
    "name", ["sum", "mean", "min", "max", "var", "std", "norm", "cumsum", "softmax", "log_softmax"]
)
def test_huge_and_tiny_rows(name: str, instruction_set: str) -> None:
    """Against torch in float64: no sum overflows on its way to a result that float32 holds."""
    rows = torch.tensor([[1e30, 2e30, -1e30], [1e-40, 2e-40, 1e-40], [3e38, -3e38, 3e38], [NAN, 1.0, 2.0]]).repeat(
        1, 20
    )
    arguments = (2.0, 1) if name == "norm" else (1,)
    exact = REFERENCES[name](rows.double(), *arguments).float()
    got = getattr(torch.ops.openmined, name)(rows, *arguments)
    torch.testing.assert_close(got, exact, rtol=1e-5, atol=1e-44, equal_nan=True)


def test_whole_numbers_at_their_ends(instruction_set: str) -> None:
    ours = torch.ops.openmined
    for dtype in (torch.int32, torch.int64):
        ends = torch.iinfo(dtype)
        x = torch.tensor([ends.min, ends.max, -1, 0, 1, 2, -7], dtype=dtype)
        left, right = x.unsqueeze(1), x
        for name in ROWS.integer_unary:
            assert torch.equal(getattr(ours, name)(x), REFERENCES[name](x))
        for name in ("add", "sub", "mul"):
            got = getattr(ours, f"{name}_elem")(left, right)
            assert torch.equal(got, REFERENCES[f"{name}_elem"](left, right)), name
        divisors = right[right != 0]
        assert torch.equal(ours.remainder_elem(left, divisors), torch.remainder(left, divisors))
        exponents = torch.tensor([0, 1, 2, 5, 40, -1, -2], dtype=dtype)
        bases = left[left != 0].unsqueeze(1)
        assert torch.equal(ours.pow_elem(bases, exponents), torch.pow(bases, exponents))
        with pytest.raises(ZeroDivisionError, match="remainder_elem: other: expected divisors other than 0"):
            ours.remainder_elem(left, right)
        for name in ("sin", "acos", "sqrt", "reciprocal", "exp", "sinh", "tan"):
            got, expected = getattr(ours, name)(x), getattr(torch, name)(x)
            assert got.dtype == expected.dtype == torch.float32
            torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6, equal_nan=True)
        big = 2**31 + 5 if dtype == torch.int64 else 5
        assert ours.add_scalar(torch.tensor([3], dtype=dtype), big).item() == 3 + big
    assert ours.div_elem(torch.tensor([3]), torch.tensor([2])).item() == 1.5


def test_an_argument_may_share_memory_with_what_is_written(instruction_set: str) -> None:
    x = torch.arange(2000, dtype=torch.float32)
    expected = x.clone()
    expected[1:] += x[:-1].clone()
    torch.ops.openmined.add_elem_(x[1:], x[:-1])
    assert torch.equal(x, expected)
    x = torch.rand(3, 3)
    expected = x + x.t()
    torch.ops.openmined.add_elem_(x, x.t())
    assert torch.equal(x, expected)
    source = torch.arange(3, dtype=torch.float32)
    torch.ops.openmined.index_add_(source, 0, torch.tensor([0, 0, 0]), source)
    assert source.tolist() == [3.0, 1.0, 2.0]
