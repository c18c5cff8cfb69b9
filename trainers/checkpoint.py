"""Checkpoints: what is in a file, reading it without running code, and which ones a run keeps."""

import io
import json
import logging
import math
import pickle
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainers.errors import UsageError
from trainers.run_folder import RunFolder, is_temporary, write_text_whole, write_whole

logger = logging.getLogger(__name__)

FORMAT = "mlagents-bridge checkpoint"
FORMAT_VERSION = 3  # 1 had another generator of random numbers, 2 no memories
STATUS_FORMAT_VERSION = "0.3.0"
ML_AGENTS_VERSION = "1.1.0"  # whose file formats these are


class DamagedCheckpointError(UsageError):
    """A checkpoint is missing or not as it was written: one from before may be whole."""


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint. `state` holds tensors, numbers, texts, None, and lists, tuples and dicts of these.

    Raises TypeError, before anything is written, for a value of any other type: loading it would need code.
    """
    import torch

    content = {"format": FORMAT, "format_version": FORMAT_VERSION, **_plain(state, "state")}
    # Not to the path, which torch.save would write into the file, nor to an open file: a full disk would be no OSError.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, lambda temporary: _write_bytes(temporary, buffer))


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, with all tensors on the CPU. Runs no code that the file may contain.

    Raises UsageError if the file is missing, damaged, of another program or of a newer version.
    """
    return _checked(_content(path), path)


def load_initial_state(path: Path) -> dict[str, Any]:
    """The networks to start a training from: of our checkpoint, or of one that the official trainer wrote."""
    from trainers.official_checkpoint import convert, is_official

    content = _content(path)
    return convert(content, path) if is_official(content) else _checked(content, path)


def _content(path: Path) -> Any:
    import torch

    try:
        # torch.load does not notice a changed byte in a tensor, the checksums of the archive do.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise _unreadable(path, f"is damaged (in {damaged})", DamagedCheckpointError)
        content = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise _unreadable(path, "does not exist", DamagedCheckpointError) from error
    except OSError as error:
        raise _unreadable(path, f"cannot be read ({error.strerror})") from error
    except UsageError:
        raise
    except Exception as error:  # torch and zipfile raise many kinds for a file that is not as it should be
        if isinstance(error, pickle.UnpicklingError):
            raise _unreadable(path, "holds something that only code could load, which is refused") from error
        raise _unreadable(path, "is damaged, cut short or no checkpoint", DamagedCheckpointError) from error
    return content


def _checked(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        from trainers.official_checkpoint import is_official

        if is_official(content):
            raise UsageError(
                f"{path} is a checkpoint of ML-Agents, which a training can start from, but not go on from: give it "
                "another --run-id and --initialize-from this run"
            )
        raise _unreadable(path, "is no checkpoint of mlagents-bridge")
    if content.get("format_version") != FORMAT_VERSION:
        version = content.get("format_version")
        raise _unreadable(path, f"has format version {version}, this mlagents-bridge reads {FORMAT_VERSION}")
    return {key: value for key, value in content.items() if key not in ("format", "format_version")}


def newest_whole(run_folder: RunFolder, behavior_name: str, say: Callable[[str], None]) -> Path:
    """checkpoint.pt, or where it is missing or damaged the newest before it that is whole, of which `say` is told.

    Raises UsageError if there is none, and at one that is refused: of another program, version, or with code in it.
    """
    newest = run_folder.checkpoint(behavior_name)
    damage: list[str] = []
    for path in [newest, *_before(run_folder, behavior_name)]:
        try:
            load_initial_state(path)
        except DamagedCheckpointError as error:
            damage.append(str(error).partition(";")[0])
            continue
        if damage:
            say(f"{'; '.join(damage)}: going on from the one before, {path}.")
        return path
    raise DamagedCheckpointError(f"{'; '.join(damage)}; train anew with --force")


def _before(run_folder: RunFolder, behavior_name: str) -> list[Path]:
    """The checkpoints with a step in their names, the newest first; those of a run that --force began anew last."""
    try:
        status = json.loads(run_folder.training_status.read_text(encoding="utf-8"))
        steps = [int(one["steps"]) for one in status[behavior_name]["checkpoints"]]
    except (OSError, ValueError, KeyError, TypeError):
        steps = []
    listed = [run_folder.checkpoint(behavior_name, step) for step in steps]
    others = [run_folder.behavior(behavior_name) / name for name in _numbered(run_folder.checkpoint(behavior_name))]
    return [*reversed([path for path in listed if path in others]), *(path for path in others if path not in listed)]


class CheckpointKeeper:
    """Writes the checkpoints of one behavior, and keeps the `keep` newest and training_status.json up to date.

    A resumed run goes on with the checkpoints that training_status.json lists. Raises UsageError if that file is
    there and not readable.
    """

    def __init__(self, run_folder: RunFolder, behavior_name: str, keep: int) -> None:
        self.run_folder = run_folder
        self.behavior_name = behavior_name
        self.keep = keep
        self._read_status()  # a file that is damaged is better found now than at the first checkpoint

    def save(self, step: int, state: dict[str, Any], export_onnx: Callable[[Path], None], reward: float | None) -> None:
        """Write BEHAVIOR-STEP.pt and .onnx and checkpoint.pt, then delete the oldest beyond `keep`.

        step: agent steps. export_onnx: writes the model to the path that it is given. reward: the mean cumulative
        reward since the last checkpoint, None if no episode ended.
        """
        self._write(step, state, export_onnx, reward)

    def finish(
        self, step: int, state: dict[str, Any], export_onnx: Callable[[Path], None], reward: float | None
    ) -> None:
        """`save`, and BEHAVIOR.onnx in the run's folder, which training_status.json names as final_checkpoint."""
        entry = self._write(step, state, export_onnx, reward)
        model = self.run_folder.model(self.behavior_name)
        write_whole(model, lambda temporary: _copy(Path(entry["file_path"]), temporary))
        status = self._read_status()
        status[self.behavior_name]["final_checkpoint"] = {**entry, "file_path": str(model)}
        self._write_status(status)

    def save_best(self, step: int, state: dict[str, Any], export_onnx: Callable[[Path], None], reward: float) -> None:
        """Write BEHAVIOR-best.pt and .onnx, which training_status.json names as best_checkpoint, and which stay."""
        weights = self.run_folder.behavior(self.behavior_name) / f"{self.behavior_name}-best.pt"
        save_state(weights, state)
        write_whole(weights.with_suffix(".onnx"), export_onnx)
        status = self._read_status()
        of_behavior = status.setdefault(self.behavior_name, {})
        of_behavior["best_checkpoint"] = _entry(step, weights, reward)
        self._write_status(status)

    def latest(self) -> Path:
        """The checkpoint to go on from (`newest_whole`)."""
        return newest_whole(self.run_folder, self.behavior_name, logger.warning)

    def _write(
        self, step: int, state: dict[str, Any], export_onnx: Callable[[Path], None], reward: float | None
    ) -> dict[str, Any]:
        self.run_folder.behavior(self.behavior_name).mkdir(parents=True, exist_ok=True)
        weights = self.run_folder.checkpoint(self.behavior_name, step)
        model = weights.with_suffix(".onnx")
        entry = _entry(step, weights, reward)
        status = self._read_status()
        of_behavior = status.setdefault(self.behavior_name, {})
        checkpoints = [other for other in of_behavior.get("checkpoints", []) if other["steps"] != step]
        # One that a run died over is listed, but was perhaps never written: it must not count.
        checkpoints = [each for each in checkpoints if self._weights_of(each).is_file()] + [entry]
        # Listed before it is there, so that what a run leaves that dies over it goes when its time has come.
        of_behavior["checkpoints"] = checkpoints
        self._write_status(status)

        save_state(weights, state)
        # Before the export, which is slow and may fail: the run can then be resumed all the same.
        try:
            write_whole(self.run_folder.checkpoint(self.behavior_name), lambda temporary: _copy(weights, temporary))
        except OSError:
            weights.unlink()  # on a full disk it takes the room that the next one needs
            raise
        write_whole(model, export_onnx)

        for old in checkpoints[: -self.keep]:
            old_weights = self._weights_of(old)
            old_weights.unlink(missing_ok=True)
            old_weights.with_suffix(".onnx").unlink(missing_ok=True)
        of_behavior["checkpoints"] = checkpoints[-self.keep :]
        lessons = state.get("environment_parameters", {}).get("lessons", {})
        status |= {name: {"lesson_num": number} for name, number in lessons.items()}
        self._write_status(status)
        return entry

    def _weights_of(self, entry: dict[str, Any]) -> Path:
        return self.run_folder.checkpoint(self.behavior_name, int(entry["steps"]))

    def _read_status(self) -> dict[str, Any]:
        path = self.run_folder.training_status
        try:
            status: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            for checkpoint in status.get(self.behavior_name, {}).get("checkpoints", []):
                int(checkpoint["steps"])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path} is damaged ({error}); delete it to go on, the older checkpoints then stay"
            ) from error
        return status

    def _write_status(self, status: dict[str, Any]) -> None:
        import torch

        metadata = {
            "stats_format_version": STATUS_FORMAT_VERSION,
            "mlagents_version": ML_AGENTS_VERSION,
            "torch_version": str(torch.__version__),
        }
        # metadata stays last, as in ML-Agents' files
        status = {**{key: value for key, value in status.items() if key != "metadata"}, "metadata": metadata}
        write_text_whole(self.run_folder.training_status, json.dumps(status, indent=4) + "\n")


def _entry(step: int, weights: Path, reward: float | None) -> dict[str, Any]:
    """What training_status.json says of a checkpoint."""
    return {
        "steps": step,
        "file_path": str(weights.with_suffix(".onnx")),
        "reward": float(reward) if reward is not None and math.isfinite(reward) else None,
        "creation_time": time.time(),
        "auxillary_file_paths": [str(weights)],  # spelled as ML-Agents does
    }


def _plain(value: Any, where: str) -> Any:
    """A copy of `value` of which every tensor is on the CPU and has no more memory than it shows."""
    import torch

    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()  # torch.save would write the whole buffer behind a slice
    if isinstance(value, dict):
        for key in value:
            if type(key) not in (str, int):
                raise TypeError(f"{where} has the key {key!r} of type {type(key).__name__}, expected str or int")
        return {key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item, f"{where}[{index}]") for index, item in enumerate(value))
    raise TypeError(
        f"{where} is a {type(value).__module__}.{type(value).__name__}; a checkpoint holds tensors, numbers, texts, "
        "None, lists, tuples and dicts (numpy: torch.from_numpy(array), scalar.item())"
    )


def _numbered(path: Path) -> list[str]:
    """The checkpoints beside this one that have a step in their names, the newest first."""
    steps = {}
    for other in path.parent.glob("*.pt"):
        if (match := re.search(r"-(\d+)\.pt$", other.name)) and other != path and not is_temporary(other):
            steps[int(match[1])] = other.name
    return [steps[step] for step in sorted(steps, reverse=True)]


def _unreadable(path: Path, reason: str, kind: type[UsageError] = UsageError) -> UsageError:
    others = _numbered(path)
    remedy = "train anew with --force"
    if others:
        remedy = f"use another one there ({', '.join(others)}; to resume, copy it to checkpoint.pt), or {remedy}"
    return kind(f"checkpoint {path} {reason}; {remedy}")


def _write_bytes(path: Path, buffer: io.BytesIO) -> None:
    path.write_bytes(buffer.getbuffer())


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
