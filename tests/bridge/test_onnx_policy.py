"""Playing ONNX files with onnxruntime, ours and other people's."""

import numpy as np
import onnx
import onnxruntime
import pytest
from mlagents_envs.base_env import (
    ActionSpec,
    BehaviorSpec,
    DecisionSteps,
    DimensionProperty,
    ObservationSpec,
    ObservationType,
)
from onnx import TensorProto, helper, numpy_helper

from bridge.exceptions import InvalidModelError
from bridge.onnx_policy import OnnxPolicy, allowed_actions
from trainers.export import export_onnx


def make_spec(shapes, continuous=0, branches=()):
    observations = [
        ObservationSpec(shape, (DimensionProperty.NONE,) * len(shape), ObservationType.DEFAULT, "") for shape in shapes
    ]
    return BehaviorSpec(observations, ActionSpec(continuous, branches))


@pytest.fixture
def hybrid_file(tmp_path):
    """A model without hidden layers: continuous means are 3 times obs_0, the logits of both branches are obs_1."""
    state = {
        "actor.continuous.weight": np.hstack([3 * np.eye(2), np.zeros((2, 3))]),
        "actor.continuous.bias": np.zeros(2),
        "actor.log_sigma": np.zeros(2),
        "actor.discrete.0.weight": np.hstack([np.zeros((3, 2)), np.eye(3)]),
        "actor.discrete.0.bias": np.zeros(3),
        "actor.discrete.1.weight": np.hstack([np.zeros((2, 2)), np.eye(3)[:2]]),
        "actor.discrete.1.bias": np.zeros(2),
    }
    path = tmp_path / "Hybrid.onnx"
    export_onnx(state, make_spec([(2,), (3, 1)], 2, (3, 2)), path)
    return path


@pytest.fixture
def edited(hybrid_file):
    """`edited(change)` is the file after `change(model)`."""

    def edit(change):
        model = onnx.load(hybrid_file)
        change(model)
        hybrid_file.write_bytes(model.SerializeToString())
        return hybrid_file

    return edit


def observations(agents):
    return [np.tile([0.5, -0.25], (agents, 1)), np.tile([[1.0], [3.0], [2.0]], (agents, 1, 1))]


def test_sizes_are_read_from_the_file(hybrid_file):
    policy = OnnxPolicy(hybrid_file)
    assert policy.observation_shapes == {"obs_0": (2,), "obs_1": (3, 1)}
    assert policy.continuous_size == 2
    assert policy.discrete_branches == (3, 2)


def test_deterministic_actions_are_the_most_likely(hybrid_file):
    actions = OnnxPolicy(hybrid_file).act(observations(4), None, deterministic=True)
    np.testing.assert_allclose(actions.continuous, np.tile([0.5, -0.25], (4, 1)))
    np.testing.assert_array_equal(actions.discrete, np.tile([1, 1], (4, 1)))
    assert actions.continuous.dtype == np.float32
    assert actions.discrete.dtype == np.int32


def test_the_mask_says_what_is_allowed(hybrid_file):
    allowed = np.array([[1, 0, 1, 1, 1], [1, 1, 1, 1, 0]])
    actions = OnnxPolicy(hybrid_file).act(observations(2), allowed, deterministic=True)
    np.testing.assert_array_equal(actions.discrete, [[2, 1], [1, 0]])


def test_masks_of_decisions_say_what_is_forbidden():
    decisions = DecisionSteps.empty(make_spec([(2,)], 0, (3, 2)))
    decisions.action_mask = None
    assert allowed_actions(decisions) is None
    decisions.action_mask = [np.array([[True, False, False]]), np.array([[False, True]])]
    np.testing.assert_array_equal(allowed_actions(decisions), [[0, 1, 1, 1, 0]])


def test_samples_vary_and_repeat_with_the_seed(hybrid_file):
    def sample(seed):
        onnxruntime.set_seed(seed)
        return OnnxPolicy(hybrid_file).act(observations(100), None, deterministic=False)

    first, same, other = sample(1), sample(1), sample(2)
    assert len(np.unique(first.continuous)) > 50
    assert len(np.unique(first.discrete[:, 0])) == 3
    np.testing.assert_array_equal(first.continuous, same.continuous)
    np.testing.assert_array_equal(first.discrete, same.discrete)
    assert (first.continuous != other.continuous).any()


def test_kinds_of_actions_that_the_model_lacks_are_empty(tmp_path):
    state = {
        "actor.continuous.weight": np.eye(2),
        "actor.continuous.bias": np.zeros(2),
        "actor.log_sigma": np.zeros(2),
    }
    export_onnx(state, make_spec([(2,)], 2), tmp_path / "model.onnx")
    actions = OnnxPolicy(tmp_path / "model.onnx").act([np.zeros((3, 2))], None, deterministic=True)
    assert actions.continuous.shape == (3, 2)
    assert actions.discrete.shape == (3, 0)


def test_a_fitting_behavior_passes_the_check(hybrid_file):
    OnnxPolicy(hybrid_file).check(make_spec([(2,), (3, 1)], 2, (3, 2)))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (make_spec([(4,), (3, 1)], 2, (3, 2)), r"observation obs_0 has shape \(4,\), the model expects \(2,\)"),
        (make_spec([(2,)], 2, (3, 2)), r"model reads an observation obs_1 of shape \(3, 1\), the agents have none"),
        (make_spec([(2,), (3, 1), (5,)], 2, (3, 2)), r"an observation obs_2 of shape \(5,\), the model does not read"),
        (make_spec([(2,), (3, 1)], 1, (3, 2)), "agents take 1 continuous actions, the model gives 2"),
        (make_spec([(2,), (3, 1)], 2, (3,)), r"branches \(3,\), the model gives \(3, 2\)"),
    ],
    ids=["shape", "too few", "too many", "continuous", "discrete"],
)
def test_check_names_what_differs(hybrid_file, spec, message):
    with pytest.raises(InvalidModelError, match=rf"Hybrid.onnx: .*{message}"):
        OnnxPolicy(hybrid_file).check(spec)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidModelError, match=r"absent.onnx: no such file"):
        OnnxPolicy(tmp_path / "absent.onnx")


def test_folder_is_refused(tmp_path):
    with pytest.raises(InvalidModelError, match="no such file"):
        OnnxPolicy(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"PK\x03\x04" + bytes(100)])
def test_file_that_is_no_onnx_is_named_in_one_line(tmp_path, content, capfd):
    path = tmp_path / "weights.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidModelError, match=r"weights.onnx: onnxruntime cannot load") as caught:
        OnnxPolicy(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_onnx_of_another_trade_is_refused(tmp_path):
    tensor = helper.make_tensor_value_info("obs_0", TensorProto.FLOAT, ["batch", 2])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])
    graph = helper.make_graph([helper.make_node("Identity", ["obs_0"], ["y"])], "g", [tensor], [result])
    model = helper.make_model(graph, ir_version=4, opset_imports=[helper.make_opsetid("", 9)])
    (tmp_path / "other.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidModelError, match=r"other.onnx: not a model of ML-Agents, .* no output version_number"):
        OnnxPolicy(tmp_path / "other.onnx")


def remove_output(name):
    def change(model):
        model.graph.output.remove(next(tensor for tensor in model.graph.output if tensor.name == name))

    return change


def set_version(model):
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "version_number_value")
    tensor.CopyFrom(numpy_helper.from_array(np.array([1.0], dtype=np.float32), tensor.name))


def add_input(name):
    def change(model):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 1, 8]))

    return change


def free_size(model):
    model.graph.input[1].type.tensor_type.shape.dim[2].dim_param = "width"


def computed_memory_size(model):
    """0 times what the first agent sees: the same number, but no constant."""
    node = next(node for node in model.graph.node if node.output[0] == "memory_size")
    begin = helper.make_node("Slice", ["obs_0"], ["first"], axes=[0, 1], starts=[0, 0], ends=[1, 1])
    flat = helper.make_node("Squeeze", ["first"], ["number"], axes=[1])
    product = helper.make_node("Mul", [node.input[0], "number"], ["memory_size"])
    model.graph.node.remove(node)
    model.graph.node.extend([begin, flat, product])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove_output("memory_size"), "no output memory_size"),
        (remove_output("discrete_action_output_shape"), "no output discrete_action_output_shape"),
        (set_version, "version_number is 1, not 2 or 3"),
        (add_input("recurrent_in"), "memory_size is 0, but the model has an input recurrent_in"),
        (computed_memory_size, "Unity needs memory_size to be a constant"),
        (add_input("epsilon"), "input 'epsilon' is none of ML-Agents'"),
        (free_size, "obs_1 has the shape .*width.*; export it with fixed sizes"),
    ],
    ids=["memory_size", "output shape", "version", "memory", "computed", "input", "free size"],
)
def test_what_a_model_lacks_is_named(edited, change, message):
    path = edited(change)
    with pytest.raises(InvalidModelError, match=rf"Hybrid.onnx: .*{message}"):
        OnnxPolicy(path)


def test_observations_that_the_model_cannot_take_are_told(hybrid_file):
    wrong = [np.zeros((1, 5)), np.zeros((1, 3, 1))]
    with pytest.raises(InvalidModelError, match=r"Hybrid.onnx: onnxruntime cannot run this model \(.*obs_0"):
        OnnxPolicy(hybrid_file).act(wrong, None, deterministic=True)


def test_models_of_old_exporters_play_stochastically_only(edited):
    policy = OnnxPolicy(edited(remove_output("deterministic_continuous_actions")))
    policy.act(observations(2), None, deterministic=False)
    with pytest.raises(InvalidModelError, match=r"no output deterministic_continuous_actions .*--stochastic"):
        policy.act(observations(2), None, deterministic=True)


# ---- memory ----


@pytest.fixture
def adder_file(tmp_path):
    """A model whose cell adds up the tanh of obs_0, and whose action is tanh of the sum: all gates are open."""
    state = {
        "actor.memory.weight_ih_l0": np.array([[0.0], [0.0], [1.0], [0.0]]),
        "actor.memory.weight_hh_l0": np.zeros((4, 1)),
        "actor.memory.bias_ih_l0": np.array([100.0, 100.0, 0.0, 100.0]),
        "actor.memory.bias_hh_l0": np.zeros(4),
        "actor.continuous.weight": np.array([[3.0]]),
        "actor.continuous.bias": np.zeros(1),
        "actor.log_sigma": np.zeros(1),
    }
    export_onnx(state, make_spec([(1,)], 1), tmp_path / "Adder.onnx")
    return tmp_path / "Adder.onnx"


def act(policy, *agents):
    """Actions of these agents, who all see 1."""
    actions = policy.act([np.ones((len(agents), 1))], None, True, np.array(agents))
    return actions.continuous[:, 0]


def sums(*steps):
    return pytest.approx(np.tanh(np.array(steps) * np.tanh(1)), abs=1e-6)


def test_every_agent_has_a_memory_of_its_own(adder_file):
    policy = OnnxPolicy(adder_file)
    policy.check(make_spec([(1,)], 1))
    assert policy.memory_size == 2
    assert act(policy, 7) == sums(1)
    assert act(policy, 3, 7) == sums(1, 2)
    assert act(policy, 7, 3, 5) == sums(3, 2, 1)


def test_memories_of_episodes_that_are_over_are_forgotten(adder_file):
    policy = OnnxPolicy(adder_file)
    act(policy, 1, 2)
    policy.forget(np.array([2, 9]))
    assert act(policy, 1, 2) == sums(2, 1)
    policy.forget()
    assert act(policy, 1, 2) == sums(1, 1)


def test_nobody_to_act_for(adder_file):
    assert act(OnnxPolicy(adder_file)).shape == (0,)


def test_memories_can_be_the_callers(adder_file):
    memories = np.array([[0.5, 0.25], [0.0, 0.0]])  # hidden state, which these weights do not look at, and cell
    policy = OnnxPolicy(adder_file)
    actions, after = policy.act_with_memories([np.ones((2, 1))], None, True, memories)
    cells = memories[:, 1] + np.tanh(1)
    np.testing.assert_allclose(after, np.stack([np.tanh(cells), cells], axis=1), atol=1e-6)
    np.testing.assert_allclose(actions.continuous[:, 0], np.tanh(cells), atol=1e-6)
    assert act(policy, 1) == sums(1)


def test_whose_memory_it_is_must_be_said(adder_file):
    with pytest.raises(ValueError, match="agent_ids"):
        OnnxPolicy(adder_file).act([np.ones((1, 1))], None, True)


def rename_memory_input(model):
    model.graph.input[1].name = "memories"
    for node in model.graph.node:
        node.input[:] = ["memories" if name == "recurrent_in" else name for name in node.input]


def remove_memory_output(model):
    del model.graph.output[-1]


def set_memory_size(model):
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "memory_size_value")
    tensor.CopyFrom(numpy_helper.from_array(np.array([4.0], dtype=np.float32), tensor.name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_memory_input, "input 'memories' is none of ML-Agents'"),
        (remove_memory_output, "memory_size is 2, but it lacks recurrent_in or recurrent_out"),
        (set_memory_size, r"recurrent_in has shape \(1, 2\), by its memory_size it is \(1, 4\)"),
    ],
    ids=["input", "output", "size"],
)
def test_a_memory_that_unity_would_not_find_is_refused(adder_file, change, message):
    model = onnx.load(adder_file)
    change(model)
    adder_file.write_bytes(model.SerializeToString())
    with pytest.raises(InvalidModelError, match=rf"Adder.onnx: .*{message}"):
        OnnxPolicy(adder_file)
