"""`mlbridge evaluate MODEL.onnx`: plays a model on an environment with onnxruntime alone and reports its rewards."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from mlagents_envs.base_env import BaseEnv, BehaviorSpec, DecisionSteps, TerminalSteps

from bridge.exceptions import InvalidModelError
from bridge.onnx_policy import OnnxPolicy, allowed_actions
from bridge.side_channels import EngineConfigurationChannel
from trainers.environments import choose, open_environment
from trainers.errors import UsageError
from trainers.run_folder import write_text_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags, each with its default in words."""
    parser.formatter_class = argparse.HelpFormatter
    add = parser.add_argument
    add("model", metavar="MODEL.onnx", type=Path, help="model written by `mlbridge learn` or by ML-Agents")
    add(
        "--env",
        metavar="PATH_OR_NAME",
        help="a build, any program or .py file, or a built-in environment (default: none, wait for the Unity Editor)",
    )
    add("--behavior", metavar="NAME", help="behavior to play (default: the one that the model fits)")
    add("--episodes", type=_positive, default=100, metavar="N", help="episodes to count (default: %(default)s)")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--deterministic", action="store_true", default=True, help="take the most probable actions (default: on)"
    )
    choice.add_argument(
        "--stochastic", dest="deterministic", action="store_false", help="sample the actions (default: off)"
    )
    add("--seed", type=int, default=0, metavar="N", help="of environment and samples (default: %(default)s)")
    add("--agents", type=_positive, metavar="N", help="agents of a built-in environment (default: its own number)")
    add(
        "--in-process",
        action="store_true",
        help="step a built-in environment in this process, without gRPC (default: off)",
    )
    add("--base-port", type=int, metavar="PORT", help="port of the player (default: the first free one from 5005 on)")
    add(
        "--timeout-wait",
        type=_positive,
        default=60,
        metavar="SECONDS",
        help="longest wait for the player (default: %(default)s)",
    )
    add(
        "--time-scale",
        type=float,
        default=20.0,
        metavar="X",
        help="how much faster than real time (default: %(default)s)",
    )
    add("--no-graphics", action="store_true", help="start the player without a window (default: off)")
    add("--json", metavar="FILE", type=Path, help="write the numbers to this file as well (default: none)")


def run(arguments: argparse.Namespace) -> int:
    """Plays and reports. Everything a user may have got wrong is checked before the first episode."""
    if arguments.json is not None:
        if not arguments.json.parent.is_dir():
            raise UsageError(f"--json {arguments.json}: there is no folder {arguments.json.parent}; create it first")
        if arguments.json.is_dir():
            raise UsageError(f"--json {arguments.json}: this is a folder; give the name of a file")
    onnxruntime.set_seed(arguments.seed)  # before the policy: a session takes its seed when it is made
    policy = OnnxPolicy(arguments.model)
    engine = EngineConfigurationChannel()
    engine.set_configuration_parameters(time_scale=arguments.time_scale)
    if not arguments.in_process:
        print(f"Environment: {choose(arguments.env)}", file=sys.stderr)
        if arguments.env is None:
            print("Listening on port 5004. Start by pressing the Play button in the Unity Editor.", file=sys.stderr)
    environment = open_environment(
        arguments.env,
        in_process=arguments.in_process,
        worker_id=0,
        base_port=arguments.base_port,
        seed=arguments.seed,
        no_graphics=arguments.no_graphics,
        timeout_wait=arguments.timeout_wait,
        additional_args=[] if arguments.agents is None else ["--agents", str(arguments.agents)],
        num_areas=1,
        side_channels=[engine],
        log_folder=None,
        wait_for_editor=arguments.env is None,
    )
    try:
        environment.reset()  # a behavior is known once its agents have asked for a decision
        behavior_name = _choose_behavior(environment, policy, arguments.behavior)
        with _progress_bar(arguments.episodes) as show:
            statistics = play_episodes(
                environment, behavior_name, policy, arguments.episodes, arguments.deterministic, show
            )
    finally:
        environment.close()
    print(statistics.describe(behavior_name.removesuffix("?team=0")))
    if arguments.json is not None:
        facts = {
            "model": str(arguments.model),
            "environment": arguments.env,
            "behavior": behavior_name,
            "deterministic": arguments.deterministic,
            "seed": arguments.seed,
            **statistics.numbers(),
        }
        write_text_whole(arguments.json, json.dumps(facts, indent=2) + "\n")
    return 0


@dataclass(frozen=True)
class EpisodeStatistics:
    """Counted episodes in the order of their ends.

    Attributes:
        rewards: sum of the agent's own rewards, float64 `[episodes]`: what training shows as cumulative reward.
        group_rewards: sum of the rewards of the agent's group, float64 `[episodes]`.
        lengths: decisions, int64 `[episodes]`.
    """

    rewards: np.ndarray
    group_rewards: np.ndarray
    lengths: np.ndarray

    def numbers(self) -> dict[str, Any]:
        """Everything as plain numbers and lists; the standard deviation is that of the episodes themselves (N)."""
        return {
            "episodes": len(self.rewards),
            "mean_reward": float(self.rewards.mean()),
            "std_reward": float(self.rewards.std()),
            "min_reward": float(self.rewards.min()),
            "max_reward": float(self.rewards.max()),
            "mean_group_reward": float(self.group_rewards.mean()),
            "mean_length": float(self.lengths.mean()),
            "rewards": self.rewards.tolist(),
            "group_rewards": self.group_rewards.tolist(),
            "lengths": self.lengths.tolist(),
        }

    def describe(self, name: str) -> str:
        """One line for people."""
        rewards = self.rewards
        group = f", mean group reward {self.group_rewards.mean():.3f}" if self.group_rewards.any() else ""
        return (
            f"{name}: {len(rewards)} episodes, mean reward {rewards.mean():.3f}, std {rewards.std():.3f}, "
            f"min {rewards.min():.3f}, max {rewards.max():.3f}{group}, mean length {self.lengths.mean():.1f}"
        )


def play_episodes(
    environment: BaseEnv,
    behavior_name: str,
    policy: OnnxPolicy,
    episodes: int,
    deterministic: bool,
    progress: Callable[[int], None] | None = None,
) -> EpisodeStatistics:
    """Resets the environment, plays it until `episodes` episodes of the behavior are over and returns their numbers.

    Which episodes count is settled before they begin, so that short ones, which are over first, are not preferred: see
    `_Ledger`. Agents of other behaviors get no actions from here; `BaseEnv` then uses zeros.

    Args:
        environment: its agents of `behavior_name` fit `policy`.
        behavior_name: fully qualified, "3DBall?team=0".
        policy: anything with the `act` of `OnnxPolicy`.
        episodes: number of episodes, at least 1.
        deterministic: handed on to `policy.act`.
        progress: called with the number of counted episodes whenever it grows.
    """
    environment.reset()
    ledger = _Ledger(episodes)
    shown = 0
    while True:
        decisions, terminals = environment.get_steps(behavior_name)
        ledger.record(decisions, terminals)
        if progress is not None and ledger.counted > shown:
            shown = ledger.counted
            progress(shown)
        if ledger.counted == episodes:
            return ledger.statistics()
        if len(decisions) > 0:
            actions = policy.act(decisions.obs, allowed_actions(decisions), deterministic)
            environment.set_actions(behavior_name, actions)
        environment.step()


_AGENT = np.dtype(
    [
        ("id", np.int64),
        ("share", np.int64),  # counted episodes that this agent has still to begin
        ("running", np.bool_),  # between the first decision and the terminal of an episode
        ("counts", np.bool_),  # the running episode is one of the counted
        ("since", np.int64),  # message in which the running episode began, or the last one ended
        ("reward", np.float64),  # these three of the running episode
        ("group_reward", np.float64),
        ("length", np.int64),
    ]
)


class _Ledger:
    """Sums up episodes and settles which of them count.

    Every agent of the first decisions has an equal share of the episodes (where it does not divide, the first agents
    have one more), and its first episodes count. An agent that sits out a whole episode of another has left for good,
    as agents do that are destroyed or switched off: what remains of its share goes to the next episodes that begin.
    """

    def __init__(self, episodes: int) -> None:
        self.counted = 0
        self._episodes = episodes
        self._shared_out = False
        self._unclaimed = 0  # what remains of the shares of those that left
        self._message = 0
        self._agents = np.zeros(0, dtype=_AGENT)  # sorted by id
        self._finished: list[np.ndarray] = []

    def record(self, decisions: DecisionSteps, terminals: TerminalSteps) -> None:
        """Takes one message: terminals end episodes, then decisions continue or begin them."""
        self._message += 1
        if len(terminals) > 0:
            self._end(terminals)
        if len(decisions) > 0:
            self._continue(decisions)

    def statistics(self) -> EpisodeStatistics:
        finished = np.concatenate(self._finished)
        return EpisodeStatistics(finished["reward"], finished["group_reward"], finished["length"])

    def _end(self, terminals: TerminalSteps) -> None:
        rows = self._rows(terminals.agent_id)
        agents = self._agents
        agents["reward"][rows] += terminals.reward
        agents["group_reward"][rows] += terminals.group_reward
        over = rows[agents["running"][rows]]
        counted = agents["counts"][over]
        self._finished.append(agents[over[counted]])
        self.counted += int(counted.sum())
        if not counted.all():
            begin = agents["since"][over[~counted]].max()
            gone = ~agents["running"] & (agents["since"] < begin)
            self._unclaimed += int(agents["share"][gone].sum())
            agents["share"][gone] = 0
        agents["running"][rows] = False
        agents["since"][rows] = self._message

    def _continue(self, decisions: DecisionSteps) -> None:
        rows = self._rows(decisions.agent_id)
        agents = self._agents
        if not self._shared_out:
            self._shared_out = True
            agents["share"][rows] = self._episodes // len(rows)
            agents["share"][rows[: self._episodes % len(rows)]] += 1
        agents["reward"][rows] += decisions.reward
        agents["group_reward"][rows] += decisions.group_reward
        agents["length"][rows] += 1
        begin = rows[~agents["running"][rows]]
        if len(begin) == 0:
            return
        # What comes with the first decision was earned by none of its actions; training leaves it out as well.
        agents["reward"][begin] = agents["group_reward"][begin] = 0.0
        agents["length"][begin] = 1
        own = agents["share"][begin] > 0
        agents["share"][begin[own]] -= 1
        claimed = begin[~own][: self._unclaimed]
        self._unclaimed -= len(claimed)
        agents["counts"][begin] = own
        agents["counts"][claimed] = True
        agents["running"][begin] = True
        agents["since"][begin] = self._message

    def _rows(self, agent_ids: np.ndarray) -> np.ndarray:
        """Rows of these agents `[agents]`, after adding those that are new."""
        known_ids = self._agents["id"]
        rows = np.searchsorted(known_ids, agent_ids)
        known = rows < len(known_ids)
        known[known] = known_ids[rows[known]] == agent_ids[known]
        if not known.all():
            new = np.unique(agent_ids[~known])
            added = np.zeros(len(new), dtype=_AGENT)
            added["id"] = new
            everyone = np.concatenate([self._agents, added])
            self._agents = everyone[np.argsort(everyone["id"])]
            rows = np.searchsorted(self._agents["id"], agent_ids)
        return rows


def _choose_behavior(environment: BaseEnv, policy: OnnxPolicy, wanted: str | None) -> str:
    """The behavior that the model can play: the wanted one, else the only one that fits or has the name of the file."""
    specs = environment.behavior_specs
    names = [name for name in specs if wanted is None or wanted in (name, _short(name))]
    if not names:
        known = ", ".join(specs) or "none yet"
        raise UsageError(f"{f'--behavior {wanted}: ' if wanted else ''}no such behavior; the environment has {known}")
    misfits = {name: _misfit(policy, specs[name]) for name in names}
    fitting = [name for name, misfit in misfits.items() if misfit is None]
    if not fitting:
        raise UsageError("; ".join(f"behavior {name} does not fit {misfit}" for name, misfit in misfits.items()))
    stem = policy.path.stem  # Behavior.onnx, or Behavior-500000.onnx for a checkpoint
    namesakes = [name for name in fitting if stem == _short(name) or stem.startswith(f"{_short(name)}-")]
    for choice in (fitting, namesakes):
        if len(choice) == 1:
            return choice[0]
    raise UsageError(f"{policy.path}: the model fits the behaviors {', '.join(fitting)}; choose with --behavior NAME")


def _misfit(policy: OnnxPolicy, spec: BehaviorSpec) -> str | None:
    try:
        policy.check(spec)
    except InvalidModelError as error:
        return str(error)
    return None


def _short(behavior_name: str) -> str:
    return behavior_name.split("?", maxsplit=1)[0]


@contextmanager
def _progress_bar(episodes: int) -> Iterator[Callable[[int], None]]:
    """On a terminal, a bar with the remaining time on stderr; elsewhere nothing."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("episodes", total=episodes)
        yield lambda counted: bar.update(task, completed=counted)


def _positive(text: str) -> int:
    value = int(text)  # argparse turns a ValueError into its own message
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value
