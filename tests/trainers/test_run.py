"""Whole runs of a toy world in this process: learning, summaries, checkpoints, ends, and more than one behavior."""

import functools
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bridge.exceptions import UnityEnvironmentException
from bridge.side_channels import IncomingMessage, OutgoingMessage, StatsSideChannel
from trainers.checkpoint import load_state
from trainers.errors import UsageError


def settings(**changes: Any) -> dict[str, Any]:
    hyperparameters = {"batch_size": 16, "buffer_size": 64, "num_epoch": 2, **changes.pop("hyperparameters", {})}
    return {
        "trainer_type": "ppo",
        "hyperparameters": hyperparameters,
        "network_settings": {"hidden_units": 8, "num_layers": 1},
        "max_steps": 500,
        "time_horizon": 8,
        "summary_freq": 100,
        "checkpoint_interval": 10_000,
        **changes,
    }


LEARNS = settings(
    max_steps=20_000,
    summary_freq=2_000,
    hyperparameters={"batch_size": 128, "buffer_size": 1024, "learning_rate": 5e-3, "beta": 1e-3},
    reward_signals={"extrinsic": {"gamma": 0.0}},
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith("events.")}


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def raise_interrupt(at: int) -> Callable[[int], None]:
    """Ctrl-C as message number `at` is about to go out."""
    return lambda number: signal.raise_signal(signal.SIGINT) if number == at else None


def test_a_discrete_task_is_learnt(train: Callable[..., Any], toy_world: Any) -> None:
    trained = train(functools.partial(toy_world, agents=32), LEARNS)
    rewards = [float(reward) for reward in re.findall(r"Mean Reward: ([-.\d]+)\.", trained.output)]
    assert 0.8 < rewards[0] < 1.4  # an episode has 2 decisions in the mean, and a guess is right half of the time
    assert rewards[-1] > 1.85


def test_a_run_leaves_the_files_of_ml_agents(train: Callable[..., Any], toy_world: Any) -> None:
    trained = train(toy_world, settings())
    folder = trained.folder
    assert names(folder.path) == {"configuration.yaml", "Toy.onnx", "Toy", "run_logs"}
    assert names(folder.run_logs) == {"timers.json", "training_status.json", "Toy.csv"}
    (step,) = {int(path.stem.split("-")[1]) for path in folder.behavior("Toy").glob("Toy-[0-9]*")}
    written = {f"Toy-{which}.{suffix}" for which in (step, "best") for suffix in ("pt", "onnx")}
    assert names(folder.behavior("Toy")) == {"checkpoint.pt", *written}
    status = json.loads(folder.training_status.read_text())
    assert status["Toy"]["final_checkpoint"]["steps"] == step
    assert status["Toy"]["final_checkpoint"]["file_path"] == str(folder.model("Toy"))
    timers = json.loads(folder.timers.read_text())
    assert {"act", "environment", "process", "update", "save"} <= set(timers["children"])


def test_the_lines_are_those_of_ml_agents(train: Callable[..., Any], toy_world: Any) -> None:
    lines = train(toy_world, settings(max_steps=250)).output.splitlines()
    assert "[INFO] Connected new brain: Toy?team=0" in lines
    summaries = [line for line in lines if "Step: " in line]
    assert [int(re.search(r"Step: (\d+)", line)[1]) for line in summaries] == [100, 200]
    pattern = (
        r"\[INFO\] Toy\. Step: \d+\. Time Elapsed: \d+\.\d{3} s\. "
        r"Mean Reward: \d\.\d{3}\. Std of Reward: \d\.\d{3}\. Training\."
    )
    assert all(re.fullmatch(pattern, line) for line in summaries)
    assert re.fullmatch(r"\[INFO\] Exported .*Toy\.onnx", lines[-1])


def test_tensorboard_has_the_tags_of_ml_agents_at_multiples_of_summary_freq(
    train: Callable[..., Any], toy_world: Any
) -> None:
    trained = train(toy_world, settings(hyperparameters={"learning_rate": 1e-3}))
    found = scalars(trained.folder.behavior("Toy"))
    ours = {tag for tag in found if tag.startswith("Performance/")}
    assert ours == {
        "Performance/Agent Steps per Second",
        *(f"Performance/Share of {phase}" for phase in ("Act", "Environment", "Process", "Update")),
    }
    ours |= {
        "Losses/Explained Variance",
        "Losses/Gradient Norm",
        "Policy/Approximate KL",
        "Policy/Clip Fraction",
    }
    assert set(found) - ours == {
        "Environment/Cumulative Reward",
        "Environment/Episode Length",
        "Losses/Policy Loss",
        "Losses/Value Loss",
        "Policy/Beta",
        "Policy/Entropy",
        "Policy/Epsilon",
        "Policy/Extrinsic Reward",
        "Policy/Extrinsic Value Estimate",
        "Policy/Learning Rate",
    }
    assert [step for step, _ in found["Environment/Cumulative Reward"]] == [100, 200, 300, 400, 500]
    assert all(0 <= length <= 2 for _, length in found["Environment/Episode Length"])  # decisions less 1
    rates = [rate for _, rate in found["Policy/Learning Rate"]]
    assert rates == sorted(rates, reverse=True)
    assert all(0 < rate < 1e-3 for rate in rates)
    assert all(entropy <= 0.694 for _, entropy in found["Policy/Entropy"])  # log 2


def test_the_run_overshoots_max_steps_by_the_last_trajectories(train: Callable[..., Any], toy_world: Any) -> None:
    state = load_state(train(toy_world, settings(max_steps=96)).folder.checkpoint("Toy"))
    assert 96 < state["step"] <= 96 + 4 * 3  # four agents, whose trajectories have up to three steps


def test_checkpoints_come_at_their_interval_and_the_newest_stay(train: Callable[..., Any], toy_world: Any) -> None:
    trained = train(toy_world, settings(max_steps=500, checkpoint_interval=100, keep_checkpoints=3))
    status = json.loads(trained.folder.training_status.read_text())["Toy"]
    steps = [checkpoint["steps"] for checkpoint in status["checkpoints"]]
    assert len(steps) == 3
    assert [step // 100 for step in steps] == [4, 5, 5] or [step // 100 for step in steps] == [3, 4, 5]
    files = {f"Toy-{step}.{suffix}" for step in steps for suffix in ("pt", "onnx")}
    assert names(trained.folder.behavior("Toy")) == files | {"checkpoint.pt", "Toy-best.pt", "Toy-best.onnx"}


def test_stop_at_reward_ends_at_the_first_summary_that_reaches_it(train: Callable[..., Any], toy_world: Any) -> None:
    trained = train(toy_world, settings(max_steps=100_000), stop_at_reward=0.1)
    assert [line for line in trained.output.splitlines() if "Step: " in line][1:] == []
    assert trained.folder.model("Toy").is_file()
    assert load_state(trained.folder.checkpoint("Toy"))["step"] < 200


def test_ctrl_c_saves_and_exports(train: Callable[..., Any], toy_world: Any) -> None:
    before = signal.getsignal(signal.SIGINT)
    trained = train(functools.partial(toy_world, at_message=raise_interrupt(50)), settings(max_steps=10**6))
    assert signal.getsignal(signal.SIGINT) is before
    assert trained.folder.model("Toy").is_file()
    assert 100 < load_state(trained.folder.checkpoint("Toy"))["step"] <= 200


def test_an_environment_that_fails_saves_what_was_learnt(
    train: Callable[..., Any], toy_world: Any, new_run: Any
) -> None:
    def fail(number: int) -> None:
        if number == 50:
            raise UnityEnvironmentException("the player is gone")

    with pytest.raises(UnityEnvironmentException, match="the player is gone"):
        train(functools.partial(toy_world, at_message=fail), settings(), run_id="failed")
    run = new_run(resume=True, run_id="failed")
    assert load_state(run.checkpoint("Toy"))["step"] > 100
    assert not run.model("Toy").exists()  # not a final model
    assert run.timers.is_file()
    resumed = train(toy_world, settings(), run_id="failed", resume=True)
    assert "Resuming 'Toy' from step" in resumed.output
    assert "no worlds to go on with: episodes start anew" in resumed.output  # the one that failed would fail again


# ---- several behaviors ----


TWO = {"Early?team=0": 0, "Late?team=0": 30}


def test_each_behavior_has_a_trainer_of_its_own_and_one_may_come_late(
    train: Callable[..., Any], toy_world: Any
) -> None:
    two = {"Early": settings(), "Late": settings(network_settings={"hidden_units": 4})}
    trained = train(functools.partial(toy_world, behaviors=TWO), behaviors=two)
    assert trained.output.count("Connected new brain") == 2
    early, late = (load_state(trained.folder.checkpoint(name)) for name in two)
    assert early["network"]["actor.body.0.weight"].shape == (8, 1)
    assert late["network"]["actor.body.0.weight"].shape == (4, 1)
    assert late["step"] > 500  # the run goes on until all have had their steps
    assert early["step"] > late["step"]
    for name in two:
        assert trained.folder.model(name).is_file()
        assert "Environment/Cumulative Reward" in scalars(trained.folder.behavior(name))


def test_one_more_behavior_changes_nothing_for_the_first(train: Callable[..., Any], toy_world: Any) -> None:
    def after(at: int, behaviors: dict[str, int], run_id: str) -> dict[str, torch.Tensor]:
        world = functools.partial(toy_world, behaviors=behaviors, at_message=raise_interrupt(at))
        each = {name.removesuffix("?team=0"): settings(max_steps=10**6) for name in behaviors}
        return load_state(train(world, behaviors=each, run_id=run_id).folder.checkpoint("Early"))["network"]

    alone, beside = after(100, {"Early?team=0": 0}, "alone"), after(100, TWO, "beside")
    assert all(torch.equal(beside[name], tensor) for name, tensor in alone.items())


def test_teams_of_one_behavior_share_its_trainer(train: Callable[..., Any], toy_world: Any) -> None:
    world = functools.partial(toy_world, agents=16, behaviors={"Toy?team=0": 0, "Toy?team=1": 0})
    trained = train(world, LEARNS)
    assert names(trained.folder.path) == {"configuration.yaml", "Toy.onnx", "Toy", "run_logs"}
    # Each team has carried out its own actions: what is right differs between them.
    assert float(re.findall(r"Mean Reward: ([-.\d]+)\.", trained.output)[-1]) > 1.85


def test_a_behavior_without_settings_ends_the_run_but_loses_nothing(
    train: Callable[..., Any], toy_world: Any, new_run: Any
) -> None:
    with pytest.raises(UsageError, match=r"behavior 'Late' is not in the configuration"):
        train(functools.partial(toy_world, behaviors=TWO), behaviors={"Early": settings()})
    assert load_state(new_run(resume=True, run_id="run").checkpoint("Early"))["step"] > 0


def test_a_behavior_without_settings_in_the_first_message_leaves_no_file(
    train: Callable[..., Any], toy_world: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"behavior 'Toy' is not in the configuration"):
        train(toy_world, behaviors={"Tox": settings()})
    assert not (tmp_path / "results").exists()


def test_several_worlds_are_one_batch(train: Callable[..., Any], toy_world: Any) -> None:
    trained = train(functools.partial(toy_world, at_message=raise_interrupt(100)), settings(max_steps=10**6), worlds=3)
    assert load_state(trained.folder.checkpoint("Toy"))["step"] > 1000  # three worlds of four agents, 100 messages


# ---- what players report ----


def test_statistics_of_a_player_reach_tensorboard(train: Callable[..., Any], toy_world: Any) -> None:
    channel = StatsSideChannel()

    def report(number: int) -> None:
        message = OutgoingMessage()
        message.write_string("Toy/Message")
        message.write_float32(number)
        message.write_int32(1)  # the most recent value counts
        channel.on_message_received(IncomingMessage(message.buffer))

    trained = train(functools.partial(toy_world, at_message=report), settings(max_steps=250), statistics=channel)
    found = scalars(trained.folder.behavior("Toy"))["Toy/Message"]
    assert [step for step, _ in found] == [100, 200]
    assert 20 < found[0][1] < 60
    assert found[1][1] > found[0][1]


# ---- without learning ----


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith("events.")}


def test_inference_plays_the_saved_policy_and_changes_no_checkpoint(train: Callable[..., Any], toy_world: Any) -> None:
    learning = settings(max_steps=3000, hyperparameters={"learning_rate": 1e-2})
    folder = train(functools.partial(toy_world, agents=16), learning).folder
    before = {name: contents(path) for name, path in (("run", folder.path / "Toy"), ("logs", folder.run_logs))}
    configuration = folder.configuration.read_bytes()
    played = train(
        functools.partial(toy_world, agents=16, at_message=raise_interrupt(400)),
        settings(summary_freq=1000),
        resume=True,
        inference=True,
        seed=5,
    )
    assert contents(folder.path / "Toy") == before["run"]
    assert (folder.run_logs / "training_status.json").read_bytes() == before["logs"]["training_status.json"]
    assert folder.configuration.read_bytes() == configuration
    assert "Not Training." in played.output
    last = played.output.splitlines()[-1]
    found = re.fullmatch(r"\[INFO\] Toy\. Episodes: (\d+)\. Mean Reward: (\S+)\. Not Training\.", last)
    assert found is not None, last
    assert int(found[1]) > 1000
    assert float(found[2]) > 1.5


def test_the_best_model_is_kept(train: Callable[..., Any], toy_world: Any) -> None:
    learning = settings(max_steps=2000, summary_freq=200, hyperparameters={"learning_rate": 1e-2})
    trained = train(toy_world, learning)
    folder = trained.folder
    rewards = dict(scalars(folder.behavior("Toy"))["Environment/Cumulative Reward"])
    best = json.loads(folder.training_status.read_text())["Toy"]["best_checkpoint"]
    assert best["reward"] == pytest.approx(max(rewards.values()), rel=1e-6)
    (at,) = [step for step, reward in rewards.items() if reward == max(rewards.values())]
    assert at <= best["steps"] < at + 200
    model = folder.behavior("Toy") / "Toy-best.onnx"
    assert best["file_path"] == str(model) and model.is_file()


def test_a_run_starts_from_the_best_of_another(train: Callable[..., Any], toy_world: Any) -> None:
    train(toy_world, settings())
    trained = train(toy_world, settings(init_path="Toy-best.pt"), run_id="second", initialize_from="run")
    assert "Initialised 'Toy' from " in trained.output and "Toy-best.pt" in trained.output


def test_a_resumed_run_keeps_what_was_better_before(train: Callable[..., Any], toy_world: Any) -> None:
    learning = settings(max_steps=1000, summary_freq=200, hyperparameters={"learning_rate": 1e-2})
    folder = train(toy_world, learning).folder
    before = json.loads(folder.training_status.read_text())["Toy"]["best_checkpoint"]
    spoilt = settings(max_steps=1400, summary_freq=200, hyperparameters={"learning_rate": 10.0})
    train(toy_world, spoilt, resume=True)
    after = json.loads(folder.training_status.read_text())["Toy"]["best_checkpoint"]
    assert after["reward"] >= before["reward"]
