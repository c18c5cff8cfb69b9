"""Worlds as programs that speak ML-Agents' protocol: the console scripts that a trainer starts like a Unity build."""

from __future__ import annotations

import argparse
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


def _main(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run the world `name` as a player until its trainer leaves; returns the exit code."""
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
        parents=[log_parser, _world_flags()],
        add_help=False,
        allow_abbrev=False,
        description=f"Headless player of {name} for ML-Agents trainers. Other flags of Unity players are ignored.",
    )
    parser.add_argument("--help", action="help", help="show this text and exit")
    parser.add_argument("--mlagents-port", type=_port, metavar="PORT", help="port of the trainer, on this machine")
    options, others = parser.parse_known_args(given)
    for other in others:
        if other.startswith("--") and not other.startswith("--mlagents-"):
            parser.error(f"unknown flag {other}; --help names the known ones")
    if options.mlagents_port is None:
        parser.error(
            f"--mlagents-port is missing. A trainer starts this player: `mlbridge learn CONFIG.yaml --env {name} "
            f"--run-id ID` or `mlagents-learn CONFIG.yaml --env={sys.argv[0]} --run-id=ID`"
        )

    from bridge.exceptions import UnityException
    from bridge.player import run_player

    make_world = _world_factory(name, options)
    try:
        return run_player(make_world, options.mlagents_port)
    except UnityException as error:
        parser.exit(1, f"{name}: error: {error}\n")


def make_world(name: str, arguments: Sequence[str]) -> MakeWorld:
    """Return `make_world(seed, num_areas, parameters)` for `name` with the flags that its console script would take.

    Raises ValueError for an unknown name or flag, or a wrong value.
    """
    parser = argparse.ArgumentParser(parents=[_world_flags()], add_help=False, allow_abbrev=False, exit_on_error=False)
    try:
        options, others = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ValueError(str(error)) from error
    if others:
        known = [flag for action in _world_flags()._actions for flag in action.option_strings]
        raise ValueError(f"unknown argument {others[0]!r} for {name}: known are {', '.join(known)}")
    return _world_factory(name, options)


def _world_flags() -> argparse.ArgumentParser:
    """The flags that say which world it is to be."""
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument("--agents", type=_positive, metavar="N", help="agents in an area (default 12)")
    flags.add_argument("--seed", type=int, metavar="N", help="used instead of the trainer's seed")
    return flags


def _world_factory(name: str, options: argparse.Namespace) -> MakeWorld:
    make = worlds.make_world_factory(name, options.agents)

    def make_world(seed: int, num_areas: int, parameters: EnvironmentParameters) -> World:
        return make(seed if options.seed is None else options.seed, num_areas, parameters)

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


def _whole_number(text: str, low: int, high: int | None) -> int:
    number = int(text) if text.strip().lstrip("+-").isdecimal() else None
    if number is None or number < low or (high is not None and number > high):
        wanted = f"a whole number from {low} to {high}" if high else f"a whole number, {low} or more"
        raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}")
    return number
