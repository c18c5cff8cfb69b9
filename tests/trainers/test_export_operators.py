"""The ONNX file of every kind of network: it plays as torch plays, and is made of what Unity's engines take."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

from bridge.onnx_policy import OnnxPolicy
from trainers.actor_critics import make_network
from trainers.config import NetworkSettings
from trainers.export import actor_arrays, export_onnx, verify_onnx

# The pages "Supported ONNX operators" in the documentation of com.unity.sentis 2.1.3 and com.unity.ai.inference 2.2.1,
# 2.3.0 and 2.4.0 (Unity 6): what all of them name.
SUPPORTED = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Bernoulli Cast
    CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace
    Div Dropout Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gemm GlobalAveragePool
    GlobalMaxPool Greater GreaterOrEqual GridSample Hardmax HardSigmoid HardSwish Identity InstanceNormalization
    IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LRN LSTM MatMul Max MaxPool Mean Min
    Mod Mul Multinomial Neg NonMaxSuppression NonZero Not OneHot Or Pad Pow PRelu RandomNormal RandomNormalLike
    RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize RoiAlign Round Scatter
    ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign
    SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample
    Where Xor
"""

NONE, SHIFTS = DimensionProperty.NONE, DimensionProperty.TRANSLATIONAL_EQUIVARIANCE
PLANES, PIXELS = (NONE, SHIFTS, SHIFTS), (SHIFTS, SHIFTS, NONE)


def vector(size):
    return ObservationSpec((size,), (NONE,), ObservationType.DEFAULT, "vector")


def picture(*shape, properties=PLANES):
    return ObservationSpec(shape, properties, ObservationType.DEFAULT, "picture")


def entities(*shape):
    return ObservationSpec(shape, (DimensionProperty.VARIABLE_SIZE, NONE), ObservationType.DEFAULT, "entities")


MEMORY = {"memory": {"memory_size": 12}}
CONTINUOUS, DISCRETE, HYBRID = ActionSpec(2, ()), ActionSpec(0, (3, 2, 4)), ActionSpec(2, (3, 2))
KINDS = {
    "continuous": ([vector(8)], CONTINUOUS, {}),
    "one branch": ([vector(5)], ActionSpec(0, (3,)), {}),
    "branches": ([vector(5), vector(2)], DISCRETE, {}),
    "hybrid": ([vector(4)], HYBRID, {}),
    "simple": ([picture(3, 20, 24)], CONTINUOUS, {"vis_encode_type": "simple"}),
    "nature_cnn": ([picture(1, 36, 40)], DISCRETE, {"vis_encode_type": "nature_cnn"}),
    "resnet": ([picture(3, 15, 17)], HYBRID, {"vis_encode_type": "resnet"}),
    "fully_connected": ([picture(2, 5, 4)], CONTINUOUS, {"vis_encode_type": "fully_connected"}),
    "channels last": ([picture(20, 24, 3, properties=PIXELS)], CONTINUOUS, {}),
    "no properties": ([picture(3, 20, 24, properties=(DimensionProperty.UNSPECIFIED,) * 3)], CONTINUOUS, {}),
    "two pictures and a vector": ([picture(3, 20, 20), vector(3), picture(1, 22, 30)], DISCRETE, {}),
    "attention": ([entities(6, 4)], CONTINUOUS, {}),
    "attention with a vector": ([vector(3), entities(6, 4)], HYBRID, {}),
    "attention over two": ([entities(5, 4), vector(3), entities(1, 7)], DISCRETE, {}),
    "memory": ([vector(4)], CONTINUOUS, MEMORY),
    "memory and branches": ([vector(4)], DISCRETE, MEMORY),
    "everything": (
        [vector(3), picture(16, 18, 2, properties=PIXELS), entities(4, 5), vector(2), entities(2, 3)],
        HYBRID,
        {**MEMORY, "vis_encode_type": "resnet"},
    ),
}


@pytest.fixture(params=KINDS)
def kind(request, tmp_path):
    """(file, specification, reference of `verify_onnx`) of a network with weights as in the midst of a training."""
    observation_specs, action_spec, settings = KINDS[request.param]
    spec = BehaviorSpec(observation_specs, action_spec)
    torch.manual_seed(0)
    settings = NetworkSettings.model_validate({"normalize": True, "hidden_units": 24, **settings})
    network = make_network(spec, settings, ["extrinsic"], shared_critic=False)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    network.update_normalizers([3 * torch.randn(100, *each.shape) + 1 for each in observation_specs])

    @torch.no_grad()
    def reference(observations, allowed, memories):
        size = 0 if memories is None else memories.shape[1]
        if memories is not None:  # a critic of its own has as much beside it
            memories = torch.from_numpy(np.pad(memories, ((0, 0), (0, network.memory_size - size))))
        inputs = network.prepare([torch.from_numpy(values) for values in observations], memories)
        mean, logits, memories = network.act(inputs)
        continuous = None if mean is None else (mean.clamp(-3, 3) / 3).numpy()
        remembered = None if memories is None else memories[:, :size].numpy()
        if not logits:
            return continuous, None, remembered
        masks = torch.from_numpy(allowed).split(spec.action_spec.discrete_branches, dim=1)
        best = [(x * mask - 1e8 * (1 - mask)).argmax(1) for x, mask in zip(logits, masks, strict=True)]
        return continuous, torch.stack(best, 1).numpy(), remembered

    path = tmp_path / "model.onnx"
    export_onnx(actor_arrays(network), spec, path)
    return path, spec, reference


def test_unity_supports_the_opset_and_every_operator(kind):
    path, _, _ = kind
    model = onnx.load(path)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 9)]
    assert model.ir_version == 4
    assert {node.op_type for node in model.graph.node} <= set(SUPPORTED.split())
    # Parameters that the same pages exclude, and the transposition that ML-Agents' exporter avoids for their sake.
    for node in model.graph.node:
        names = {attribute.name for attribute in node.attribute}
        assert node.op_type != "MaxPool" or not names & {"ceil_mode", "dilations", "storage_order"}
        assert node.op_type != "Transpose" or list(node.attribute[0].ints) != [0, 2, 3, 1]


def test_it_acts_and_remembers_like_the_network(kind):
    path, spec, reference = kind
    onnx.checker.check_model(onnx.load(path), full_check=True)
    verify_onnx(path, spec, reference)

    # The same once more, without the verification's own numbers, and with a batch of another size.
    random = np.random.default_rng(1)
    observations = [random.random((7, *each.shape)).astype(np.float32) for each in spec.observation_specs]
    policy = OnnxPolicy(path)
    branches = spec.action_spec.discrete_branches
    allowed = random.integers(0, 2, (7, sum(branches))).astype(np.float32) if branches else None
    if branches:
        allowed[:, np.cumsum(branches) - 1] = 1  # the last of each branch
    memories = random.random((7, policy.memory_size)).astype(np.float32) if policy.memory_size else None
    continuous, discrete, remembered = reference(observations, allowed, memories)
    actions, found = policy.act_with_memories(observations, allowed, True, memories)
    if continuous is not None:
        np.testing.assert_allclose(actions.continuous, continuous, atol=1e-5)
    if discrete is not None:
        np.testing.assert_array_equal(actions.discrete, discrete)
    if memories is not None:
        assert np.abs(remembered - memories).max() > 0.01
        np.testing.assert_allclose(found, remembered, atol=1e-5)


def test_inputs_and_constants_are_those_that_unity_looks_for(kind):
    path, spec, _ = kind
    policy = OnnxPolicy(path)
    policy.check(spec)
    graph = onnx.load(path).graph
    names = [f"obs_{index}" for index in range(len(spec.observation_specs))]
    names += ["action_masks"] * bool(spec.action_spec.discrete_size) + ["recurrent_in"] * bool(policy.memory_size)
    assert [tensor.name for tensor in graph.input] == names
    identities = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    initializers = {tensor.name for tensor in graph.initializer}
    sizes = [tensor.name for tensor in graph.output if tensor.name.endswith("_shape")]
    assert len(sizes) == (spec.action_spec.continuous_size > 0) + (spec.action_spec.discrete_size > 0)
    assert {identities[name] for name in ("version_number", "memory_size", *sizes)} <= initializers
    assert ("recurrent_out" in {tensor.name for tensor in graph.output}) == bool(policy.memory_size)


@pytest.mark.parametrize("kind", ["everything"], indirect=True)
def test_names_types_and_shapes_are_those_of_ml_agents(kind):
    session = onnxruntime.InferenceSession(str(kind[0]))
    assert [(tensor.name, tensor.type, tensor.shape) for tensor in session.get_inputs()] == [
        ("obs_0", "tensor(float)", ["batch", 3]),
        ("obs_1", "tensor(float)", ["batch", 16, 18, 2]),
        ("obs_2", "tensor(float)", ["batch", 4, 5]),
        ("obs_3", "tensor(float)", ["batch", 2]),
        ("obs_4", "tensor(float)", ["batch", 2, 3]),
        ("action_masks", "tensor(float)", ["batch", 5]),
        ("recurrent_in", "tensor(float)", ["batch", 1, 12]),
    ]
    assert [(tensor.name, tensor.type, tensor.shape) for tensor in session.get_outputs()] == [
        ("version_number", "tensor(float)", [1]),
        ("memory_size", "tensor(float)", [1]),
        ("continuous_actions", "tensor(float)", ["batch", 2]),
        ("continuous_action_output_shape", "tensor(float)", [1]),
        ("deterministic_continuous_actions", "tensor(float)", ["batch", 2]),
        ("discrete_actions", "tensor(int64)", ["batch", 2]),
        ("discrete_action_output_shape", "tensor(float)", [1, 2]),
        ("deterministic_discrete_actions", "tensor(int64)", ["batch", 2]),
        ("recurrent_out", "tensor(float)", ["batch", 1, 12]),
    ]


@pytest.mark.parametrize("kind", ["memory", "everything"], indirect=True)
def test_other_memories_are_refused_with_their_distance(kind):
    path, spec, reference = kind

    def forgetful(observations, allowed, memories):
        return *reference(observations, allowed, memories)[:2], memories

    with pytest.raises(RuntimeError, match=r"model.onnx: memories of the exported model differ .* by up to [1-9]"):
        verify_onnx(path, spec, forgetful)


@pytest.mark.parametrize("kind", ["simple", "attention with a vector", "memory"], indirect=True)
def test_weights_that_are_no_numbers_are_refused(kind):
    path, spec, reference = kind
    model = onnx.load(path)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "actor.continuous.weight")
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0, 0] = np.inf
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(RuntimeError, match=r"actor.continuous.weight holds numbers that are none \(nan\) or infinite"):
        verify_onnx(path, spec, reference)


def test_entities_that_are_not_there_make_no_difference(tmp_path):
    spec = BehaviorSpec([vector(3), entities(6, 4)], CONTINUOUS)
    network = make_network(spec, NetworkSettings(), ["extrinsic"], shared_critic=False)
    export_onnx(actor_arrays(network), spec, tmp_path / "model.onnx")
    random = np.random.default_rng(0)
    seen = random.random((1, 6, 4)) + 0.5
    seen[:, [1, 4]] = 0
    others_order = seen[:, [1, 5, 4, 3, 2, 0]]
    without = np.zeros_like(seen)

    def act(values):
        return OnnxPolicy(tmp_path / "model.onnx").act([np.ones((1, 3)), values], None, True).continuous

    np.testing.assert_allclose(act(seen), act(others_order), atol=1e-6)
    assert np.abs(act(seen) - act(without)).max() > 1e-5
    assert np.isfinite(act(without)).all()
