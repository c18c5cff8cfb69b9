"""The ONNX model that Unity loads, written node by node: few operators, stable names, no exporter in between.

Names, shapes, types and constants are those of the official ML-Agents exporter, and so are opset and IR version.
Constants are initializers behind Identity nodes: Unity's loader looks them up by output name after folding such nodes.
"""

from collections.abc import Callable, Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from mlagents_envs.base_env import BehaviorSpec
from onnx import TensorProto, helper, numpy_helper

from bridge.exceptions import InvalidModelError
from bridge.onnx_policy import VERSION_NUMBER, OnnxPolicy

OPSET = 9
IR_VERSION = 4  # the first in which an initializer need not be an input as well: Unity refuses unknown inputs
_MEAN = "continuous_mean"  # names of inner values that the comparison looks at
_LOGITS = "masked_logits_"

Reference = Callable[[list[np.ndarray], np.ndarray | None], tuple[np.ndarray | None, np.ndarray | None]]


def actor_arrays(module: Any) -> dict[str, np.ndarray]:
    """The `actor.*` entries of a torch module's state_dict as numpy arrays (on the CPU they share its memory)."""
    state = module.state_dict().items()
    return {name: tensor.detach().cpu().numpy() for name, tensor in state if name.startswith("actor.")}


def export_onnx(actor_state: Mapping[str, np.ndarray], behavior_spec: BehaviorSpec, path: Path) -> None:
    """Writes the actor as an ONNX file for Unity.

    Args:
        actor_state: arrays named `actor.normalizers.<i>.{mean,variance_sum,steps}` (of normalised observations only),
            `actor.body.<k>.{weight,bias}`, `actor.continuous.{weight,bias}` with `actor.log_sigma`, and
            `actor.discrete.<b>.{weight,bias}`; weights are `[outputs, inputs]`.
        behavior_spec: sizes of observations and actions.
        path: the file. It is written in place: give a temporary name and rename it, so that nobody reads half a model.

    Raises KeyError for an array that is missing.
    """
    actions = behavior_spec.action_spec
    graph = _Graph(actor_state)
    graph.constant_output("version_number", [VERSION_NUMBER])
    graph.constant_output("memory_size", [0])
    hidden = _add_body(graph, behavior_spec)
    if actions.continuous_size > 0:
        _add_continuous_actions(graph, hidden)
        graph.constant_output("continuous_action_output_shape", [actions.continuous_size])
    if actions.discrete_size > 0:
        _add_discrete_actions(graph, hidden, actions.discrete_branches)
        graph.constant_output("discrete_action_output_shape", [actions.discrete_branches])
    inputs, outputs = _signature(behavior_spec)
    model = helper.make_model(
        helper.make_graph(graph.nodes, "policy", inputs, outputs, graph.initializers),
        producer_name="mlagents-bridge",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    path.write_bytes(model.SerializeToString())


class _Graph:
    """Nodes and initializers in the making; every method returns the name of the value it adds."""

    def __init__(self, state: Mapping[str, np.ndarray]) -> None:
        self.state = state
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        self.initializers.append(numpy_helper.from_array(np.array(values, dtype=np.float32), name))
        return name

    def constant_output(self, name: str, values: Any) -> str:
        return self.add("Identity", self.constant(f"{name}_value", values), output=name)

    def linear(self, layer: str, values: str, output: str) -> str:
        weight, bias = (self.constant(f"{layer}.{part}", self.state[f"{layer}.{part}"]) for part in ("weight", "bias"))
        return self.add("Gemm", values, weight, bias, output=output, transB=1)

    def join(self, pieces: list[str], output: str) -> str:
        if len(pieces) == 1:
            return self.add("Identity", *pieces, output=output)
        return self.add("Concat", *pieces, output=output, axis=1)


def _add_body(graph: _Graph, behavior_spec: BehaviorSpec) -> str:
    """Observations, flattened, normalised and joined, through the hidden layers."""
    pieces = []
    for index, observation in enumerate(behavior_spec.observation_specs):
        values = f"obs_{index}"
        if len(observation.shape) != 1:
            values = graph.add("Flatten", values, output=f"{values}_flat", axis=1)
        layer = f"actor.normalizers.{index}"
        if f"{layer}.mean" in graph.state:
            deviation = np.sqrt(graph.state[f"{layer}.variance_sum"] / graph.state[f"{layer}.steps"])
            mean = graph.constant(f"obs_{index}_mean", graph.state[f"{layer}.mean"])
            values = graph.add("Sub", values, mean, output=f"obs_{index}_centred")
            values = graph.add(
                "Div", values, graph.constant(f"obs_{index}_std", deviation), output=f"obs_{index}_scaled"
            )
            values = graph.add("Clip", values, output=f"obs_{index}_normalised", min=-5.0, max=5.0)
        pieces.append(values)
    hidden = graph.join(pieces, "observations")
    for layer in takewhile(lambda name: f"{name}.weight" in graph.state, (f"actor.body.{k}" for k in count())):
        hidden = graph.linear(layer, hidden, f"{layer}.linear")
        gate = graph.add("Sigmoid", hidden, output=f"{layer}.sigmoid")
        hidden = graph.add("Mul", hidden, gate, output=f"{layer}.swish")
    return hidden


def _add_continuous_actions(graph: _Graph, hidden: str) -> None:
    mean = graph.linear("actor.continuous", hidden, _MEAN)
    noise = graph.add("RandomNormalLike", mean, output="continuous_noise")
    sigma = graph.constant("continuous_sigma", np.exp(graph.state["actor.log_sigma"]))
    offset = graph.add("Mul", noise, sigma, output="continuous_offset")
    sample = graph.add("Add", mean, offset, output="continuous_sample")
    limit = graph.constant("continuous_limit", 3.0)
    for values, output in ((sample, "continuous_actions"), (mean, "deterministic_continuous_actions")):
        clipped = graph.add("Clip", values, output=f"{output}_clipped", min=-3.0, max=3.0)
        graph.add("Div", clipped, limit, output=output)


def _add_discrete_actions(graph: _Graph, hidden: str, branches: tuple[int, ...]) -> None:
    """One categorical distribution a branch. A forbidden action's logit becomes -1e8 and its probability exactly 0."""
    sampled, best, begin = [], [], 0
    one, penalty = graph.constant("one", 1.0), graph.constant("penalty", 1e8)
    for b, size in enumerate(branches):
        span = {"axes": [1], "starts": [begin], "ends": [begin + size]}
        begin += size
        logits = graph.linear(f"actor.discrete.{b}", hidden, f"logits_{b}")
        allowed = graph.add("Slice", "action_masks", output=f"allowed_{b}", **span)
        allowed_logits = graph.add("Mul", logits, allowed, output=f"allowed_logits_{b}")
        forbidden = graph.add("Sub", one, allowed, output=f"forbidden_{b}")
        penalties = graph.add("Mul", forbidden, penalty, output=f"penalties_{b}")
        masked = graph.add("Sub", allowed_logits, penalties, output=f"{_LOGITS}{b}")
        probabilities = graph.add("Softmax", masked, output=f"probabilities_{b}", axis=1)
        log_probs = graph.add("Log", probabilities, output=f"log_probs_{b}")
        draw = {"sample_size": 1, "dtype": TensorProto.INT64}
        sampled.append(graph.add("Multinomial", log_probs, output=f"sampled_action_{b}", **draw))
        best.append(graph.add("ArgMax", masked, output=f"best_action_{b}", axis=1, keepdims=1))
    graph.join(sampled, "discrete_actions")
    graph.join(best, "deterministic_discrete_actions")


def _signature(behavior_spec: BehaviorSpec) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """Inputs and outputs in ML-Agents' order."""

    def tensor(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, shape)

    actions = behavior_spec.action_spec
    inputs = [tensor(f"obs_{i}", "batch", *spec.shape) for i, spec in enumerate(behavior_spec.observation_specs)]
    outputs = [tensor("version_number", 1), tensor("memory_size", 1)]
    if actions.continuous_size > 0:
        outputs += [
            tensor("continuous_actions", "batch", actions.continuous_size),
            tensor("continuous_action_output_shape", 1),
            tensor("deterministic_continuous_actions", "batch", actions.continuous_size),
        ]
    if actions.discrete_size > 0:
        inputs.append(tensor("action_masks", "batch", sum(actions.discrete_branches)))
        outputs += [
            tensor("discrete_actions", "batch", actions.discrete_size, kind=TensorProto.INT64),
            tensor("discrete_action_output_shape", 1, actions.discrete_size),
            tensor("deterministic_discrete_actions", "batch", actions.discrete_size, kind=TensorProto.INT64),
        ]
    return inputs, outputs


def verify_onnx(path: Path, behavior_spec: BehaviorSpec, reference: Reference, samples: int = 64) -> None:
    """Plays random observations through the file with onnxruntime and compares its deterministic actions with the
    policy's own. The same observations each time.

    Continuous actions must agree to 1e-5 times the largest mean (or 1, if that is larger): float32 rounding grows with
    the numbers it is made on. Discrete actions must be equal, or as good to that accuracy by the model's own logits.

    Args:
        path: file written by `export_onnx`.
        behavior_spec: what it was written for.
        reference: the policy. From observations `[samples, *shape]` and a mask `[samples, sum of branches]`, 1 where
            allowed (None without discrete actions), to deterministic actions as the environment gets them: continuous
            `[samples, size]` in -1..1 or None, discrete `[samples, branches]` or None.
        samples: number of random observations.

    Raises RuntimeError, with the largest difference, if names, shapes, opset or actions differ.
    """
    model = onnx.load(path)
    _verify_interface(model, behavior_spec, path)
    try:
        policy = OnnxPolicy(path)
        policy.check(behavior_spec)
    except InvalidModelError as error:  # the file is ours, so this is no mistake of the user's
        raise RuntimeError(f"the exported model does not load: {error}") from error
    observations, allowed = _random_inputs(model, behavior_spec, samples)
    continuous, discrete = reference(observations, allowed)
    actions = policy.act(observations, allowed, deterministic=True)

    def inner_value(name: str) -> np.ndarray:
        return _inner_value(model, name, observations, allowed)

    if behavior_spec.action_spec.continuous_size > 0:
        _compare_continuous(path, actions.continuous, np.asarray(continuous), inner_value)
    if behavior_spec.action_spec.discrete_size > 0:
        _compare_discrete(path, actions.discrete, np.asarray(discrete), inner_value)


def _verify_interface(model: onnx.ModelProto, behavior_spec: BehaviorSpec, path: Path) -> None:
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    if opsets != {"": OPSET}:
        raise RuntimeError(f"{path}: exported model has opset {opsets}, expected {OPSET}")
    found = list(model.graph.input), list(model.graph.output)
    for kind, there, wanted in zip(("inputs", "outputs"), found, _signature(behavior_spec), strict=True):
        if there != wanted:
            described = [", ".join(map(helper.printable_value_info, values)) for values in (there, wanted)]
            raise RuntimeError(f"{path}: exported model has {kind} {described[0]}; expected {described[1]}")


def _random_inputs(
    model: onnx.ModelProto, behavior_spec: BehaviorSpec, samples: int
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Observations like those of the training, by the model's normaliser; masks that leave each branch an action."""
    random = np.random.default_rng(0)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    observations = []
    for index, spec in enumerate(behavior_spec.observation_specs):
        values = random.standard_normal((samples, int(np.prod(spec.shape))))
        if f"obs_{index}_mean" in constants:
            mean, std = (numpy_helper.to_array(constants[f"obs_{index}_{part}"]) for part in ("mean", "std"))
            values = mean + 3.0 * std * values  # some of it beyond the normaliser's limit of 5
        observations.append(values.astype(np.float32).reshape(samples, *spec.shape))
    branches = behavior_spec.action_spec.discrete_branches
    if not branches:
        return observations, None
    masks = []
    for size in branches:
        mask = random.random((samples, size)) < 0.6
        mask[np.arange(samples), random.integers(size, size=samples)] = True
        masks.append(mask)
    return observations, np.concatenate(masks, axis=1).astype(np.float32)


def _inner_value(
    model: onnx.ModelProto, name: str, observations: list[np.ndarray], allowed: np.ndarray | None
) -> np.ndarray:
    """A value inside of the graph, from a copy of the model that has it as an output. Only when actions differ."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.append(onnx.ValueInfoProto(name=name))
    feed = {f"obs_{index}": values for index, values in enumerate(observations)}
    if allowed is not None:
        feed["action_masks"] = allowed
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([name], feed)[0])


def _compare_continuous(
    path: Path, found: np.ndarray, expected: np.ndarray, inner_value: Callable[[str], np.ndarray]
) -> None:
    _verify_shape(path, "continuous", found, expected)
    difference = np.abs(found - expected).max()
    if difference <= 1e-5:
        return
    tolerance = 1e-5 * max(1.0, np.abs(inner_value(_MEAN)).max())
    if not difference <= tolerance < np.inf:  # written so that "not a number" fails too
        raise RuntimeError(
            f"{path}: continuous actions of the exported model differ from the policy's by up to {difference:.3g} "
            f"(allowed: {tolerance:.3g})"
        )


def _compare_discrete(
    path: Path, found: np.ndarray, expected: np.ndarray, inner_value: Callable[[str], np.ndarray]
) -> None:
    _verify_shape(path, "discrete", found, expected)
    for branch in np.flatnonzero((found != expected).any(axis=0)):
        logits = inner_value(f"{_LOGITS}{branch}")
        chosen = np.take_along_axis(logits, expected[:, branch : branch + 1].astype(np.int64), axis=1)
        gap = (logits.max(axis=1, keepdims=True) - chosen).max()
        tolerance = 1e-5 * max(1.0, np.abs(logits.max(axis=1)).max())
        if not gap <= tolerance < np.inf:
            raise RuntimeError(
                f"{path}: discrete actions of the exported model differ from the policy's in branch {branch}, by up to "
                f"{gap:.3g} in the logits (allowed: {tolerance:.3g})"
            )


def _verify_shape(path: Path, kind: str, found: np.ndarray, expected: np.ndarray) -> None:
    if found.shape != expected.shape:
        raise RuntimeError(
            f"{path}: {kind} actions of the exported model have shape {found.shape}, the policy's {expected.shape}"
        )
