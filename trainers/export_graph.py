"""An ONNX graph in the making: nodes, initializers, and the layers that several networks have.

Names, shapes, types and constants are those of the official ML-Agents exporter, and so are opset and IR version.
Constants are initializers behind Identity nodes: Unity's loader looks them up by output name after folding such nodes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from mlagents_envs.base_env import BehaviorSpec
from onnx import TensorProto, helper, numpy_helper

OPSET = 9
IR_VERSION = 4  # the first in which an initializer need not be an input as well: Unity refuses unknown inputs


class Graph:
    """Nodes and initializers in the making; every method returns the name of the value it adds.

    `state` holds the arrays of the network by their names; a layer is named without its `.weight` and `.bias`.
    """

    def __init__(self, state: Mapping[str, np.ndarray]) -> None:
        self.state = state
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, output: str, **attributes: Any) -> str:
        """A node with one output."""
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """An initializer."""
        self.initializers.append(numpy_helper.from_array(np.array(values, dtype=dtype), name))
        return name

    def constant_output(self, name: str, values: Any) -> str:
        """An output of the model that is always the same."""
        return self.add("Identity", self.constant(f"{name}_value", values), output=name)

    def parameters(self, layer: str) -> list[str]:
        """Weight and bias of a layer as they are."""
        return [self.constant(f"{layer}.{part}", self.state[f"{layer}.{part}"]) for part in ("weight", "bias")]

    def linear(self, layer: str, values: str, output: str) -> str:
        """A linear layer on `[batch, inputs]`."""
        return self.add("Gemm", values, *self.parameters(layer), output=output, transB=1)

    def linear_of_each(self, layer: str, values: str, output: str) -> str:
        """A linear layer on `[batch, entities, inputs]`, which Gemm does not take."""
        weight = self.constant(f"{layer}.weight", self.state[f"{layer}.weight"].T)
        bias = self.constant(f"{layer}.bias", self.state[f"{layer}.bias"])
        return self.add("Add", self.add("MatMul", values, weight, output=f"{output}_product"), bias, output=output)

    def swish(self, values: str, name: str) -> str:
        """`x * sigmoid(x)`; the nodes are `name.sigmoid` and `name.swish`."""
        return self.add("Mul", values, self.add("Sigmoid", values, output=f"{name}.sigmoid"), output=f"{name}.swish")

    def reshape(self, values: str, shape: Sequence[int], output: str) -> str:
        """-1 in `shape` is what remains."""
        return self.add("Reshape", values, self.constant(f"{output}_shape", shape, np.int64), output=output)

    def join(self, pieces: list[str], output: str) -> str:
        """Values side by side, along axis 1."""
        if len(pieces) == 1:
            return self.add("Identity", *pieces, output=output)
        return self.add("Concat", *pieces, output=output, axis=1)

    def model(self, behavior_spec: BehaviorSpec, memory_size: int) -> onnx.ModelProto:
        """The whole, with the inputs and outputs that Unity looks for."""
        inputs, outputs = signature(behavior_spec, memory_size)
        return helper.make_model(
            helper.make_graph(self.nodes, "policy", inputs, outputs, self.initializers),
            producer_name="mlagents-bridge",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )


def signature(
    behavior_spec: BehaviorSpec, memory_size: int
) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
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
    if memory_size > 0:
        inputs.append(tensor("recurrent_in", "batch", 1, memory_size))
        outputs.append(tensor("recurrent_out", "batch", 1, memory_size))
    return inputs, outputs
