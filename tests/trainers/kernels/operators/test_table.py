"""operators.md says of each operator of the original what became of it: what it says has to be so."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import trainers.kernels
from trainers.kernels.operators import NOT_DIFFERENTIABLE
from trainers.kernels.operators.gradients import GRADIENTS
from trainers.kernels.operators.schemas import GRADIENT_SCHEMAS, SCHEMAS

TEXT = Path(trainers.kernels.__file__).with_name("operators.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
# The original's own lists, from its source: tensors of floats, of integers, and what stood on them.
ORIGINAL = {
    "Numbers with a fraction": ""
    "abs acos asin atan sin cos tan sinh cosh add_elem add_scalar sub_elem sub_scalar mul_elem "
    "mul_scalar div_elem div_scalar pow_scalar pow_elem remainder_elem remainder_scalar neg reciprocal sqrt rsqrt exp "
    "log1p log ceil floor round sign trunc clamp sigmoid tanh relu softmax log_softmax mm mmt addmm_ addmv_ transpose "
    "triu trace view view_as squeeze unsqueeze expand contiguous copy index_select index_add concatenate split_by_size "
    "split_by_sections batchify sum mean prod min max var std norm cumsum cumprod sample SampleMask random_ uniform_ "
    "fill_ zero_ frac frac_ autograd children creators creation_op data dataOnGpu get grad id keepgrads size shape set "
    "stride is_contiguous to_numpy to_numpy_by_proto save print delete gpu cpu backward",
    "Whole numbers": "add_elem sub_elem abs neg reciprocal eq sin cos add_scalar sub_scalar acos sign tan lt equal "
    "trace pow_elem pow_scalar sqrt transpose view topk sinh",
    "Layers, losses, optimizers": "Linear ReLU Sigmoid Tanh Softmax LogSoftmax Log Dropout Embedding Sequential MSE "
    "CrossEntropy NLL CategoricalCrossEntropy SGD RMSProp Adam",
}


def rows(section: str) -> list[list[str]]:
    """The cells of each row, without the heading's two."""
    lines = [line for line in SECTIONS[section].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def operators(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


@pytest.mark.parametrize("section", ORIGINAL)
def test_each_operator_of_the_original_has_a_row(section: str) -> None:
    named = {name.strip().replace(" ", "_") for row in rows(section) for name in row[0].split(",")}
    assert named == set(ORIGINAL[section].split())
    for original, here, in_place, gradient, to_know in rows(section):
        if here == "dropped":
            assert to_know and not in_place and not gradient, f"{original}: dropped without a reason"


def test_each_operator_that_is_there_has_a_row() -> None:
    cells = [row[1] for section in ORIGINAL for row in rows(section)] + [row[0] for row in rows("New ones")]
    listed = {name for cell in cells for name in operators(cell)}
    there = {name if name.removesuffix("_") not in SCHEMAS else name.removesuffix("_") for name in SCHEMAS}
    assert listed == there - set(GRADIENT_SCHEMAS)


def test_what_a_row_says_is_so() -> None:
    wrong = []
    table = [row[1:4] for section in ORIGINAL for row in rows(section)] + [row[:3] for row in rows("New ones")]
    for here, in_place, gradient in table:
        for name in operators(here):
            there = "only" if name.endswith("_") else "yes" if f"{name}_" in SCHEMAS else "no"
            if in_place not in ("", there) and not (in_place == "no" and name in whole_numbers(in_place="no")):
                wrong.append(f"{name}: in place: {in_place}")
            if gradient == "yes" and name not in GRADIENTS:
                wrong.append(f"{name}: has no gradient")
            if gradient == "none" and name in GRADIENTS and name not in whole_numbers():
                wrong.append(f"{name}: has a gradient")
            if name in NOT_DIFFERENTIABLE and gradient == "yes":
                wrong.append(f"{name}: has none")
    assert wrong == []


def whole_numbers(in_place: str | None = None) -> set[str]:
    return {name for row in rows("Whole numbers") if in_place in (None, row[2]) for name in operators(row[1])}


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=["int32", "int64"])
def test_whole_numbers_are_taken_where_the_table_says_so(dtype: torch.dtype) -> None:
    ours: Any = torch.ops.openmined
    x, other = torch.tensor([[1, 2], [3, 5]], dtype=dtype), torch.tensor([2, 3], dtype=dtype)
    for row in rows("Whole numbers"):
        for name in operators(row[1]):
            more = (
                (3,) if name.endswith("scalar") else (other,) if name in ("eq", "lt", "equal") or "elem" in name else ()
            )
            result = getattr(ours, name)(x, *more)
            if "give" in row[4]:
                expected = getattr(torch, name)(x)
                torch.testing.assert_close(result, expected, equal_nan=True)
            if row[2] == "yes":
                changed = x.clone()
                getattr(ours, f"{name}_")(changed, *more)
                assert torch.equal(changed, result.to(dtype)), name
            elif row[2] == "no" and f"{name}_" in SCHEMAS:
                with pytest.raises(TypeError, match=rf"openmined::{name}_: x: expected float32 or float64"):
                    getattr(ours, f"{name}_")(x.clone(), *more)
