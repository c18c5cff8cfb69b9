"""trainers.kernels.functional: torch.nn.functional's names and results, other arguments refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.kernels import functional

Close = Callable[..., None]

ROWS = torch.tensor([2, 0, 4, 1])
CASES: dict[str, tuple[str, list[tuple[int, ...]], dict[str, Any]]] = {
    "relu": ("relu", [(4, 5)], {}),
    "sigmoid": ("sigmoid", [(4, 5)], {}),
    "tanh": ("tanh", [(4, 5)], {}),
    "silu": ("silu", [(4, 5)], {}),
    "softmax": ("softmax", [(4, 5)], {"dim": -1}),
    "softmax in the middle": ("softmax", [(4, 5, 2)], {"dim": 1}),
    "log_softmax": ("log_softmax", [(4, 5)], {"dim": 1}),
    "linear": ("linear", [(4, 5), (3, 5), (3,)], {}),
    "linear without bias": ("linear", [(4, 5), (3, 5)], {}),
    "linear of many dimensions": ("linear", [(2, 4, 5), (3, 5), (3,)], {}),
    "mse_loss": ("mse_loss", [(4, 5), (4, 5)], {}),
    "mse_loss sum": ("mse_loss", [(4, 5), (4, 5)], {"reduction": "sum"}),
    "cross_entropy": ("cross_entropy", [(4, 5)], {"target": ROWS}),
    "cross_entropy none": ("cross_entropy", [(4, 5)], {"target": ROWS, "reduction": "none"}),
    "cross_entropy of an image": ("cross_entropy", [(2, 5, 4)], {"target": torch.stack([ROWS, ROWS])}),
    "cross_entropy of one row": ("cross_entropy", [(5,)], {"target": torch.tensor(3)}),
    "cross_entropy of probabilities": ("cross_entropy", [(4, 5)], {"target": torch.full((4, 5), 0.2)}),
    "nll_loss": ("nll_loss", [(4, 5)], {"target": ROWS}),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_torchs(case: str, close: Close) -> None:
    name, shapes, options = CASES[case]
    torch.manual_seed(2)
    given = [torch.randn(shape) for shape in shapes]
    results = []
    for module in (functional, F):
        inputs = [one.clone().requires_grad_() for one in given]
        value: Tensor = getattr(module, name)(*inputs, **options)
        results.append([value, *torch.autograd.grad(value.square().sum(), inputs)])
    close(*results)


def test_log_is_torch_log(close: Close) -> None:
    x = torch.rand(3, 4) + 0.1
    close(functional.log(x), torch.log(x))


def test_embedding_gives_rows_and_adds_their_gradients(close: Close) -> None:
    index = torch.tensor([[1, 1], [3, 0]])
    results = []
    for module in (functional, F):
        weight = torch.arange(12.0).reshape(4, 3).requires_grad_()
        value = module.embedding(index, weight)
        results.append([value, *torch.autograd.grad(value.square().sum(), weight)])
    close(*results)


def test_dropout_keeps_its_share_rescales_and_repeats_with_torchs_seed() -> None:
    x = torch.full((200, 100), 3.0, requires_grad=True)
    torch.manual_seed(5)
    first = functional.dropout(x, 0.25)
    assert first[first != 0].unique().tolist() == [4.0]
    assert (first == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    second = functional.dropout(x, 0.25)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(functional.dropout(x, 0.25), first)
    (gradient,) = torch.autograd.grad(first.sum(), x)
    assert torch.equal(gradient * 3, first)


def test_dropout_does_nothing_in_evaluation() -> None:
    x = torch.randn(3)
    assert functional.dropout(x, 0.9, training=False) is x
    assert functional.dropout(x, 0.0) is x


@pytest.mark.parametrize(
    ("name", "arguments", "options", "message"),
    [
        ("relu", 1, {"inplace": True}, "relu: inplace: expected False, got True; use torch's own relu"),
        ("dropout", 1, {"p": 1.5}, "dropout: p: expected a probability from 0 to 1, got 1.5"),
        ("mse_loss", 2, {"weight": torch.ones(2)}, "mse_loss: weight: expected None, got tensor"),
        ("cross_entropy", 2, {"label_smoothing": 0.1}, "cross_entropy: label_smoothing: expected 0.0, got 0.1"),
        ("nll_loss", 2, {"ignore_index": 3}, "nll_loss: ignore_index: expected -100, got 3"),
        ("embedding", 2, {"padding_idx": 0}, "embedding: padding_idx: expected None, got 0"),
        ("embedding", 2, {"sparse": True}, "embedding: sparse: expected False, got True"),
    ],
)
def test_what_an_operator_does_not_have_is_refused_by_name(
    name: str, arguments: int, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:
        getattr(functional, name)(*[torch.ones(2, 2)] * arguments, **options)
    assert str(error.value).startswith(message)


def test_a_wrong_shape_is_told_with_operator_and_argument() -> None:
    with pytest.raises(ValueError, match="openmined::linear: x: expected 3 columns, weight's, got 2"):
        functional.linear(torch.ones(4, 2), torch.ones(5, 3))
    with pytest.raises(ValueError, match=r"openmined::mlp: weights\[1\]: expected shape \[any, 5\], got \[4, 6\]"):
        functional.mlp(torch.ones(2, 3), [torch.ones(5, 3), torch.ones(4, 6)], [None, None], ["relu", "none"])
    with pytest.raises(ValueError, match=r"openmined::mlp: activations\[0\]: expected one of none, "):
        functional.mlp(torch.ones(2, 3), [torch.ones(5, 3)], [None], ["elu"])
    with pytest.raises(TypeError, match=r"openmined::mlp: weights\[0\]: expected float32"):
        functional.mlp(torch.ones(2, 3), [torch.ones(5, 3).double()], [None], ["relu"])
