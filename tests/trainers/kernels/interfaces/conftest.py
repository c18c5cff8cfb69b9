"""What the tests of the interfaces share: counting the calls of our operators."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode


class _Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[function.name().partition(".")[0]] += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture
def counted() -> Callable[[], Any]:
    """A context that counts calls by operator: `with counted() as calls: ...`, calls["openmined::linear"]."""

    @contextmanager
    def counting() -> Iterator[Counter[str]]:
        with _Counting() as mode:
            yield mode.calls

    return counting


@pytest.fixture
def close() -> Callable[..., None]:
    """Whether tensors are equal but for rounding, in lists and dictionaries too."""

    def compare(ours: Any, theirs: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)

    return compare
