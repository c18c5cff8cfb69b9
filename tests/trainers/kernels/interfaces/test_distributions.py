"""trainers.kernels.distributions.Categorical. Oracle: torch.distributions.Categorical."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainers.kernels.distributions import Categorical
from trainers.kernels.philox import Philox

Close = Callable[..., None]
Torchs = torch.distributions.Categorical


@pytest.fixture(params=["logits", "probs"])
def given(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    logits = torch.linspace(-2, 3, 12).reshape(4, 3) * torch.tensor([1.0, -1.0, 0.5])
    return {request.param: logits if request.param == "logits" else logits.exp()}


def test_samples_are_torchs_number_for_number(given: dict[str, Any]) -> None:
    drawn = []
    for kind in (Categorical, Torchs):
        torch.manual_seed(11)
        drawn.append(kind(**given).sample((50,)))
    assert torch.equal(*drawn)


def test_log_prob_entropy_and_their_gradients_are_torchs(given: dict[str, Any], close: Close) -> None:
    (name, value), results = next(iter(given.items())), []
    for kind in (Categorical, Torchs):
        x = value.clone().requires_grad_()
        distribution = kind(**{name: x})
        actions = torch.tensor([[0, 2, 1, 1], [2, 2, 0, 0]])
        found = [distribution.log_prob(actions), distribution.entropy(), distribution.probs, distribution.logits]
        results.append([*found, *torch.autograd.grad(found[0].sum() + found[1].square().sum(), x)])
    close(*results)


def test_it_is_torchs_class_and_expands(given: dict[str, Any], close: Close) -> None:
    ours, theirs = Categorical(**given), Torchs(**given)
    assert isinstance(ours, Torchs)
    assert repr(ours) == repr(theirs)
    assert type(ours.expand((2, 4))) is Categorical
    close(ours.expand((2, 4)).entropy(), theirs.expand((2, 4)).entropy())
    close(torch.distributions.kl_divergence(ours, theirs), torch.zeros(4))


def test_draws_from_philox_are_repeatable_and_have_their_shares() -> None:
    probabilities = torch.tensor([0.1, 0.0, 0.6, 0.3])
    random = Philox(seed=5)
    drawn = Categorical(probabilities, random=random).sample((10_000,))
    assert random.call == 1
    assert torch.equal(Categorical(probabilities, random=Philox(5)).sample((10_000,)), drawn)
    shares = torch.bincount(drawn, minlength=4) / 10_000
    assert shares.tolist() == pytest.approx([0.1, 0.0, 0.6, 0.3], abs=0.02)
    assert Categorical(torch.ones(2, 3), random=random).sample((5, 4)).shape == (5, 4, 2)


def test_bad_arguments_are_told() -> None:
    with pytest.raises(ValueError, match="Categorical: expected either probs or logits, got both or none of them"):
        Categorical()
    with pytest.raises(ValueError, match="Categorical: probs: expected at least 1 dimension, got 0"):
        Categorical(torch.tensor(1.0))
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        Categorical(probs=torch.tensor([-1.0, 0.5]))
    with pytest.raises(ValueError, match="support"):
        Categorical(probs=torch.ones(3)).log_prob(torch.tensor(3))
