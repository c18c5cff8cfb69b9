"""`mlbridge check --env ...`: plays an environment for a minute and says what will hurt a training."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bridge.side_channels import EngineConfigurationChannel
from trainers.environment_check import BehaviorCheck, EnvironmentCheck, check_environment
from trainers.environments import choose, open_environment
from trainers.errors import UsageError
from trainers.run_folder import write_text_whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags."""
    add = parser.add_argument
    add(
        "--env",
        metavar="PATH_OR_NAME",
        help="a build, any program or .py file, or a built-in environment; none: Editor",
    )
    add("--seconds", type=_positive, default=60.0, metavar="S", help="how long to play")
    add("--seed", type=int, default=0, metavar="N", help="of environment and actions")
    add("--in-process", action="store_true", help="step a built-in environment in this process, without gRPC")
    add("--base-port", type=int, metavar="PORT", help="port of the player; none: the first free one from 5005 on")
    add("--timeout-wait", type=int, default=60, metavar="SECONDS", help="longest wait for the player")
    add("--time-scale", type=float, default=20.0, metavar="X", help="how much faster than real time")
    add("--no-graphics", action="store_true", help="start the player without a window")
    add("--json", type=Path, metavar="FILE", help="write what was found to this file as well")
    add("--env-args", nargs=argparse.REMAINDER, default=[], metavar="...", help="what follows goes to the player")


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0: nothing that keeps agents from learning; 1: there are problems."""
    if arguments.json is not None and not arguments.json.parent.is_dir():
        raise UsageError(f"--json {arguments.json}: there is no folder {arguments.json.parent}; create it first")
    if not arguments.in_process:
        print(f"Environment: {choose(arguments.env)}", file=sys.stderr)
    engine = EngineConfigurationChannel()
    engine.set_configuration_parameters(time_scale=arguments.time_scale)
    environment = open_environment(
        arguments.env,
        in_process=arguments.in_process,
        base_port=arguments.base_port,
        seed=arguments.seed,
        no_graphics=arguments.no_graphics,
        timeout_wait=arguments.timeout_wait,
        additional_args=arguments.env_args,
        side_channels=[engine],
        wait_for_editor=arguments.env is None,
    )
    try:
        check = check_environment(environment, arguments.seconds, arguments.seed)
    finally:
        environment.close()
    for line in describe(check):
        print(line)
    if arguments.json is not None:
        write_text_whole(arguments.json, json.dumps(to_json(check), indent=2) + "\n")
    return int(any(one.kind == "problem" for found in check.findings().values() for one in found))


def describe(check: EnvironmentCheck) -> list[str]:
    """What was seen, for people: a paragraph a behavior, then how fast the environment is."""
    findings = check.findings()
    lines = [str(finding) for finding in findings[""]]
    for name, behavior in check.behaviors.items():
        lines += [_headline(name, behavior), *(f"  {line}" for line in _figures(behavior))]
        lines += [f"  {finding}" for finding in findings[name]] or ["  Nothing to say against it."]
    if check.seconds > 0:
        share = check.waiting / check.seconds
        lines.append(f"{check.steps_per_second:,.0f} agent-steps/s; {share:.0%} of the time went to the environment.")
        if share > 0.8:
            lines.append(
                "  advice: the environment limits a training; several at once (--num-envs), more agents or areas in "
                "each (--num-areas) and --no-graphics help"
            )
    return lines


def to_json(check: EnvironmentCheck) -> dict[str, Any]:
    """The same as plain numbers."""
    findings = check.findings()
    return {
        "seconds": check.seconds,
        "agent_steps_per_second": check.steps_per_second,
        "share_of_environment": check.waiting / max(check.seconds, 1e-9),
        "findings": [vars(finding) for finding in findings[""]],
        "behaviors": {
            name: {
                "decisions": behavior.steps,
                "most_agents": behavior.most_agents,
                "episodes": len(behavior.lengths),
                "mean_length": float(np.mean(behavior.lengths)) if behavior.lengths else None,
                "mean_reward": float(np.mean(behavior.returns)) if behavior.returns else None,
                "interrupted": behavior.interrupted,
                "observations": [
                    {"name": observation.name, "least": seen.low.tolist(), "greatest": seen.high.tolist()}
                    for observation, seen in zip(behavior.spec.observation_specs, behavior.ranges, strict=True)
                    if len(observation.shape) == 1
                ],
                "findings": [vars(finding) for finding in findings[name]],
            }
            for name, behavior in check.behaviors.items()
        },
    }


def _headline(name: str, behavior: BehaviorCheck) -> str:
    action = behavior.spec.action_spec
    kinds = [f"{action.continuous_size} continuous actions"] if action.continuous_size else []
    kinds += [f"discrete branches of {', '.join(map(str, action.discrete_branches))}"] if action.discrete_size else []
    return f"{name}: {behavior.most_agents} agents at a time, {' and '.join(kinds) or 'no actions'}"


def _figures(behavior: BehaviorCheck) -> list[str]:
    share = behavior.messages_with_decisions / max(behavior.messages, 1)
    lines = [f"{behavior.steps:,} decisions; {share:.0%} of {behavior.messages:,} messages held any"]
    if behavior.lengths:
        lines.append(
            f"{len(behavior.lengths):,} episodes of {np.mean(behavior.lengths):.1f} decisions (at most "
            f"{max(behavior.lengths):,}), {behavior.interrupted:,} of them by a time limit; sum of rewards "
            f"{np.mean(behavior.returns):.3f} ({min(behavior.returns):.3f} to {max(behavior.returns):.3f})"
        )
    for observation, seen in zip(behavior.spec.observation_specs, behavior.ranges, strict=True):
        shape = " x ".join(map(str, observation.shape))
        lines.append(f"observation {observation.name} [{shape}]: {seen.low.min():.4g} to {seen.high.max():.4g}")
    return lines


def _positive(text: str) -> float:
    value = float(text)  # argparse turns a ValueError into its own message
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not more than 0")
    return value
