"""What each operator is called and takes: `SCHEMAS`, name to the arguments as torch.library writes them.

The elementwise ones come from the table that C++ and CUDA compile, src/operators/elementwise_table.h: a row there is an
operator `name` and `name_` here (a binary row: `name_elem`, `name_scalar`, and both in place). Everything else is
written down below. Operators in place return nothing, which torch.compile asks for.
"""

import re
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).resolve().parents[1] / "src" / "operators" / "elementwise_table.h"


@dataclass(frozen=True)
class Row:
    """One operator of the elementwise table. Its gradients are expressions of x, z, y and g, none in other tables."""

    name: str
    number: int
    gradients: tuple[str, ...]

    def gradient_needs(self, argument: str, of: int = 0) -> bool:
        """Whether a gradient is an expression of "x", "z" or "y"."""
        return re.search(rf"\b{argument}\b", self.gradients[of]) is not None


@dataclass(frozen=True)
class Table:
    """The parts of the elementwise table: name to row."""

    unary: dict[str, Row]
    binary: dict[str, Row]
    relation: dict[str, Row]
    integer_unary: dict[str, Row]
    integer_binary: dict[str, Row]


def read_table(path: Path = TABLE) -> Table:
    """The elementwise table."""
    parts: dict[str, dict[str, Row]] = {}
    for block in path.read_text(encoding="utf-8").replace("\\\n", "").split("#define ")[1:]:
        part = block.partition("(")[0].removeprefix("OPENMINED_").lower()
        rows = [_arguments(text) for text in block.partition(")")[2].partition("\n")[0].split("ROW(")[1:]]
        parts[part] = {row[0]: Row(row[0], number, tuple(row[2:])) for number, row in enumerate(rows)}
    return Table(**parts)


def _arguments(text: str) -> list[str]:
    """What stands between the commas, up to the bracket that closes."""
    found, depth = [""], 0
    for sign in text:
        if sign == ")" and depth == 0:
            break
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign == "," and depth == 0:
            found.append("")
        else:
            found[-1] += sign
    return [" ".join(one.split()) for one in found]


ROWS = read_table()

# Rows that only other operators use.
INTERNAL_ROWS = ("squared_difference",)
BINARY = tuple(name for name in ROWS.binary if name not in INTERNAL_ROWS)

_REDUCTION = "(Tensor x, int? dim=None, bool keepdim=False) -> Tensor"
_DEVIATION = "(Tensor x, int? dim=None, bool keepdim=False, int correction=1) -> Tensor"
_LOSS = '(Tensor x, Tensor target, str reduction="mean") -> Tensor'

SCHEMAS: dict[str, str] = {
    **dict.fromkeys(ROWS.unary, "(Tensor x) -> Tensor"),
    "clamp": "(Tensor x, float? min=None, float? max=None) -> Tensor",
    **{f"{name}_elem": "(Tensor x, Tensor other) -> Tensor" for name in BINARY},
    **{f"{name}_scalar": "(Tensor x, Scalar other) -> Tensor" for name in BINARY},
    **dict.fromkeys(ROWS.relation, "(Tensor x, Tensor other) -> Tensor"),
    "equal": "(Tensor x, Tensor other) -> bool",
    # reductions, over one dimension or all
    **dict.fromkeys(("sum", "mean", "prod", "min", "max"), _REDUCTION),
    "var": _DEVIATION,
    "std": _DEVIATION,
    "norm": "(Tensor x, float p=2.0, int? dim=None, bool keepdim=False) -> Tensor",
    "trace": "(Tensor x) -> Tensor",
    "cumsum": "(Tensor x, int dim) -> Tensor",
    "cumprod": "(Tensor x, int dim) -> Tensor",
    "softmax": "(Tensor x, int dim) -> Tensor",
    "log_softmax": "(Tensor x, int dim) -> Tensor",
    # products
    "mm": "(Tensor x, Tensor other) -> Tensor",  # [n, k], [k, m] -> [n, m]
    "mmt": "(Tensor x, Tensor other) -> Tensor",  # [n, k], [m, k] -> [n, m]
    "addmm": "(Tensor x, Tensor left, Tensor right, float beta=1.0, float alpha=1.0) -> Tensor",
    "addmv": "(Tensor x, Tensor matrix, Tensor vector, float beta=1.0, float alpha=1.0) -> Tensor",
    # x [..., k], weight [m, k], bias [m] -> activation(x weight^T + bias) [..., m];
    # activation: none, relu, sigmoid, tanh or swish
    "linear": '(Tensor x, Tensor weight, Tensor? bias=None, str activation="none") -> Tensor',
    # places
    "triu": "(Tensor x, int diagonal=0) -> Tensor",
    "index_select": "(Tensor x, int dim, Tensor index) -> Tensor",
    "index_add": "(Tensor x, int dim, Tensor index, Tensor source) -> Tensor",
    "embedding": "(Tensor weight, Tensor index) -> Tensor",  # [rows, size], int64 [...] -> [..., size]
    # random numbers: of the seed and the call, the same on every machine
    "sample": "(Tensor probabilities, int dim, int seed, int call) -> Tensor",
    # of x's shape: 0 with this probability, else 1 / (1 - rate), or 1 with rescale=False
    "dropout_mask": "(Tensor x, float rate, int seed, int call, bool rescale=True) -> Tensor",
    # losses: x [..., classes]; target int64 [...] of classes, or of x's shape (probabilities, one-hot rows);
    # the mean is over the rows, for mse_loss over all numbers
    "mse_loss": _LOSS,
    "cross_entropy": _LOSS,
    "nll_loss": _LOSS,
    "categorical_cross_entropy": _LOSS,  # target of x's shape; x are probabilities
    # in place only
    "fill_": "(Tensor(a!) x, Scalar value) -> ()",
    "zero_": "(Tensor(a!) x) -> ()",
    "uniform_": "(Tensor(a!) x, float low, float high, int seed, int call) -> ()",
    "random_": "(Tensor(a!) x, int low, int high, int seed, int call) -> ()",  # whole numbers, low <= number < high
    # one step of an optimizer, in place, as torch.optim has it; `step` counts from 1, `first`: momentum is empty yet
    "sgd_": "(Tensor(a!) param, Tensor grad, Tensor(b!)? momentum_buffer, float lr, float momentum=0.0, "
    "float dampening=0.0, float weight_decay=0.0, bool nesterov=False, bool first=False) -> ()",
    "rmsprop_": "(Tensor(a!) param, Tensor grad, Tensor(b!) square_avg, Tensor(c!)? momentum_buffer, float lr, "
    "float alpha=0.99, float eps=1e-08, float weight_decay=0.0, float momentum=0.0) -> ()",
    "adam_": "(Tensor(a!) param, Tensor grad, Tensor(b!) exp_avg, Tensor(c!) exp_avg_sq, int step, float lr, "
    "float beta1=0.9, float beta2=0.999, float eps=1e-08, float weight_decay=0.0) -> ()",
}

# Those with a twin in place, which puts its result into x.
IN_PLACE = (
    *ROWS.unary,
    *(f"{name}_{form}" for name in BINARY for form in ("elem", "scalar")),
    *ROWS.relation,
    "addmm",
    "addmv",
    "triu",
    "index_add",
)
SCHEMAS |= {
    f"{name}_": SCHEMAS[name].replace("(Tensor x", "(Tensor(a!) x", 1).replace("-> Tensor", "-> ()")
    for name in IN_PLACE
}

# What the gradients need; raises if differentiated again. `row` is the place in the table, `of` 0: x, 1: the other one.
GRADIENT_SCHEMAS: dict[str, str] = {
    "unary_gradient": "(Tensor g, Tensor x, Tensor y, int row, float a=0.0, float b=0.0) -> Tensor",
    "binary_gradient": "(Tensor g, Tensor x, Tensor other, int row, int of) -> Tensor",
    # of prod, min, max, var, std, norm, cumsum, cumprod; number: the correction or p
    "reduction_gradient": "(Tensor g, Tensor x, Tensor y, str operator, int? dim, float number) -> Tensor",
    "softmax_gradient": "(Tensor g, Tensor y, int dim, bool logarithm) -> Tensor",
    # of x, weight and bias; empty where it is not wanted
    "linear_gradient": "(Tensor g, Tensor x, Tensor weight, Tensor? bias, Tensor y, str activation, "
    "bool[3] wanted) -> (Tensor, Tensor, Tensor)",
    # of the losses over rows; g [...], of rows
    "row_loss_gradient": "(Tensor g, Tensor x, Tensor target, str operator) -> Tensor",
    "row_loss_target_gradient": "(Tensor g, Tensor x, Tensor target, str operator) -> Tensor",
}
SCHEMAS |= GRADIENT_SCHEMAS
