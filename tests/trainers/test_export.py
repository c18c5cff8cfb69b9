"""The ONNX file for Unity, against a policy computed here in numpy."""

import numpy as np
import onnx
import onnxruntime
import pytest
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType
from onnx import numpy_helper

from trainers.export import export_onnx, verify_onnx

CASES = {
    "continuous": ([(8,)], 2, ()),
    "discrete": ([(5,)], 0, (3,)),
    "branches": ([(5,)], 0, (3, 2, 4)),
    "hybrid": ([(4,)], 2, (3, 2)),
    "several observations": ([(4,), (3,), (1,)], 2, ()),
    "observation of rank 2": ([(3, 4), (2,)], 1, (2,)),
}


def make_spec(shapes, continuous, branches):
    observations = [
        ObservationSpec(shape, (DimensionProperty.NONE,) * len(shape), ObservationType.DEFAULT, f"sensor {index}")
        for index, shape in enumerate(shapes)
    ]
    return BehaviorSpec(observations, ActionSpec(continuous, branches))


def make_state(spec, normalize=False, hidden=16, layers=2, scale=1.0, seed=0):
    """Random weights under the names of the trainer's actor."""
    random = np.random.default_rng(seed)
    state = {}

    def linear(name, inputs, outputs):
        state[f"{name}.weight"] = random.normal(0, scale / np.sqrt(inputs), (outputs, inputs)).astype(np.float32)
        state[f"{name}.bias"] = random.normal(0, 0.5, outputs).astype(np.float32)

    sizes = [int(np.prod(observation.shape)) for observation in spec.observation_specs]
    if normalize:
        for index, size in enumerate(sizes):
            name = f"actor.normalizers.{index}"
            state[f"{name}.mean"] = random.normal(0, 20, size).astype(np.float32)
            state[f"{name}.variance_sum"] = random.uniform(1, 5000, size).astype(np.float32)
            state[f"{name}.steps"] = np.array(100.0)
    widths = [sum(sizes)] + [hidden] * layers
    for layer in range(layers):
        linear(f"actor.body.{layer}", widths[layer], widths[layer + 1])
    if spec.action_spec.continuous_size:
        linear("actor.continuous", hidden, spec.action_spec.continuous_size)
        state["actor.log_sigma"] = random.normal(-1, 0.3, spec.action_spec.continuous_size).astype(np.float32)
    for branch, size in enumerate(spec.action_spec.discrete_branches):
        linear(f"actor.discrete.{branch}", hidden, size)
    return state


def make_policy(state, spec):
    """Deterministic actions of a state, in float64."""

    def linear(name, values):
        return values @ state[f"{name}.weight"].T.astype(np.float64) + state[f"{name}.bias"]

    def policy(observations, allowed, memories=None):
        pieces = []
        for index, observation in enumerate(observations):
            values = observation.reshape(len(observation), -1).astype(np.float64)
            name = f"actor.normalizers.{index}"
            if f"{name}.mean" in state:
                deviation = np.sqrt(state[f"{name}.variance_sum"] / state[f"{name}.steps"])
                values = np.clip((values - state[f"{name}.mean"]) / deviation, -5, 5)
            pieces.append(values)
        hidden = np.concatenate(pieces, axis=1)
        for layer in range(sum(".body." in name and ".weight" in name for name in state)):
            hidden = linear(f"actor.body.{layer}", hidden)
            hidden = hidden * (0.5 + 0.5 * np.tanh(hidden / 2))  # swish; exp would overflow
        continuous = discrete = None
        if spec.action_spec.continuous_size:
            continuous = np.clip(linear("actor.continuous", hidden), -3, 3) / 3
        if spec.action_spec.discrete_branches:
            choices, begin = [], 0
            for branch, size in enumerate(spec.action_spec.discrete_branches):
                logits = linear(f"actor.discrete.{branch}", hidden)
                choices.append(np.where(allowed[:, begin : begin + size] == 1, logits, -np.inf).argmax(axis=1))
                begin += size
            discrete = np.stack(choices, axis=1)
        return continuous, discrete, None

    return policy


def play(path, outputs, **inputs):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(outputs, {name: np.asarray(values, dtype=np.float32) for name, values in inputs.items()})


def set_constant_policy(state, head, bias):
    """Makes a head say `bias` whatever it observes."""
    state[f"{head}.weight"][:] = 0
    state[f"{head}.bias"][:] = bias


@pytest.fixture
def exported(tmp_path):
    """`exported(case, **make_state arguments)` is a written file with its state and spec."""

    def export(case, **arguments):
        spec = make_spec(*CASES[case])
        state = make_state(spec, **arguments)
        path = tmp_path / "model.onnx"
        export_onnx(state, spec, path)
        return path, state, spec

    return export


@pytest.mark.parametrize("normalize", [False, True], ids=["raw", "normalised"])
@pytest.mark.parametrize("case", CASES)
def test_file_acts_like_the_policy(exported, case, normalize):
    path, state, spec = exported(case, normalize=normalize)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    verify_onnx(path, spec, make_policy(state, spec))

    # The same once more, without the verification's own code.
    random = np.random.default_rng(1)
    observations = [random.normal(0, 10, (50, *o.shape)).astype(np.float32) for o in spec.observation_specs]
    inputs = {f"obs_{index}": values for index, values in enumerate(observations)}
    allowed = None
    if spec.action_spec.discrete_branches:
        allowed = np.ones((50, sum(spec.action_spec.discrete_branches)), dtype=np.float32)
        allowed[:, 0] = 0
        inputs["action_masks"] = allowed
    continuous, discrete, _ = make_policy(state, spec)(observations, allowed)
    if continuous is not None:
        found = play(path, ["deterministic_continuous_actions"], **inputs)[0]
        np.testing.assert_allclose(found, continuous, atol=1e-5)
    if discrete is not None:
        found = play(path, ["deterministic_discrete_actions"], **inputs)[0]
        np.testing.assert_array_equal(found, discrete)


def test_names_types_and_shapes_are_those_of_ml_agents(exported):
    path, _, _ = exported("observation of rank 2")
    session = onnxruntime.InferenceSession(str(path))
    assert [(tensor.name, tensor.type, tensor.shape) for tensor in session.get_inputs()] == [
        ("obs_0", "tensor(float)", ["batch", 3, 4]),
        ("obs_1", "tensor(float)", ["batch", 2]),
        ("action_masks", "tensor(float)", ["batch", 2]),
    ]
    assert [(tensor.name, tensor.type, tensor.shape) for tensor in session.get_outputs()] == [
        ("version_number", "tensor(float)", [1]),
        ("memory_size", "tensor(float)", [1]),
        ("continuous_actions", "tensor(float)", ["batch", 1]),
        ("continuous_action_output_shape", "tensor(float)", [1]),
        ("deterministic_continuous_actions", "tensor(float)", ["batch", 1]),
        ("discrete_actions", "tensor(int64)", ["batch", 1]),
        ("discrete_action_output_shape", "tensor(float)", [1, 1]),
        ("deterministic_discrete_actions", "tensor(int64)", ["batch", 1]),
    ]


def test_no_masks_and_no_discrete_outputs_without_discrete_actions(exported):
    path, _, _ = exported("continuous")
    model = onnx.load(path)
    assert [tensor.name for tensor in model.graph.input] == ["obs_0"]
    assert not [tensor.name for tensor in model.graph.output if "discrete" in tensor.name]


def test_constants_are_initializers_behind_identity_nodes(exported):
    path, _, _ = exported("hybrid")
    model = onnx.load(path)
    initializers = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    producers = {node.output[0]: node for node in model.graph.node}
    expected = {
        "version_number": [3.0],
        "memory_size": [0.0],
        "continuous_action_output_shape": [2.0],
        "discrete_action_output_shape": [[3.0, 2.0]],
    }
    for name, values in expected.items():
        assert producers[name].op_type == "Identity"
        found = initializers[producers[name].input[0]]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values)
        assert found.shape == np.shape(values)
    assert not initializers.keys() & {tensor.name for tensor in model.graph.input}


def test_forbidden_actions_are_never_chosen(exported):
    path, state, spec = exported("branches")
    set_constant_policy(state, "actor.discrete.0", [20.0, 0.0, 1.0])
    set_constant_policy(state, "actor.discrete.2", [0.0, 30.0, 20.0, 0.0])
    export_onnx(state, spec, path)
    mask = [*(0, 1, 1), *(0, 1), *(1, 0, 0, 1)]
    outputs = ["discrete_actions", "deterministic_discrete_actions"]
    sampled, best = play(path, outputs, obs_0=np.zeros((1000, 5)), action_masks=np.tile(mask, (1000, 1)))
    assert set(sampled[:, 0]) == {1, 2}
    assert set(sampled[:, 1]) == {1}
    assert set(sampled[:, 2]) == {0, 3}
    np.testing.assert_array_equal(best, np.tile([2, 1, 0], (1000, 1)))


def test_discrete_samples_have_the_probabilities_of_the_logits(exported):
    path, state, spec = exported("discrete")
    set_constant_policy(state, "actor.discrete.0", np.log([0.1, 0.3, 0.6]))
    export_onnx(state, spec, path)
    (sampled,) = play(path, ["discrete_actions"], obs_0=np.zeros((20_000, 5)), action_masks=np.ones((20_000, 3)))
    np.testing.assert_allclose(np.bincount(sampled[:, 0]) / 20_000, [0.1, 0.3, 0.6], atol=0.02)


def test_continuous_samples_have_mean_and_deviation_of_the_policy(exported):
    path, state, spec = exported("continuous")
    set_constant_policy(state, "actor.continuous", [0.5, -1.0])
    state["actor.log_sigma"][:] = np.log([0.4, 0.1])
    export_onnx(state, spec, path)
    (sampled,) = play(path, ["continuous_actions"], obs_0=np.zeros((20_000, 8)))
    np.testing.assert_allclose(3 * sampled.mean(axis=0), [0.5, -1.0], atol=0.02)
    np.testing.assert_allclose(3 * sampled.std(axis=0), [0.4, 0.1], rtol=0.05)


def test_continuous_actions_are_limited_to_one(exported):
    path, state, spec = exported("continuous")
    set_constant_policy(state, "actor.continuous", [100.0, -100.0])
    export_onnx(state, spec, path)
    for output in ("continuous_actions", "deterministic_continuous_actions"):
        (actions,) = play(path, [output], obs_0=np.zeros((5, 8)))
        np.testing.assert_array_equal(actions, np.tile([1.0, -1.0], (5, 1)))


def test_equal_states_give_equal_files(exported):
    path, state, spec = exported("hybrid")
    first = path.read_bytes()
    export_onnx(state, spec, path)
    assert path.read_bytes() == first


def test_rounding_of_large_numbers_is_no_difference(exported):
    path, state, spec = exported("continuous", hidden=512, scale=10.0)
    policy = make_policy(state, spec)
    observation = np.random.default_rng(0).standard_normal((5000, 8)).astype(np.float32)
    (found,) = play(path, ["deterministic_continuous_actions"], obs_0=observation)
    assert np.abs(found - policy([observation], None)[0]).max() > 1e-5  # float32 against float64
    verify_onnx(path, spec, policy, samples=5000)


def test_equally_good_discrete_actions_are_no_difference(exported):
    path, state, spec = exported("discrete")
    set_constant_policy(state, "actor.discrete.0", 1.0)
    export_onnx(state, spec, path)

    def last_allowed(_, allowed, memories):
        return None, 2 - allowed[:, ::-1].argmax(axis=1, keepdims=True), None

    verify_onnx(path, spec, last_allowed)


def test_different_continuous_actions_are_refused_with_their_distance(exported):
    path, state, spec = exported("continuous")
    policy = make_policy(state, spec)

    def shifted(observations, allowed, memories):
        return policy(observations, allowed)[0] + 0.001, None, None

    with pytest.raises(RuntimeError, match=r"model.onnx: continuous actions .* by up to 0.001"):
        verify_onnx(path, spec, shifted)


def test_different_discrete_actions_are_refused_with_their_branch(exported):
    path, state, spec = exported("branches")
    policy = make_policy(state, spec)

    def swapped(observations, _, memories):
        return None, policy(observations, np.ones((len(observations[0]), 9)))[1], None  # forgets the masks

    with pytest.raises(RuntimeError, match=r"discrete actions .* branch 0, by up to"):
        verify_onnx(path, spec, swapped)


def test_actions_that_are_no_numbers_are_refused(exported):
    path, state, spec = exported("continuous")
    state["actor.body.0.weight"][:] = np.nan
    export_onnx(state, spec, path)
    with pytest.raises(RuntimeError, match="nan"):
        verify_onnx(path, spec, make_policy(state, spec))


def test_actions_of_the_wrong_shape_are_refused(exported):
    path, state, spec = exported("discrete")
    policy = make_policy(state, spec)
    with pytest.raises(RuntimeError, match=r"shape \(64, 1\), the policy's \(64,\)"):
        verify_onnx(path, spec, lambda *inputs: (None, policy(*inputs)[1][:, 0], None))


def test_another_opset_is_refused(exported):
    path, state, spec = exported("continuous")
    model = onnx.load(path)
    model.opset_import[0].version = 18
    path.write_bytes(model.SerializeToString())
    with pytest.raises(RuntimeError, match=r"opset .*18.* expected 9"):
        verify_onnx(path, spec, make_policy(state, spec))


def test_another_name_is_refused(exported):
    path, state, spec = exported("continuous")
    model = onnx.load(path)
    model.graph.input[0].name = "observation"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(RuntimeError, match=r"has inputs %observation\[FLOAT, batchx8\]; expected %obs_0"):
        verify_onnx(path, spec, make_policy(state, spec))


def test_weights_that_do_not_fit_the_observations_are_refused(tmp_path):
    path = tmp_path / "model.onnx"
    export_onnx(make_state(make_spec([(7,)], 2, ())), make_spec([(8,)], 2, ()), path)
    with pytest.raises(RuntimeError, match=r"does not load: .*model.onnx: onnxruntime cannot run .*Dimension mismatch"):
        verify_onnx(path, make_spec([(8,)], 2, ()), lambda *_: (None, None, None))


def test_missing_array_is_named(tmp_path):
    spec = make_spec([(8,)], 2, ())
    state = make_state(spec)
    del state["actor.log_sigma"]
    with pytest.raises(KeyError, match="log_sigma"):
        export_onnx(state, spec, tmp_path / "model.onnx")
