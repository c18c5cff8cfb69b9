"""Observations in an ONNX graph: vectors, pictures and entities to what the body of the network takes.

Which kind an observation is, and which encoder a picture has, is read from the names and shapes of the arrays.
"""

import re

import numpy as np
from mlagents_envs.base_env import BehaviorSpec

from trainers.attention import ABSENT, EMBEDDING, HEADS, LEAST_SQUARE, NONE_PRESENT
from trainers.encoders import channels_last
from trainers.export_graph import Graph

_STEPS = {8: 4, 4: 2, 3: 1}  # of ML-Agents' filters without padding, by their side
_LAYER_NORM_EPSILON = 1e-5


def add_observations(graph: Graph, behavior_spec: BehaviorSpec) -> str:
    """All observations side by side, `[batch, inputs of the body]`: vectors and pictures, then the attention."""
    pieces, entities = [], {}
    for index, observation in enumerate(behavior_spec.observation_specs):
        values = f"obs_{index}"
        if f"actor.attention.embeddings.{index}.weight" in graph.state:
            entities[index] = int(observation.shape[0])
        elif f"actor.encoders.{index}.dense.weight" in graph.state:
            if channels_last(observation):
                values = graph.add("Transpose", values, output=f"{values}_channels_first", perm=[0, 3, 1, 2])
            pieces.append(_add_picture(graph, f"actor.encoders.{index}", values))
        else:
            if len(observation.shape) != 1:
                values = graph.add("Flatten", values, output=f"{values}_flat", axis=1)
            pieces.append(_add_vector(graph, index, values))
    if not entities:
        return graph.join(pieces, "observations")
    own = graph.join(pieces, "own") if pieces else None
    attention = _add_attention(graph, entities, own)
    return graph.join([attention] if own is None else [own, attention], "observations")


def _add_vector(graph: Graph, index: int, values: str) -> str:
    """Normalised, if the network does that."""
    layer = f"actor.normalizers.{index}"
    if f"{layer}.mean" not in graph.state:
        return values
    deviation = np.sqrt(graph.state[f"{layer}.variance_sum"] / graph.state[f"{layer}.steps"])
    mean = graph.constant(f"obs_{index}_mean", graph.state[f"{layer}.mean"])
    values = graph.add("Sub", values, mean, output=f"obs_{index}_centred")
    values = graph.add("Div", values, graph.constant(f"obs_{index}_std", deviation), output=f"obs_{index}_scaled")
    return graph.add("Clip", values, output=f"obs_{index}_normalised", min=-5.0, max=5.0)


def _add_picture(graph: Graph, encoder: str, values: str) -> str:
    """`[batch, channels, height, width]` to `[batch, hidden units]`."""
    layers = sorted(
        {int(name[1]) for name in map(re.compile(rf"{encoder}\.layers\.(\d+)\.").match, graph.state) if name}
    )
    residual = any(f"{encoder}.layers.{k}.first.weight" in graph.state for k in layers)
    for k in layers:
        layer = f"{encoder}.layers.{k}"
        if f"{layer}.first.weight" in graph.state:
            values = _add_residual_block(graph, layer, values)
        elif residual:
            values = _add_filters(graph, layer, values, padding=1)
            values = graph.add("MaxPool", values, output=f"{layer}.pooled", kernel_shape=[3, 3], strides=[2, 2])
        else:
            values = graph.add("LeakyRelu", _add_filters(graph, layer, values), output=f"{layer}.leaky", alpha=0.01)
    if residual:
        values = graph.swish(values, f"{encoder}.layers")
    values = graph.add("Flatten", values, output=f"{encoder}.flat", axis=1)
    values = graph.linear(f"{encoder}.dense", values, f"{encoder}.dense.linear")
    if residual:
        return graph.add("Relu", values, output=f"{encoder}.encoding")
    return graph.add("LeakyRelu", values, output=f"{encoder}.encoding", alpha=0.01)


def _add_residual_block(graph: Graph, block: str, values: str) -> str:
    inner = values
    for layer in (f"{block}.first", f"{block}.second"):
        inner = _add_filters(graph, layer, graph.swish(inner, layer), padding=1)
    return graph.add("Add", values, inner, output=f"{block}.sum")


def _add_filters(graph: Graph, layer: str, values: str, padding: int = 0) -> str:
    height, width = graph.state[f"{layer}.weight"].shape[2:]
    return graph.add(
        "Conv",
        values,
        *graph.parameters(layer),
        output=f"{layer}.filtered",
        kernel_shape=[height, width],
        strides=[1 if padding else _STEPS[height]] * 2,
        pads=[padding] * 4,
    )


def _add_attention(graph: Graph, entities: dict[int, int], own: str | None) -> str:
    """`[batch, 128]`: residual self-attention over all entities, with the means of those that are there.

    `entities`: how many an observation has at most, by its index. `own`: the encodings of all other observations.
    """
    name, number = "actor.attention", sum(entities.values())
    if own is not None:
        own = graph.swish(graph.linear(f"{name}.own", own, f"{name}.own.linear"), f"{name}.own")
    embedded = graph.join([_add_embedding(graph, index, own) for index in entities], f"{name}.embedded")
    embedded = _add_layer_norm(graph, embedded, f"{name}.embedded_norm")
    absent = graph.join([_add_absence(graph, index) for index in entities], f"{name}.absent")
    present = graph.add("Sub", graph.constant(f"{name}.one", 1.0), absent, output=f"{name}.present")

    query, key, value = (_add_heads(graph, f"{name}.{part}", embedded, number) for part in ("query", "key", "value"))
    # The scale stands between the two transpositions of the keys, which importers would else put together to one that
    # Unity's engines do not take.
    scale = graph.constant(f"{name}.scale", EMBEDDING**-0.5)
    key = graph.add("Mul", key, scale, output=f"{name}.key_scaled")
    key = graph.add("Transpose", key, output=f"{name}.key_turned", perm=[0, 1, 3, 2])
    scores = graph.add("MatMul", query, key, output=f"{name}.scores")
    scores = graph.add(
        "Mul", scores, graph.reshape(present, [-1, 1, 1, number], f"{name}.counted"), output=f"{name}.scores_present"
    )
    penalty = graph.add("Mul", absent, graph.constant(f"{name}.absent_score", ABSENT), output=f"{name}.absent_scores")
    penalty = graph.reshape(penalty, [-1, 1, 1, number], f"{name}.penalties")
    scores = graph.add("Add", scores, penalty, output=f"{name}.scores_masked")
    weights = graph.add("Softmax", scores, output=f"{name}.weights", axis=3)
    mixed = graph.add("MatMul", weights, value, output=f"{name}.mixed_heads")
    mixed = graph.add("Transpose", mixed, output=f"{name}.mixed_turned", perm=[0, 2, 1, 3])
    mixed = graph.reshape(mixed, [-1, number, EMBEDDING], f"{name}.mixed")
    outputs = graph.linear_of_each(f"{name}.output", mixed, f"{name}.output.linear")
    outputs = _add_layer_norm(graph, graph.add("Add", outputs, embedded, output=f"{name}.residual"), f"{name}.norm")

    there = graph.reshape(present, [-1, number, 1], f"{name}.there")
    total = graph.add("Mul", outputs, there, output=f"{name}.outputs_present")
    total = graph.add("ReduceSum", total, output=f"{name}.total", axes=[1], keepdims=0)
    count = graph.add("ReduceSum", present, output=f"{name}.count", axes=[1], keepdims=1)
    count = graph.add("Add", count, graph.constant(f"{name}.none", NONE_PRESENT), output=f"{name}.divisor")
    return graph.add("Div", total, count, output=f"{name}.encoding")


def _add_embedding(graph: Graph, index: int, own: str | None) -> str:
    """`[batch, entities, 128]`: the layer of (own, entity), with the part of own computed once an agent."""
    layer = f"actor.attention.embeddings.{index}"
    if own is None:
        return graph.swish(graph.linear_of_each(layer, f"obs_{index}", f"{layer}.linear"), layer)
    of_own, of_entity = np.split(graph.state[f"{layer}.weight"], [EMBEDDING], axis=1)
    bias = graph.constant(f"{layer}.bias", graph.state[f"{layer}.bias"])
    own = graph.add(
        "Gemm", own, graph.constant(f"{layer}.weight_own", of_own), bias, output=f"{layer}.linear_own", transB=1
    )
    own = graph.reshape(own, [-1, 1, EMBEDDING], f"{layer}.of_own")
    weight = graph.constant(f"{layer}.weight", of_entity.T)
    values = graph.add("MatMul", f"obs_{index}", weight, output=f"{layer}.of_entity")
    return graph.swish(graph.add("Add", values, own, output=f"{layer}.linear"), layer)


def _add_absence(graph: Graph, index: int) -> str:
    """`[batch, entities]`: 1 for the rows of zeros with which a player fills up, 0 for entities."""
    name = f"obs_{index}"
    squares = graph.add("Mul", name, name, output=f"{name}_squares")
    squares = graph.add("ReduceSum", squares, output=f"{name}_square", axes=[2], keepdims=0)
    least = graph.constant(f"{name}_least", LEAST_SQUARE)
    less = graph.add("Less", squares, least, output=f"{name}_is_absent")
    return graph.add("Cast", less, output=f"{name}_absent", to=1)  # float


def _add_heads(graph: Graph, layer: str, values: str, number: int) -> str:
    """`[batch, entities, 128]` through a linear layer to `[batch, heads, entities, 32]`."""
    values = graph.linear_of_each(layer, values, f"{layer}.linear")
    values = graph.reshape(values, [-1, number, HEADS, EMBEDDING // HEADS], f"{layer}.split")
    return graph.add("Transpose", values, output=f"{layer}.heads", perm=[0, 2, 1, 3])


def _add_layer_norm(graph: Graph, values: str, name: str) -> str:
    """Over the last of three axes, without parameters."""
    mean = graph.add("ReduceMean", values, output=f"{name}.mean", axes=[2], keepdims=1)
    centred = graph.add("Sub", values, mean, output=f"{name}.centred")
    squares = graph.add("Mul", centred, centred, output=f"{name}.squares")
    variance = graph.add("ReduceMean", squares, output=f"{name}.variance", axes=[2], keepdims=1)
    epsilon = graph.constant(f"{name}.epsilon", _LAYER_NORM_EPSILON)
    variance = graph.add("Add", variance, epsilon, output=f"{name}.variance_plus")
    return graph.add("Div", centred, graph.add("Sqrt", variance, output=f"{name}.deviation"), output=name)
