"""What torch asks of operators: opcheck, torch.compile, meta tensors; without the library they run all the same."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainers.kernels.operators.schemas import GRADIENT_SCHEMAS, ROWS, SCHEMAS


def _small(arguments: tuple[Any, ...]) -> bool:
    return sum(one.numel() for one in arguments if isinstance(one, Tensor)) < 400


def _checked(operator: Any, arguments: tuple[Any, ...]) -> None:
    given = [one.clone() if isinstance(one, Tensor) else one for one in arguments]
    results = torch.library.opcheck(operator.default, tuple(given), raise_exception=False)
    assert set(results.values()) == {"SUCCESS"}, (operator, results)


def test_opcheck(case: Any) -> None:
    if case.name == "equal":  # a number of the data: nothing to trace
        return
    tried = [one for one in case.arguments(torch.float32) if _small(one)]
    for arguments in (tried[0], tried[-1]):
        wanted = tuple(
            one.requires_grad_() if case.gradient and isinstance(one, Tensor) and one.is_floating_point() else one
            for one in arguments
        )
        torch.library.opcheck(case.operator.default, wanted)
        if case.in_place and case.operator(*arguments).shape == arguments[0].shape:
            _checked(
                getattr(torch.ops.openmined, case.name + "_"),
                tuple(a.detach() if isinstance(a, Tensor) else a for a in arguments),
            )


def test_opcheck_of_what_only_changes_its_arguments(in_place_only: Any) -> None:
    for arguments in in_place_only.arguments(torch.float32):
        if _small(arguments):
            _checked(in_place_only.operator, arguments)


def test_opcheck_of_gradients() -> None:
    ours = torch.ops.openmined
    x, g, row = torch.rand(3, 4), torch.rand(3, 4), torch.rand(3)
    for operator, arguments in (
        (ours.unary_gradient, (g, x, x, ROWS.unary["sin"].number)),
        (ours.binary_gradient, (g, x, row[:1], ROWS.binary["div"].number, 1)),
        (ours.reduction_gradient, (row, x, row, "var", 1, 1.0)),
        (ours.softmax_gradient, (g, x, 1, True)),
        (
            ours.linear_gradient,
            (row.unsqueeze(1), x, torch.rand(1, 4), torch.rand(1), torch.rand(3, 1), "tanh", [True] * 3),
        ),
        (ours.row_loss_gradient, (row, x, torch.tensor([0, 1, 3]), "cross_entropy")),
        (ours.row_loss_target_gradient, (row, x, x, "nll_loss")),
    ):
        _checked(operator, arguments)
    assert set(GRADIENT_SCHEMAS) == {name for name in SCHEMAS if name.endswith("_gradient")}


def test_compiled_code_runs_on_them() -> None:
    weight, bias = torch.rand(5, 4, requires_grad=True), torch.rand(5, requires_grad=True)
    target = torch.tensor([0, 4, 2])

    def loss(x: Tensor) -> Tensor:
        hidden = torch.ops.openmined.linear(x, weight, bias, "swish")
        torch.ops.openmined.mul_scalar_(hidden, 2)
        return torch.ops.openmined.cross_entropy(hidden, target)

    x = torch.rand(3, 4)
    expected = torch.autograd.grad(loss(x), (weight, bias))
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for one, other in zip(torch.autograd.grad(compiled(x), (weight, bias)), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_without_the_library_the_reference_runs(repository: Path) -> None:
    code = """
import torch
from trainers.kernels import status
import trainers.kernels.operators
x = torch.rand(3, 4, requires_grad=True)
y = torch.ops.openmined.softmax(torch.ops.openmined.mul_scalar(x, 2), 1)
torch.ops.openmined.mse_loss(y, torch.zeros(3, 4)).backward()
z = torch.ones(2); torch.ops.openmined.exp_(z)
print(status().native, torch.allclose(y, torch.softmax(2 * x, 1)), x.grad.shape == x.shape, z.tolist()[0] > 2.7)
"""
    environment = os.environ | {"OPENMINED_LIBRARY": "/there/is/none"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, env=environment, capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stdout.split()) == (0, ["False", "True", "True", "True"]), done.stderr
