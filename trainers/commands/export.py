"""`mlbridge export RUN`: ONNX models of a run's checkpoints, without the environment; and weights of games."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.errors import UsageError, did_you_mean, near_names
from trainers.run_folder import RunFolder, write_whole

if TYPE_CHECKING:
    from trainers.config import TrainerSettings

_FILES = (".onnx", ".safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags, each with its default in words."""
    parser.formatter_class = argparse.HelpFormatter
    add = parser.add_argument
    add("run_id", metavar="RUN", help="a run's --run-id, or its folder; or a game's .safetensors file")
    add("--results-dir", metavar="PATH", type=Path, default=Path("results"), help="of runs (default: %(default)s)")
    add("--behavior", metavar="NAME", help="behavior to export (default: all of them)")
    add(
        "--checkpoint",
        metavar="STEP|best|latest|FILE",
        default="latest",
        help="the number of steps of a checkpoint, the best or the latest one, or a .pt file (default: %(default)s)",
    )
    add(
        "--output",
        metavar="PATH",
        type=Path,
        help="an .onnx file, a .safetensors file for a game to go on with, or a folder "
        "(default: RUN/BEHAVIOR.onnx for the latest, else beside the checkpoint)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes one model a behavior, each compared with its network, and prints where it is."""
    if arguments.run_id.endswith(".safetensors"):
        return _export_of_game(Path(arguments.run_id), arguments.output)
    folder = _run_folder(arguments.run_id, arguments.results_dir)
    names = _behaviors(folder, arguments.behavior)
    if len(names) > 1 and arguments.checkpoint.endswith(".pt"):
        raise UsageError(f"{folder.path} holds the behaviors {', '.join(names)}; choose with --behavior NAME")
    if len(names) > 1 and arguments.output is not None and arguments.output.suffix in _FILES:
        raise UsageError(
            f"--output {arguments.output}: {folder.path} holds the behaviors {', '.join(names)}; give a folder, or "
            "choose with --behavior NAME"
        )
    # All are found before the first is written.
    sources = {name: _checkpoint(folder, name, arguments.checkpoint) for name in names}
    for name, source in sources.items():
        target = _target(folder, name, source, arguments.output)
        _export(folder, name, source, target)
        print(f"{name}: {source} exported to {target}")
    return 0


def write_model_of_game(source: Path, target: Path) -> str:
    """Writes the ONNX model of a game's .safetensors file and returns the behavior's name.

    Raises UsageError for a file that cannot be read or written.
    """
    from trainers.weights_file import read_weights

    name, state, settings = read_weights(source)
    _write_model(name, state, settings, source, target)
    return name


def _export_of_game(source: Path, output: Path | None) -> int:
    target = source.with_suffix(".onnx") if output is None else output
    if target.suffix != ".onnx" or target.is_dir():
        target = target / f"{source.stem}.onnx"
    print(f"{write_model_of_game(source, target)}: {source} exported to {target}")
    return 0


def _run_folder(run: str, results_dir: Path) -> RunFolder:
    """Of a run id, else of a path."""
    for path in (results_dir / run, Path(run)):
        if (path / "configuration.yaml").is_file():
            path = path.resolve() if path.name in ("", "..") else path
            return RunFolder(path.parent, path.name)
    runs = sorted(path.parent.name for path in results_dir.glob("*/configuration.yaml"))
    there = ", ".join((near_names(run, runs) or runs)[:10]) or "none"
    raise UsageError(f"there is no run '{run}'; give its --run-id or its folder (in {results_dir}: {there})")


def _behaviors(folder: RunFolder, wanted: str | None) -> list[str]:
    names = sorted({path.parent.name for path in folder.path.glob("*/*.pt")})
    if wanted is not None:
        name = wanted.partition("?")[0]
        if name in names:
            return [name]
        known = ", ".join(names) or "none"
        raise UsageError(
            f"--behavior {wanted}: {folder.path} holds no checkpoint of it{did_you_mean(name, names)} (it has {known})"
        )
    if not names:
        raise UsageError(f"{folder.path} holds no checkpoint yet; wait for its first checkpoint_interval")
    return names


def _checkpoint(folder: RunFolder, name: str, wanted: str) -> Path:
    """The file that `wanted` means for a behavior."""
    if wanted.endswith(".pt"):
        for path in (Path(wanted), folder.behavior(name) / wanted):
            if path.is_file():
                return path
    elif wanted == "latest":
        path = folder.checkpoint(name)
    elif wanted == "best":
        path = folder.behavior(name) / f"{name}-best.pt"
    elif wanted.isdecimal():
        path = folder.checkpoint(name, int(wanted))
    else:
        raise UsageError(f"--checkpoint {wanted}: expected a number of steps, best, latest or a .pt file")
    if path.is_file():
        return path
    there = sorted(folder.behavior(name).glob("*.pt"), key=lambda file: file.stat().st_mtime)
    raise UsageError(f"--checkpoint {wanted}: there is no {path}; there are {', '.join(file.name for file in there)}")


def _target(folder: RunFolder, name: str, source: Path, output: Path | None) -> Path:
    if output is None:
        return folder.model(name) if source == folder.checkpoint(name) else source.with_suffix(".onnx")
    if output.suffix in _FILES and not output.is_dir():
        return output
    return output / f"{name}.onnx"


def _export(folder: RunFolder, name: str, source: Path, target: Path) -> None:
    from trainers.checkpoint import load_state
    from trainers.config import load_config

    state = load_state(source)
    if "behavior_spec" not in state:
        raise UsageError(
            f"{source} was written by an older mlagents-bridge and does not say what its agents see and do; go on with "
            "the run once (mlbridge learn --resume), which writes a checkpoint that does"
        )
    settings = load_config(folder.configuration, {}).settings_for(name)
    if target.suffix == ".safetensors":
        from trainers.weights_file import write_weights

        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_weights(target, name, state, settings)
        except OSError as error:
            raise UsageError(f"--output {target}: cannot be written ({error.strerror})") from error
        return
    _write_model(name, state, settings, source, target)


def _write_model(name: str, state: dict[str, Any], settings: "TrainerSettings", source: Path, target: Path) -> None:
    import torch  # torch takes a while: what a user got wrong is told before

    from trainers.behavior_trainer import BehaviorTrainer
    from trainers.export import ExportError
    from trainers.specifications import specification_from_dict

    try:
        spec = specification_from_dict(state["behavior_spec"])
    except ValueError as error:
        remedy = "use another --checkpoint or file"
        raise UsageError(f"{source} holds a damaged specification ({error}); {remedy}") from error
    trainer = BehaviorTrainer(name, spec, settings, seed=0, device=torch.device("cpu"), training=False, backend="torch")
    trainer.load_weights(state, source)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, trainer.export)
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror}); choose another --output") from error
    except ExportError as error:
        raise UsageError(f"{source} cannot be exported ({error}); use another --checkpoint or file") from error
