"""Wrong arguments are exceptions that name operator, argument, what was expected and what was there."""

from typing import Any

import pytest
import torch

x, whole, half = torch.rand(3, 4), torch.ones(3, 4, dtype=torch.int64), torch.rand(3, 4).half()
meta = torch.rand(3, 4, device="meta")
overlapping = torch.rand(4).expand(3, 4)

WRONG: list[tuple[str, tuple[Any, ...], type[Exception], str]] = [
    ("sin", (half,), TypeError, "x: expected float32 or float64 or int32 or int64, got float16"),
    ("relu", (whole,), TypeError, "x: expected float32 or float64, got int64"),
    ("sin_", (whole,), TypeError, "x: expected float32 or float64, got int64"),
    ("abs", (x.to_sparse(),), Exception, ""),
    ("add_elem", (x, x.double()), TypeError, "other: expected float32 like the first tensor, got float64"),
    ("add_elem", (x, meta), ValueError, "other: expected a tensor on .* like the first tensor, got one on"),
    ("add_elem", (x, torch.rand(3)), ValueError, r"other: expected a shape that broadcasts with \[3, 4\], got \[3\]"),
    ("add_elem_", (x[0], x), ValueError, r"other: expected a shape that broadcasts to \[4\], got \[3, 4\]"),
    (
        "add_elem_",
        (overlapping, x),
        ValueError,
        r"x: expected a place in memory for each element, got strides \[0, 1\]",
    ),
    ("add_scalar", (whole, 1.5), TypeError, "other: expected a whole number for int64, got 1.5"),
    ("add_scalar", (x, 1j), TypeError, "other: expected a real number, got 1j"),
    ("pow_scalar", (whole, -1), ValueError, "other: expected an exponent from 0 on for int64, got -1"),
    ("remainder_scalar", (whole, 0), ZeroDivisionError, "other: expected a divisor other than 0, got 0"),
    ("sum", (x, 2), IndexError, "dim: expected -2 to 1, got 2"),
    ("mean", (whole,), TypeError, "x: expected float32 or float64, got int64"),
    ("max", (x[:0],), ValueError, r"x: expected at least one element, got shape \[0, 4\]"),
    ("norm", (x, -1.0), ValueError, "p: expected a number from 0 on, got -1"),
    ("softmax", (x, -3), IndexError, "dim: expected -2 to 1, got -3"),
    ("mm", (x, x), ValueError, "other: expected 4 rows, x's columns, got 3"),
    ("mm", (x, torch.rand(4, 2, 3)), ValueError, "other: expected 2 dimensions, got 3"),
    ("mmt", (x, x.t()), ValueError, "other: expected 4 columns, x's columns, got 3"),
    ("addmm", (x, x, x.t()), ValueError, r"x: expected a shape that broadcasts to? .*\[3, 3\]|with \[3, 3\]"),
    ("addmv", (x[:, 0], x, x[:, 0]), ValueError, "vector: expected 4 rows, matrix's columns, got 3"),
    ("linear", (x, x[:, :3]), ValueError, "x: expected 3 columns, weight's, got 4"),
    ("linear", (x, x, torch.rand(4)), ValueError, r"bias: expected shape \[3\], got \[4\]"),
    ("linear", (x, x, None, "gelu"), ValueError, "activation: expected one of none, relu, .*, got 'gelu'"),
    ("trace", (x[0],), ValueError, "x: expected 2 dimensions, got 1"),
    ("triu", (x[0],), ValueError, "x: expected at least 2 dimensions, got 1"),
    ("index_select", (x, 0, torch.tensor([0, 3])), IndexError, "index: expected 0 to 2, got 3"),
    ("index_select", (x, 0, torch.tensor([-1])), IndexError, "index: expected 0 to 2, got -1"),
    ("index_select", (x, 0, torch.tensor([0.0])), TypeError, "index: expected int64, got float32"),
    ("index_add", (x, 0, torch.tensor([0]), x), ValueError, r"source: expected shape \[1, 4\], got \[3, 4\]"),
    ("index_add_", (x, 0, torch.tensor([9]), x[:1]), IndexError, "index: expected 0 to 2, got 9"),
    ("embedding", (x, torch.tensor([5])), IndexError, "index: expected 0 to 2, got 5"),
    ("sample", (-x, 1, 0, 0), ValueError, "probabilities: expected numbers from 0 on with a positive, finite sum"),
    ("sample", (x, 1, -1, 0), ValueError, r"seed: expected 0 to 2\^63 - 1, got -1"),
    ("dropout_mask", (x, 1.5, 0, 0), ValueError, "rate: expected 0 to 1, got 1.5"),
    ("uniform_", (x, 1.0, 0.0, 0, 0), ValueError, "high: expected above low, 1.0, got 0.0"),
    ("random_", (x, 0, 2**40, 0, 0), ValueError, r"high: expected above low, 0, by 2\^31 at most, got"),
    ("fill_", (whole, 0.5), TypeError, "value: expected a whole number for int64, got 0.5"),
    ("mse_loss", (x, x[0]), ValueError, r"target: expected shape \[3, 4\], got \[4\]"),
    ("mse_loss", (x, x, "max"), ValueError, "reduction: expected one of mean, sum, none, got 'max'"),
    ("cross_entropy", (x, torch.tensor([0, 1, 4])), IndexError, "target: expected 0 to 3, got 4"),
    ("nll_loss", (x, torch.tensor([0, 1])), ValueError, r"target: expected shape \[3\], got \[2\]"),
    ("categorical_cross_entropy", (x, whole), TypeError, "target: expected float32 like the first tensor, got int64"),
    ("sgd_", (x, x[0], None, 0.1), ValueError, r"grad: expected shape \[3, 4\], got \[4\]"),
    ("sgd_", (x, x, None, 0.1, 0.9), TypeError, "momentum_buffer: expected a tensor for momentum 0.9, got None"),
    ("adam_", (x, x, x, x.double(), 1, 0.1), TypeError, "exp_avg_sq: expected float32 like the first tensor"),
    ("adam_", (x, x, x, x, 0, 0.1), ValueError, "step: expected a number from 1 on, got 0"),
]


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "message"), WRONG, ids=[row[0] + "-" + row[3][:20] for row in WRONG]
)
def test_wrong_arguments(name: str, arguments: tuple[Any, ...], kind: type[Exception], message: str) -> None:
    before = [one.clone() if isinstance(one, torch.Tensor) else one for one in arguments]
    prefix = f"openmined::{name}: " if message else ""
    with pytest.raises(kind, match=prefix + message):
        getattr(torch.ops.openmined, name)(*arguments)
    for one, other in zip(before, arguments, strict=True):
        if isinstance(one, torch.Tensor) and one.device.type == "cpu" and not one.is_sparse:
            assert torch.equal(one, other), "an argument has changed"


def test_wrong_arguments_without_data_too() -> None:
    with pytest.raises(ValueError, match="openmined::mm: other: expected 4 rows"):
        torch.ops.openmined.mm(meta, meta)
    assert torch.ops.openmined.mmt(meta, meta).shape == (3, 3)
