"""Several ranks that train one policy. Here they are threads of this process, which add up what each of them has."""

import contextlib
import functools
import io
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

from bridge.fleet import Fleet
from bridge.in_process import InProcessEnvironment
from bridge.side_channels import EnvironmentParametersChannel
from trainers import meetings
from trainers.checkpoint import load_state
from trainers.config import RunConfig, TrainerSettings
from trainers.console import Console
from trainers.distributed import Ranks, Replica, Share
from trainers.errors import UsageError
from trainers.experience import ExperienceBuffer
from trainers.interrupts import Interrupts
from trainers.learner import Learner
from trainers.networks import Normalizer
from trainers.ppo import Schedules
from trainers.rollout import CutTrajectories
from trainers.run import Run
from trainers.run_folder import RunFolder

SPEC = BehaviorSpec(
    [ObservationSpec((5,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "sensor")], ActionSpec(2, (3,))
)
ONE_AT_A_TIME = threading.Lock()
SCHEDULES = Schedules(3e-4, 0.2, 5e-3)


class Meeting:
    """Where the threads wait for each other."""

    def __init__(self, size: int) -> None:
        self.values: list[Any] = [None] * size
        self.barrier = threading.Barrier(size, timeout=60)


class RanksInThreads(Ranks):
    def __init__(self, rank: int, meeting: Meeting) -> None:
        self.rank, self.size, self._meeting = rank, len(meeting.values), meeting

    def gather(self, value: Any) -> list[Any]:
        self._meeting.values[self.rank] = value
        self._meeting.barrier.wait()
        values = list(self._meeting.values)
        self._meeting.barrier.wait()
        return values

    def from_rank(self, source: int, value: Any) -> Any:
        return self.gather(value)[source]

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        total = torch.stack(self.gather(tensor.clone())).sum(0)
        return tensor.copy_(total)


def on_ranks(size: int, do: Callable[[Ranks], Any]) -> list[Any]:
    """What `do` returns in each of `size` threads."""
    meeting = Meeting(size)

    def one(rank: int) -> Any:
        try:
            return do(RanksInThreads(rank, meeting))
        except BaseException:
            meeting.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


# ---- shares ----


def test_each_rank_does_its_share_of_a_minibatch() -> None:
    assert Share.of(0, [6001, 5999], 64) == Share(187, 32, 0.5)
    assert Share.of(0, [12000], 64) == Share(187, 64, 1.0)
    assert Share.of(1, [9000, 3000], 64) == Share(187, 16, 0.25)


def test_a_rank_without_data_takes_part_with_nothing() -> None:
    assert Share.of(1, [640, 0], 64) == Share(10, 0, 0.0)
    assert Share.of(0, [640, 0], 64) == Share(10, 64, 1.0)
    assert Share.of(0, [30, 30], 64) == Share(0, 0, 0.0)  # no minibatch on any rank


# ---- the same as one process ----


class Orders:
    """Orders of minibatches that are given."""

    def __init__(self, orders: list[torch.Tensor]) -> None:
        self._orders = orders

    def part(self, calls: int) -> "Orders":
        taken, self._orders = self._orders[:calls], self._orders[calls:]
        return Orders(taken)

    def order(self, steps: int) -> torch.Tensor:
        (order, *self._orders) = self._orders
        assert len(order) == steps
        return order


def make_learner(ranks: Ranks | None, averaging: str = "gradients", backend: str = "auto", **changed: Any) -> Learner:
    hyperparameters = {"batch_size": 32, "buffer_size": 128, "num_epoch": 2, **changed}
    values = {
        "trainer_type": "ppo",
        "network_settings": {"hidden_units": 16, "num_layers": 2, "normalize": True},
        "hyperparameters": hyperparameters,
    }
    with ONE_AT_A_TIME:  # weights are drawn from one generator in a process
        return Learner(
            "Ball",
            SPEC,
            TrainerSettings.model_validate(values),
            seed=1,
            device=torch.device("cpu"),
            backend=backend,
            threads=1,
            ranks=ranks,
            averaging=averaging,
        )


def lived(learner: Learner, seed: int, trajectories: int, length: int = 8) -> ExperienceBuffer:
    """Trajectories with made-up rewards, whose steps the normalisers have taken in."""
    random = np.random.default_rng(seed)
    count = trajectories * length
    buffer = ExperienceBuffer(SPEC, count, 1, learner.policy.columns())
    cut = CutTrajectories(
        [random.normal(2.0, 3.0, size=(count, 5)).astype(np.float32)],
        {
            "continuous": random.normal(size=(count, 2)).astype(np.float32),
            "discrete": random.integers(3, size=(count, 1)),
            "log_probs": random.normal(-1.2, 0.1, size=(count, 3)).astype(np.float32),
            "allowed": np.ones((count, 3), np.bool_),
        },
        random.normal(size=count).astype(np.float32),
        np.full(trajectories, length),
        [random.normal(size=(trajectories, 5)).astype(np.float32)],
        np.zeros((trajectories, 0), np.float32),
        np.zeros(trajectories, np.bool_),
        np.zeros(trajectories, np.bool_),
        np.arange(trajectories),
    )
    learner.policy.network.update_normalizers([torch.from_numpy(cut.observations[0])])
    values = random.normal(size=(count, 1)).astype(np.float32)
    buffer.append(cut, cut.rewards[:, None], values, random.normal(size=(trajectories, 1)).astype(np.float32))
    return buffer


def joined(learner: Learner, parts: list[ExperienceBuffer]) -> ExperienceBuffer:
    """The experience of all ranks, one after the other."""
    whole = ExperienceBuffer(SPEC, 0, 1, learner.policy.columns())
    states = [part.state() for part in parts]
    whole.load_state(
        {
            "observations": [np.concatenate([state["observations"][0] for state in states])],
            "next_observations": [],
            "columns": {name: np.concatenate([s["columns"][name] for s in states]) for name in states[0]["columns"]},
            **{
                name: np.concatenate([state[name] for state in states])
                for name in ("rewards", "values", "lengths", "next_values")
            },
        }
    )
    return whole


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Relative L2."""
    return float((one - other).norm() / other.norm().clamp_min(1e-12))


@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_give_the_weights_of_one_process_with_the_same_batch(ranks: int, backend: str) -> None:
    """Minibatch i of one process holds the steps of minibatch i of every rank."""
    updates, epochs, size, steps = 20, 2, 32 - 32 % ranks, 64
    random = np.random.default_rng(0)
    shuffled = [[torch.from_numpy(random.permutation(steps)) for _ in range(ranks)] for _ in range(updates * epochs)]
    part = size // ranks
    minibatches = ranks * steps // size

    def update_together(own: Ranks) -> dict[str, torch.Tensor]:
        learner = make_learner(own, backend=backend, batch_size=size)
        learner.generator = Orders([orders[own.rank] for orders in shuffled])
        for number in range(updates):
            experience = lived(learner, 100 * number + own.rank, steps // 8)
            learner.begin_update(experience, SCHEDULES, diagnosed=False).result()
        return learner.weights()["network"]

    alone = make_learner(None, backend=backend, batch_size=size)
    orders = []
    for each in shuffled:
        chunks = [order[: minibatches * part].view(minibatches, part) + steps * r for r, order in enumerate(each)]
        used = torch.cat(chunks, dim=1).flatten()
        rest = [order[minibatches * part :] + steps * r for r, order in enumerate(each)]
        orders.append(torch.cat([used, *rest]))
    alone.generator = Orders(orders)
    for number in range(updates):
        parts = [lived(alone, 100 * number + rank, steps // 8) for rank in range(ranks)]
        alone.begin_update(joined(alone, parts), SCHEDULES, diagnosed=False).result()

    expected = alone.weights()["network"]
    start = make_learner(None, backend=backend, batch_size=size).weights()["network"]
    for network in on_ranks(ranks, update_together):
        for name, tensor in network.items():
            assert distance(tensor.float(), expected[name].float()) < 1e-5, name
    moved = [name for name in expected if distance(expected[name].float(), start[name].float()) > 1e-2]
    assert any(name.startswith("actor") for name in moved) and any(name.startswith("critic") for name in moved)


@pytest.mark.parametrize("averaging", ["gradients", "weights"])
@pytest.mark.parametrize("backend", ["auto", "torch"])
@pytest.mark.parametrize("trajectories", [(8, 8), (12, 3), (16, 0)])
def test_ranks_stay_the_same_whatever_each_has(trajectories: tuple[int, int], backend: str, averaging: str) -> None:
    def update(ranks: Ranks) -> dict[str, Any]:
        learner = make_learner(ranks, averaging, backend)
        for number in range(3):
            count = trajectories[ranks.rank]
            experience = lived(learner, 10 * number + ranks.rank, count) if count else nothing(learner)
            learner.begin_update(experience, SCHEDULES, diagnosed=True).result()
        return learner.weights()

    first, second = on_ranks(2, update)
    start = make_learner(None).weights()["network"]
    for name, tensor in first["network"].items():
        assert torch.equal(tensor, second["network"][name]), name
    assert not torch.equal(first["network"]["actor.body.0.weight"], start["actor.body.0.weight"])
    assert first["optimizer"]["step"] == second["optimizer"]["step"] > 0
    for moment in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(first["optimizer"][moment], second["optimizer"][moment])


@pytest.mark.parametrize(("averaging", "factor"), [("gradients", 1.0), ("weights", 2**0.5)])
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_adam_steps_of_ranks_that_average_weights_are_longer(backend: str, averaging: str, factor: float) -> None:
    """Adam's first step moves every weight by the learning rate, whatever its gradient."""

    def moved(ranks: Ranks) -> float:
        learner = make_learner(ranks, averaging, backend, batch_size=128, num_epoch=1)
        before = learner.weights()["network"]["critic.body.0.weight"].clone()
        learner.begin_update(lived(learner, 5, 8), SCHEDULES, diagnosed=False).result()  # both ranks the same
        return float((learner.weights()["network"]["critic.body.0.weight"] - before).abs().median())

    assert on_ranks(2, moved) == [pytest.approx(factor * SCHEDULES.learning_rate, rel=1e-3)] * 2


def nothing(learner: Learner) -> ExperienceBuffer:
    return ExperienceBuffer(SPEC, 0, 1, learner.policy.columns())


def test_an_update_that_ends_at_a_kl_ends_on_all_ranks() -> None:
    def update(ranks: Ranks) -> int:
        learner = make_learner(ranks, "auto", target_kl=1e-4, num_epoch=20)
        learner.begin_update(lived(learner, ranks.rank, 8), SCHEDULES, diagnosed=False).result()
        return int(learner.weights()["optimizer"]["step"])

    first, second = on_ranks(2, update)
    assert first == second < 80


def test_weights_and_a_kl_do_not_go_together() -> None:
    with pytest.raises(UsageError, match=r"averaging: weights does not go with hyperparameters\.target_kl"):
        on_ranks(1, lambda ranks: make_learner(ranks, "weights", target_kl=0.1))


def test_little_work_averages_weights_and_much_gradients() -> None:
    def by_gradients(ranks: Ranks) -> list[bool]:
        network = torch.nn.Linear(99, 1000)  # 100,000 parameters, and as many as 100 steps a rank are much
        return [Replica(ranks, network, "auto", size).by_gradients for size in (64, 199, 200)]

    assert on_ranks(2, by_gradients) == [[False, False, True]] * 2


# ---- normalisers ----


def test_normalizers_know_what_those_of_all_ranks_have_seen() -> None:
    def see(ranks: Ranks) -> list[Normalizer]:
        normalizer = Normalizer(3)
        replica = Replica(ranks, torch.nn.ModuleList([normalizer, torch.nn.Linear(1, 1)]), "gradients", 1)
        for part in range(3):
            random = np.random.default_rng(10 * part + ranks.rank)
            count = 50 * (1 + ranks.rank) if part != 1 or ranks.rank == 0 else 0  # one rank saw nothing at all
            if count:
                normalizer.update(torch.from_numpy(random.normal(5.0, 2.0, (count, 3)).astype(np.float32)))
            replica.merge_normalizers()
        return [normalizer]

    ((first,), (second,)) = on_ranks(2, see)
    alone = Normalizer(3)
    for part in range(3):
        for rank in range(2):
            random = np.random.default_rng(10 * part + rank)
            if part != 1 or rank == 0:
                seen = random.normal(5.0, 2.0, (50 * (1 + rank), 3)).astype(np.float32)
                alone.update(torch.from_numpy(seen))
    assert first.steps == second.steps == alone.steps == 351
    for name in ("mean", "variance_sum", "scale"):
        assert torch.equal(getattr(first, name), getattr(second, name))
        torch.testing.assert_close(getattr(first, name), getattr(alone, name), rtol=1e-5, atol=1e-6)


# ---- whole runs ----

TOY = {
    "trainer_type": "ppo",
    "hyperparameters": {"batch_size": 16, "buffer_size": 64, "learning_rate": 1e-2},
    "network_settings": {"hidden_units": 8, "num_layers": 1},
    "max_steps": 1500,
    "summary_freq": 300,
}


@pytest.fixture
def train_on_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`train_on_ranks([make_world, make_world], ...)`: a run with a rank for each world; what the consoles say."""
    monkeypatch.setattr(Interrupts, "watched", lambda *_: contextlib.nullcontext())  # signals are the main thread's
    monkeypatch.setattr(meetings, "_LONGEST_APART", 0.05)
    monkeypatch.setattr("trainers.run.note_attempt", lambda folder: None)

    def train(worlds: list[Any], behaviors: dict[str, Any], parameters: Any = None, **options: Any) -> list[str]:
        def run(ranks: Ranks) -> str:
            settings = {"behaviors": behaviors, "environment_parameters": parameters}
            folder = RunFolder(tmp_path / "results", "run")
            folder.validate(False, True)
            channel = EnvironmentParametersChannel()
            environment = InProcessEnvironment(worlds[ranks.rank], seed=1 + ranks.rank, side_channels=[channel])
            said = io.StringIO()
            Run(
                RunConfig.model_validate(settings),
                Fleet([environment]),
                folder,
                Console(debug=False, stream=said),
                seed=1,
                device=torch.device("cpu"),
                statistics=[],
                parameters=[channel],
                ranks=ranks,
                **options,
            )()
            return said.getvalue()

        return on_ranks(len(worlds), run)

    return train


def test_ranks_end_with_the_same_numbers(train_on_ranks: Any, toy_world: Any, tmp_path: Path) -> None:
    """One has three times as many agents; both count the steps of both, and see the same rewards."""
    worlds = [functools.partial(toy_world, agents=agents) for agents in (4, 12)]
    first, second = train_on_ranks(worlds, {"Toy": TOY}, stop_at_reward=1.5)
    lines = [[line for line in said.splitlines() if "Step: " in line] for said in (first, second)]
    without_times = [[re.sub(r"Elapsed: \S+", "", line) for line in each] for each in lines]
    assert without_times[0] == without_times[1] and len(lines[0]) >= 1
    state = load_state(tmp_path / "results" / "run" / "Toy" / "checkpoint.pt")
    assert 300 <= state["step"] <= 1500 + 200
    assert (tmp_path / "results" / "run" / "Toy.onnx").is_file()


def test_a_behavior_that_only_one_rank_has_is_learnt(train_on_ranks: Any, toy_world: Any, tmp_path: Path) -> None:
    late = functools.partial(toy_world, behaviors={"Early?team=0": 0, "Late?team=0": 20})
    train_on_ranks([toy_world, late], {"Toy": TOY, "Early": TOY, "Late": TOY})
    for name in ("Toy", "Early", "Late"):
        state = load_state(tmp_path / "results" / "run" / name / "checkpoint.pt")
        assert state["step"] > 1500, name
        assert state["optimizer"]["step"] > 0, name


def test_a_lesson_begins_on_all_ranks_together(train_on_ranks: Any, toy_world: Any) -> None:
    lessons = [
        {
            "name": "easy",
            "value": 1.0,
            "completion_criteria": {"measure": "progress", "behavior": "Toy", "threshold": 0.3},
        },
        {"name": "hard", "value": 2.0},
    ]
    said = train_on_ranks([toy_world, toy_world], {"Toy": TOY}, {"size": {"curriculum": lessons}})
    assert [one.count("is in lesson 'hard'") for one in said] == [1, 1]
