"""The `mlbridge` command: a module for each subcommand, with `add_arguments(parser)` and `run(arguments) -> code`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from bridge import __version__
from bridge.exceptions import UnityException
from trainers.errors import RanksLostError, UsageError, did_you_mean

_COMMANDS = {
    "learn": "train agents in an environment",
    "evaluate": "play an ONNX model in an environment and report its mean reward",
    "export": "write ONNX models of a run's checkpoints, without the environment",
    "play": "show a built-in environment as a picture or a film",
    "plot": "draw the learning curves of runs",
    "envs": "list environments, give names to builds, find players, replay recordings",
    "check": "play an environment for a minute and say what will hurt a training",
    "schema": "print the JSON schema of the configuration, for editors",
    "bench": "measure speed beside the official trainer",
}


class _Parser(argparse.ArgumentParser):
    """Errors are one line: the usage is what --help is for."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Exit code 0: done; 2: a mistake that the message on standard error names, with its remedy."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = _Parser(prog="mlbridge", description="Train Unity ML-Agents environments with PyTorch.")
    parser.add_argument("--version", action="version", version=f"mlbridge {__version__}")
    command: argparse.ArgumentParser = parser
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in _COMMANDS.items():
        # Only the command that is asked for is imported: each brings the libraries that it needs.
        if given[:1] == [name]:
            module = importlib.import_module(f"trainers.commands.{name}")
            command = subparsers.add_parser(
                name,
                help=text,
                description=text.capitalize() + ".",
                formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            )
            module.add_arguments(command)
            command.set_defaults(run=module.run)
        else:
            subparsers.add_parser(name, help=text)
    options, unknown = parser.parse_known_args(given)
    if unknown:
        hint = did_you_mean(unknown[0], command._option_string_actions)
        command.error(f"unknown argument {unknown[0]}{hint}")
    try:
        options.given = given[1:]
        return int(options.run(options))
    except (UsageError, UnityException) as error:
        print(f"mlbridge {options.command}: error: {error}", file=sys.stderr)
        return 2
    except RanksLostError as error:
        print(f"mlbridge {options.command}: another process of this training is gone ({error})", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"mlbridge {options.command}: interrupted", file=sys.stderr)
        return 130
