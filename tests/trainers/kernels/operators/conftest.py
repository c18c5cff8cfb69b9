"""The table of the operators' tests: a row an operator. Elementwise ones come from elementwise_table.h themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from trainers.kernels.operators import SCHEMAS
from trainers.kernels.operators.schemas import BINARY, GRADIENT_SCHEMAS, IN_PLACE, ROWS

FLOATS = (torch.float32, torch.float64)
WHOLE = (torch.int32, torch.int64)


class Tensors:
    """Makes tensors of one type; the same ones each time."""

    def __init__(self, dtype: torch.dtype, low: float = -3.0, high: float = 3.0) -> None:
        self.dtype, self.low, self.high = dtype, low, high
        self.generator = torch.Generator().manual_seed(5)

    def __call__(self, *shape: int) -> torch.Tensor:
        if self.dtype in WHOLE:
            return torch.randint(-9, 10, shape, dtype=self.dtype, generator=self.generator)
        drawn = torch.rand(shape, dtype=torch.float64, generator=self.generator)
        return (self.low + drawn * (self.high - self.low)).to(self.dtype)

    def positive(self, *shape: int) -> torch.Tensor:
        return self(*shape).abs() + (1 if self.dtype in WHOLE else 0.1)

    def shares(self, *shape: int) -> torch.Tensor:
        return torch.softmax(self(*shape), -1)

    def classes(self, count: int, *shape: int) -> torch.Tensor:
        return torch.randint(0, count, shape, generator=self.generator)


Arguments = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Case:
    """An operator and what it is tried with.

    Attributes:
        make: several tuples of arguments of one type.
        dtypes: the types it takes.
        gradient: whether it has one.
        in_place: whether there is a twin in place.
        domain: where the numbers come from.
    """

    name: str
    make: Callable[[Tensors], Arguments]
    dtypes: tuple[torch.dtype, ...] = FLOATS
    gradient: bool = True
    domain: tuple[float, float] = (-3.0, 3.0)

    @property
    def in_place(self) -> bool:
        return self.name in IN_PLACE

    def arguments(self, dtype: torch.dtype) -> Arguments:
        return self.make(Tensors(dtype, *self.domain))

    @property
    def operator(self) -> Any:
        return getattr(torch.ops.openmined, self.name)


_DOMAINS = {"acos": (-0.9, 0.9), "asin": (-0.9, 0.9), "log1p": (-0.9, 3.0)} | dict.fromkeys(
    ("sqrt", "rsqrt", "log", "reciprocal", "pow", "remainder"), (0.1, 3.0)
)
_PLACES = torch.tensor([2, 0, 2])


def _unary(t: Tensors) -> Arguments:
    return [(t(*shape),) for shape in ((), (0, 3), (1,), (7,), (5, 3), (2, 3, 17), (70001,))]


def _binary(t: Tensors) -> Arguments:
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((), ()),
        ((0,), (1,)),
        ((5, 3), (3,)),
        ((3,), (5, 1)),
        ((2, 1, 300), (4, 1)),
        ((300, 251), (300, 251)),
    ]
    return [(t(*left), t.positive(*right)) for left, right in shapes]


def _scalar(t: Tensors) -> Arguments:
    number = 2 if t.dtype in WHOLE else 2.5
    return [(t(), number), (t(0, 2), 3), (t(5, 3), number), (t(2, 1025), 2)]


def _reduction(t: Tensors) -> Arguments:
    return [
        (t(),),
        (t(), 0, True),
        (t(5, 3), None, True),
        (t(5, 3), 0),
        (t(4, 5, 3), -2, True),
        (t(3, 0), 0),
        (t(2, 1030), 1),
        (t(9, 130), 0),
        (t(41, 1000), 1),
    ]


def _sums(t: Tensors) -> Arguments:
    return [(t(),), (t(0, 3), 0), *_reduction(t)]


def _cumulative(t: Tensors) -> Arguments:
    return [(t(), 0), (t(5, 3), 0), (t(2, 4, 3), 1), (t(0, 3), 0), (t(30), -1), (t(9, 130), 0)]


def _loss(t: Tensors) -> Arguments:
    made: Arguments = []
    for reduction in ("mean", "sum", "none"):
        made += [(t.positive(7, 5), t.shares(7, 5), reduction), (t.positive(2, 3, 4), t.shares(2, 3, 4), reduction)]
    return [*made, (t.positive(3), t.shares(3)), (t.positive(0, 3), t.shares(0, 3), "sum")]


def _class_loss(t: Tensors) -> Arguments:
    return [*_loss(t), (t(7, 500), t.classes(500, 7)), (t(2, 3, 4), t.classes(4, 2, 3), "none")]


def _products(t: Tensors, transposed: bool) -> Arguments:
    sizes = [(3, 4, 5), (1, 1, 1), (0, 3, 2), (3, 0, 2), (17, 33, 35), (130, 64, 129)]
    return [(t(n, k), t(m, k) if transposed else t(k, m)) for n, k, m in sizes]


def _linear(t: Tensors) -> Arguments:
    made: Arguments = []
    for activation in ("none", "relu", "sigmoid", "tanh", "swish"):
        made += [(t(7, 5), t(19, 5), t(19), activation), (t(2, 3, 4), t(5, 4), None, activation)]
    return [*made, (t(4), t(3, 4)), (t(0, 4), t(3, 4), t(3), "tanh"), (t(64, 130), t(128, 130), t(128), "tanh")]


TABLE = [
    *(
        Case(
            name,
            _unary,
            FLOATS + WHOLE if name in ROWS.integer_unary else FLOATS,
            domain=_DOMAINS.get(name, (-3.0, 3.0)),
        )
        for name in ROWS.unary
        if name != "clamp"
    ),
    Case("clamp", lambda t: [(t(5, 3), -1.0, 1.5), (t(), None, 0.0), (t(7), 0.5), (t(3),), (t(0), 0.0)]),
    *(
        Case(
            f"{name}_{form}",
            make,
            FLOATS + WHOLE if name in ROWS.integer_binary else FLOATS,
            domain=_DOMAINS.get(name, (-3.0, 3.0)),
        )
        for name in BINARY
        for form, make in (("elem", _binary), ("scalar", _scalar))
    ),
    *(Case(name, _binary, FLOATS + WHOLE, gradient=False) for name in ROWS.relation),
    *(Case(name, _sums) for name in ("sum", "mean")),
    Case("prod", _sums, domain=(0.9, 1.1)),
    *(Case(name, _reduction) for name in ("min", "max")),
    *(
        Case(name, lambda t: [(t(7, 4), None, True, 0), (t(2, 5, 3), 1), (t(1000, 3), 0), (t(3, 1000), 1, True, 2)])
        for name in ("var", "std")
    ),
    Case(
        "norm",
        lambda t: [
            *((t(5, 3), p, dim, bool(dim)) for p in (0.0, 1.0, 1.5, 2.0, 3.0, float("inf")) for dim in (None, 0, 1)),
            (t(), 2.0),
            (t(2, 0), 2.0, 1),
            (t(3, 1000),),
        ],
    ),
    Case("trace", lambda t: [(t(3, 3),), (t(2, 5),), (t(5, 2),), (t(0, 3),)], FLOATS + WHOLE),
    Case("cumsum", _cumulative),
    Case("cumprod", _cumulative, domain=(0.8, 1.2)),
    *(
        Case(name, lambda t: [(t(), 0), (t(3, 5), 1), (t(2, 5, 3), 1), (t(0, 3), 1), (t(4, 601), -1)])
        for name in ("softmax", "log_softmax")
    ),
    Case("mm", lambda t: _products(t, False)),
    Case("mmt", lambda t: _products(t, True)),
    Case(
        "addmm",
        lambda t: [
            (t(5), t(3, 4), t(4, 5)),
            (t(3, 5), t(3, 4), t(4, 5), 0.5, 2.0),
            (t(3000, 3), t(3000, 128), t(128, 3), 0.5, 2.0),
            (t(3, 5), t(3, 4), t(4, 5)),
        ],
        domain=(-1.0, 1.0),
    ),
    Case(
        "addmv",
        lambda t: [(t(3), t(3, 4), t(4)), (t(9000, 1)[:, 0], t(9000, 128), t(128)), (t(3), t(3, 4), t(4), 0.5, 2.0)],
        domain=(-1.0, 1.0),
    ),
    Case("linear", _linear),
    Case("triu", lambda t: [(t(4, 5),), (t(2, 3, 3), 1), (t(5, 3), -2), (t(0, 3), 9)], FLOATS + WHOLE),
    Case(
        "index_select",
        lambda t: [(t(3, 5), 0, _PLACES), (t(2, 4, 3), 1, _PLACES), (t(3), -1, _PLACES[:0])],
        FLOATS + WHOLE,
    ),
    Case(
        "index_add",
        lambda t: [(t(3, 5), 0, _PLACES, t(3, 5)), (t(2, 4, 3), 1, _PLACES, t(2, 3, 3)), (t(3), 0, _PLACES, t(3))],
        FLOATS + WHOLE,
    ),
    Case("embedding", lambda t: [(t(4, 3), torch.tensor([[2, 0], [3, 3]])), (t(4, 3), torch.tensor(1))]),
    Case("mse_loss", _loss),
    Case("cross_entropy", _class_loss),
    Case("nll_loss", _class_loss),
    Case("categorical_cross_entropy", _loss),
    Case(
        "sample",
        lambda t: [(t.shares(), 0, 3, 4), (t.shares(50, 4), 1, 1, 2), (t.shares(3, 4, 5), 1, 1, 2)],
        gradient=False,
    ),
    Case(
        "dropout_mask",
        lambda t: [
            (t(7, 9), 0.3, 1, 2),
            (t(7), 0.5, 1, 3, False),
            (t(5), 0.0, 1, 1),
            (t(5), 1.0, 1, 1),
            (t(0), 0.1, 1, 1),
        ],
        gradient=False,
    ),
    Case("equal", lambda t: [(t(3), t(3)), (torch.ones(3, dtype=t.dtype),) * 2, (t(3), t(4))], FLOATS + WHOLE, False),
]

# What changes its arguments and gives nothing: the tensors that change are compared.
IN_PLACE_ONLY = [
    Case("fill_", lambda t: [(t(3, 4), 7), (t(), 2), (t(0), 1)], FLOATS + WHOLE, False),
    Case("zero_", lambda t: [(t(3, 4),), (t(),)], FLOATS + WHOLE, False),
    Case("uniform_", lambda t: [(t(3, 7), -1.0, 2.0, 5, 6), (t(0), 0.0, 1.0, 1, 1)], FLOATS, False),
    Case("random_", lambda t: [(t(3, 7), -5, 20, 5, 6), (t(), 0, 2**31, 5, 6)], FLOATS + WHOLE, False),
    Case(
        "sgd_",
        lambda t: [
            (t(7, 3), t(7, 3), None, 0.1),
            (t(7, 3), t(7, 3), t(7, 3), 0.1, 0.9, 0.2, 0.01, False, True),
            (t(70000), t(70000), t(70000), 0.1, 0.9, 0.0, 0.01, True),
        ],
        gradient=False,
    ),
    Case(
        "rmsprop_",
        lambda t: [
            (t(7, 3), t(7, 3), t.positive(7, 3), None, 0.1),
            (t(500), t(500), t.positive(500), t(500), 0.1, 0.9, 1e-6, 0.01, 0.5),
        ],
        gradient=False,
    ),
    Case(
        "adam_",
        lambda t: [
            (t(7, 3), t(7, 3), t(7, 3), t.positive(7, 3), 1, 0.1),
            (t(500), t(500), t(500), t.positive(500), 30, 0.1, 0.8, 0.99, 1e-6, 0.01),
        ],
        gradient=False,
    ),
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, table in (("case", TABLE), ("in_place_only", IN_PLACE_ONLY)):
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, table, ids=lambda one: one.name)


@pytest.fixture
def untested() -> set[str]:
    """Operators without a row."""
    tested = {case.name for case in (*TABLE, *IN_PLACE_ONLY)}
    return {name for name in SCHEMAS if name not in GRADIENT_SCHEMAS and name.removesuffix("_") not in tested} - tested
