"""`mlbridge envs`: the built-in environments, where their players are, and recorded episodes played again by them."""

import argparse
from pathlib import Path

from trainers.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One parser for each of the subcommands."""
    parser.formatter_class = argparse.HelpFormatter
    commands = parser.add_subparsers(dest="action", metavar="COMMAND", required=True)
    text = "name the built-in environments and their variants"
    commands.add_parser("list", help=text, description=text.capitalize() + ".")

    text = "print the path of a player: what --env=NAME starts, for mlagents-learn as well"
    path = commands.add_parser("path", help=text, description=text.capitalize() + ".")
    path.add_argument("name", metavar="NAME", help="a built-in environment")

    text = "play recorded episodes again: the same starts and actions in our world"
    replay = commands.add_parser(
        "replay",
        help=text,
        description=text.capitalize() + ". Players write such files with --record FILE.json; a recording from Unity or "
        "another engine shows how far its physics is from ours. unity_envs/recording_format.py describes the format. "
        "Exit code 0: done, and with --compare within tolerance; 1: beyond tolerance; 2: a mistake in flags or file.",
    )
    add = replay.add_argument
    add("name", metavar="NAME", help="the built-in environment that is to play")
    add("--input", type=Path, required=True, metavar="FILE.json", help="the recording")
    add("--output", type=Path, metavar="FILE.json", help="write every state of ours to this file (default: none)")
    add("--compare", action="store_true", help="print the differences and judge them (default: off)")


def run(arguments: argparse.Namespace) -> int:
    return {"list": _list, "path": _path, "replay": _replay}[arguments.action](arguments)


def _list(_: argparse.Namespace) -> int:
    from unity_envs.worlds import names, variants

    for name in names():
        print(f"{name:<12}  variants: {', '.join(variants(name)) or 'none'}")
    return 0


def _path(arguments: argparse.Namespace) -> int:
    from unity_envs.executables import path

    try:
        print(path(arguments.name))
    except (ValueError, RuntimeError) as error:
        raise UsageError(str(error)) from error
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    from unity_envs.recording_format import load, write
    from unity_envs.replay import replay
    from unity_envs.worlds import check_name

    output: Path | None = arguments.output
    if output is None and not arguments.compare:
        raise UsageError("nothing to do: give --output FILE.json, --compare or both")
    if output is not None:
        if output.is_dir():
            raise UsageError(f"--output {output}: this is a folder; give the name of a file")
        if not output.absolute().parent.is_dir():
            raise UsageError(f"--output {output}: there is no folder {output.parent}; create it first")
    try:
        check_name(arguments.name)
        recording = load(arguments.input)
    except ValueError as error:
        raise UsageError(str(error)) from error
    comparison = None
    try:
        replayed = replay(arguments.name, recording)
        if arguments.compare:
            from unity_envs.comparison import compare

            comparison = compare(arguments.name, recording, replayed)
    except ValueError as error:
        raise UsageError(f"{arguments.input}: {error}") from error
    if output is not None:
        try:
            write(output, replayed)
        except OSError as error:
            raise UsageError(f"--output {output}: cannot be written: {error.strerror or error}") from error
    if comparison is None:
        return 0
    for difference in comparison.differences:
        print(difference)
    print(comparison.summary)
    return 0 if comparison.within else 1
