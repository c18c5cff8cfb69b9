"""`mlbridge learn`: trains agents, with the flags of mlagents-learn."""

import argparse
import contextlib
import importlib
import logging
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge import API_VERSION, __version__
from bridge.side_channels import EngineConfigurationChannel, EnvironmentParametersChannel, StatsSideChannel
from trainers.checkpoint import RunFolder
from trainers.config import RunConfig, load_config
from trainers.console import Console, make_console
from trainers.environments import choose, open_environment
from trainers.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from bridge.fleet import Fleet

# Flag: (path in the configuration, what argparse is told). A flag that is not given leaves the configuration's value.
_BEHAVIORS = ("behaviors", "*", "network_settings")
_FLAGS: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("--env", ("env_settings", "env_path"), {"metavar": "PATH_OR_NAME", "help": "a build, any executable, or a built-in environment; none: the Unity Editor"}),
    ("--run-id", ("checkpoint_settings", "run_id"), {"metavar": "ID", "help": "name of the run and its folder", "default": "ppo"}),
    ("--resume", ("checkpoint_settings", "resume"), {"action": "store_true", "help": "go on from the run's last checkpoint"}),
    ("--force", ("checkpoint_settings", "force"), {"action": "store_true", "help": "start anew in a folder that exists"}),
    ("--initialize-from", ("checkpoint_settings", "initialize_from"), {"metavar": "RUN_ID", "help": "start from the networks of another run"}),
    ("--inference", ("checkpoint_settings", "inference"), {"action": "store_true", "help": "play without learning, until Ctrl-C; with --resume"}),
    ("--deterministic", (*_BEHAVIORS, "deterministic"), {"action": "store_true", "help": "always take the most probable action"}),
    ("--results-dir", ("checkpoint_settings", "results_dir"), {"metavar": "FOLDER", "help": "where run folders are", "default": "results"}),
    ("--seed", ("env_settings", "seed"), {"type": int, "metavar": "N", "help": "random seed; -1: a random one", "default": -1}),
    ("--num-envs", ("env_settings", "num_envs"), {"type": int, "metavar": "N", "help": "players at the same time", "default": 1}),
    ("--num-areas", ("env_settings", "num_areas"), {"type": int, "metavar": "N", "help": "copies of the training area in each player", "default": 1}),
    ("--base-port", ("env_settings", "base_port"), {"type": int, "metavar": "PORT", "help": "first port; without it the first free one from the default on", "default": 5005}),
    ("--timeout-wait", ("env_settings", "timeout_wait"), {"type": int, "metavar": "SECONDS", "help": "longest wait for a player", "default": 60}),
    ("--width", ("engine_settings", "width"), {"type": int, "metavar": "PIXELS", "help": "window width", "default": 84}),
    ("--height", ("engine_settings", "height"), {"type": int, "metavar": "PIXELS", "help": "window height", "default": 84}),
    ("--quality-level", ("engine_settings", "quality_level"), {"type": int, "metavar": "N", "help": "Unity quality level", "default": 5}),
    ("--time-scale", ("engine_settings", "time_scale"), {"type": float, "metavar": "X", "help": "how much faster than real time", "default": 20.0}),
    ("--target-frame-rate", ("engine_settings", "target_frame_rate"), {"type": int, "metavar": "N", "help": "frames/s, -1: no limit", "default": -1}),
    ("--capture-frame-rate", ("engine_settings", "capture_frame_rate"), {"type": int, "metavar": "N", "help": "frames/s of game time", "default": 60}),
    ("--no-graphics", ("engine_settings", "no_graphics"), {"action": "store_true", "help": "start players without a window"}),
    ("--no-graphics-monitor", ("engine_settings", "no_graphics_monitor"), {"action": "store_true", "help": "window for the first player only"}),
    ("--torch-device", ("torch_settings", "device"), {"metavar": "DEVICE", "help": "cpu, cuda, cuda:0 ...; none: cuda where there is one"}),
    ("--debug", ("debug",), {"action": "store_true", "help": "say more, with times"}),
    ("--env-args", ("env_settings", "env_args"), {"nargs": argparse.REMAINDER, "metavar": "...", "help": "everything after this flag goes to the players"}),
]  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags. Defaults shown are those without a value in the configuration."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "config",
        nargs="?",
        metavar="CONFIG",
        help="YAML file of ML-Agents, or a built-in configuration (3DBall); none: PPO's defaults for every behavior",
    )
    for flag, _, options in _FLAGS:
        options = dict(options)
        default = options.pop("default", "off" if options.get("action") else "none")
        parser.add_argument(
            flag, **{**options, "help": f"{options['help']} (default: {default})"}, default=argparse.SUPPRESS
        )
    parser.add_argument(
        "--in-process",
        action="store_true",
        help="step a built-in environment in this process, without gRPC (default: off)",
    )
    parser.add_argument(
        "--stop-at-reward",
        type=float,
        metavar="R",
        help="end when the mean reward of one summary reaches R (default: none)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Trains, or with --inference plays. Everything a user may have got wrong is checked before anything is written."""
    config = load_config(None if arguments.config is None else Path(arguments.config), _overrides(arguments))
    checkpoints, env = config.checkpoint_settings, config.env_settings
    folder = RunFolder(Path(checkpoints.results_dir), checkpoints.run_id)
    if checkpoints.inference and not checkpoints.resume and checkpoints.initialize_from is None:
        raise UsageError("--inference needs a trained model; add --resume, or --initialize-from RUN_ID")
    folder.validate(checkpoints.resume, checkpoints.force)
    if checkpoints.resume and not any(folder.path.glob("*/*.pt")):
        raise UsageError(f"the run in {folder.path} has no checkpoint to resume from; start it anew with --force")
    if checkpoints.initialize_from is not None:
        _require_run(folder.results_dir, checkpoints.initialize_from)
    if arguments.in_process and env.num_envs > 1:
        raise UsageError(f"--num-envs is {env.num_envs}, but --in-process steps one world; use --env-args --agents N")
    if env.seed == -1:
        env.seed = random.randrange(10_000)

    console = make_console(debug=config.debug)
    with _logs_to(console, config.debug):
        console.info(f"mlagents-bridge {__version__}, communicator API {API_VERSION}")
        if not arguments.in_process:
            choice = choose(env.env_path)
            if choice.executable is not None:
                console.info(f"Environment: {choice}")
        # PyTorch takes seconds to load: that happens while the players start.
        preload = threading.Thread(target=_preload, daemon=True)
        preload.start()
        statistics = [StatsSideChannel() for _ in range(env.num_envs)]
        try:
            fleet = _open_fleet(config, folder, statistics, in_process=arguments.in_process)
            try:
                preload.join()
                return _train(arguments, config, folder, fleet, statistics, console)
            finally:
                fleet.close()
                console.close()
        finally:
            # A run that failed before it began leaves logs of its players, or else nothing.
            for path in (folder.run_logs, folder.path):
                with contextlib.suppress(OSError):
                    path.rmdir()


def _require_run(results_dir: Path, run_id: str) -> None:
    """Raises UsageError unless the run that is to be started from exists."""
    if not RunFolder(results_dir, run_id).path.is_dir():
        runs = sorted(path.name for path in results_dir.glob("*") if path.is_dir())
        raise UsageError(
            f"--initialize-from {run_id}: there is no such run in {results_dir}{did_you_mean(run_id, runs)} "
            f"(it has {', '.join(runs) or 'none'})"
        )


def _train(
    arguments: argparse.Namespace,
    config: RunConfig,
    folder: RunFolder,
    fleet: "Fleet",
    statistics: list[StatsSideChannel],
    console: Console,
) -> int:
    import torch

    from trainers.run import Run

    device = _device(config.torch_settings.device)
    torch.set_num_threads(max(min(torch.get_num_threads() // 2, 4), 1))
    training = Run(
        config,
        fleet,
        folder,
        console,
        seed=config.env_settings.seed,
        device=device,
        statistics=statistics,
        stop_at_reward=arguments.stop_at_reward,
    )
    training()
    return 0


def _open_fleet(
    config: RunConfig, folder: RunFolder, statistics: list[StatsSideChannel], *, in_process: bool
) -> "Fleet":
    from bridge.fleet import Fleet

    env, engine = config.env_settings, config.engine_settings
    environments: list[Any] = [None] * env.num_envs

    def open_one(worker_id: int) -> None:
        engine_channel = EngineConfigurationChannel()
        engine_channel.set_configuration_parameters(
            engine.width,
            engine.height,
            engine.quality_level,
            engine.time_scale,
            engine.target_frame_rate,
            engine.capture_frame_rate,
        )
        parameters = EnvironmentParametersChannel()
        for key, value in config.environment_parameters.items():
            parameters.set_float_parameter(key, value)
        environments[worker_id] = open_environment(
            env.env_path,
            in_process=in_process,
            worker_id=worker_id,
            base_port=env.base_port if "base_port" in env.model_fields_set else None,
            seed=env.seed + worker_id,
            no_graphics=engine.no_graphics,
            no_graphics_monitor=engine.no_graphics_monitor,
            timeout_wait=env.timeout_wait,
            additional_args=env.env_args or (),
            num_areas=env.num_areas,
            side_channels=[engine_channel, parameters, statistics[worker_id]],
            log_folder=str(folder.run_logs),
            wait_for_editor=True,
        )

    if env.num_envs == 1:
        open_one(0)  # in this thread, where Ctrl-C reaches it
        return Fleet(environments)
    with ThreadPoolExecutor(env.num_envs) as pool:
        starting = [pool.submit(open_one, worker_id) for worker_id in range(env.num_envs)]
    failed = next((start.exception() for start in starting if start.exception()), None)
    if failed is not None:
        for environment in environments:
            if environment is not None:
                environment.close()
        raise failed
    return Fleet(environments)


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given on the command line, nested like the configuration."""
    overrides: dict[str, Any] = {}
    for flag, path, _ in _FLAGS:
        name = flag.lstrip("-").replace("-", "_")
        if name not in arguments:
            continue
        section = overrides
        for key in path[:-1]:
            section = section.setdefault(key, {})
        section[path[-1]] = getattr(arguments, name)
    return overrides


def _device(name: str | None) -> Any:
    import torch

    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--torch-device {name} cannot be used here ({reason}); try --torch-device cpu") from error
    return torch.device(name)


def _preload() -> None:
    for module in ("torch", "trainers.run", "torch.utils.tensorboard"):
        importlib.import_module(module)


@contextlib.contextmanager
def _logs_to(console: Console, debug: bool) -> Any:
    """What the packages log goes to the console."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say = {logging.DEBUG: console.debug, logging.INFO: console.info}.get(record.levelno, console.warning)
            say(record.getMessage())

    handler = Handler()
    loggers = [logging.getLogger(name) for name in ("bridge", "trainers", "unity_envs")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
