"""Two runs must not write into one folder: the lock that a run holds on its own.

It is the operating system's lock on an open file, which goes with the process however that ends; the file that a
killed run leaves behind is in nobody's way.
"""

import contextlib
import errno
import json
import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from trainers.errors import UsageError
from trainers.run_folder import LOCK_NAME, RunFolder

logger = logging.getLogger(__name__)

_FAR_AWAY = 2**30  # Windows lets nobody read what is locked, so that is a byte behind the text
_HELD = (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK)


class RunLock:
    """The lock on a run's folder, a context manager that gives it back in the end."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._path = folder.run_logs / LOCK_NAME
        self._file: int | None = None
        self._made: list[Path] = []  # folders, the innermost first

    def take(self, *, only_if_there: bool = False) -> None:
        """Takes the lock, unless this has it already, and clears away what a killed run was writing.

        `only_if_there`: makes no file or folder; where there is no lock, nobody holds it. Raises UsageError that says
        who holds it.
        """
        if self._file is not None or (only_if_there and not self._path.exists()):
            return
        folders = (self._folder.run_logs, self._folder.path, self._folder.results_dir)
        self._made = [folder for folder in folders if not folder.exists()]
        try:
            self._folder.run_logs.mkdir(parents=True, exist_ok=True)
            while self._file is None:
                self._file = self._locked()
        except OSError as error:
            raise self._folder.cannot_be_written(error) from error
        self._folder.remove_temporary_files()

    def _locked(self) -> int | None:
        """The open file; None if it was deleted meanwhile, as the run that held it ended."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                _lock(file)
            except OSError as error:
                if error.errno in _HELD:
                    raise UsageError(self._holder()) from error
                logger.warning("%s cannot be locked here (%s): start no second run in it.", self._path, error.strerror)
            if not self._path.exists() or not os.path.samestat(os.fstat(file), os.stat(self._path)):
                os.close(file)
                return None
            text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")})
            os.ftruncate(file, 0)
            os.write(file, text.encode())
        except BaseException:
            with contextlib.suppress(OSError):
                os.close(file)
            raise
        return file

    def _holder(self) -> str:
        who = "another process"
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            facts: dict[str, Any] = json.loads(self._path.read_text())
            who = f"process {facts['pid']} on {facts['host']}, since {facts['since']}"
        return (
            f"the run '{self._folder.run_id}' is going on already: {who} writes into {self._folder.path}; wait for it "
            "or end it, or choose another --run-id"
        )

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is None:
            return
        file, self._file = self._file, None
        if sys.platform == "win32":  # where an open file cannot be deleted
            os.close(file)
            with contextlib.suppress(OSError):  # another run may have it by now
                self._path.unlink()
        else:
            self._path.unlink(missing_ok=True)
            os.close(file)
        for folder in self._made:
            with contextlib.suppress(OSError):  # by now the run's files are in there, unless it never began
                folder.rmdir()


def _lock(file: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file, _FAR_AWAY, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
