"""What is done to learning curves before they are drawn: smoothed, and several seeds taken together."""

from collections.abc import Sequence

import numpy as np

Curve = tuple[np.ndarray, np.ndarray]  # steps [points] in agent decisions, values [points]


def smooth(curve: Curve, weight: float) -> Curve:
    """TensorBoard's smoothing: each value is a mean of those before it, whose weights fall by `weight`, 0 to 1."""
    steps, values = curve
    if not weight:
        return curve
    smoothed, total, weights = np.empty(len(values)), 0.0, 0.0
    for index, value in enumerate(values):
        if np.isfinite(value):
            total, weights = weight * total + value, weight * weights + 1.0
        smoothed[index] = total / weights if weights else np.nan
    return steps, smoothed


def together(curves: Sequence[Curve]) -> tuple[Curve, np.ndarray, np.ndarray]:
    """The median of curves, and their lowest and highest values [points], at every step of each that all of them reach.

    Between its points a curve is a straight line. Raises ValueError where they have no step in common.
    """
    first, last = max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves)
    steps = np.unique(np.concatenate([steps for steps, _ in curves]))
    steps = steps[(first <= steps) & (steps <= last)]
    if not len(steps):
        raise ValueError("they have no steps in common")
    values = np.stack([np.interp(steps, *curve) for curve in curves])
    return (steps, np.median(values, axis=0)), values.min(axis=0), values.max(axis=0)
