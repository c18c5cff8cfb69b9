"""`mlbridge schema`: the configuration's JSON schema, for editors."""

import argparse
import json
from pathlib import Path

from trainers.config_schema import json_schema
from trainers.errors import UsageError
from trainers.run_folder import write_text_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write it to this file instead of the console (default: none)"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "With the YAML extension of an editor, one line at the top of a configuration names the file:\n"
        "  # yaml-language-server: $schema=mlbridge.schema.json"
    )


def run(arguments: argparse.Namespace) -> int:
    text = json.dumps(json_schema(), indent=2) + "\n"
    if arguments.output is None:
        print(text, end="")
        return 0
    try:
        write_text_whole(arguments.output, text)
    except OSError as error:
        raise UsageError(f"--output {arguments.output} cannot be written: {error.strerror}") from error
    return 0
