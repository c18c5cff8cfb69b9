"""What only a GPU can show: launches on the stream of the caller that neither wait nor allocate; torch's dispatch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import trainers.kernels.operators  # noqa: F401  registers torch.ops.openmined
from trainers.kernels.cuda.library import stream_of
from trainers.kernels.fused import AdamState, Experience

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_target")]
ours: Any = torch.ops.openmined


@pytest.fixture
def target(gpu_target: Any) -> Any:
    """In this file `pairs` are on the GPU only."""
    return gpu_target


def prepared(pair: Any, steps: int, batch_size: int) -> Callable[[], Any]:
    """An update of the pair with everything on the device already."""
    batch, device, one = pair.twins.batch(steps), pair.target.device, pair.optimizer
    held = batch.target
    parts = (held.actions.continuous, held.actions.discrete, held.log_probs, held.allowed)
    allowed = [None if part is None else part.to(device) for part in parts]
    rest = [part.to(device) for part in (held.advantages, held.returns, held.values)]
    experience = Experience(batch.inputs.to(device), *allowed, *rest)  # type: ignore[arg-type]
    state = AdamState(one._gradient, one._moment, one._square, 0)
    order, settings = torch.arange(steps, device=device), {"learning_rate": 3e-4, "epsilon": 0.2, "beta": 5e-3}
    return lambda: pair.fused.update(experience, state, order, batch_size=batch_size, **settings)


def test_an_update_can_be_recorded_as_a_graph(pairs: Callable[..., Any]) -> None:
    """CUDA refuses to record a launch that waits or allocates."""
    pair, twin = (pairs(continuous=2, branches=(3,), hidden=64) for _ in range(2))
    plain, recorded = prepared(twin, 512, 64), prepared(pair, 512, 64)
    start = pair.optimizer._values.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        recorded()  # takes what cuBLAS and the buffers need
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        losses = recorded()
    pair.optimizer._values.copy_(start)
    for tensor in (pair.optimizer._moment, pair.optimizer._square):
        tensor.zero_()
    graph.replay()
    expected = plain()
    torch.testing.assert_close(pair.optimizer._values, twin.optimizer._values, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)


def test_an_update_does_not_wait_and_follows_its_stream(pairs: Callable[..., Any]) -> None:
    pair, twin = pairs(hidden=64), pairs(hidden=64)
    update, expected = prepared(pair, 512, 64), prepared(twin, 512, 64)
    start, state = pair.optimizer._values.clone(), (pair.optimizer._moment, pair.optimizer._square)
    update()  # so that nothing is set up below
    pair.optimizer._values.copy_(start)
    for tensor in state:
        tensor.zero_()
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        assert stream_of(pair.target.device) == side.cuda_stream
        torch.cuda._sleep(2_000_000_000)
        update()
        assert not side.query(), "the update waited for its stream"
    side.synchronize()
    expected()
    torch.testing.assert_close(pair.optimizer._values, twin.optimizer._values, rtol=1e-5, atol=1e-6)


def test_an_update_takes_no_memory_once_it_has_run(pairs: Callable[..., Any]) -> None:
    update = prepared(pairs(hidden=64), 512, 64)
    update()
    torch.cuda.synchronize()
    before = torch.cuda.memory_stats()["num_alloc_retries"], torch.cuda.memory_reserved()
    for _ in range(5):
        update()
    torch.cuda.synchronize()
    assert (torch.cuda.memory_stats()["num_alloc_retries"], torch.cuda.memory_reserved()) == before


@pytest.mark.parametrize("name", ["sin", "softmax", "cumprod", "var", "linear", "cross_entropy"])
def test_operators_are_dispatched_with_their_gradients(gpu_target: Any, name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    weight, classes = torch.randn(3, 5, generator=generator, dtype=torch.float64), torch.tensor([0, 4, 2, 1])
    more = {
        "sin": (),
        "softmax": (1,),
        "cumprod": (1,),
        "var": (1,),
        "linear": (weight, None, "swish"),
        "cross_entropy": (classes,),
    }[name]
    results = []
    for device in ("cpu", gpu_target.device):
        there = x.to(device).requires_grad_()
        rest = [one.to(device) if isinstance(one, torch.Tensor) else one for one in more]
        value = getattr(ours, name)(there, *rest)
        value.sin().sum().backward()
        results.append((value.detach().cpu(), there.grad.cpu()))  # type: ignore[union-attr]
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-11)
    there = x.to(gpu_target.device).requires_grad_()
    rest = [one.to(gpu_target.device) if isinstance(one, torch.Tensor) else one for one in more]
    torch.library.opcheck(getattr(ours, name).default, (there, *rest))
    assert torch.autograd.gradcheck(lambda x: getattr(ours, name)(x, *rest), (there,))


def test_tensors_on_different_devices_are_refused(gpu_target: Any) -> None:
    with pytest.raises(ValueError, match=r"openmined::add_elem: other: expected a tensor on cuda:0"):
        ours.add_elem(torch.ones(3, device=gpu_target.device), torch.ones(3))
