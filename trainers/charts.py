"""The files behind the charts of one behavior: TensorBoard's events, and the same scalars as CSV.

Where they cannot be written, because the disk is full, the training goes on: what was to be written is kept in memory
and written when there is room again.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trainers.run_folder import write_text_whole

logger = logging.getLogger(__name__)

_ROOM = 2**12  # bytes that shall be free before another file is begun


class Charts:
    """Takes scalars, histograms and texts at their steps; `flush` writes them."""

    def __init__(self, behavior_folder: Path, resume_step: int, scalars: Path | None) -> None:
        """With `resume_step` (the step that training goes on from) TensorBoard hides events of a former run beyond it,
        so that no step is shown twice. `scalars`: the CSV file.
        """
        self._folder = behavior_folder
        # The purge takes away the purge step itself, too: the summary of the step that was saved stays.
        self._first_step = resume_step + 1 if resume_step > 0 else None
        self._pending: list[tuple[int, Callable[[Any], None]]] = []  # step, and what to do with a SummaryWriter
        self._writer: Any = None
        self._scalars = None if scalars is None else ScalarsFile(scalars, resume_step)
        self._failed = False
        self._open()

    def _open(self) -> None:
        # torch.utils.tensorboard takes a second to import, which only a training should pay.
        from torch.utils.tensorboard import SummaryWriter

        if self._failed:  # is there room? a file that is begun in vain stays
            probe = self._folder / ".tmp-room"
            try:
                probe.write_bytes(bytes(_ROOM))
            finally:
                probe.unlink(missing_ok=True)
        if self._first_step is not None:
            _make_way(self._folder)
        self._writer = SummaryWriter(str(self._folder), purge_step=self._first_step)

    def scalar(self, step: int, tag: str, value: float) -> None:
        self._pending.append((step, lambda writer: writer.add_scalar(tag, value, step)))
        if self._scalars is not None:
            self._scalars.add(step, tag, value)

    def histogram(self, step: int, tag: str, values: np.ndarray) -> None:
        self._pending.append((step, lambda writer: writer.add_histogram(tag, values, step)))

    def text(self, step: int, tag: str, text: str) -> None:
        self._pending.append((step, lambda writer: writer.add_text(tag, text, step)))

    def film(self, step: int, tag: str, gif: bytes, size: tuple[int, int]) -> None:
        """`gif`: a whole file, whose pictures have that width and height."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=gif)
        summary = Summary(value=[Summary.Value(tag=tag, image=image)])
        self._pending.append((step, lambda writer: writer.file_writer.add_summary(summary, step)))

    def flush(self) -> None:
        """Writes what there is. Where that fails, a warning says so, and the next call tries again."""
        try:
            if self._scalars is not None:
                self._scalars.flush()  # first: it writes all or nothing, so it shows whether there is room
            self._write_events()
        except OSError as error:
            if not self._failed:
                reason = f"{error.strerror or error} ({error.filename or self._folder})"
                logger.warning("The charts cannot be written: %s. Training goes on; they follow when they can.", reason)
            self._failed = True
            return
        if self._failed:
            logger.warning("The charts in %s are written again; nothing of them is missing.", self._folder)
        self._failed = False

    def _write_events(self) -> None:
        try:
            if self._writer is None:
                self._open()
            for _, write in self._pending:
                write(self._writer)
            self._writer.flush()
        except OSError:
            # The file may end in the middle of an event, so nothing can follow in it. Another one will, and it has
            # TensorBoard hide what has come into this one before it broke.
            self._writer = None
            if self._pending:
                self._first_step = max(self._first_step or 0, min(step for step, _ in self._pending))
            raise
        self._pending.clear()

    def close(self) -> None:
        """Writes what is still on its way, if it can, and closes the files."""
        self.flush()
        if self._writer is not None:
            self._writer.close()


class ScalarsFile:
    """A CSV file of `step,tag,value`, for whoever has no reader of TensorBoard's files."""

    _HEADER = ("step", "tag", "value")

    def __init__(self, path: Path, resume_step: int) -> None:
        """Goes on with the lines there are up to `resume_step`; those beyond are not part of this run any more."""
        kept = []
        if resume_step > 0 and path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.reader(file) if row and row[0].isdigit() and int(row[0]) <= resume_step]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lines = io.StringIO()
        csv.writer(self._lines, lineterminator="\n").writerows([self._HEADER, *kept])
        write_text_whole(path, self._take())

    def add(self, step: int, tag: str, value: float) -> None:
        csv.writer(self._lines, lineterminator="\n").writerow((step, tag, f"{value:.9g}"))

    def flush(self) -> None:
        """Appends the lines that were added, all of them or, with OSError, none."""
        with open(self._path, "ab", buffering=0) as file:
            size, rest = file.seek(0, os.SEEK_END), self._lines.getvalue().encode()
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(size)
                raise
        self._take()

    def _take(self) -> str:
        text = self._lines.getvalue()
        self._lines = io.StringIO()
        return text


def _make_way(folder: Path) -> None:
    """Sees to it that the next event file will be sorted behind those there are: names start with whole seconds.

    TensorBoard reads the files of a folder in the order of their names, and what resumes must come last.
    """
    files = sorted(folder.glob("events.out.tfevents.*"))
    now = int(time.time())
    if any(_second(file) > now + 1 for file in files):  # the clock was set back since
        for number, file in enumerate(files):
            second = f"{now - len(files) + number:010d}"
            file.rename(file.with_name(".".join([*file.name.split(".")[:3], second, *file.name.split(".")[4:]])))
    while any(_second(file) >= int(time.time()) for file in folder.glob("events.out.tfevents.*")):
        time.sleep(0.05)


def _without_writers(print_exception: Callable[[threading.ExceptHookArgs], None]) -> Any:
    """What prints the exceptions of threads, but those of TensorBoard's, which reach `flush` as well."""

    def print_others(arguments: threading.ExceptHookArgs) -> None:
        if not (type(arguments.thread).__name__ == "_AsyncWriterThread" and isinstance(arguments.exc_value, OSError)):
            print_exception(arguments)

    return print_others


threading.excepthook = _without_writers(threading.excepthook)


def _second(file: Path) -> int:
    second = file.name.split(".")[3]
    return int(second) if second.isdigit() else 0
