"""trainers.kernels.optim: torch.optim's steps, groups and state, in one call. Oracle: torch.optim."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainers.kernels import optim

Close = Callable[..., None]

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {}),
    "SGD with momentum": ("SGD", {"momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    "SGD of Nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "RMSprop": ("RMSprop", {"weight_decay": 0.01}),
    "RMSprop with momentum": ("RMSprop", {"momentum": 0.5, "alpha": 0.9, "eps": 1e-4}),
    "Adam": ("Adam", {"betas": (0.8, 0.95), "eps": 1e-5}),
    "Adam with decay": ("Adam", {"weight_decay": 0.1}),
    "Adam upwards": ("Adam", {"maximize": True}),
    "AdamW": ("AdamW", {"weight_decay": 0.1}),
}


def model_of(dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(5, 40), torch.nn.Tanh(), torch.nn.Linear(40, 3)).to(dtype)


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 7) -> None:
    torch.manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(6, 5, dtype=next(model.parameters()).dtype)
        optimizer.zero_grad()
        model(x).tanh().square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("case", CASES)
def test_weights_and_state_are_torchs_and_continue_each_other(case: str, close: Close) -> None:
    name, options = CASES[case]
    first, second = model_of(), model_of()
    ours = getattr(optim, name)(first.parameters(), lr=0.01, **options)
    theirs = getattr(torch.optim, name)(second.parameters(), lr=0.01, **options)
    assert isinstance(ours, type(theirs))
    assert repr(ours) == repr(theirs)
    for model, optimizer in ((first, ours), (second, theirs)):
        train(model, optimizer, 20)
    close(first.state_dict(), second.state_dict())
    close(ours.state_dict(), theirs.state_dict())
    of_ours, of_theirs = copy.deepcopy(ours.state_dict()), copy.deepcopy(theirs.state_dict())
    ours.load_state_dict(of_theirs)
    theirs.load_state_dict(of_ours)
    for model, optimizer in ((first, ours), (second, theirs)):
        train(model, optimizer, 20, seed=8)
    close(first.state_dict(), second.state_dict())
    close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_a_step_is_one_call(name: str, counted: Any) -> None:
    model = model_of()
    optimizer = getattr(optim, name)(model.parameters(), lr=0.01)
    model(torch.randn(2, 5)).sum().backward()
    with counted() as calls:
        optimizer.step()
    operator = {"SGD": "sgd_all_", "RMSprop": "rmsprop_all_"}.get(name, "adam_all_")
    assert calls[f"openmined::{operator}"] == 1


def test_double_precision_and_odd_layouts_are_taken(close: Close) -> None:
    results = []
    for kind in (optim, torch.optim):
        torch.manual_seed(1)
        params = [
            torch.nn.Parameter(torch.randn(4, 3).t()),
            torch.nn.Parameter(torch.randn(5).double()),
            torch.nn.Parameter(torch.randn(0)),
            torch.nn.Parameter(torch.tensor(2.0)),
        ]
        optimizer = kind.Adam(params, lr=0.1)
        for _ in range(3):
            for param in params:
                param.grad = torch.ones_like(param) * param.detach()
            optimizer.step()
        results.append(params)
    close([one.detach() for one in results[0]], [one.detach() for one in results[1]])


def test_groups_have_settings_of_their_own_and_a_parameter_may_join_late(close: Close) -> None:
    models = [model_of(), model_of()]
    optimizers = []
    for kind, model in zip((optim, torch.optim), models, strict=True):
        first, second = model[0], model[2]  # type: ignore[index]
        first.weight.requires_grad_(False)
        groups = [{"params": [first.weight, first.bias]}, {"params": second.parameters(), "lr": 0.1}]
        optimizer = kind.Adam(groups, lr=0.01)
        train(model, optimizer, 3)
        first.weight.requires_grad_(True)
        train(model, optimizer, 3)
        optimizers.append(optimizer)
    close(models[0].state_dict(), models[1].state_dict())
    assert sorted(int(state["step"]) for state in optimizers[0].state.values()) == [3, 6, 6, 6]


def test_closures_schedulers_and_hooks_work(close: Close) -> None:
    model = model_of()
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    called = []
    optimizer.register_step_post_hook(lambda *arguments: called.append(1))

    def closure() -> float:
        optimizer.zero_grad()
        loss = model(torch.ones(1, 5)).square().sum()
        loss.backward()
        return loss.item()

    losses = [optimizer.step(closure)]
    scheduler.step()
    losses.append(optimizer.step(closure))
    assert losses[1] < losses[0]
    assert called == [1, 1]
    assert optimizer.param_groups[0]["lr"] == 0.005


def test_a_step_marks_the_parameters_as_changed() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = optim.SGD([weight], lr=0.1)
    loss = (weight * weight).sum()
    weight.grad = torch.ones(3)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Adam", {"amsgrad": True}, "Adam: amsgrad: expected False, got True; torch.optim.Adam has that"),
        ("Adam", {"capturable": True}, "Adam: capturable: expected False, got True"),
        ("Adam", {"fused": True}, "Adam: fused: expected None, got True"),
        ("Adam", {"lr": torch.tensor(0.1)}, "Adam: lr: expected a number, got a tensor"),
        ("RMSprop", {"centered": True}, "RMSprop: centered: expected False, got True"),
        ("SGD", {"differentiable": True}, "SGD: differentiable: expected False, got True"),
        ("SGD", {"lr": -1.0}, "Invalid learning rate: -1.0"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        getattr(optim, name)([torch.nn.Parameter(torch.ones(2))], **options)
    assert str(error.value).startswith(message)


def test_lists_that_do_not_fit_are_told() -> None:
    one = torch.ones(2)
    with torch.no_grad():
        with pytest.raises(ValueError, match="adam_all_: grads: expected 1 tensors, as many as params, got 2"):
            torch.ops.openmined.adam_all_(
                [torch.ones(2)], [torch.ones(2)] * 2, [torch.ones(2)], [torch.ones(2)], 1, 0.1
            )
        with pytest.raises(ValueError, match=r"adam_: grad: expected shape \[2\], got \[3\]"):
            torch.ops.openmined.adam_all_([one], [torch.ones(3)], [one], [one], 1, 0.1)
        with pytest.raises(TypeError, match=r"sgd_: momentum_buffer: expected a tensor for momentum 0\.9"):
            torch.ops.openmined.sgd_all_([one], [one], [], 0.1, 0.9)
