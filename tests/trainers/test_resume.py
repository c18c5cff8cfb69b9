"""What a resumed run goes on with: everything, bit for bit, where the world can be restored; and what it refuses."""

import functools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers.checkpoint import load_state
from trainers.errors import UsageError
from unity_envs.worlds import make_world_factory


def settings(**changes: Any) -> dict[str, Any]:
    hyperparameters = {"batch_size": 16, "buffer_size": 64, "num_epoch": 2, **changes.pop("hyperparameters", {})}
    network = {"hidden_units": 8, "num_layers": 1, "normalize": True, **changes.pop("network_settings", {})}
    return {
        "trainer_type": "ppo",
        "hyperparameters": hyperparameters,
        "network_settings": network,
        "max_steps": 1000,
        "time_horizon": 8,
        "summary_freq": 100,
        "checkpoint_interval": 10_000,
        **changes,
    }


def raise_interrupt(at: int) -> Callable[[int], None]:
    """Ctrl-C as message number `at` is about to go out."""
    return lambda number: signal.raise_signal(signal.SIGINT) if number == at else None


def differences(left: Any, right: Any, where: str = "") -> list[str]:
    """The places where two states are not the same to the bit."""
    if isinstance(left, torch.Tensor):
        same = (
            left.dtype == right.dtype
            and left.shape == right.shape
            and left.numpy().tobytes() == right.numpy().tobytes()
        )
        return [] if same else [where]
    if isinstance(left, dict):
        if left.keys() != right.keys():
            return [f"{where}: keys {sorted(map(str, left.keys() ^ right.keys()))}"]
        return [place for key in left for place in differences(left[key], right[key], f"{where}.{key}")]
    if isinstance(left, list | tuple):
        if len(left) != len(right):
            return [f"{where}: {len(left)} and {len(right)} items"]
        return [
            place
            for index, pair in enumerate(zip(left, right, strict=True))
            for place in differences(*pair, f"{where}[{index}]")
        ]
    return [] if left == right else [f"{where}: {left} and {right}"]


class Interrupted:
    """A world whose step number `at` comes with Ctrl-C."""

    def __init__(self, world: Any, at: int) -> None:
        self._world = world
        self._left = at

    def step(self, actions: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            signal.raise_signal(signal.SIGINT)
        return self._world.step(actions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)


def interrupted(make_world: Callable[..., Any], at: int) -> Callable[..., Any]:
    return lambda *arguments: Interrupted(make_world(*arguments), at)


@pytest.mark.parametrize("stop", [1, 40, 57])
def test_a_resumed_run_of_a_toy_world_equals_one_that_was_never_interrupted(
    train: Callable[..., Any], toy_world: Any, stop: int
) -> None:
    # A hybrid policy, two behaviors, one of which comes after the 50th message.
    world = functools.partial(toy_world, continuous=1, behaviors={"Early?team=0": 0, "Late?team=0": 50})
    each = {"Early": settings(max_steps=600), "Late": settings(max_steps=400)}
    straight = train(world, behaviors=each, run_id="straight")
    train(interrupted(world, stop), behaviors=each, run_id="resumed")
    seed = 99 if stop > 50 else 1  # only a behavior that is yet to come draws from the resumed run's seed
    resumed = train(world, behaviors=each, run_id="resumed", resume=True, seed=seed)
    for name in each:
        left, right = (load_state(run.folder.checkpoint(name)) for run in (straight, resumed))
        assert left["step"] > 400
        assert differences(left, right) == []
        assert straight.folder.model(name).read_bytes() == resumed.folder.model(name).read_bytes()


def test_a_resumed_run_of_3dball_equals_one_that_was_never_interrupted(train: Callable[..., Any]) -> None:
    world = make_world_factory("3DBall", 5)
    of_ball = {"3DBall": settings(max_steps=1500, time_horizon=30, hyperparameters={"buffer_size": 200})}
    straight = train(world, behaviors=of_ball, run_id="straight")
    # Interrupted twice, with checkpoints in between, which must not matter either.
    train(interrupted(world, 61), behaviors=of_ball, run_id="resumed")
    of_ball["3DBall"]["checkpoint_interval"] = 300
    train(interrupted(world, 99), behaviors=of_ball, run_id="resumed", resume=True)
    resumed = train(world, behaviors=of_ball, run_id="resumed", resume=True)
    left, right = (load_state(run.folder.checkpoint("3DBall")) for run in (straight, resumed))
    assert left["step"] > 1500
    assert differences(left, right) == []


@pytest.mark.parametrize("stop", [30, 61])
def test_a_resumed_run_with_memory_and_curiosity_equals_one_that_was_never_interrupted(
    train: Callable[..., Any], toy_world: Any, stop: int
) -> None:
    world = functools.partial(toy_world, continuous=1)
    small = {"network_settings": {"hidden_units": 4, "num_layers": 1}}
    signals = {"extrinsic": {}, "curiosity": {"strength": 0.1, **small}, "rnd": {"strength": 0.1, **small}}
    memory = {"memory": {"sequence_length": 3, "memory_size": 4}}
    each = {"Toy": settings(max_steps=400, reward_signals=signals, network_settings=memory)}
    straight = train(world, behaviors=each, run_id="straight")
    train(interrupted(world, stop), behaviors=each, run_id="resumed")
    resumed = train(world, behaviors=each, run_id="resumed", resume=True)
    left, right = (load_state(run.folder.checkpoint("Toy")) for run in (straight, resumed))
    assert left["step"] > 400
    assert left["reward_signals"].keys() == {"curiosity", "rnd"}
    assert differences(left, right) == []


def test_the_same_seed_gives_the_same_run_and_another_seed_another(train: Callable[..., Any]) -> None:
    world = make_world_factory("3DBall", 5)

    def network(run_id: str, seed: int) -> dict[str, torch.Tensor]:
        of_ball = {"3DBall": settings(max_steps=500, time_horizon=30)}
        folder = train(world, behaviors=of_ball, run_id=run_id, seed=seed).folder
        return load_state(folder.checkpoint("3DBall"))["network"]

    first, second, other = network("first", 1), network("second", 1), network("other", 2)
    assert differences(first, second) == []
    assert ".actor.body.0.weight" in differences(first, other)


# ---- what else a resumed run goes on with ----


def test_steps_schedules_and_checkpoints_go_on(train: Callable[..., Any], toy_world: Any) -> None:
    train(toy_world, settings(max_steps=300))
    again = train(toy_world, settings(max_steps=600, checkpoint_interval=100), resume=True)
    lines = again.output.splitlines()
    step = int(next(line for line in lines if "Resuming" in line).split("from step ")[1].split()[0])
    assert 300 < step < 320
    assert [line.split("Step: ")[1].split(".")[0] for line in lines if "Step: " in line] == ["400", "500", "600"]
    state = load_state(again.folder.checkpoint("Toy"))
    assert state["step"] > 600
    assert state["network"]["actor.normalizers.0.steps"] == state["step"] + 1 - sum(map(len, state_noted(state)))
    assert f"Toy-{step}.pt" in {path.name for path in again.folder.behavior("Toy").iterdir()}


def state_noted(state: dict[str, Any]) -> list[torch.Tensor]:
    """The rewards of the trajectories that were cut, but not yet taken in."""
    return [cut["rewards"] for cut in state["noted"]]


def test_a_run_that_had_its_steps_says_what_to_do(train: Callable[..., Any], toy_world: Any) -> None:
    before = load_state(train(toy_world, settings(max_steps=100)).folder.checkpoint("Toy"))
    again = train(toy_world, settings(max_steps=100), resume=True)
    assert "'Toy' has had its max_steps (100); raise max_steps" in again.output
    assert differences(before, load_state(again.folder.checkpoint("Toy"))) == []


def test_another_number_of_agents_or_worlds_starts_episodes_anew(train: Callable[..., Any], toy_world: Any) -> None:
    train(interrupted(toy_world, 30), settings())
    more = train(interrupted(functools.partial(toy_world, agents=7), 30), settings(), resume=True)
    assert (
        "The saved world does not fit this one (the saved world has (1, 4) agents): episodes start anew" in more.output
    )
    several = train(toy_world, settings(), resume=True, worlds=2)
    assert "hold no worlds to go on with: episodes start anew" in several.output
    assert load_state(several.folder.checkpoint("Toy"))["step"] > 1000


def test_a_time_horizon_may_change(train: Callable[..., Any], toy_world: Any) -> None:
    train(interrupted(make_world_factory("3DBall", 3), 20), behaviors={"3DBall": settings(time_horizon=500)})
    again = train(
        make_world_factory("3DBall", 3), behaviors={"3DBall": settings(time_horizon=3, max_steps=200)}, resume=True
    )
    assert load_state(again.folder.checkpoint("3DBall"))["step"] > 200


def test_a_behavior_that_is_new_to_the_resumed_run_starts_anew(train: Callable[..., Any], toy_world: Any) -> None:
    train(functools.partial(toy_world, behaviors={"Old?team=0": 0}), behaviors={"Old": settings(max_steps=200)})
    world = functools.partial(toy_world, behaviors={"New?team=0": 0, "Old?team=0": 0})
    two = {"Old": settings(max_steps=400), "New": settings(max_steps=100)}
    again = train(world, behaviors=two, resume=True)
    assert "has no checkpoint of 'New', which therefore starts anew" in again.output
    assert load_state(again.folder.checkpoint("Old"))["step"] > 400


# ---- initialize-from ----


def test_networks_of_another_run_are_taken_over_at_step_0(train: Callable[..., Any], toy_world: Any) -> None:
    first = train(interrupted(toy_world, 100), settings(), run_id="first")
    second = train(interrupted(toy_world, 2), settings(), run_id="second", initialize_from="first")
    assert "Initialised 'Toy' from" in second.output
    left, right = (load_state(run.folder.checkpoint("Toy")) for run in (first, second))
    assert right["step"] < 20
    assert torch.equal(left["network"]["actor.body.0.weight"], right["network"]["actor.body.0.weight"])


def test_init_path_names_a_file_of_the_other_run_or_any_file(train: Callable[..., Any], toy_world: Any) -> None:
    first = train(toy_world, settings(checkpoint_interval=100, max_steps=300), run_id="first").folder
    early = min(first.behavior("Toy").glob("Toy-[0-9]*.pt"), key=lambda path: int(path.stem.split("-")[1]))
    expected = load_state(early)["network"]["actor.body.0.weight"]
    by_name = {"init_path": early.name}, {"initialize_from": "first"}
    for number, (of_behavior, of_run) in enumerate([by_name, ({"init_path": str(early)}, {})]):
        run_id = f"second {number}"
        run = train(interrupted(toy_world, 2), settings(**of_behavior), run_id=run_id, **of_run)
        assert torch.equal(load_state(run.folder.checkpoint("Toy"))["network"]["actor.body.0.weight"], expected)


# ---- what is refused, with nothing overwritten ----


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("world", "changes", "message"),
    [
        (
            {"observation_size": 3},
            {},
            r"checkpoint\.pt was trained with observations of size \[1\].*now has .*size \[3\]",
        ),
        ({"continuous": 2}, {}, r"0 continuous actions .*now has .*2 continuous actions"),
        ({}, {"network_settings": {"hidden_units": 9}}, r"another network than the configuration .*size mismatch"),
        ({}, {"network_settings": {"normalize": False}}, r"another network"),
        ({"behaviors": {"Other?team=0": 0}}, {}, r"'Other' is not in the configuration"),
    ],
    ids=["observations", "actions", "hidden units", "normalize", "behavior"],
)
def test_what_does_not_fit_the_checkpoint_is_refused(
    train: Callable[..., Any], toy_world: Any, world: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    folder = train(toy_world, settings(max_steps=100)).folder
    before = contents(folder.path)
    with pytest.raises(UsageError, match=message):
        train(functools.partial(toy_world, **world), settings(**changes), resume=True)
    assert contents(folder.path) == before


def test_force_overwrites_nothing_before_the_environment_has_shown_that_it_fits(
    train: Callable[..., Any], toy_world: Any
) -> None:
    folder = train(toy_world, settings(max_steps=100)).folder
    before = contents(folder.path)
    broken = functools.partial(toy_world, behaviors={"Other?team=0": 0})
    with pytest.raises(UsageError, match="'Other' is not in the configuration"):
        train(broken, settings(max_steps=100), force=True)
    assert contents(folder.path) == before
    again = train(interrupted(toy_world, 5), settings(max_steps=100), force=True)
    assert load_state(again.folder.checkpoint("Toy"))["step"] < 50
    assert len(list(folder.behavior("Toy").glob("events.*"))) == 1


def test_a_nan_in_the_first_observation_leaves_a_resumed_run_as_it_was(
    train: Callable[..., Any], toy_world: Any
) -> None:
    class Broken(toy_world):
        def load_state(self, state: Any) -> Any:
            steps = super().load_state(state)
            for decisions, _ in steps.values():
                decisions.obs[0][2] = np.nan
            return steps

    folder = train(toy_world, settings(max_steps=100)).folder
    before = contents(folder.path)
    with pytest.raises(RuntimeError, match=r"observation 0 \(the sign\) of agent 2 of behavior 'Toy\?team=0' is NaN"):
        train(Broken, settings(max_steps=200), resume=True)
    assert contents(folder.path) == before
