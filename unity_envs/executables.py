"""Worlds as programs that speak ML-Agents' protocol: the console scripts that a trainer starts like a Unity build."""

from __future__ import annotations

import argparse
import math
import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from unity_envs import worlds

if TYPE_CHECKING:
    from bridge.player import EnvironmentParameters, MakeWorld, World


def names() -> list[str]:
    """Names of the built-in environments; each is also the name of its console script."""
    return worlds.names()


def path(name: str) -> str:
    """Absolute path of the console script `name`, to be started as a player.

    Raises ValueError for an unknown name, RuntimeError where the script is not installed.
    """
    worlds.check_name(name)
    file_name = name + (".exe" if os.name == "nt" else "")
    folders = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))]
    for folder in folders:
        script = Path(folder, file_name)
        if script.is_file():
            return str(script.absolute())
    raise RuntimeError(f"no player {file_name} in {folders[0]}: install the package (pip install mlagents-bridge)")


def main_3dball() -> None:
    """Console script `3DBall`."""
    sys.exit(_main("3DBall"))


def main_pole_balancer() -> None:
    """Console script `PoleBalancer`."""
    sys.exit(_main("PoleBalancer"))


def main_cube_mover() -> None:
    """Console script `CubeMover`."""
    sys.exit(_main("CubeMover"))


def _main(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run the world `name` as a player until its trainer leaves, or with a model; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    # The log first: a trainer shows its last lines when the player refuses its arguments.
    log_parser = _Parser(prog=name, add_help=False, allow_abbrev=False)
    log_parser.add_argument("-logFile", "-logfile", metavar="PATH", help="append messages to this file (- for none)")
    log, given = log_parser.parse_known_args(given)
    if log.logFile not in (None, "-"):
        try:
            _redirect_errors(log.logFile)
        except OSError as error:
            log_parser.error(f"cannot write the log {log.logFile}: {error.strerror}")

    parser = _Parser(
        prog=name,
        parents=[log_parser, _world_flags(name)],
        add_help=False,
        allow_abbrev=False,
        description=f"Headless player of {name} for trainers of ML-Agents, or for a model that one of them trained. "
        "Other flags of Unity players are ignored.",
        epilog="Exit codes: 0 when the trainer left or the model was stopped, 1 when it could not go on, 2 for a wrong "
        "flag or model, 130 for Ctrl-C while a trainer drives it.",
    )
    parser.add_argument("--help", action="help", help="show this text and exit")
    parser.add_argument("--mlagents-port", type=_port, metavar="PORT", help="port of the trainer, on this machine")
    add = parser.add_argument_group("with a model, which excludes --mlagents-port").add_argument
    add("--model", metavar="FILE.onnx", help="the model that plays, with onnxruntime; a changed file is taken up anew")
    add("--stochastic", action="store_true", help="sample the actions (default: take the most probable ones)")
    add("--episodes", type=_positive, metavar="N", help="stop once N episodes are over (default: play until Ctrl-C)")
    add("--time-scale", type=_factor, metavar="X", help="in times of real time (default: as fast as possible)")
    options, others = parser.parse_known_args(given)
    for other in others:
        if other.startswith("--") and not other.startswith("--mlagents-"):
            parser.error(f"unknown flag {other}; --help names the known ones")
    _check_who_plays(parser, options)
    try:
        make_world = _world_factory(name, options)
    except ValueError as error:
        parser.error(str(error))
    return _play(parser, make_world, options)


def _check_who_plays(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """A trainer or a model, and only a model's flags with a model."""
    name = parser.prog
    if options.model is not None:
        if options.mlagents_port is not None:
            parser.error("--model and --mlagents-port: either a model plays or a trainer does; leave one of them out")
        return
    for flag in ("stochastic", "episodes", "time_scale"):
        if getattr(options, flag):
            parser.error(f"--{flag.replace('_', '-')} is for playing a model; add --model FILE.onnx, or leave it out")
    if options.mlagents_port is None:
        parser.error(
            f"--mlagents-port is missing. A trainer starts this player: `mlbridge learn CONFIG.yaml --env {name} "
            f"--run-id ID` or `mlagents-learn CONFIG.yaml --env={sys.argv[0]} --run-id=ID`. "
            f"Without a trainer, a model plays: `{name} --model FILE.onnx`"
        )


def _play(parser: argparse.ArgumentParser, make_world: MakeWorld, options: argparse.Namespace) -> int:
    from bridge.exceptions import InvalidModelError, UnityException

    try:
        if options.model is None:
            from bridge.player import run_player

            return run_player(make_world, options.mlagents_port)
        from unity_envs.model_player import play

        return play(
            parser.prog,
            make_world,
            Path(options.model),
            seed=options.seed or 0,
            deterministic=not options.stochastic,
            episodes=options.episodes,
            time_scale=options.time_scale,
        )
    except InvalidModelError as error:
        parser.error(str(error))
    except UnityException as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        return 130


def make_world(name: str, arguments: Sequence[str]) -> MakeWorld:
    """Return `make_world(seed, num_areas, parameters)` for `name` with the flags that its console script would take.

    Raises ValueError for an unknown name or flag, or a wrong value.
    """
    flags = _world_flags(name)
    parser = argparse.ArgumentParser(parents=[flags], add_help=False, allow_abbrev=False, exit_on_error=False)
    try:
        options, others = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
    if others:
        known = [flag for action in flags._actions for flag in action.option_strings]
        raise ValueError(f"unknown argument {others[0]!r} for {name}: known are {', '.join(known)}")
    return _world_factory(name, options)


def _world_flags(name: str) -> argparse.ArgumentParser:
    """The flags that say which world it is to be, and what it writes down."""
    flags = argparse.ArgumentParser(add_help=False)
    add = flags.add_argument
    add("--agents", type=_positive, metavar="N", help=f"agents in an area (default {worlds.default_agents(name)})")
    variants = worlds.variants(name)
    add("--variant", metavar="V", help=f"play {' or '.join(variants)} instead of the usual {name}")
    add("--seed", type=int, metavar="N", help="used instead of the trainer's seed (0 without a trainer)")
    add("--record", metavar="FILE.json", help="write the first episodes to this file, for `mlbridge envs replay`")
    add("--record-episodes", type=_positive, metavar="N", help="number of episodes to write (default 100)")
    return flags


def _world_factory(name: str, options: argparse.Namespace) -> MakeWorld:
    """Raises ValueError for flags that do not go together and for what cannot be had."""
    file_name, episodes = options.record, options.record_episodes or 100
    if file_name is None and options.record_episodes is not None:
        raise ValueError("--record-episodes needs --record FILE.json")
    if file_name is not None and not Path(file_name).absolute().parent.is_dir():
        raise ValueError(f"--record {file_name}: there is no folder {Path(file_name).parent}; create it first")
    make = worlds.make_world_factory(name, options.agents, options.variant)

    def make_world(seed: int, num_areas: int, parameters: EnvironmentParameters) -> World:
        world = make(seed if options.seed is None else options.seed, num_areas, parameters)
        if file_name is None:
            return world
        from unity_envs.recording import record

        return record(world, name, Path(file_name), episodes)

    return make_world


class _Parser(argparse.ArgumentParser):
    """Errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def _redirect_errors(file_name: str) -> None:
    """Let everything that is written to standard error from now on, also by libraries in C, go to the end of a file."""
    log = os.open(file_name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 2)
    os.close(log)


def _positive(text: str) -> int:
    return _whole_number(text, 1, None)


def _port(text: str) -> int:
    return _whole_number(text, 1, 65535)


def _factor(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return number


def _whole_number(text: str, low: int, high: int | None) -> int:
    number = int(text) if text.strip().lstrip("+-").isdecimal() else None
    if number is None or number < low or (high is not None and number > high):
        wanted = f"a whole number from {low} to {high}" if high else f"a whole number, {low} or more"
        raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}")
    return number
