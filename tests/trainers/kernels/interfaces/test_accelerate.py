"""trainers.kernels.accelerate: what one line swaps, leaves alone, and says."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainers.kernels import nn as ours
from trainers.kernels import optim
from trainers.kernels.accelerate import MOST_WORK, accelerate

Close = Callable[..., None]

LIMIT = f" up to {MOST_WORK:,} multiplications, above that as torch has it"


class Policy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.0), nn.Linear(16, 16), nn.Tanh())
        self.head = nn.Linear(16, 3)
        self.softmax = nn.Softmax(-1)
        self.images = nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.softmax(self.head(self.body(x)))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> None:
    torch.manual_seed(4)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(7, 6)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("slower_too", [False, True])
def test_training_goes_on_as_before(slower_too: bool, close: Close) -> None:
    torch.manual_seed(1)
    models = [Policy(), Policy()]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [torch.optim.Adam(model.parameters(), lr=0.01) for model in models]
    for model, optimizer in zip(models, optimizers, strict=True):
        train(model, optimizer)
    before = list(models[0].parameters()), optimizers[0].param_groups, optimizers[0].state
    accelerate(models[0], optimizers[0], slower_too=slower_too, quiet=True)
    assert all(a is b for a, b in zip(before[0], models[0].parameters(), strict=True))
    assert optimizers[0].param_groups is before[1] and optimizers[0].state is before[2]
    for model, optimizer in zip(models, optimizers, strict=True):
        train(model, optimizer)
    close(models[0].state_dict(), models[1].state_dict())
    close(optimizers[0].state_dict(), optimizers[1].state_dict())


def test_the_report_names_what_was_swapped_and_what_was_left_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    model = Policy()
    optimizer = torch.optim.AdamW(model.parameters())
    report = accelerate(model, optimizer)
    assert report.swapped == {
        "body": "Sequential, 2 linear layers in 2 calls" + LIMIT,
        "optimizer": "AdamW, one call for all parameters",
    }
    assert report.left == {
        "": "Policy: a forward of its own; layers in a torch.nn.Sequential could be one call",
        "body.2": "Dropout: ours draws other random numbers; trainers.kernels.nn.Dropout is there for who wants it",
        "head": "Linear by itself: torch's is quicker",
        "softmax": "Softmax by itself: torch's is quicker",
        "images": "Conv2d: no operator of ours",
    }
    printed = capsys.readouterr().out
    assert printed == f"{report}\n"
    assert printed.startswith("accelerate: 2 swapped, 5 left alone\n  swapped  body: Sequential")
    assert "  left     (model): Policy: a forward of its own" in printed
    assert type(model.body) is ours.Sequential and type(model.head) is nn.Linear
    assert type(optimizer) is optim.AdamW
    assert accelerate(model, optimizer, quiet=True).swapped == {}
    assert capsys.readouterr().out == ""


def test_slower_modules_are_swapped_on_request(counted: Any) -> None:
    model = Policy()
    report = accelerate(model, quiet=True, slower_too=True)
    assert report.swapped["head"] == "Linear, by itself"
    assert type(model.softmax) is ours.Softmax
    assert "optimizer" not in report.swapped
    with counted() as calls:
        model(torch.randn(2, 6))
    assert {"openmined::mlp_layers", "openmined::linear", "openmined::softmax"} <= set(calls)


class Doubling(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


class Chain(nn.Sequential):
    pass


def patched() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.forward = lambda input: input  # type: ignore[method-assign]
    return layer


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Doubling(2, 2), "Doubling: a subclass of Linear with code of its own"),
        (lambda: Chain(nn.Linear(2, 2)), "Chain: a subclass of Sequential with code of its own"),
        (patched, "Linear with a forward of its own"),
        (lambda: nn.ReLU(inplace=True), "ReLU with inplace=True, which the operator does not have"),
        (lambda: nn.Embedding(3, 2, padding_idx=0), "Embedding with padding_idx=0, which the operator does not have"),
        (lambda: nn.Softmax(), "Softmax without dim"),
        (lambda: nn.Linear(2, 2).double(), "Linear with weight of float64 on cpu; measured is float32 on the cpu"),
        (
            lambda: nn.Linear(2, 2, device="meta"),
            "Linear with weight of float32 on meta; measured is float32 on the cpu",
        ),
        (
            lambda: nn.Sequential(nn.Linear(2, 2).double()),
            "Sequential with weight of float64 on cpu; measured is float32",
        ),
        (lambda: ours.Linear(2, 2), "Linear of trainers.kernels already"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=0.1), "CrossEntropyLoss with label_smoothing=0.1, which the"),
    ],
)
def test_modules_that_the_operators_do_not_take_stay(make: Callable[[], nn.Module], reason: str) -> None:
    module = make()
    kind = type(module)
    report = accelerate(module, slower_too=True, quiet=True)
    assert type(module) is kind
    assert report.left[""].startswith(reason)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: torch.optim.Adagrad(p), "Adagrad: neither SGD, RMSprop, Adam nor AdamW of torch.optim"),
        (lambda p: torch.optim.Adam(p, amsgrad=True), "Adam with amsgrad: expected False, got True"),
        (lambda p: torch.optim.SGD(p, fused=True), "SGD with fused: expected None, got True"),
        (lambda p: torch.optim.RMSprop(p, centered=True), "RMSprop with centered: expected False, got True"),
        (lambda p: torch.optim.SGD(p, lr=torch.tensor(0.1)), "SGD with lr: expected a number, got a tensor"),
        (lambda p: optim.Adam(p), "Adam of trainers.kernels already"),
    ],
)
def test_optimizers_that_the_operators_do_not_take_stay(make: Callable[..., Any], reason: str) -> None:
    model = nn.Linear(2, 2)
    optimizer = make(model.parameters())
    kind = type(optimizer)
    report = accelerate(model, optimizer, quiet=True)
    assert type(optimizer) is kind
    assert report.left["optimizer"] == reason


def test_an_optimizer_whose_step_was_replaced_stays() -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.step = lambda closure=None: None  # type: ignore[method-assign, assignment]
    assert accelerate(model, optimizer, quiet=True).left["optimizer"] == "Adam whose step somebody has replaced"


def test_schedulers_and_hooks_from_before_and_after_work() -> None:
    model = nn.Linear(6, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    called: list[int] = []
    optimizer.register_step_pre_hook(lambda *arguments: called.append(1))
    accelerate(model, optimizer, quiet=True)
    second = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model, optimizer, 1)
        first.step()
        second.step()
    assert optimizer.param_groups[0]["lr"] == 0.025
    assert called == [1]
    assert type(optimizer) is optim.SGD


def test_an_accelerated_model_can_be_copied_and_its_weights_go_back_to_torch(close: Close) -> None:
    model = Policy()
    accelerate(model, quiet=True)
    other = copy.deepcopy(model)
    plain = Policy()
    plain.load_state_dict(model.state_dict())
    x = torch.randn(3, 6)
    close(other(x), plain(x))
