"""`mlbridge` in this process, looked at from inside: how much memory it took, and how often each line of Python ran.

    python -m trainers.benchmarks.training_probe memory|lines learn CONFIG ...

Prints one line of JSON at the end: `mebibytes`, the most memory it held (null where the system does not tell); with
`lines` also `messages`, how many came from the player after the first few, and `lines`: "file:line" -> how often it ran
meanwhile, the 50 most frequent, with "all" for the sum. Lines of our packages and of mlagents_envs count.
"""

import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("bridge", "trainers", "unity_envs")
_FIRST_MESSAGES = 8  # not counted: specifications are read, buffers made
_MESSAGE = "receive_steps"  # the method of an environment that takes in a message
_MOST = 50


class Lines:
    """Counts the lines that run, in all threads started from now on."""

    def __init__(self) -> None:
        from mlagents_envs import base_env

        folders = [_ROOT / name for name in _PACKAGES] + [Path(base_env.__file__).parent]
        self._folders = tuple(f"{folder}{os.sep}" for folder in folders)
        self._counts: Counter[tuple[str, int]] = Counter()
        self._messages = 0

    def start(self) -> None:
        threading.settrace(self._called)
        sys.settrace(self._called)

    def stop(self) -> dict[str, Any]:
        """The figures of the text above."""
        sys.settrace(None)
        threading.settrace(None)
        found = {f"{self._short(name)}:{line}": count for (name, line), count in self._counts.most_common(_MOST)}
        messages = max(0, self._messages - _FIRST_MESSAGES)
        return {"messages": messages, "lines": {"all": self._counts.total(), **found}}

    def _called(self, frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(self._folders) or name == __file__:
            return None
        if frame.f_code.co_name == _MESSAGE:
            self._messages += 1
            if self._messages == _FIRST_MESSAGES:
                self._counts.clear()
        return self._ran

    def _ran(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            self._counts[frame.f_code.co_filename, frame.f_lineno] += 1
        return self._ran

    def _short(self, name: str) -> str:
        return Path(name).relative_to(_ROOT).as_posix() if Path(name).is_relative_to(_ROOT) else name


def most_mebibytes() -> float | None:
    """The most memory that this process has held so far."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def main(what: str, arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    from trainers import commands

    lines = Lines() if what == "lines" else None
    if lines is not None:
        lines.start()
    code = commands.main(arguments)
    found = {} if lines is None else lines.stop()
    print(json.dumps({"mebibytes": most_mebibytes(), **found}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
