"""trainers.kernels.nn: torch's layers by another route. Oracle: torch.nn."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.kernels import nn

Close = Callable[..., None]

LAYERS: dict[str, tuple[Any, ...]] = {
    "Linear": (5, 3),
    "ReLU": (),
    "Sigmoid": (),
    "Tanh": (),
    "SiLU": (),
    "Softmax": (-1,),
    "LogSoftmax": (-1,),
    "Dropout": (0.5,),
    "Embedding": (7, 3),
    "MSELoss": (),
    "CrossEntropyLoss": (),
    "NLLLoss": (),
}


def make(kind: Any, seed: int = 1) -> Any:
    """The same sequence of `kind`'s layers, torch.nn or ours."""
    torch.manual_seed(seed)
    return kind.Sequential(
        kind.Linear(6, 16), kind.Tanh(), kind.Linear(16, 16, bias=False), kind.SiLU(), kind.Linear(16, 16),
        kind.Linear(16, 8), kind.Sigmoid(), kind.Softmax(-1), kind.Linear(8, 3), kind.ReLU(),
    )  # fmt: skip


def results(model: Any, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    value = model(x)
    return [value, *torch.autograd.grad(value.square().sum(), [x, *model.parameters()])]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_a_torch_layer_with_its_repr_and_state(name: str) -> None:
    ours, theirs = getattr(nn, name)(*LAYERS[name]), getattr(torch.nn, name)(*LAYERS[name])
    assert isinstance(ours, type(theirs))
    assert repr(ours) == repr(theirs)
    assert ours.load_state_dict(theirs.state_dict(), strict=True)
    assert theirs.load_state_dict(ours.state_dict(), strict=True)


def test_values_and_gradients_are_torchs(close: Close) -> None:
    ours, theirs = make(nn), make(torch.nn, seed=2)
    theirs.load_state_dict(ours.state_dict())
    for shape in ((9, 6), (6,), (2, 3, 6), (0, 6)):
        x = torch.randn(shape)
        close(results(ours, x), results(theirs, x))
        with torch.no_grad():
            close(ours(x), theirs(x))


def test_double_precision_is_taken_as_well(close: Close) -> None:
    ours, theirs, x = make(nn).double(), make(torch.nn).double(), torch.randn(4, 6, dtype=torch.float64)
    close(results(ours, x), results(theirs, x), rtol=1e-12, atol=1e-12)


def test_layers_in_a_row_are_one_operator(counted: Any) -> None:
    model, x = make(nn), torch.randn(4, 6)
    with counted() as calls:
        model(x).sum().backward()
    assert calls["openmined::mlp_layers"] == 2  # up to the softmax, and from there on
    assert calls["openmined::mlp_gradient"] == 2
    assert not [name for name in calls if "linear" in name or "addmm" in name or name == "aten::mm"]
    with counted() as calls, torch.no_grad():
        model(x)
    assert calls["openmined::mlp_layers"] == 2


def test_single_layers_and_losses_run_on_our_operators(counted: Any) -> None:
    x, rows = torch.rand(4, 5) + 0.1, torch.tensor([0, 1, 2, 1])
    with counted() as calls:
        y = nn.Linear(5, 3)(nn.Log()(nn.Tanh()(nn.Dropout(0.1)(x))))
        nn.CrossEntropyLoss()(y, rows), nn.NLLLoss()(nn.LogSoftmax(-1)(y), rows), nn.MSELoss()(y, y)
        nn.Embedding(3, 2)(rows)
    for name in (
        "linear",
        "log",
        "tanh",
        "dropout",
        "cross_entropy",
        "nll_loss",
        "log_softmax",
        "mse_loss",
        "embedding",
    ):
        assert calls[f"openmined::{name}"] == 1, name


def test_hooks_of_a_child_are_called(close: Close) -> None:
    ours, theirs, x = make(nn), make(torch.nn), torch.randn(4, 6)
    seen: list[Tensor] = []
    for model in (ours, theirs):
        model[0].register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
        model[4].register_full_backward_hook(lambda module, before, after: seen.append(after[0]))
        model[8].register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2,))
    first, second = results(ours, x), results(theirs, x)
    close(first, second)
    assert len(seen) == 4
    close(seen[:2], seen[2:])


def test_a_child_with_a_forward_of_its_own_keeps_it(close: Close) -> None:
    class Twice(torch.nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * 2

    model = nn.Sequential(nn.Linear(3, 3), Twice(3, 3), nn.ReLU())
    x = torch.randn(2, 3)
    close(model(x), torch.relu(model[1](model[0](x))))
    patched = nn.Sequential(nn.Linear(3, 3))
    patched[0].forward = lambda input: input + 1
    assert torch.equal(patched(x), x + 1)


def test_parametrized_and_frozen_layers_train_as_torchs(close: Close) -> None:
    pairs = [make(nn), make(torch.nn)]
    x = torch.randn(4, 6)
    gradients = []
    for model in pairs:
        torch.nn.utils.parametrizations.weight_norm(model[2])
        model[0].weight.requires_grad_(False)
        model[4].bias.requires_grad_(False)
        model(x).square().sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert gradients[0][-1] is not None and sum(one is None for one in gradients[0]) == 2
    close([one for one in gradients[0] if one is not None], [one for one in gradients[1] if one is not None])


def test_gradients_of_gradients_of_a_sequence_are_torchs(close: Close) -> None:
    found = []
    for kind in (nn, torch.nn):
        torch.manual_seed(4)
        model = kind.Sequential(kind.Linear(3, 8), kind.Tanh(), kind.Linear(8, 1))
        x = torch.linspace(-1, 1, 6).reshape(2, 3).requires_grad_()
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), [x, *model.parameters()], allow_unused=True)[:3])
    close(*found)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torch_func_and_export_see_torchs_own_layers(close: Close) -> None:
    model, x = make(nn), torch.randn(4, 6)
    by_row = torch.func.vmap(lambda row: torch.func.functional_call(model, dict(model.named_parameters()), (row,)))(x)
    close(by_row, model(x))
    exported = torch.export.export(model, (x,))
    assert "openmined" not in str(exported.graph)
    traced = torch.jit.trace(model, (x,))
    assert "openmined" not in str(traced.inlined_graph)
    close(traced(x), model(x))


def test_autocast_and_half_precision_are_torchs() -> None:
    model, x = nn.Sequential(*make(torch.nn)), torch.randn(4, 6)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x).dtype == torch.bfloat16
    assert model.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_compiles_to_one_graph(close: Close) -> None:
    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.body, self.dropout = nn.Embedding(5, 6), make(nn), nn.Dropout(0.0)
            self.last = nn.Linear(3, 4)
            self.loss = nn.CrossEntropyLoss()

        def forward(self, index: Tensor, target: Tensor) -> Tensor:
            return self.loss(self.last(self.dropout(self.body(self.words(index)))), target)

    torch.manual_seed(0)
    model = Classifier()
    index, target = torch.tensor([0, 3, 3]), torch.tensor([1, 0, 3])
    expected = [model(index, target), *torch.autograd.grad(model(index, target), list(model.parameters()))]
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    value = compiled(index, target)
    close([value, *torch.autograd.grad(value, list(model.parameters()))], expected)


def test_compiled_dropout_draws_anew_each_time() -> None:
    torch._dynamo.reset()
    dropout = torch.compile(nn.Dropout(0.5), fullgraph=True, backend="aot_eager")
    x = torch.ones(100)
    assert not torch.equal(dropout(x), dropout(x))


def test_a_model_can_be_copied_pickled_and_saved(close: Close) -> None:
    model, x = make(nn), torch.randn(4, 6)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)):
        assert type(other) is nn.Sequential
        close(other(x), model(x))


def test_softmax_needs_its_dimension() -> None:
    with pytest.raises(TypeError, match="dim"):
        nn.Softmax()  # type: ignore[call-arg]


def test_many_multiplications_run_in_torch(counted: Any) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    model.most_work = 8 * 8 * 10
    for rows, ours in ((10, True), (11, False)):
        with counted() as calls:
            model(torch.randn(rows, 8))
        assert bool(calls["openmined::mlp_layers"]) is ours


def test_shifted_dimensions_of_the_input_are_taken(close: Close) -> None:
    ours, theirs = make(nn), make(torch.nn)
    x = torch.randn(6, 4).t()
    close(results(ours, x), results(theirs, x))
    with pytest.raises(ValueError, match=r"openmined::mlp: weights\[0\]: expected shape \[any, 5\], got \[16, 6\]"):
        ours(torch.randn(3, 5))
