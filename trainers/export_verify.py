"""Whether an exported model does what the policy does: random inputs through both."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from mlagents_envs.base_env import BehaviorSpec, DimensionProperty
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from bridge.exceptions import InvalidModelError
from bridge.onnx_policy import OnnxPolicy
from trainers.export_graph import OPSET, signature

MEAN = "continuous_mean"  # names of inner values that the comparison looks at
LOGITS = "masked_logits_"
# Of the largest number. Rounding grows with what lies behind it: sums over thousands of pixels, and gates made of them.
TOLERANCE = 1e-4
MEMORY_TOLERANCE = 1e-3

Array = NDArray[Any]
Reference = Callable[[list[Array], Array | None, Array | None], tuple[Array | None, Array | None, Array | None]]


class ExportError(RuntimeError):
    """The exported model is not the policy."""


def verify_onnx(path: Path, behavior_spec: BehaviorSpec, reference: Reference, samples: int = 64) -> None:
    """Plays random observations through the file with onnxruntime and compares its deterministic actions, and what it
    remembers, with the policy's own. The same observations each time.

    Continuous actions must agree to 1e-4 times the largest mean (or 1, if that is larger): float32 rounding grows with
    the numbers it is made on. Discrete actions must be equal, or as good to that accuracy by the model's own logits.
    Memories must agree to 1e-3 times the largest (or 1).

    Args:
        path: file written by `export_onnx`.
        behavior_spec: what it was written for.
        reference: the policy. From observations `[samples, *shape]`, a mask `[samples, sum of branches]`, 1 where
            allowed (None without discrete actions), and memories `[samples, memory_size]` (None without a memory), to
            deterministic actions as the environment gets them, continuous `[samples, size]` in -1..1 or None, discrete
            `[samples, branches]` or None, and the memories after the step or None.
        samples: number of random observations.

    Raises ExportError, a RuntimeError, with the largest difference, if names, shapes, opset, actions or memories
    differ.
    """
    model = onnx.load(path)
    memory_size = _memory_size(model)
    _verify_interface(model, behavior_spec, memory_size, path)
    try:
        policy = OnnxPolicy(path)
        policy.check(behavior_spec)
    except InvalidModelError as error:  # the file is ours, so this is no mistake of the user's
        raise ExportError(f"the exported model does not load: {error}") from error
    for tensor in model.graph.initializer:
        if not np.isfinite(numpy_helper.to_array(tensor)).all():
            raise ExportError(f"{path}: {tensor.name} holds numbers that are none (nan) or infinite")
    random = np.random.default_rng(0)
    observations = _random_observations(random, model, behavior_spec, samples)
    allowed = _random_masks(random, behavior_spec.action_spec.discrete_branches, samples)
    memories = random.standard_normal((samples, memory_size)).astype(np.float32) if memory_size else None
    continuous, discrete, expected_memories = reference(observations, allowed, memories)
    actions, remembered = policy.act_with_memories(observations, allowed, True, memories)

    def inner_value(name: str) -> np.ndarray:
        return _inner_value(model, name, policy.feed(observations, allowed, memories))

    if behavior_spec.action_spec.continuous_size > 0:
        _compare_continuous(path, actions.continuous, np.asarray(continuous), inner_value)
    if behavior_spec.action_spec.discrete_size > 0:
        _compare_discrete(path, actions.discrete, np.asarray(discrete), inner_value)
    if remembered is not None:
        _compare_memories(path, remembered, np.asarray(expected_memories))


def _memory_size(model: onnx.ModelProto) -> int:
    """By the shape of what it remembers; the constant of the same name is checked when the model is loaded."""
    for tensor in model.graph.output:
        if tensor.name == "recurrent_out":
            return int(tensor.type.tensor_type.shape.dim[-1].dim_value)
    return 0


def _verify_interface(model: onnx.ModelProto, behavior_spec: BehaviorSpec, memory_size: int, path: Path) -> None:
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    if opsets != {"": OPSET}:
        raise ExportError(f"{path}: exported model has opset {opsets}, expected {OPSET}")
    found = list(model.graph.input), list(model.graph.output)
    for kind, there, wanted in zip(("inputs", "outputs"), found, signature(behavior_spec, memory_size), strict=True):
        if there != wanted:
            described = [", ".join(map(helper.printable_value_info, values)) for values in (there, wanted)]
            raise ExportError(f"{path}: exported model has {kind} {described[0]}; expected {described[1]}")


def _random_observations(
    random: np.random.Generator, model: onnx.ModelProto, behavior_spec: BehaviorSpec, samples: int
) -> list[np.ndarray]:
    """Like those of the training: vectors by the model's normaliser, pictures from 0 to 1, any number of entities."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    observations = []
    for index, spec in enumerate(behavior_spec.observation_specs):
        shape = (samples, *spec.shape)
        if DimensionProperty.VARIABLE_SIZE in spec.dimension_property:
            there = np.arange(spec.shape[0]) < random.integers(spec.shape[0] + 1, size=(samples, 1))
            there[0] = False  # none at all is the hardest to average
            values = random.standard_normal(shape) * there[:, :, None]
        elif len(spec.shape) == 3:
            values = random.random(shape)
        else:
            values = random.standard_normal((samples, int(np.prod(spec.shape))))
            if f"obs_{index}_mean" in constants:
                mean, std = (numpy_helper.to_array(constants[f"obs_{index}_{part}"]) for part in ("mean", "std"))
                values = mean + 3.0 * std * values  # some of it beyond the normaliser's limit of 5
        observations.append(values.astype(np.float32).reshape(shape))
    return observations


def _random_masks(random: np.random.Generator, branches: tuple[int, ...], samples: int) -> np.ndarray | None:
    """1 where allowed, `[samples, sum of branches]`; each branch is left an action. None without branches."""
    if not branches:
        return None
    masks = []
    for size in branches:
        mask = random.random((samples, size)) < 0.6
        mask[np.arange(samples), random.integers(size, size=samples)] = True
        masks.append(mask)
    return np.concatenate(masks, axis=1).astype(np.float32)


def _inner_value(model: onnx.ModelProto, name: str, feed: dict[str, np.ndarray]) -> np.ndarray:
    """A value inside of the graph, from a copy of the model that has it as an output. Only when actions differ."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([name], feed)[0])


def _compare_continuous(
    path: Path, found: np.ndarray, expected: np.ndarray, inner_value: Callable[[str], np.ndarray]
) -> None:
    _verify_shape(path, "continuous actions", found, expected)
    difference = np.abs(found - expected).max()
    if not difference <= TOLERANCE:  # written so that "not a number" goes on
        _verify_difference(
            path, "continuous actions", difference, TOLERANCE * max(1.0, np.abs(inner_value(MEAN)).max())
        )


def _compare_memories(path: Path, found: np.ndarray, expected: np.ndarray) -> None:
    _verify_shape(path, "memories", found, expected)
    tolerance = MEMORY_TOLERANCE * max(1.0, np.abs(expected).max())
    _verify_difference(path, "memories", np.abs(found - expected).max(), tolerance)


def _verify_difference(path: Path, what: str, difference: float, tolerance: float) -> None:
    if not difference <= tolerance < np.inf:  # written so that "not a number" fails too
        raise ExportError(
            f"{path}: {what} of the exported model differ from the policy's by up to {difference:.3g} "
            f"(allowed: {tolerance:.3g})"
        )


def _compare_discrete(
    path: Path, found: np.ndarray, expected: np.ndarray, inner_value: Callable[[str], np.ndarray]
) -> None:
    _verify_shape(path, "discrete actions", found, expected)
    for branch in np.flatnonzero((found != expected).any(axis=0)):
        logits = inner_value(f"{LOGITS}{branch}")
        chosen = np.take_along_axis(logits, expected[:, branch : branch + 1].astype(np.int64), axis=1)
        gap = (logits.max(axis=1, keepdims=True) - chosen).max()
        tolerance = TOLERANCE * max(1.0, np.abs(logits.max(axis=1)).max())
        if not gap <= tolerance < np.inf:
            raise ExportError(
                f"{path}: discrete actions of the exported model differ from the policy's in branch {branch}, by up to "
                f"{gap:.3g} in the logits (allowed: {tolerance:.3g})"
            )


def _verify_shape(path: Path, what: str, found: np.ndarray, expected: np.ndarray) -> None:
    if found.shape != expected.shape:
        raise ExportError(
            f"{path}: {what} of the exported model have shape {found.shape}, the policy's {expected.shape}"
        )
