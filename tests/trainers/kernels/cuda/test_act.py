"""Acting, advantages and random numbers on CUDA beside those on the CPU: the same actions from the same numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from trainers.kernels import philox
from trainers.kernels.advantages import gae as gae_on_cpu
from trainers.kernels.cuda.advantages import gae
from trainers.kernels.cuda.library import on, stream_of

FORMS: dict[str, dict[str, Any]] = {
    "continuous": {},
    "normalised, two observations": {"inputs": (5, 3), "normalize": True},
    "shared critic": {"shared": True, "signals": 2},
    "hybrid": {"continuous": 3, "branches": (2, 17, 1), "signals": 2, "normalize": True},
    "one of everything": {"inputs": (1,), "continuous": 0, "branches": (1,), "hidden": 1, "layers": 1},
}


def masks(agents: int, branches: tuple[int, ...]) -> np.ndarray | None:
    """A random half is forbidden, but never the first action of a branch."""
    if not branches:
        return None
    allowed = np.random.default_rng(7).random((agents, sum(branches))) > 0.5
    allowed[:, np.cumsum((0, *branches[:-1]))] = True
    return allowed


@pytest.mark.parametrize("deterministic", [False, True], ids=["drawn", "deterministic"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("agents", [0, 1, 12, 300])
def test_acts_as_the_kernels_on_the_cpu(
    pairs: Callable[..., Any],
    observations: Callable[..., Any],
    form: dict[str, Any],
    agents: int,
    deterministic: bool,
) -> None:
    pair = pairs(**form)
    for network in (pair.twins.copy, pair.network):
        device = pair.target.device if network is pair.network else "cpu"
        network.actor.update_normalizers(
            [torch.from_numpy(one).to(device) for one in observations(50, *pair.form.inputs)]
        )
    seen, allowed = observations(agents, *pair.form.inputs), masks(agents, pair.form.branches)
    settings = {"seed": 2**63 + 5, "call": 2**33 + 1, "deterministic": deterministic, "values": True}
    found, expected = pair.fused.act(seen, allowed, **settings), pair.twins.fused.act(seen, allowed, **settings)
    np.testing.assert_array_equal(found.discrete, expected.discrete)
    np.testing.assert_array_equal(found.discrete_for_player, expected.discrete_for_player)
    for name in ("continuous", "continuous_for_player", "log_probs", "values"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5, err_msg=name)
    assert found.discrete_for_player.dtype == np.int32
    if agents:
        assert found.entropy == pytest.approx(expected.entropy, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(pair.fused.values(seen), expected.values, rtol=1e-5, atol=1e-5)
    assert pair.fused.act(seen, allowed, seed=1, call=1).values is None


def test_wrong_observations_are_told_by_name(pairs: Callable[..., Any], observations: Callable[..., Any]) -> None:
    fused = pairs(inputs=(5, 3), branches=(2,)).fused
    seen = observations(4, 5, 3)
    with pytest.raises(ValueError, match="act: observations: expected 2, one an observation, got 1"):
        fused.act(seen[:1], seed=1, call=1)
    with pytest.raises(TypeError, match=r"act: observations\[1\]: expected float32, got float64"):
        fused.act([seen[0], seen[1].astype(np.float64)], seed=1, call=1)
    with pytest.raises(ValueError, match=r"act: observations\[1\]: expected 4 agents with 3 numbers each, got shape"):
        fused.act([seen[0], seen[1][:3]], seed=1, call=1)
    with pytest.raises(ValueError, match=r"act: allowed: expected shape \[4, 2\], got \[3, 2\]"):
        fused.act(seen, np.ones((3, 2), np.bool_), seed=1, call=1)


@pytest.mark.parametrize("lengths", [[], [5], [1, 1, 1], [3, 17, 0, 129, 256, 64, 257], [1000] * 3], ids=str)
@pytest.mark.parametrize("signals", [1, 3])
def test_advantages_have_the_same_bits_as_on_the_cpu(
    target: Any, native: None, lengths: list[int], signals: int
) -> None:
    generator = np.random.default_rng(len(lengths))
    rewards, values, following = (
        generator.normal(size=(rows, signals)).astype(np.float32) for rows in (sum(lengths), sum(lengths), len(lengths))
    )
    counts, gammas = np.array(lengths, np.int64), [0.99, 0.9, 0.5][:signals]
    expected = gae_on_cpu(rewards, values, counts, following, gammas, 0.95)
    tensors = [torch.from_numpy(one).to(target.device) for one in (rewards, values, following)]
    found = gae(tensors[0], tensors[1], counts, tensors[2], gammas, 0.95, library=target.library)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.cpu(), theirs)


def test_wrong_lengths_are_refused(target: Any) -> None:
    column = torch.zeros(7, 1, device=target.device)
    for lengths in ([3, 3], [8, -1]):
        with pytest.raises(
            ValueError, match="gae: lengths: expected a sum of 7, the number of rewards, and none below"
        ):
            gae(column, column, np.array(lengths), column[:2], [0.9], 0.9, library=target.library)
    with pytest.raises(ValueError, match=r"gae: values: expected shape \[7, 1\], got \[6, 1\]"):
        gae(column, column[1:], np.array([7]), column[:1], [0.9], 0.9, library=target.library)


@pytest.mark.parametrize("seed, call, stream, count", [(0, 0, 0, 1), (5, 7, 1, 1003), (2**64 - 1, 2**40, 2, 4096)])
def test_random_numbers_have_the_same_bits_as_on_the_cpu(
    target: Any, seed: int, call: int, stream: int, count: int
) -> None:
    for name, expected in (
        ("words", philox.words(seed, call, stream, count).view(np.int32)),
        ("normals", philox.normals(seed, call, stream, count)),
        ("uniforms", philox.uniforms(seed, call, stream, count)),
    ):
        found = torch.zeros(count, dtype=torch.from_numpy(expected).dtype, device=target.device)
        draw = getattr(target.library, f"om_cuda_random_{name}")
        with on(target.device):
            assert draw(seed, call, stream, count, found.data_ptr(), stream_of(target.device)) == 0
        np.testing.assert_array_equal(found.cpu(), expected)
