"""Every operator of the table on CUDA beside its reference in torch: strides, broadcasting, empty and 0-d tensors."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.kernels.cuda.operators import implementations
from trainers.kernels.cuda.register import register
from trainers.kernels.operators import REFERENCES, SCHEMAS, implementation
from trainers.kernels.operators.schemas import BINARY, IN_PLACE, ROWS

Arguments = tuple[Any, ...]
TORCHS_OWN = {"mm", "mmt", "addmm", "addmv", "addmm_", "addmv_", "fill_", "zero_"}
LEGS = {torch.float32: (1e-5, 2e-6), torch.float64: (1e-11, 1e-13), torch.int32: (0, 0), torch.int64: (0, 0)}
DOMAINS = {"acos": (-0.95, 0.95), "asin": (-0.95, 0.95), "log1p": (-0.9, 3.0), "tan": (-1.4, 1.4)} | dict.fromkeys(
    ("sqrt", "rsqrt", "log", "reciprocal"), (0.05, 3.0)
)


class Maker:
    """Made-up tensors of one type."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._generator = torch.Generator().manual_seed(5)

    def __call__(self, *shape: int, low: float = -3.0, high: float = 3.0) -> Tensor:
        drawn = torch.rand(shape, generator=self._generator, dtype=torch.float64) * (high - low) + low
        return drawn.to(self.dtype) if self.dtype.is_floating_point else drawn.mul(3).round().to(self.dtype)

    def index(self, below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=self._generator)

    def forms(self, low: float = -3.0, high: float = 3.0) -> Iterator[Tensor]:
        """Dense, strided, empty, 0-d, long, and of more dimensions than a kernel takes."""
        yield self(7, 5, low=low, high=high)
        yield self(5, 7, low=low, high=high).t()
        yield self(3, 8, 5, low=low, high=high)[:, ::3, 1:]
        yield self(0, 3, low=low, high=high)
        yield self(low=low, high=high)
        yield self(3001, low=low, high=high)
        yield self(*[3] * 9, low=low, high=high)[(slice(None, None, 2),) * 9]


def elementwise_cases(name: str, make: Maker) -> Iterator[Arguments]:
    base = name.removesuffix("_")
    if base in ROWS.unary:
        for x in make.forms(*DOMAINS.get(base, (-3.0, 3.0))):
            yield from [(x, -1.0, 0.5), (x, None, 0.5), (x, 0.25), (x,)] if base == "clamp" else [(x,)]
        return
    if base in ROWS.relation:
        yield from [(make(7, 5).round(), make(5).round()), (make(7, 5), make(7, 5))]
        return
    row, form = base.rsplit("_", 1)
    low, tiny = (0.1, 0.2) if row == "pow" else (-3.0, 0.3)
    for x in make.forms(low, 3.0):
        if form == "scalar":
            yield from [(x, 2), (x, 3)] if not make.dtype.is_floating_point else [(x, 1.5), (x, 2), (x, -0.75)]
        else:
            yield x, make(*x.shape, low=tiny, high=3.0)
            yield x, make(low=tiny, high=3.0)
    if form == "elem":
        yield make(6, 1, 4, low=low), make(5, 1, low=tiny) if not name.endswith("_") else make(4, low=tiny)
        square = make(4, 4, low=0.2)
        yield square, square.t()


def line_cases(name: str, make: Maker) -> Iterator[Arguments]:
    long = make(2, 3000, low=-1.0)
    for x in (make(4, 6, 5), make(5, 4, 6).permute(1, 2, 0), make(3, 40, 2), make(1, 1), long):
        for dim in range(-1, x.dim()):
            if name in ("softmax", "log_softmax", "cumsum", "cumprod"):
                yield x / (2 if make.dtype.is_floating_point else 1), dim
            elif name == "norm":
                yield from ((x, p, dim, True) for p in (2.0, 1.0, 0.0, 3.0, float("inf")))
            else:
                yield x, dim
                yield x, dim, True
    yield make(), 0
    if name not in ("softmax", "log_softmax", "cumsum", "cumprod", "norm"):
        yield make(0, 4), 1
        yield (make(4, 6),)
        if name != "prod":
            yield (make(200_003),)


def loss_cases(name: str, make: Maker) -> Iterator[Arguments]:
    for shape in ((6, 5), (2, 3, 1), (5,), (100, 5), (3, 1500)):
        x, numbers = make(*shape), make(*shape, low=0.0)
        if name == "categorical_cross_entropy":
            yield x.abs() + 0.1, numbers * (numbers > 0.5), "sum"
            continue
        for reduction in ("mean", "sum", "none"):
            yield x, numbers, reduction
            if name != "mse_loss":
                yield x, make.index(shape[-1], *shape[:-1]), reduction


def step_cases(name: str, make: Maker) -> Iterator[Arguments]:
    for shape in ((70,), (6, 5), ()):
        for strided in (False, True):
            keep = [make(*shape).t() if strided and len(shape) == 2 else make(*shape) for _ in range(4)]
            param, grad, first, second = keep
            second = second.abs()
            if name == "sgd_":
                yield param, grad, None, 0.1, 0.0, 0.0, 0.01
                yield param, grad, first, 0.1, 0.9, 0.2, 0.0, False, True
                yield param, grad, first, 0.1, 0.9, 0.0, 0.01, True, False
            elif name == "rmsprop_":
                yield param, grad, second, None, 0.1
                yield param, grad, second, first, 0.1, 0.95, 1e-7, 0.01, 0.9
            else:
                yield param, grad, first, second, 1, 0.1
                yield param, grad, first, second, 7, 0.1, 0.8, 0.99, 1e-7, 0.02


def gradient_cases(name: str, make: Maker) -> Iterator[Arguments]:
    if name == "unary_gradient":
        for row in ROWS.unary.values():
            x = make(7, 5, low=0.1, high=0.9).t()
            y = REFERENCES[row.name](x) if row.name != "clamp" else x
            yield make(5, 7), x, y, row.number, *((0.2, 0.6) if row.name == "clamp" else ())
    elif name == "binary_gradient":
        for row in ROWS.binary.values():
            for of in (0, 1):
                yield make(6, 5), make(5, low=0.2), make(6, 1, low=0.2), row.number, of
    elif name == "reduction_gradient":
        numbers = {"var": (1.0, 0.0), "std": (1.0,), "norm": (2.0, 1.0, 0.0, 3.0, float("inf"))}
        for operator in ("prod", "min", "max", "var", "std", "norm", "cumsum", "cumprod"):
            for x, dim in ((make(4, 6, 5), 1), (make(3, 7).t(), -1), (make(5, 300), 1), (make(4, 3), None)):
                running = operator in ("cumsum", "cumprod")
                if running and dim is None:
                    continue
                for number in numbers.get(operator, (0.0,)):
                    more = (number, dim) if operator == "norm" else (dim,)
                    x[tuple(0 for _ in x.shape)] = 0.0
                    y = REFERENCES[operator](x, *more, *((False, 0) if number == 0 and operator == "var" else ()))
                    yield make(*y.shape), x, y, operator, dim, number
    elif name == "softmax_gradient":
        for x, dim in ((make(4, 6, 5), 1), (make(3, 1500), -1), (make(5, 4).t(), 0), (make(), 0)):
            yield make(*x.shape), torch.softmax(x, dim), dim, False
            yield make(*x.shape), torch.log_softmax(x, dim), dim, True
    elif name == "linear_gradient":
        for activation in ("none", "relu", "sigmoid", "tanh", "swish"):
            x, weight, bias = make(3, 2, 4), make(6, 4), make(6)
            y = REFERENCES["linear"](x, weight, bias, activation)
            yield make(3, 2, 6), x, weight, bias, y, activation, [True, True, True]
            yield make(3, 2, 6), x, weight, None, y, "none", [True, False, False]
    else:
        for operator in ("cross_entropy", "nll_loss", "categorical_cross_entropy"):
            for size in (5, 1500):
                x, numbers = make(3, 4, size, low=0.1), make(3, 4, size, low=0.0)
                yield make(3, 4), x, numbers * (numbers > 0.5), operator
                if name == "row_loss_gradient" and operator != "categorical_cross_entropy":
                    yield make(3, 4), x, make.index(size, 3, 4), operator


def other_cases(name: str, make: Maker) -> Iterator[Arguments]:
    base = name.removesuffix("_")
    if base == "equal":
        x = make(4, 5)
        yield from [(x, x.clone()), (x, x + 1), (x, x[:3]), (x[:0], x[:0])]
    elif base == "trace":
        yield from [(make(5, 5),), (make(4, 7).t(),), (make(0, 3),)]
    elif base == "linear":
        for activation in ("none", "relu", "sigmoid", "tanh", "swish"):
            yield make(3, 2, 4), make(6, 4), make(6), activation
            yield make(4), make(4, 6).t(), None, activation
        yield make(0, 4), make(6, 4), make(6)
    elif base == "triu":
        yield from [(make(5, 4), diagonal) for diagonal in (-2, 0, 1)]
        yield (make(2, 3, 4, 5).transpose(1, 2),)
        yield (make(0, 4),)
    elif base == "index_select":
        yield from [(make(4, 6, 5), dim, make.index(4, 7)) for dim in (0, 1, -1)]
        yield from [
            (make(5, 4).t(), 0, make.index(4, 0)),
            (make(), 0, torch.tensor([0])),
            (make(6), 0, make.index(6, 9)),
        ]
    elif base == "index_add":
        yield make(4, 6, 5), 1, make.index(6, 7), make(4, 7, 5)
        yield make(6, 4).t(), 0, make.index(4, 300), make(300, 6)
        yield make(), 0, torch.tensor([0]), make()
    elif base == "embedding":
        yield from [(make(9, 4), make.index(9, 2, 3)), (make(9, 4), make.index(9))]
    elif base == "sample":
        for shape, dim in (((500, 7), 1), ((4, 6, 5), 1), ((6,), 0), ((), 0), ((0, 3), 1)):
            x = make(*shape, low=0.0)
            yield x * (x > 1.0), dim, 2**40, 3
    elif base == "dropout_mask":
        yield from [(make(50, 7), 0.3, 11, 2), (make(7, 50).t(), 0.3, 11, 2, False), (make(9), 1.0, 1, 1)]
    elif base == "uniform":
        yield from [(make(50, 7), -2.0, 5.0, 11, 2), (make(7, 50).t(), 0.0, 1.0, 11, 2), (make(0), 0.0, 1.0, 1, 1)]
    else:
        assert base == "random"
        yield from [(make(50, 7), -20, 30, 11, 2), (make(7, 50).t(), 0, 2**31, 11, 2)]


def cases(name: str, make: Maker) -> Iterator[Arguments]:
    base = name.removesuffix("_")
    if base in ROWS.unary or base in ROWS.relation or base.rsplit("_", 1)[0] in BINARY:
        return elementwise_cases(name, make)
    if name.endswith(("_loss", "_entropy")):
        return loss_cases(name, make)
    if name in ("sgd_", "rmsprop_", "adam_"):
        return step_cases(name, make)
    if name.endswith("_gradient"):
        return gradient_cases(name, make)
    reductions = ("sum", "mean", "prod", "min", "max", "var", "std", "norm")
    if name in (*reductions, "cumsum", "cumprod", "softmax", "log_softmax"):
        return line_cases(name, make)
    return other_cases(name, make)


WHOLE = [f"{name}_{form}{end}" for name in BINARY for form in ("elem", "scalar") for end in ("", "_") if name != "div"]
WHOLE += ["abs", "abs_", "neg", "neg_", "sign", "sin", "sqrt", "eq", "eq_", "lt", "lt_", "equal", "trace", "triu"]
WHOLE += ["sum", "prod", "min", "max", "cumsum", "cumprod", "index_select", "index_add", "random_"]
TABLE = [(name, dtype) for name in SCHEMAS for dtype in (torch.float32, torch.float64) if name not in TORCHS_OWN]
TABLE += [(name, dtype) for name in WHOLE for dtype in (torch.int32, torch.int64)]


def on_device(arguments: Arguments, device: torch.device) -> list[Any]:
    """A copy of the arguments there, with the same strides; those that share memory do so there as well."""
    lots: dict[Any, Tensor] = {}

    def there(argument: Any) -> Any:
        if not isinstance(argument, Tensor):
            return argument
        storage = argument.untyped_storage()
        key = (storage.data_ptr(), argument.dtype)
        if key not in lots:
            lots[key] = torch.empty(0, dtype=argument.dtype).set_(storage).clone().to(device)
        lot = lots[key]
        return lot.as_strided(argument.shape, argument.stride(), argument.storage_offset())

    return [there(argument) for argument in arguments]


@pytest.fixture(params=["emulation", pytest.param("gpu", marks=pytest.mark.gpu)], scope="module")
def ours(request: pytest.FixtureRequest) -> tuple[dict[str, Callable[..., Any]], torch.device]:
    """The operators, and the device that they are for."""
    if request.param == "emulation":
        library, device = request.getfixturevalue("emulation_library"), torch.device("cpu")
    else:
        found = request.getfixturevalue("gpu_target")
        library, device = found.library, found.device
    return {name: implementation(name, one) for name, one in implementations(library).items()}, device


def compare(name: str, function: Callable[..., Any], arguments: Arguments, device: torch.device) -> None:
    theirs, mine = on_device(arguments, torch.device("cpu")), on_device(arguments, device)
    expected = implementation(name, REFERENCES[name])(*theirs)
    found = function(*mine)
    if name.endswith("_") or expected is None:
        expected = [one for one in theirs if isinstance(one, Tensor)]
        found = [one for one in mine if isinstance(one, Tensor)]
    elif isinstance(expected, Tensor):
        assert found.is_contiguous() and found.device.type == device.type
        expected, found = [expected], [found]
    elif not isinstance(expected, tuple):
        assert found == expected
        return
    for one, other in zip(found, expected, strict=True):
        rtol, atol = LEGS.get(other.dtype, (0, 0))
        scale = (
            1.0
            if not other.dtype.is_floating_point or not other.numel()
            else max(1.0, float(other.abs().nan_to_num(posinf=1.0).max()))
        )
        torch.testing.assert_close(one.cpu(), other, rtol=rtol, atol=atol * scale, equal_nan=True)


@pytest.mark.parametrize("name, dtype", TABLE, ids=[f"{name}-{str(dtype)[6:]}" for name, dtype in TABLE])
def test_is_like_the_reference(ours: Any, name: str, dtype: torch.dtype) -> None:
    functions, device = ours
    count = 0
    for arguments in cases(name, Maker(dtype)):
        try:
            compare(name, functions[name], arguments, device)
        except AssertionError as error:
            shown = [one.shape if isinstance(one, Tensor) else one for one in arguments]
            raise AssertionError(f"{name}{shown}: {error}") from error
        count += 1
    assert count


def test_all_operators_are_there(ours: Any) -> None:
    assert set(ours[0]) == set(SCHEMAS) - TORCHS_OWN
    assert set(IN_PLACE) <= {name.removesuffix("_") for name in SCHEMAS if name.endswith("_")}


def test_torch_finds_them_for_tensors_on_gpus() -> None:
    """Registering needs no GPU; where there is one it has happened already."""
    to = torch.library.Library("openmined", "FRAGMENT")
    if not torch.cuda.is_available():
        register(to)
    for name in SCHEMAS:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"openmined::{name}", "CUDA"), name
    to._destroy()


SPECIAL = [0.0, -0.0, 1e-42, -1e-42, 1e-38, 3e38, -3e38, 88.8, -104.0, float("inf"), float("-inf"), float("nan")]


@pytest.mark.parametrize("name", ROWS.unary)
def test_special_numbers(ours: Any, name: str) -> None:
    x = torch.tensor(SPECIAL)
    functions, device = ours
    found, expected = functions[name](x.to(device)).cpu(), REFERENCES[name](x)
    far = x.abs() > 1e30 if name in ("sin", "cos", "tan") else torch.zeros_like(x, dtype=torch.bool)
    torch.testing.assert_close(found[~far], expected[~far], rtol=1e-5, atol=1e-44, equal_nan=True)


def test_wrong_arguments_are_told_by_name(ours: Any) -> None:
    functions, device = ours
    x = torch.ones(3, 4, device=device)
    index = torch.tensor([0, 4], device=device)
    with pytest.raises(IndexError, match=r"openmined::index_select: index: expected 0 to 3, got 4"):
        functions["index_select"](x, 1, index)
    with pytest.raises(IndexError, match=r"openmined::cross_entropy: target: expected 0 to 3, got -1"):
        functions["cross_entropy"](x, torch.tensor([0, -1, 3], device=device))
    with pytest.raises(ValueError, match=r"openmined::add_elem: other: expected a shape that broadcasts with"):
        functions["add_elem"](x, torch.ones(3, device=device))
    with pytest.raises(TypeError, match=r"openmined::softmax: x: expected float32 or float64, got float16"):
        functions["softmax"](x.half(), 1)
