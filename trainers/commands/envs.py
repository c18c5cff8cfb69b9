"""`mlbridge envs`: the built-in environments and those of one's own, where their players are, and recordings."""

import argparse
from pathlib import Path

from trainers.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One parser for each of the subcommands."""
    parser.formatter_class = argparse.HelpFormatter
    commands = parser.add_subparsers(dest="action", metavar="COMMAND", required=True)
    text = "name the built-in environments with their variants, and those that were added"
    commands.add_parser("list", help=text, description=text.capitalize() + ".")

    text = "print the path of a player: what --env=NAME starts, for mlagents-learn as well"
    path = commands.add_parser("path", help=text, description=text.capitalize() + ".")
    path.add_argument("name", metavar="NAME", help="a built-in environment, or one that was added")

    text = "give a build of one's own a name for --env"
    new = commands.add_parser(
        "add",
        help=text,
        description=text.capitalize() + ". A folder stays where it is; a zip file is unpacked into this user's data "
        "folder, which MLBRIDGE_HOME names (default: where the system keeps such data). With a path of the same name "
        "in the current folder, --env takes that path.",
    )
    new.add_argument("name", metavar="NAME", help="letters, digits, '_', '-' and '.'")
    new.add_argument("path", type=Path, metavar="PATH", help="the build: its executable, its folder, or a zip file")

    text = "forget an environment that was added"
    old = commands.add_parser(
        "remove",
        help=text,
        description=text.capitalize() + ". What was unpacked of a zip file is deleted; a local folder stays.",
    )
    old.add_argument("name", metavar="NAME", help="an environment that was added")

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
    actions = {"list": _list, "path": _path, "add": _add, "remove": _remove, "replay": _replay}
    return actions[arguments.action](arguments)


def _list(_: argparse.Namespace) -> int:
    from bridge import builds
    from unity_envs.worlds import names, variants

    for name in names():
        print(f"{name:<12}  variants: {', '.join(variants(name)) or 'none'}")
    for name in builds.names():
        program = builds.recorded(name)
        print(f"{name:<12}  added: {program}{'' if program.is_file() else ' (gone)'}")
    return 0


def _add(arguments: argparse.Namespace) -> int:
    from bridge import builds
    from unity_envs.executables import names

    print(builds.add(arguments.name, arguments.path, reserved=names()))
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    from bridge import builds

    builds.remove(arguments.name)
    return 0


def _path(arguments: argparse.Namespace) -> int:
    from bridge import builds
    from unity_envs.executables import path

    if arguments.name in builds.names():
        print(builds.path(arguments.name))
        return 0
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
