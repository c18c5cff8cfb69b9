"""The ONNX model that Unity loads, written node by node: few operators, stable names, no exporter in between."""

from collections.abc import Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from mlagents_envs.base_env import BehaviorSpec
from onnx import TensorProto, helper

from bridge.onnx_policy import VERSION_NUMBER
from trainers.export_graph import Graph
from trainers.export_observations import add_observations
from trainers.export_verify import LOGITS, MEAN, ExportError, verify_onnx

__all__ = ["ExportError", "actor_arrays", "export_onnx", "verify_onnx"]

_MEMORY = "actor.memory"
_TORCH_GATES, _ONNX_GATES = "ifgo", "iofg"  # input, forget, cell (g) and output, in the order of the rows of a weight


def actor_arrays(module: Any) -> dict[str, np.ndarray]:
    """The `actor.*` entries of a torch module's state_dict as numpy arrays (on the CPU they share its memory)."""
    state = module.state_dict().items()
    return {name: tensor.detach().cpu().numpy() for name, tensor in state if name.startswith("actor.")}


def export_onnx(actor_state: Mapping[str, np.ndarray], behavior_spec: BehaviorSpec, path: Path) -> None:
    """Writes the actor as an ONNX file for Unity.

    Args:
        actor_state: arrays of the actor by name; weights of linear layers are `[outputs, inputs]`.
            `actor.normalizers.<i>.{mean,variance_sum,steps}`: of normalised vector observations only.
            `actor.encoders.<i>.layers.<k>.{weight,bias}` (resnet: `layers.<k>.first`, `.second`) with
            `actor.encoders.<i>.dense.{weight,bias}`: of pictures.
            `actor.attention.embeddings.<i>.{weight,bias}`: of variable-length observations; `query`, `key`, `value`
            and `output` beside it, and `own` where there are other observations.
            `actor.body.<k>.{weight,bias}`: the hidden layers.
            `actor.memory.{weight_ih_l0,weight_hh_l0,bias_ih_l0,bias_hh_l0}`: torch's LSTM behind them.
            `actor.continuous.{weight,bias}` with `actor.log_sigma`, and `actor.discrete.<b>.{weight,bias}`.
        behavior_spec: sizes of observations and actions.
        path: the file. It is written in place: give a temporary name and rename it, so that nobody reads half a model.

    Raises KeyError for an array that is missing.
    """
    actions = behavior_spec.action_spec
    memory_size = 2 * actor_state[f"{_MEMORY}.weight_hh_l0"].shape[1] if f"{_MEMORY}.weight_hh_l0" in actor_state else 0
    graph = Graph(actor_state)
    graph.constant_output("version_number", [VERSION_NUMBER])
    graph.constant_output("memory_size", [memory_size])
    hidden = _add_body(graph, add_observations(graph, behavior_spec))
    if memory_size > 0:
        hidden = _add_memory(graph, hidden, memory_size // 2)
    if actions.continuous_size > 0:
        _add_continuous_actions(graph, hidden)
        graph.constant_output("continuous_action_output_shape", [actions.continuous_size])
    if actions.discrete_size > 0:
        _add_discrete_actions(graph, hidden, actions.discrete_branches)
        graph.constant_output("discrete_action_output_shape", [actions.discrete_branches])
    path.write_bytes(graph.model(behavior_spec, memory_size).SerializeToString())


def _add_body(graph: Graph, hidden: str) -> str:
    for layer in takewhile(lambda name: f"{name}.weight" in graph.state, (f"actor.body.{k}" for k in count())):
        hidden = graph.swish(graph.linear(layer, hidden, f"{layer}.linear"), layer)
    return hidden


def _add_memory(graph: Graph, hidden: str, size: int) -> str:
    """One step of the LSTM: `[batch, size]` for the heads, and the output recurrent_out.

    A row of memory is the hidden state, then the cell's. ONNX's LSTM has the sequence first, here of one step.
    """

    def by_gate(name: str) -> np.ndarray:
        gates = dict(zip(_TORCH_GATES, np.split(graph.state[f"{_MEMORY}.{name}"], 4), strict=True))
        return np.concatenate([gates[gate] for gate in _ONNX_GATES])

    inputs = graph.state[f"{_MEMORY}.weight_ih_l0"].shape[1]
    step = graph.reshape(hidden, [1, -1, inputs], f"{_MEMORY}.step")
    remembered = graph.add("Transpose", "recurrent_in", output=f"{_MEMORY}.before", perm=[1, 0, 2])
    before = [
        graph.add("Slice", remembered, output=f"{_MEMORY}.{part}_before", axes=[2], starts=[start], ends=[start + size])
        for part, start in (("hidden", 0), ("cell", size))
    ]
    biases = np.concatenate([by_gate("bias_ih_l0"), by_gate("bias_hh_l0")])
    weights = [
        graph.constant(f"{_MEMORY}.inputs", by_gate("weight_ih_l0")[None]),
        graph.constant(f"{_MEMORY}.recurrence", by_gate("weight_hh_l0")[None]),
        graph.constant(f"{_MEMORY}.biases", biases[None]),
    ]
    outputs, *after = (f"{_MEMORY}.{part}_after" for part in ("outputs", "hidden", "cell"))
    no_lengths = ""  # every sequence is as long
    graph.nodes.append(
        helper.make_node(
            "LSTM", [step, *weights, no_lengths, *before], [outputs, *after], name=f"{_MEMORY}.lstm", hidden_size=size
        )
    )
    joined = graph.add("Concat", *after, output=f"{_MEMORY}.after", axis=2)
    graph.add("Transpose", joined, output="recurrent_out", perm=[1, 0, 2])
    return graph.reshape(outputs, [-1, size], f"{_MEMORY}.encoding")


def _add_continuous_actions(graph: Graph, hidden: str) -> None:
    mean = graph.linear("actor.continuous", hidden, MEAN)
    noise = graph.add("RandomNormalLike", mean, output="continuous_noise")
    sigma = graph.constant("continuous_sigma", np.exp(graph.state["actor.log_sigma"]))
    offset = graph.add("Mul", noise, sigma, output="continuous_offset")
    sample = graph.add("Add", mean, offset, output="continuous_sample")
    limit = graph.constant("continuous_limit", 3.0)
    for values, output in ((sample, "continuous_actions"), (mean, "deterministic_continuous_actions")):
        clipped = graph.add("Clip", values, output=f"{output}_clipped", min=-3.0, max=3.0)
        graph.add("Div", clipped, limit, output=output)


def _add_discrete_actions(graph: Graph, hidden: str, branches: tuple[int, ...]) -> None:
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
        masked = graph.add("Sub", allowed_logits, penalties, output=f"{LOGITS}{b}")
        probabilities = graph.add("Softmax", masked, output=f"probabilities_{b}", axis=1)
        log_probs = graph.add("Log", probabilities, output=f"log_probs_{b}")
        draw = {"sample_size": 1, "dtype": TensorProto.INT64}
        sampled.append(graph.add("Multinomial", log_probs, output=f"sampled_action_{b}", **draw))
        best.append(graph.add("ArgMax", masked, output=f"best_action_{b}", axis=1, keepdims=1))
    graph.join(sampled, "discrete_actions")
    graph.join(best, "deterministic_discrete_actions")
