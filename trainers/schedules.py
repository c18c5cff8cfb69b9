"""How learning rate, epsilon and beta change while training goes on."""

from typing import Literal

Schedule = Literal["linear", "constant"]

LEARNING_RATE_MINIMUM = 1e-10
EPSILON_MINIMUM = 0.1
BETA_MINIMUM = 1e-5


def schedule_value(kind: Schedule, initial: float, minimum: float, step: int, max_steps: int) -> float:
    """The value at `step` agent steps of `max_steps`, as ML-Agents computes it.

    `linear`: `(initial - minimum) * (1 - step / max_steps) + minimum`, from `initial` at step 0 to `minimum` at
    `max_steps` and after it. An `initial` below `minimum` therefore rises. `constant`: `initial`.
    """
    if kind == "constant":
        return initial
    if kind != "linear":
        raise ValueError(f"unknown schedule {kind!r}: expected 'linear' or 'constant'")
    remaining = 1.0 - min(step, max_steps) / max_steps
    return (initial - minimum) * remaining + minimum
