"""`mlbridge learn`: trains agents, with the flags of mlagents-learn."""

import argparse
import gc
import importlib
import logging
import os
import random
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge import API_VERSION, __version__
from bridge.exceptions import UnityCommunicatorStoppedException, UnityException
from bridge.side_channels import (
    EngineConfigurationChannel,
    EnvironmentParametersChannel,
    SideChannel,
    StatsSideChannel,
)
from trainers import torchrun
from trainers.checkpoint import RunFolder
from trainers.config import NetworkSettings, RunConfig, load_config
from trainers.console import Console, RankConsole, logs_to, make_console
from trainers.environments import choose, open_environment, open_together
from trainers.errors import UsageError, did_you_mean
from trainers.restarts import RestartLimits
from trainers.run_lock import RunLock

if TYPE_CHECKING:
    from bridge.fleet import Fleet
    from bridge.stepped_environment import SteppedEnvironment

logger = logging.getLogger(__name__)

# Flag, section of the configuration, what stands for its value in --help (None: a switch), help. Its key in that
# section is the flag's name, but for _KEYS. A flag that is not given leaves the configuration's value.
_FLAGS: list[tuple[str, str, str | None, str]] = [
    ("--env", "env_settings", "PATH_OR_NAME", "a build, a program, a .py file or a built-in environment; none: Editor"),
    ("--run-id", "checkpoint_settings", "ID", "name of the run and its folder"),
    ("--resume", "checkpoint_settings", None, "go on from the run's last checkpoint"),
    ("--force", "checkpoint_settings", None, "start anew in a folder that exists"),
    ("--initialize-from", "checkpoint_settings", "RUN_ID", "start from the networks of another run"),
    ("--inference", "checkpoint_settings", None, "play without learning, until Ctrl-C; with --resume"),
    ("--deterministic", "network_settings", None, "always take the most probable action"),
    ("--results-dir", "checkpoint_settings", "FOLDER", "where run folders are"),
    ("--seed", "env_settings", "N", "random seed; -1: a random one"),
    ("--num-envs", "env_settings", "N", "players at the same time"),
    ("--num-areas", "env_settings", "N", "copies of the training area in each player"),
    ("--base-port", "env_settings", "PORT", "first port; without it the first free one from the default on"),
    ("--listen", "env_settings", "ADDRESS", "address that other machines may reach; none: this machine alone"),
    ("--timeout-wait", "env_settings", "SECONDS", "longest wait for a player"),
    ("--max-lifetime-restarts", "env_settings", "N", "times that each player is started again; -1: no limit"),
    ("--restarts-rate-limit-n", "env_settings", "N", "the same within the period; -1: no limit"),
    ("--restarts-rate-limit-period-s", "env_settings", "SECONDS", "that period"),
    ("--width", "engine_settings", "PIXELS", "window width"),
    ("--height", "engine_settings", "PIXELS", "window height"),
    ("--quality-level", "engine_settings", "N", "Unity quality level"),
    ("--time-scale", "engine_settings", "X", "how much faster than real time"),
    ("--target-frame-rate", "engine_settings", "N", "frames/s, -1: no limit"),
    ("--capture-frame-rate", "engine_settings", "N", "frames/s of game time"),
    ("--no-graphics", "engine_settings", None, "start players without a window"),
    ("--no-graphics-monitor", "engine_settings", None, "window for the first player only"),
    ("--torch-device", "torch_settings", "DEVICE", "cpu, cuda, cuda:0 ...; none: cuda where there is one"),
    ("--debug", "", None, "say more, with times"),
    ("--env-args", "env_settings", "...", "everything after this flag goes to the players"),
]
_PATIENCE = 0.01  # seconds that a player waits for others at most before its agents are decided for
_KEYS = {"--env": "env_path", "--torch-device": "device"}
# The flags of network_settings are for every behavior.
_PATHS = {"": (), "network_settings": ("behaviors", "*", "network_settings")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags. Defaults shown are those without a value in the configuration."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "config",
        nargs="?",
        metavar="CONFIG",
        help="YAML file of ML-Agents, or a built-in configuration (3DBall); none: PPO's defaults for every behavior",
    )
    defaults: dict[str, Any] = {"": RunConfig(), "network_settings": NetworkSettings()}
    for flag, section, metavar, text in _FLAGS:
        default = getattr(defaults.get(section) or getattr(defaults[""], section), _key(flag))
        shown = "none" if default is None else "off" if default is False else default
        options: dict[str, Any] = {"help": f"{text} (default: {shown})", "default": argparse.SUPPRESS}
        if flag == "--env-args":
            parser.add_argument(flag, nargs=argparse.REMAINDER, metavar=metavar, **options)
        elif metavar is None:
            parser.add_argument(flag, action="store_true", **options)
        else:
            parser.add_argument(flag, type=str if default is None else type(default), metavar=metavar, **options)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set anything in the configuration, as behaviors.3DBall.hyperparameters.gamma=0.98; * stands for every "
        "behavior; can be repeated (default: none)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the configuration with all that is set and every default, and end (default: off)",
    )
    for flag in _DEPRECATED:
        parser.add_argument(flag, action="store_true", help=argparse.SUPPRESS, dest=f"deprecated_{flag[2:]}")
    parser.add_argument(
        "--in-process",
        action="store_true",
        help="step a built-in environment in this process, without gRPC (default: off)",
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="write each phase of each step to run_logs/trace.json, for ui.perfetto.dev or speedscope (default: off)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that train together on this machine, each with players of its own (default: 1)",
    )
    parser.add_argument(
        "--film",
        action="store_true",
        help="a film of the policy at each checkpoint in TensorBoard; built-in environments only (default: off)",
    )
    parser.add_argument(
        "--stop-at-reward",
        type=float,
        metavar="R",
        help="end when the mean reward of one summary reaches R (default: none)",
    )


# Flags that ML-Agents has given up: accepted, with what they mean.
_DEPRECATED = {
    "--load": "taken as --resume",
    "--train": "it has no effect: training is what happens without --inference",
    "--torch": "it has no effect: PyTorch it is",
    "--tensorflow": "it has no effect: networks are PyTorch's",
}


def _key(flag: str) -> str:
    return _KEYS.get(flag, flag.lstrip("-").replace("-", "_"))


def run(arguments: argparse.Namespace) -> int:
    """Trains, or with --inference plays. Everything a user may have got wrong is checked before anything is written."""
    config = load_config(
        None if arguments.config is None else Path(arguments.config), _overrides(arguments), arguments.set
    )
    if arguments.dry_run:
        print(config.to_yaml(), end="")
        return 0
    checkpoints = config.checkpoint_settings
    folder = RunFolder(Path(checkpoints.results_dir), checkpoints.run_id)
    if checkpoints.inference and not checkpoints.resume and checkpoints.initialize_from is None:
        raise UsageError("--inference needs a trained model; add --resume, or --initialize-from RUN_ID")
    if arguments.workers != 1 and not torchrun.launched():
        folder.validate(checkpoints.resume, checkpoints.force)
        from trainers.launch import launch

        return launch(arguments.given, arguments.workers)
    with RunLock(folder) as lock:
        return _run(arguments, config, folder, lock)


def _run(arguments: argparse.Namespace, config: RunConfig, folder: RunFolder, lock: RunLock) -> int:
    checkpoints, env = config.checkpoint_settings, config.env_settings
    writes = not checkpoints.inference and torchrun.rank() == 0
    if writes:
        lock.take(only_if_there=True)  # that the run is going on is said before that it exists already
    ranks, source = None, 0
    if torchrun.launched():
        from trainers.launch import join

        ranks, source = join(config, folder)
    if torchrun.rank() == 0:  # the folder is the business of the first process
        folder.validate(checkpoints.resume and source == 0, checkpoints.force or source != 0)
        if checkpoints.resume and source == 0 and not any(folder.path.glob("*/*.pt")):
            raise UsageError(f"the run in {folder.path} has no checkpoint to resume from; start it anew with --force")
        if checkpoints.initialize_from is not None:
            _require_run(folder.results_dir, checkpoints.initialize_from)
    if env.seed == -1:
        env.seed = random.randrange(10_000)
    films = None
    if arguments.film:
        from trainers.commands.films import Films

        films = Films(env.env_path, env.env_args or [], env.seed)
    console = RankConsole(torchrun.rank()) if torchrun.rank() > 0 else make_console(debug=config.debug)
    with logs_to(console, config.debug):
        console.info(f"mlagents-bridge {__version__}, communicator API {API_VERSION}")
        if arguments.config is None:
            console.warning("No CONFIG was given: every behavior is trained with PPO's defaults.")
        if not arguments.in_process:
            choice = choose(env.env_path)
            if choice.executable is not None:
                console.info(f"Environment: {choice}")
        if writes:
            lock.take()
        # PyTorch takes seconds to load: that happens while the players start and the first agents come.
        preload = threading.Thread(target=_preload, daemon=True)
        preload.start()
        statistics = [StatsSideChannel() for _ in range(env.num_envs)]
        parameters = [EnvironmentParametersChannel() for _ in range(env.num_envs)]
        channels = list(zip(statistics, parameters, strict=True))
        fleet = _open_fleet(config, folder, channels, in_process=arguments.in_process)
        try:
            from trainers.first_steps import first_steps

            first = None if checkpoints.resume or ranks is not None else first_steps(config, fleet, parameters, console)
            preload.join()
            return _train(
                arguments,
                config,
                folder,
                fleet,
                console,
                statistics=statistics,
                parameters=parameters,
                first=first,
                films=films,
                ranks=ranks,
                source=source,
            )
        except UnityCommunicatorStoppedException as stopped:  # before there was anything to save
            console.info(f"{stopped}: finishing.")
            return 0
        finally:
            fleet.close()
            console.close()


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
    console: Console,
    **channels: Any,
) -> int:
    import torch

    from trainers.run import Run

    device = _device(config.torch_settings.device)
    threads = config.torch_settings.threads or max(min(torch.get_num_threads() // 2, 4), 1)
    torch.set_num_threads(threads)
    training = Run(
        config,
        fleet,
        folder,
        console,
        seed=config.env_settings.seed,
        device=device,
        stop_at_reward=arguments.stop_at_reward,
        profile=arguments.profile,
        **channels,
    )
    training()
    return 0


def _open_fleet(
    config: RunConfig, folder: RunFolder, channels: Sequence[tuple[SideChannel, ...]], *, in_process: bool
) -> "Fleet":
    """The players, connected; `channels`: those of each, beside that of its engine."""
    from bridge.fleet import Fleet

    env, engine = config.env_settings, config.engine_settings

    first = torchrun.rank() * env.num_envs  # no two players have the same number, whoever has started them
    threads = None
    if in_process and env.num_envs > 1:
        threads = ThreadPoolExecutor(min(env.num_envs, os.cpu_count() or 1), "world")

    def open_one(player: int) -> "SteppedEnvironment":
        worker_id = first + player
        engine_channel = EngineConfigurationChannel()
        engine_channel.set_configuration_parameters(
            engine.width,
            engine.height,
            engine.quality_level,
            engine.time_scale,
            engine.target_frame_rate,
            engine.capture_frame_rate,
        )
        return open_environment(
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
            side_channels=[engine_channel, *channels[player]],
            log_folder=str(folder.run_logs),
            wait_for_editor=True,
            listen=env.listen,
            threads=threads,
        )

    # Worlds in this process have nothing to do while another one steps.
    patience = None if env.lockstep or in_process else _PATIENCE
    fleet = Fleet(open_together(open_one, env.num_envs), patience=patience)
    if env.env_path is not None and not in_process:
        limits = RestartLimits(env)

        def restart(player: int, error: UnityException) -> "SteppedEnvironment":
            reason = limits.exhausted(player)
            if reason is not None:
                logger.warning("Player %d is not started again: %s.", player, reason)
                raise error
            logger.warning("Player %d failed and is started again: %s", player, error)
            return open_one(player)

        fleet.restart = restart
    return fleet


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was given on the command line, nested like the configuration."""
    overrides: dict[str, Any] = {}
    for flag, text in _DEPRECATED.items():
        if getattr(arguments, f"deprecated_{flag[2:]}"):
            logger.warning("%s is deprecated; %s.", flag, text)
    if arguments.deprecated_load:
        arguments.resume = True
    for flag, section, _, _ in _FLAGS:
        name = flag.lstrip("-").replace("-", "_")
        if name not in arguments:
            continue
        settings = overrides
        for key in _PATHS.get(section, (section,)):
            settings = settings.setdefault(key, {})
        settings[_key(flag)] = getattr(arguments, name)
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
    # PyTorch makes a million objects that live for ever: looking through them takes a second at start and exit.
    gc.disable()
    # What players are started with and the first agents are read with comes first: PyTorch would keep it waiting.
    for module in ("bridge.fleet", "bridge.environment", "bridge.fast_codec", "torch", "trainers.run"):
        importlib.import_module(module)
    gc.freeze()
    gc.enable()


if __name__ == "__main__":  # torchrun -m trainers.commands.learn CONFIG ...
    from trainers.commands import main

    sys.exit(main(["learn", *sys.argv[1:]]))
