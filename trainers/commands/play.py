"""`mlbridge play`: pictures, films and pages of a built-in environment, or of what a run has learnt there."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from mlagents_envs.base_env import ActionSpec, ActionTuple, DecisionSteps
from numpy.typing import NDArray

from bridge.onnx_policy import OnnxPolicy, allowed_actions
from bridge.player import AgentWorld, EnvironmentParameters
from trainers.errors import UsageError
from trainers.run_folder import write_text_whole, write_whole
from unity_envs.replay_page import record_episodes, replay_page
from unity_envs.viewer import (
    RENDERERS,
    Picture,
    Playback,
    check_format,
    check_size,
    choose_renderer,
    default_size,
    default_speed,
    load_recording,
    read_recording,
    record_play,
    render_playbacks,
    write_pictures,
)
from unity_envs.worlds import check_name, make_world_factory, names

Act = Callable[[DecisionSteps], ActionTuple]
Forget = Callable[[NDArray[np.int32]], None]

SMALLEST, LARGEST = 32, 4096  # pixels of a side
RANDOM, ZERO = "random", "zero"
FILM_SECONDS, PAGE_SECONDS, PAGE_EPISODES = 6.0, 100.0, 5
# Behaviors that are not called as their environment: what a run's model tells of it.
VARIANTS = {
    "3DBallDiscrete": ("3DBall", "discrete"),
    "3DBallHard": ("3DBall", "hard"),
    "Visual3DBall": ("3DBall", "visual"),
    "Basic": ("CubeMover", "basic"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags, each with its default in words."""
    parser.formatter_class = argparse.HelpFormatter
    add = parser.add_argument
    add(
        "name",
        metavar="NAME|RUN|MODEL.onnx",
        help="built-in environment (CubeMover, PoleBalancer or 3DBall); or the folder of a run there, or one of its "
        "models, which then plays",
    )
    add("--variant", metavar="NAME", help="variant of the environment (default: that of the run's behavior, or none)")
    add(
        "--model",
        dest="sources",
        action="append",
        type=lambda text: ("model", text),
        metavar="FILE.onnx",
        help="who plays: a model, or `random` or `zero` actions; several stand beside each other, each in a world of "
        "the same seed (default: random)",
    )
    add(
        "--recording",
        dest="sources",
        action="append",
        type=lambda text: ("recording", text),
        metavar="FILE.json",
        help="show the recorded states of the first episodes in this file instead, as `mlbridge envs replay` reads and "
        "writes them; may stand beside models",
    )
    add("--caption", action="append", default=[], metavar="TEXT", help="one for each of them, in their order")
    add(
        "--output",
        "--video",
        type=Path,
        metavar="FILE",
        help=".gif, .mp4, or .png for the moment at the end (default: none, --html)",
    )
    add(
        "--html",
        type=Path,
        metavar="FILE.html",
        help="a page that plays whole episodes again in 3D, in any browser, without a network (default: none)",
    )
    add(
        "--seconds",
        type=_positive_number,
        metavar="S",
        help=f"length of the film (default: {FILM_SECONDS:g}), longest simulated time of an episode in a page "
        f"(default: {PAGE_SECONDS:g})",
    )
    add("--frames-per-second", type=_positive_number, default=20.0, metavar="N", help="(default: %(default)g)")
    add(
        "--speed",
        type=_positive_number,
        metavar="X",
        help="simulated seconds in a second of the film (default: 1; 0.12 for CubeMover, which is 6 steps a second)",
    )
    add(
        "--agents",
        type=_positive,
        metavar="N",
        help="agents, or episodes of a recording (default: 12 or 1); in a page, episodes (default: 5)",
    )
    add("--seed", type=int, default=0, metavar="N", help="of worlds and actions (default: %(default)s)")
    add("--stochastic", action="store_true", help="sample the actions of models (default: the most probable ones)")
    add("--size", type=_size, metavar="WxH", help="of the whole picture, in pixels (default: what suits it)")
    add(
        "--renderer",
        choices=RENDERERS,
        default="auto",
        help="mujoco (extra `mujoco`), plain (needs no graphics), or auto: mujoco if it works (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Plays, draws and writes. Everything a user may have got wrong is checked before the first step."""
    if arguments.output is None and arguments.html is None:
        raise UsageError("nothing would be written; add --output FILE.gif (or .mp4, .png) or --html FILE.html")
    _take_model(arguments)
    sources: list[tuple[str, str]] = arguments.sources or [("model", RANDOM)]
    captions: list[str] = arguments.caption
    if captions and len(captions) != len(sources):
        raise UsageError(f"{len(captions)} --caption for {len(sources)} --model and --recording; give one for each")
    if not captions and len(sources) > 1:
        captions = [_caption(*source) for source in sources]
    if arguments.html is not None:
        _write_page(arguments, sources, captions)
    if arguments.output is not None:
        _write_film(arguments, sources, captions)
    return 0


def _take_model(arguments: argparse.Namespace) -> None:
    """A run or a model in the place of the environment's name: it plays first, in the environment that it is for."""
    path = Path(arguments.name)
    if path.is_dir():
        models = sorted(path.glob("*.onnx"))
        if len(models) != 1:
            held = f"the models of {', '.join(model.stem for model in models)}" if models else "no final model"
            raise UsageError(f"{path} holds {held}; name one model, such as {path}/BEHAVIOR.onnx")
        path = models[0]
    elif path.suffix != ".onnx":
        return
    known = {**{name: (name, None) for name in names()}, **VARIANTS}
    behavior = path.stem if path.stem in known else path.stem.rpartition("-")[0]  # a checkpoint's: BEHAVIOR-STEP
    if behavior not in known:
        raise UsageError(
            f"{path}: no built-in environment has a behavior {path.stem}; name the environment, and --model"
        )
    name, variant = known[behavior]
    arguments.name, arguments.variant = name, arguments.variant or variant
    arguments.sources = [("model", str(path)), *(arguments.sources or [])]


def _write_page(arguments: argparse.Namespace, sources: list[tuple[str, str]], captions: list[str]) -> None:
    output: Path = arguments.html
    if any(kind == "recording" for kind, _ in sources):
        raise UsageError("--html shows what is played now, not a --recording; leave one of them out")
    if output.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--html {output}: give the file a name that ends in .html")
    _check_writable(output, "--html")
    players = {}
    try:
        check_name(arguments.name)
        for caption, (_, text) in zip(captions or [_caption(*sources[0])], sources, strict=True):
            world, act, forget = _player(arguments, text, arguments.agents or PAGE_EPISODES)
            players[caption] = record_episodes(world, act, arguments.seconds or PAGE_SECONDS, forget)
    except ValueError as error:
        raise UsageError(str(error)) from error
    speed = arguments.speed or default_speed(arguments.name)
    who = " and ".join(players)
    page = replay_page(world, players, world.name if who == world.name else f"{world.name}: {who}", speed)
    try:
        write_text_whole(output, page)
    except OSError as error:
        raise UsageError(f"--html {output}: cannot be written: {error.strerror or error}") from error
    count = sum(map(len, players.values()))
    print(f"Written to {output}: {count} episodes, {output.stat().st_size / 1000:.0f} kB; open it in a browser")


def _write_film(arguments: argparse.Namespace, sources: list[tuple[str, str]], captions: list[str]) -> None:
    output: Path = arguments.output
    length: float = arguments.seconds or FILM_SECONDS
    try:
        check_name(arguments.name)
        size = arguments.size or default_size(arguments.name, len(sources), bool(captions))
        check_size(arguments.name, len(sources), bool(captions), size)
        check_format(output, size[0], size[1], arguments.frames_per_second)
        _check_writable(output, "--output")
        renderer = choose_renderer(arguments.renderer)
        if renderer.note is not None:
            print(f"Plain pictures. {renderer.note}", file=sys.stderr)
        speed = arguments.speed or default_speed(arguments.name)
        seconds = length * speed
        playbacks = [_playback(arguments, kind, text, seconds) for kind, text in sources]
    except ValueError as error:
        raise UsageError(str(error)) from error

    count = max(1, round(length * arguments.frames_per_second))
    times = [index / arguments.frames_per_second * speed for index in range(count)]
    if output.suffix.lower() == ".png":
        times = [seconds]
    with _progress_bar(len(times)) as show:

        def frames() -> Iterator[Picture]:
            for number, time in enumerate(times, 1):
                yield render_playbacks(playbacks, time, size, renderer.render, captions)
                show(number)

        try:
            write_whole(output, lambda path: write_pictures(path, frames(), arguments.frames_per_second))
        except OSError as error:
            reason = " ".join(str(error.strerror or error).split())
            raise UsageError(f"--output {output}: cannot be written: {reason}") from error
    film = f"{len(times)} frames, {length:g} s, " if len(times) > 1 else ""
    kilobytes = output.stat().st_size / 1000
    print(f"Written to {output}: {film}{size[0]}x{size[1]} pixels, {kilobytes:.0f} kB, {renderer.name} renderer")


def _playback(arguments: argparse.Namespace, kind: str, text: str, seconds: float) -> Playback:
    if kind == "recording":
        try:
            return read_recording(arguments.name, load_recording(Path(text)), arguments.agents)
        except ValueError as error:
            raise ValueError(f"--recording {text}: {str(error).removeprefix(f'{text}: ')}") from error
    world, act, forget = _player(arguments, text, arguments.agents)
    return record_play(world, act, seconds, forget)


def _player(arguments: argparse.Namespace, text: str, agents: int | None) -> tuple[AgentWorld, Act, Forget]:
    """A world and who plays it: a model, `random` or `zero`; what it is told of agents whose episodes are over."""
    make_world = make_world_factory(arguments.name, agents, arguments.variant)
    world = make_world(arguments.seed, 1, EnvironmentParameters())
    if not isinstance(world, AgentWorld):
        raise ValueError(f"{arguments.name}: there are pictures of built-in worlds only")
    spec = world.behavior_specs[world.behavior].action_spec
    if text == RANDOM:
        return world, _random_actions(spec, arguments.seed), lambda agent_ids: None
    if text == ZERO:
        return world, _zero_actions(spec), lambda agent_ids: None
    policy = _policy(Path(text), world, arguments.seed)
    return world, _model_actions(policy, arguments.stochastic), policy.forget


def _policy(path: Path, world: AgentWorld, seed: int) -> OnnxPolicy:
    import onnxruntime

    onnxruntime.set_seed(seed)  # before the policy: a session takes its seed when it is made
    policy = OnnxPolicy(path)
    policy.check(world.behavior_specs[world.behavior])
    return policy


def _model_actions(policy: OnnxPolicy, stochastic: bool) -> Act:
    return lambda decisions: policy.act(decisions.obs, allowed_actions(decisions), not stochastic, decisions.agent_id)


def _random_actions(spec: ActionSpec, seed: int) -> Act:
    generator = np.random.default_rng(seed)

    def act(decisions: DecisionSteps) -> ActionTuple:
        count = len(decisions)
        continuous = generator.uniform(-1, 1, (count, spec.continuous_size)).astype(np.float32)
        discrete = generator.integers(0, spec.discrete_branches, (count, spec.discrete_size), dtype=np.int32)
        return ActionTuple(continuous, discrete)

    return act


def _zero_actions(spec: ActionSpec) -> Act:
    return lambda decisions: spec.empty_action(len(decisions))


def _caption(kind: str, text: str) -> str:
    return f"{text} actions" if kind == "model" and text in (RANDOM, ZERO) else Path(text).stem


def _check_writable(output: Path, flag: str) -> None:
    """Before minutes of work."""
    if output.is_dir():
        raise UsageError(f"{flag} {output}: this is a folder; give the name of a file")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"{flag} {output}: there is no folder {output.parent}; create it first")
    if not os.access(output.parent, os.W_OK):
        raise UsageError(f"{flag} {output}: the folder {output.parent} cannot be written to")


@contextmanager
def _progress_bar(frames: int) -> Iterator[Callable[[int], None]]:
    """On a terminal, a bar with the remaining time on stderr; elsewhere nothing."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("frames", total=frames)
        yield lambda number: bar.update(task, completed=number)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give width and height in pixels, such as 640x360")
    width, height = int(match[1]), int(match[2])
    if not SMALLEST <= min(width, height) <= max(width, height) <= LARGEST:
        raise argparse.ArgumentTypeError(f"the sides of {text} are not from {SMALLEST} to {LARGEST} pixels")
    return width, height


def _positive(text: str) -> int:
    value = int(text)  # argparse turns a ValueError into its own message
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _positive_number(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
