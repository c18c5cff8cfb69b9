"""`mlbridge evaluate MODEL`: plays a model on an environment with onnxruntime alone and reports its rewards."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
from mlagents_envs.base_env import BaseEnv, BehaviorSpec

from bridge.exceptions import InvalidModelError
from bridge.onnx_policy import OnnxPolicy
from bridge.side_channels import EngineConfigurationChannel
from trainers.environments import choose, open_environment
from trainers.errors import UsageError
from trainers.evaluation import play_episodes
from trainers.run_folder import write_text_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags, each with its default in words."""
    parser.formatter_class = argparse.HelpFormatter
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL|RUN",
        type=Path,
        help="an .onnx model written by `mlbridge learn` or by ML-Agents, the .safetensors file of a trained game, "
        "or the folder of a run, whose final model is played",
    )
    add(
        "--env",
        metavar="PATH_OR_NAME",
        help="a build, any program or .py file, or a built-in environment (default: none, wait for the Unity Editor)",
    )
    add("--behavior", metavar="NAME", help="behavior to play (default: the one that the model fits)")
    add("--episodes", type=_positive, default=100, metavar="N", help="episodes to count (default: %(default)s)")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--deterministic", action="store_true", default=True, help="take the most probable actions (default: on)"
    )
    choice.add_argument(
        "--stochastic", dest="deterministic", action="store_false", help="sample the actions (default: off)"
    )
    add("--seed", type=int, default=0, metavar="N", help="of environment and samples (default: %(default)s)")
    add("--agents", type=_positive, metavar="N", help="agents of a built-in environment (default: its own number)")
    add(
        "--in-process",
        action="store_true",
        help="step a built-in environment in this process, without gRPC (default: off)",
    )
    add("--base-port", type=int, metavar="PORT", help="port of the player (default: the first free one from 5005 on)")
    add(
        "--timeout-wait",
        type=_positive,
        default=60,
        metavar="SECONDS",
        help="longest wait for the player (default: %(default)s)",
    )
    add(
        "--time-scale",
        type=float,
        default=20.0,
        metavar="X",
        help="how much faster than real time (default: %(default)s)",
    )
    add("--no-graphics", action="store_true", help="start the player without a window (default: off)")
    add("--json", metavar="FILE", type=Path, help="write the numbers to this file as well (default: none)")


def run(arguments: argparse.Namespace) -> int:
    """Plays and reports. Everything a user may have got wrong is checked before the first episode."""
    if arguments.json is not None:
        if not arguments.json.parent.is_dir():
            raise UsageError(f"--json {arguments.json}: there is no folder {arguments.json.parent}; create it first")
        if arguments.json.is_dir():
            raise UsageError(f"--json {arguments.json}: this is a folder; give the name of a file")
    model = _model(arguments.model, arguments.behavior)
    onnxruntime.set_seed(arguments.seed)  # before the policy: a session takes its seed when it is made
    policy = _policy(model)
    engine = EngineConfigurationChannel()
    engine.set_configuration_parameters(time_scale=arguments.time_scale)
    if not arguments.in_process:
        print(f"Environment: {choose(arguments.env)}", file=sys.stderr)
        if arguments.env is None:
            print("Listening on port 5004. Start by pressing the Play button in the Unity Editor.", file=sys.stderr)
    environment = open_environment(
        arguments.env,
        in_process=arguments.in_process,
        worker_id=0,
        base_port=arguments.base_port,
        seed=arguments.seed,
        no_graphics=arguments.no_graphics,
        timeout_wait=arguments.timeout_wait,
        additional_args=[] if arguments.agents is None else ["--agents", str(arguments.agents)],
        num_areas=1,
        side_channels=[engine],
        log_folder=None,
        wait_for_editor=arguments.env is None,
    )
    try:
        environment.reset()  # a behavior is known once its agents have asked for a decision
        behavior_name = _choose_behavior(environment, policy, arguments.behavior)
        with _progress_bar(arguments.episodes) as show:
            statistics = play_episodes(
                environment, behavior_name, policy, arguments.episodes, arguments.deterministic, show
            )
    finally:
        environment.close()
    print(statistics.describe(behavior_name.removesuffix("?team=0")))
    if arguments.json is not None:
        facts = {
            "model": str(model),
            "environment": arguments.env,
            "behavior": behavior_name,
            "deterministic": arguments.deterministic,
            "seed": arguments.seed,
            **statistics.numbers(),
        }
        write_text_whole(arguments.json, json.dumps(facts, indent=2) + "\n")
    return 0


def _model(path: Path, behavior: str | None) -> Path:
    """The model itself, or the final one of a run: of the behavior, or of the only one there is."""
    if not path.is_dir():
        return path
    models = sorted(path.glob("*.onnx"))
    wanted = [model for model in models if behavior is None or model.stem == _short(behavior)]
    if len(wanted) == 1:
        return wanted[0]
    names = ", ".join(model.stem for model in models)
    if not models:
        raise UsageError(
            f"{path} holds no final model; name one of its checkpoints, as {path}/BEHAVIOR/BEHAVIOR-STEP.onnx"
        )
    raise UsageError(f"{path} holds the models of {names}; choose with --behavior NAME")


def _policy(model: Path) -> OnnxPolicy:
    if model.suffix != ".safetensors":
        return OnnxPolicy(model)
    from trainers.commands.export import write_model_of_game

    with TemporaryDirectory() as folder:
        converted = Path(folder) / f"{model.stem}.onnx"
        write_model_of_game(model, converted)
        policy = OnnxPolicy(converted)  # which reads it whole
    policy.path = model  # what messages name
    return policy


def _choose_behavior(environment: BaseEnv, policy: OnnxPolicy, wanted: str | None) -> str:
    """The behavior that the model can play: the wanted one, else the only one that fits or has the name of the file."""
    specs = environment.behavior_specs
    names = [name for name in specs if wanted is None or wanted in (name, _short(name))]
    if not names:
        known = ", ".join(specs) or "none yet"
        raise UsageError(f"{f'--behavior {wanted}: ' if wanted else ''}no such behavior; the environment has {known}")
    misfits = {name: _misfit(policy, specs[name]) for name in names}
    fitting = [name for name, misfit in misfits.items() if misfit is None]
    if not fitting:
        raise UsageError("; ".join(f"behavior {name} does not fit {misfit}" for name, misfit in misfits.items()))
    stem = policy.path.stem  # Behavior.onnx, or Behavior-500000.onnx for a checkpoint
    namesakes = [name for name in fitting if stem == _short(name) or stem.startswith(f"{_short(name)}-")]
    for choice in (fitting, namesakes):
        if len(choice) == 1:
            return choice[0]
    raise UsageError(f"{policy.path}: the model fits the behaviors {', '.join(fitting)}; choose with --behavior NAME")


def _misfit(policy: OnnxPolicy, spec: BehaviorSpec) -> str | None:
    try:
        policy.check(spec)
    except InvalidModelError as error:
        return str(error)
    return None


def _short(behavior_name: str) -> str:
    return behavior_name.split("?", maxsplit=1)[0]


@contextmanager
def _progress_bar(episodes: int) -> Iterator[Callable[[int], None]]:
    """On a terminal, a bar with the remaining time on stderr; elsewhere nothing."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("episodes", total=episodes)
        yield lambda counted: bar.update(task, completed=counted)


def _positive(text: str) -> int:
    value = int(text)  # argparse turns a ValueError into its own message
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value
