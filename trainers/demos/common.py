"""What all demos share and none of them is about: their flags, playing without learning, and the end of a run."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.commands.plot import draw
from trainers.kernels import status
from trainers.run_folder import write_text_whole

SMOOTHED = 20  # episodes that a point of a learning curve is the mean of


def read_options(name: str, *, backends: Sequence[str], seed: int = 1, **budget: int) -> argparse.Namespace:
    """The flags of the demo `name`; the one keyword in `budget`, such as episodes=500, becomes a flag of its own.

    A notebook has no flags: there the environment variable DEMO_FLAGS is read, and a curve is shown in any case.
    """
    ipython = sys.modules.get("IPython")  # which a program may have imported without being in it
    in_notebook = ipython is not None and ipython.get_ipython() is not None
    parser = argparse.ArgumentParser(prog=f"python -m trainers.demos.{name}", description=f"The demo {name}.")
    parser.add_argument("--seed", type=int, default=seed, help="of everything that is drawn (default: %(default)s)")
    for unit, amount in budget.items():
        parser.add_argument(f"--{unit}", type=int, default=amount, help="to learn from, at most (default: %(default)s)")
    parser.add_argument("--backend", choices=backends, default=backends[0], help="default: %(default)s")
    parser.add_argument("--played", type=int, default=100, help="episodes to play afterwards (default: %(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the learning curve into this file")
    parser.add_argument("--trace", type=Path, metavar="FILE.json", help="write returns and losses, number by number")
    options = parser.parse_args(os.environ.get("DEMO_FLAGS", "").split() if in_notebook else None)
    options.name, options.in_notebook = name, in_notebook
    status()  # loads the kernels, or compiles them, so that this is no part of what is timed
    torch.set_num_threads(1)  # for networks of this size, threads cost more than they bring
    return options


def play(environment: Any, act: Callable[[Any], Any], episodes: int, longest: int = 10_000) -> list[float]:
    """Returns of episodes of a Gymnasium environment with one agent, in which `act` turns observation to action.

    An episode is given up after `longest` steps.
    """
    returns = []
    for _ in range(episodes):
        observation, _ = environment.reset()
        returns.append(0.0)
        for _ in range(longest):
            observation, reward, terminated, truncated, _ = environment.step(act(observation))
            returns[-1] += float(reward)
            if terminated or truncated:
                break
    return returns


def finish(
    options: argparse.Namespace,
    *,
    bar: float,
    steps: Sequence[int],
    returns: Sequence[float],
    losses: Sequence[float],
    seconds: float,
    played: Sequence[float],
) -> "LearningCurve | None":
    """Says how a run went, writes what its flags asked for, and returns the learning curve for a notebook to show.

    steps, returns: of each episode while learning, the environment's steps up to its end and its return; losses: of
    each update; seconds: of learning; played: returns of the episodes afterwards.
    """
    mean = float(np.mean(played))
    print(
        f"{options.name}, {options.backend}, seed {options.seed}: {len(returns)} episodes and {len(losses)} updates in "
        f"{seconds:.1f} s; then {mean:.3f} on average over {len(played)} episodes, "
        f"{'which reaches' if mean >= bar else 'short of'} the bar of {bar:g}"
    )
    picture = options.plot or (Path(f"{options.name}.png") if options.in_notebook else None)
    drawn = picture is not None and len(returns) > 0
    if drawn:
        window = min(SMOOTHED, len(returns))
        means = np.convolve(returns, np.full(window, 1 / window), "valid")
        curves = {
            f"on {options.backend}": (np.array(steps[window - 1 :]), means),
            f"bar: {bar:g}": (np.array([0, steps[-1]]), np.array([bar, bar])),
        }
        draw(curves, picture, title=options.name, y_label=f"return of an episode, mean of {window}")
    if options.trace is not None:
        facts = {"name": options.name, "backend": options.backend, "seed": options.seed, "bar": bar, "seconds": seconds}
        numbers = {"steps": steps, "returns": returns, "losses": losses, "played": played}
        listed = {name: np.asarray(values).tolist() for name, values in numbers.items()}
        write_text_whole(options.trace, json.dumps({**facts, **listed}) + "\n")
    return LearningCurve(picture) if drawn else None


class LearningCurve:
    """A picture, which a notebook shows by itself as the value of its last cell."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def _repr_png_(self) -> bytes:
        return self.file.read_bytes()
