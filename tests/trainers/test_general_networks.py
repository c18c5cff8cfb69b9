"""Networks for pictures, variable-length observations and memory: they compute what the official trainer's compute."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType
from torch import Tensor

from trainers.config_network import NetworkSettings
from trainers.errors import UsageError
from trainers.general_networks import GeneralActorCritic, Inputs, ObservationBody
from trainers.losses import Heads
from trainers.ppo import Optimizer

OFFICIAL = Path(__file__).parent / "official" / "networks"
SIGNALS = ["extrinsic", "curiosity"]
NONE, SHIFTS, VARIABLE, UNSPECIFIED = (
    DimensionProperty.NONE,
    DimensionProperty.TRANSLATIONAL_EQUIVARIANCE,
    DimensionProperty.VARIABLE_SIZE,
    DimensionProperty.UNSPECIFIED,
)
AXES = {1: (NONE,), 2: (VARIABLE, NONE), 3: (NONE, SHIFTS, SHIFTS)}
ENCODER = "network_body.observation_encoder."
OURS = [  # names in the official state dict, and ours
    (ENCODER + r"processors\.(\d+)\.normalizer\.normalization_steps", r"normalizers.\1.steps"),
    (ENCODER + r"processors\.(\d+)\.normalizer\.running_mean", r"normalizers.\1.mean"),
    (ENCODER + r"processors\.(\d+)\.normalizer\.running_variance", r"normalizers.\1.variance_sum"),
    (ENCODER + r"processors\.(\d+)\.dense\.(?:0\.)?(\w+)", r"encoders.\1.dense.\2"),
    (ENCODER + r"processors\.(\d+)\.(?:conv_layers|sequential)\.(\d+)\.(\w+)", r"encoders.\1.layers.\2.\3"),
    (ENCODER + r"processors\.(\d+)\.sequential\.(\d+)\.layers\.1\.(\w+)", r"encoders.\1.layers.\2.first.\3"),
    (ENCODER + r"processors\.(\d+)\.sequential\.(\d+)\.layers\.3\.(\w+)", r"encoders.\1.layers.\2.second.\3"),
    (ENCODER + r"processors\.(\d+)\.self_ent_encoder\.seq_layers\.0\.(\w+)", r"attention.embeddings.\1.\2"),
    (ENCODER + r"x_self_encoder\.seq_layers\.0\.(\w+)", r"attention.own.\1"),
    (ENCODER + r"rsa\.fc_q\.(\w+)", r"attention.query.\1"),
    (ENCODER + r"rsa\.fc_k\.(\w+)", r"attention.key.\1"),
    (ENCODER + r"rsa\.fc_v\.(\w+)", r"attention.value.\1"),
    (ENCODER + r"rsa\.fc_out\.(\w+)", r"attention.output.\1"),
    (r"network_body\._body_endoder\.seq_layers\.0\.(\w+)", r"body.0.\1"),
    (r"network_body\._body_endoder\.seq_layers\.2\.(\w+)", r"body.1.\1"),
    (r"network_body\.lstm\.lstm\.(\w+)", r"memory.\1"),
    (r"action_model\._continuous_distribution\.mu\.(\w+)", r"continuous.\1"),
    (r"action_model\._continuous_distribution\.log_sigma", "log_sigma"),
    (r"action_model\._discrete_distribution\.branches\.(\d+)\.(\w+)", r"discrete.\1.\2"),
    (r"value_heads\.value_heads\.(\w+)\.(\w+)", r"values.\1.\2"),
]


def our_name(name: str) -> str:
    (found,) = [match.expand(ours) for pattern, ours in OURS if (match := re.fullmatch(pattern, name))]
    return found


def observation(index: int, shape: tuple[int, ...], axes: tuple[DimensionProperty, ...] | None = None) -> Any:
    return ObservationSpec(shape, axes or AXES[len(shape)], ObservationType.DEFAULT, f"sensor {index}")


def behavior(*shapes: tuple[int, ...], continuous: int = 2, branches: tuple[int, ...] = (3, 2)) -> BehaviorSpec:
    specs = [observation(index, shape) for index, shape in enumerate(shapes)]
    return BehaviorSpec(specs, ActionSpec(continuous, branches))


def network(spec: BehaviorSpec, *, shared: bool = False, **settings: Any) -> GeneralActorCritic:
    settings = {"hidden_units": 8, "normalize": True} | settings
    made = GeneralActorCritic(spec, NetworkSettings.model_validate(settings), SIGNALS, shared_critic=shared)
    for parameter in made.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)  # a rest of the update before
        with torch.no_grad():
            parameter += 0.1 * torch.randn_like(parameter)
    return made


def seen(spec: BehaviorSpec, rows: int) -> list[Tensor]:
    return [torch.randn(rows, *one.shape) for one in spec.observation_specs]


def assert_close(found: Tensor, expected: Tensor | np.ndarray) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=1e-5, atol=1e-5)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(1)


def load_official(case: str) -> tuple[GeneralActorCritic, list[Tensor], dict[str, np.ndarray]]:
    data = dict(np.load(OFFICIAL / f"{case}.npz"))
    state = {}
    for name, array in data.items():
        network_name, _, rest = name.partition(".")
        if network_name not in ("actor", "critic") or name.endswith(".unit"):
            continue
        if network_name == "critic" and "normalizer" in name:
            continue  # copies of the actor's
        values = torch.as_tensor(array * data.get(f"{name}.unit", 1))
        ours = f"{network_name}.{our_name(rest)}"
        state[ours] = values.reshape(-1) if ours.endswith("log_sigma") else values
    observations = [torch.from_numpy(data[name]) for name in sorted(data) if name.startswith("observations.")]
    memory = {"memory_size": data["memories.actor"].shape[1]} if "memories.actor" in data else None
    kind = case if case in ("fully_connected", "simple", "nature_cnn", "resnet") else "fully_connected"
    ours = network(behavior(*(one.shape[1:] for one in observations)), vis_encode_type=kind, memory=memory)
    ours.load_state_dict(state)
    return ours, observations, data


def assert_official(found: Heads, data: dict[str, np.ndarray]) -> None:
    assert found.mean is not None and found.log_sigma is not None
    assert_close(found.mean, data["mean"])
    assert_close(found.log_sigma, data["log_sigma"])
    for branch, logits in enumerate(found.logits):
        assert_close(logits, data[f"logits.{branch}"])
    assert_close(found.values, data["values"])


@pytest.mark.parametrize("case", ["fully_connected", "simple", "nature_cnn", "resnet", "attention", "attention_alone"])
@torch.no_grad()
def test_pictures_and_entities_give_what_the_official_networks_give(case: str) -> None:
    ours, observations, data = load_official(case)
    assert ours.memory_size == 0
    inputs = ours.prepare(observations)
    assert_official(ours.forward_with_tape(inputs)[0], data)
    mean, logits, memories = ours.act(inputs)
    assert memories is None
    assert_official(Heads(mean, ours.sigma(), logits, ours.values(inputs)), data)


@pytest.mark.parametrize("case", ["memory", "memory_and_picture"])
@torch.no_grad()
def test_sequences_give_what_the_official_networks_give(case: str) -> None:
    ours, observations, data = load_official(case)
    first = torch.from_numpy(np.concatenate([data["memories.actor"], data["memories.critic"]], axis=1))
    sequences, size = first.shape
    assert ours.memory_size == size
    steps = len(observations[0]) // sequences
    memories = torch.zeros(sequences, steps, size)
    memories[:, 0] = first  # what the others hold must not matter
    inputs = ours.prepare(observations, memories.flatten(0, 1))
    lengths = torch.full((sequences,), steps)
    assert_official(ours.forward_with_tape(inputs, lengths)[0], data)
    mean, logits = ours.policy_heads(inputs, lengths)
    assert_official(Heads(mean, ours.sigma(), logits, ours.values(inputs, lengths)), data)

    # The same step by step, as a player is acted for.
    now = first
    for step in range(steps):
        at_step = ours.prepare([one.unflatten(0, (sequences, steps))[:, step] for one in observations], now)
        values = ours.values(at_step)
        mean, logits, now = ours.act(at_step)
        expected = {
            name: data[name].reshape(sequences, steps, -1)[:, step]
            for name in ("mean", "logits.0", "logits.1", "values")
        }
        assert_official(Heads(mean, ours.sigma(), logits, values), data | expected)
    assert_close(now, np.concatenate([data["new.memories.actor"], data["new.memories.critic"]], axis=1))


ALL = behavior((3,), (1, 4, 5), (4, 2))  # a vector, a picture, entities
EVERYTHING: dict[str, Any] = {"vis_encode_type": "fully_connected", "memory": {"memory_size": 6}}
LENGTHS = torch.tensor([3, 1, 5, 2])


def run(ours: GeneralActorCritic, inputs: Inputs, lengths: Tensor | None) -> list[Tensor]:
    """Every output that has rows."""
    heads, _ = ours.forward_with_tape(inputs, lengths)
    assert heads.mean is not None
    return [heads.mean, *heads.logits, heads.values]


@pytest.mark.parametrize("shared", [False, True])
def test_sequences_of_any_length_give_what_each_gives_alone(shared: bool) -> None:
    ours = network(ALL, shared=shared, **EVERYTHING)
    rows = int(LENGTHS.sum())
    inputs = ours.prepare(seen(ALL, rows), torch.randn(rows, ours.memory_size))
    together = run(ours, inputs, LENGTHS)
    end = 0
    for length in LENGTHS.tolist():
        start, end = end, end + length
        alone = run(ours, inputs[start:end], torch.tensor([length]))
        for found, expected in zip(together, alone, strict=True):
            assert_close(found[start:end], expected)


def test_without_lengths_every_row_is_a_sequence_of_its_own() -> None:
    ours = network(ALL, **EVERYTHING)
    inputs = ours.prepare(seen(ALL, 5), torch.randn(5, ours.memory_size))
    for found, expected in zip(
        run(ours, inputs, None), run(ours, inputs, torch.ones(5, dtype=torch.int64)), strict=True
    ):
        assert_close(found, expected)
    mean, logits, memories = ours.act(inputs)
    assert memories is not None and memories.shape == (5, 12)
    for found, expected in zip([mean, *logits], run(ours, inputs, None), strict=False):
        assert_close(found, expected)


def test_a_sequence_does_not_touch_another() -> None:
    ours = network(ALL, **EVERYTHING)
    rows = int(LENGTHS.sum())
    observations = [one.requires_grad_() for one in seen(ALL, rows)]
    memories = torch.randn(rows, ours.memory_size, requires_grad=True)
    heads, tape = ours.forward_with_tape(ours.prepare(observations, memories), LENGTHS)
    of_third = torch.zeros(rows, 1)
    of_third[4:9] = 1.0
    logits = [torch.zeros_like(one) for one in heads.logits]
    ours.backward(tape, Heads(of_third.expand(-1, 2), torch.zeros(2), logits, of_third.expand(-1, 2)))
    for one in (*observations, memories):
        touched = one.grad.flatten(1).abs().sum(1) > 0
        assert not touched[:4].any() and not touched[9:].any() and touched[4]
    assert not memories.grad[5:9].any()  # a sequence starts from the memory of its first row


def test_actor_and_critic_have_a_memory_each() -> None:
    ours = network(ALL, **EVERYTHING)
    inputs = ours.prepare(seen(ALL, 4), torch.randn(4, 12))
    mean, _, memories = ours.act(inputs)
    values = ours.values(inputs)
    changed = Inputs(inputs.observations, torch.cat([inputs.memories[:, :6], torch.zeros(4, 6)], dim=1))
    again, _, other = ours.act(changed)
    assert torch.equal(mean, again) and torch.equal(memories[:, :6], other[:, :6])
    assert (ours.values(changed) != values).all() and (other[:, 6:] != memories[:, 6:]).any()


def test_a_shared_critic_has_no_layers_and_no_memory_of_its_own() -> None:
    ours = network(ALL, shared=True, **EVERYTHING)
    assert ours.memory_size == 6
    assert {name for name, _ in ours.critic.named_parameters()} == {
        f"values.{signal}.{part}" for signal in SIGNALS for part in ("weight", "bias")
    }
    inputs = ours.prepare(seen(ALL, 4), torch.randn(4, 6))
    _, _, memories = ours.act(inputs)
    hidden = memories[:, :3]  # the LSTM's output is what its memory's first half holds
    assert_close(ours.values(inputs), torch.cat([ours.critic.values[signal](hidden) for signal in SIGNALS], dim=1))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("lengths", [LENGTHS, None])
def test_gradients_are_those_of_autograd(shared: bool, lengths: Tensor | None) -> None:
    ours = network(ALL, shared=shared, **EVERYTHING)
    inputs = ours.prepare(seen(ALL, 11), torch.randn(11, ours.memory_size))
    buffers = {name: parameter.grad for name, parameter in ours.named_parameters()}
    with torch.no_grad():
        heads, tape = ours.forward_with_tape(inputs, lengths)
        given = Heads(
            torch.randn_like(heads.mean),
            torch.randn_like(heads.log_sigma),
            [torch.randn_like(one) for one in heads.logits],
            torch.randn_like(heads.values),
        )
        ours.backward(tape, given)
    mean, logits = ours.policy_heads(inputs, lengths)
    loss = (mean * given.mean).sum() + (ours.sigma() * given.log_sigma).sum()
    loss = loss + sum((one * gradient).sum() for one, gradient in zip(logits, given.logits, strict=True))
    loss = loss + (ours.values(inputs, lengths) * given.values).sum()
    expected = torch.autograd.grad(loss, list(ours.parameters()))
    for (name, parameter), gradient in zip(ours.named_parameters(), expected, strict=True):
        assert parameter.grad is buffers[name], "the gradients lie where the optimizer has put them"
        assert_close(parameter.grad, gradient)
        assert gradient.any(), name


def test_a_cue_is_learnt_over_sequences_of_any_length() -> None:
    spec = behavior((1,), continuous=1, branches=())
    ours = network(spec, hidden_units=16, normalize=False, memory={"memory_size": 16})
    optimizer = Optimizer(ours)
    lengths = torch.tensor([7, 5, 10, 8, 6, 9])
    ends = lengths.cumsum(0) - 1
    cues = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, -1.0])
    observations = torch.zeros(int(lengths.sum()), 1)
    observations[ends - lengths + 1, 0] = cues  # seen at the first step, wanted at the last
    inputs = ours.prepare([observations], torch.zeros(len(observations), ours.memory_size))
    errors = []
    for _ in range(80):
        heads, tape = ours.forward_with_tape(inputs, lengths)
        gradient = torch.zeros_like(heads.mean)
        gradient[ends, 0] = heads.mean[ends, 0] - cues
        errors.append(float(gradient.square().sum() / len(cues)))
        ours.backward(tape, Heads(gradient, torch.zeros(1), [], torch.zeros_like(heads.values)))
        optimizer.step(1e-2)
    assert errors[0] > 0.5 and errors[-1] < 0.05


def test_rows_can_be_picked() -> None:
    ours = network(ALL, **EVERYTHING)
    inputs = ours.prepare(seen(ALL, 6), torch.randn(6, ours.memory_size))
    assert len(inputs) == 6 and len(inputs[1:3]) == 2
    picked = inputs[torch.tensor([4, 0])]
    assert torch.equal(picked.memories, inputs.memories[[4, 0]])
    assert_close(ours.values(picked), ours.values(inputs)[[4, 0]])


def test_vectors_are_normalised_and_nothing_else_is() -> None:
    ours = network(ALL, **EVERYTHING)
    vectors, pictures, entities = seen(ALL, 400)
    ours.update_normalizers([3.0 * vectors + 5.0, pictures, entities])
    prepared = ours.prepare([3.0 * vectors + 5.0, pictures, entities]).observations
    assert float(prepared[0].mean().abs()) < 0.1 and abs(float(prepared[0].std()) - 1.0) < 0.1
    assert prepared[1] is pictures and prepared[2] is entities
    raw = network(ALL, normalize=False, **EVERYTHING)
    assert raw.prepare([vectors, pictures, entities]).observations[0] is vectors


def test_the_axes_say_where_a_picture_has_its_channels() -> None:
    pictures = torch.rand(3, 2, 4, 5)
    outputs = []
    for shape, axes in [
        ((2, 4, 5), (NONE, SHIFTS, SHIFTS)),
        ((2, 4, 5), (UNSPECIFIED,) * 3),
        ((4, 5, 2), (SHIFTS, SHIFTS, NONE)),
    ]:
        torch.manual_seed(1)
        body = ObservationBody(
            [observation(0, shape, axes)], NetworkSettings(vis_encode_type="fully_connected"), normalize=False
        )
        outputs.append(body.encode([pictures if shape[0] == 2 else pictures.permute(0, 2, 3, 1)]))
        assert outputs[-1].shape == (3, 128)
    assert_close(outputs[1], outputs[0])
    assert_close(outputs[2], outputs[0])


def test_a_memory_starts_as_ml_agents_starts_it() -> None:
    ours = GeneralActorCritic(ALL, NetworkSettings.model_validate({"hidden_units": 64, **EVERYTHING}), SIGNALS)
    memory = ours.actor.memory
    limit = (6 / (64 + 3)) ** 0.5  # Xavier uniform of each gate, [3, 64]
    assert 0.9 * limit < float(memory.weight_ih_l0.detach().abs().max()) <= limit
    for bias in (memory.bias_ih_l0, memory.bias_hh_l0):
        assert bias.tolist() == [0, 0, 0, 1, 1, 1] + [0] * 6  # of torch's order input, forget, cell, output


@pytest.mark.parametrize(
    ("shape", "axes", "kind", "message"),
    [
        (
            (1, 19, 30),
            AXES[3],
            "simple",
            r"observation 0 \(sensor 0\) .*simple needs pictures of 20 pixels .*got 19 x 30",
        ),
        ((19, 30, 1), AXES[3][::-1], "simple", r"simple needs pictures of 20 pixels .*got 19 x 30"),
        ((1, 30, 30), AXES[3], "match3", r"vis_encode_type: match3 is not supported yet; there is .*simple"),
        ((4, 2), (NONE, VARIABLE), "simple", r"observation 0 \(sensor 0\) .*varies along another dimension"),
    ],
)
def test_what_no_encoder_takes_is_told(shape: Any, axes: Any, kind: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ObservationBody([observation(0, shape, axes)], NetworkSettings(vis_encode_type=kind), normalize=False)
