"""The files of a run, laid out and named as ML-Agents does, written whole or not at all.

RESULTS_DIR/RUN_ID/configuration.yaml                  all settings in effect
RESULTS_DIR/RUN_ID/BEHAVIOR.onnx                       the final model
RESULTS_DIR/RUN_ID/BEHAVIOR/BEHAVIOR-STEP.onnx, .pt    the newest checkpoints
RESULTS_DIR/RUN_ID/BEHAVIOR/checkpoint.pt              the newest of all, from which a run is resumed
RESULTS_DIR/RUN_ID/BEHAVIOR/BEHAVIOR-best.onnx, .pt    those of the summary with the highest mean reward
RESULTS_DIR/RUN_ID/run_logs/                           training_status.json, timers.json, trace.json, player logs,
                                                       BEHAVIOR.csv; run.lock while the run goes on
"""

import os
import re
from collections.abc import Callable
from pathlib import Path

from trainers.errors import UsageError, near_names

LOCK_NAME = "run.lock"
_TEMPORARY = ".tmp-"


class RunFolder:
    """Where the files of one run are. Nothing is touched before `validate` has passed and `create` is called.

    Raises UsageError if `run_id` cannot be the name of a folder.
    """

    def __init__(self, results_dir: Path, run_id: str) -> None:
        _check_name(run_id, "--run-id")
        self.results_dir = results_dir
        self.run_id = run_id
        self.path = results_dir / run_id
        self._discards_old_run: bool | None = None

    @property
    def configuration(self) -> Path:
        return self.path / "configuration.yaml"

    @property
    def run_logs(self) -> Path:
        return self.path / "run_logs"

    @property
    def training_status(self) -> Path:
        return self.run_logs / "training_status.json"

    @property
    def trace(self) -> Path:
        return self.run_logs / "trace.json"

    @property
    def timers(self) -> Path:
        return self.run_logs / "timers.json"

    def scalars(self, behavior_name: str) -> Path:
        """Everything that TensorBoard shows of a behavior, as CSV."""
        return self.run_logs / f"{self.behavior(behavior_name).name}.csv"

    def behavior(self, behavior_name: str) -> Path:
        """The folder of a behavior's checkpoints and TensorBoard events."""
        _check_name(behavior_name, "the behavior name")
        return self.path / behavior_name

    def model(self, behavior_name: str) -> Path:
        """The final ONNX model."""
        return self.path / f"{self.behavior(behavior_name).name}.onnx"

    def checkpoint(self, behavior_name: str, step: int | None = None) -> Path:
        """The checkpoint at `step`, or without it the newest, from which a run is resumed."""
        file_name = "checkpoint.pt" if step is None else f"{behavior_name}-{step}.pt"
        return self.behavior(behavior_name) / file_name

    def validate(self, resume: bool, force: bool) -> None:
        """Raise UsageError if the run exists and is neither resumed nor overwritten, or if there is none to resume."""
        begun = self.path.is_dir() and not self._holds_only_player_logs()
        if resume and not begun:
            runs = sorted(folder.name for folder in self.results_dir.glob("*") if folder.is_dir())
            near = near_names(self.run_id, runs)
            names = [*near, *(run for run in runs if run not in near)]
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            problem = "holds no training" if self.path.is_dir() else "does not exist"
            raise UsageError(
                f"there is no run '{self.run_id}' to resume: {self.path} {problem}; leave out --resume, "
                f"or give the --run-id of a run that exists (in {self.results_dir}: {shown or 'none'})"
            )
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file, but should be the run's folder; choose another --run-id")
        if begun and not (resume or force):
            raise UsageError(
                f"the run '{self.run_id}' exists already in {self.path}; continue it with --resume, "
                "overwrite it with --force, or choose another --run-id"
            )
        self._discards_old_run = force and not resume

    def _holds_only_player_logs(self) -> bool:
        """Whether this is what a run leaves whose players did not start: it may be tried again under the same name."""
        files = (path for path in self.path.rglob("*") if not path.is_dir())
        return all(path.parent == self.run_logs and path.name.startswith(("Player-", LOCK_NAME)) for path in files)

    def create(self) -> None:
        """Make the folders. With `force`, the old run's TensorBoard events and status go, its checkpoints stay."""
        if self._discards_old_run is None:
            raise RuntimeError("RunFolder.create() needs a validate() that passed")
        try:
            self.run_logs.mkdir(parents=True, exist_ok=True)
            if self._discards_old_run:
                for events in self.path.glob("*/events.out.tfevents.*"):
                    events.unlink()
                self.training_status.unlink(missing_ok=True)
        except OSError as error:
            raise self.cannot_be_written(error) from error

    def remove_temporary_files(self) -> None:
        """Deletes what `write_whole` was writing when it was killed. Only for the one run that writes here."""
        for path in (*self.path.glob(f"{_TEMPORARY}*"), *self.path.glob(f"*/{_TEMPORARY}*")):
            path.unlink(missing_ok=True)

    def cannot_be_written(self, error: OSError) -> UsageError:
        return UsageError(
            f"the run's folder {self.path} cannot be written: {error.strerror} ({error.filename}); "
            "choose another --results-dir"
        )


def write_whole(path: Path, writer: Callable[[Path], None]) -> None:
    """Let `writer` write a file under a temporary name, then give it its name: `path` is whole, or what it was before.

    Holds when the process or the machine dies as well. The temporary file is in the same folder, with the same suffix.
    """
    temporary = path.with_name(f"{_TEMPORARY}{path.name}")
    try:
        writer(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened, and the file system orders the renaming itself
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def is_temporary(path: Path) -> bool:
    """Whether `write_whole` writes this file, or was killed while it did."""
    return path.name.startswith(_TEMPORARY)


def write_text_whole(path: Path, text: str) -> None:
    """`write_whole` for a text, in UTF-8."""
    write_whole(path, lambda temporary: _write_text(temporary, text))


def _check_name(name: str, what: str) -> None:
    """Refuse what cannot be the name of a folder, or would be one somewhere else."""
    forbidden = r"[/\\\x00-\x1f]" if os.name != "nt" else r'[/\\\x00-\x1f<>:"|?*]'
    if name.strip() in ("", ".", "..") or len(name) > 150 or re.search(forbidden, name):
        raise UsageError(f"{what} {name!r} cannot be the name of a folder; use up to 150 letters, digits, '-' and '_'")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
