r"""Drives an executable with the official client, as a user's script would, and writes down what it saw, as JSON.

Run by the Python of the official client's environment, so it must not import anything of ours:

    python drive_official_client.py EXECUTABLE --base-port PORT --json FILE --phases '[[500, "random", {"mass": 1}]]' \
        --arguments '["--agents", "3"]'

A phase is a reset under the given environment parameters, then so many steps under the named policy; the arguments are
those of the executable.
"""

import argparse
import json
import logging
import os
import warnings
from collections import Counter


def describe(behavior_specs):
    """Behavior specs as plain data, the same for the official types and for ours."""
    return {
        name: {
            "observations": [
                {
                    "name": observation.name,
                    "shape": [int(size) for size in observation.shape],
                    "dimension_property": [int(flag) for flag in observation.dimension_property],
                    "type": int(observation.observation_type.value),
                }
                for observation in spec.observation_specs
            ],
            "continuous_actions": int(spec.action_spec.continuous_size),
            "discrete_branches": [int(size) for size in spec.action_spec.discrete_branches],
        }
        for name, spec in behavior_specs.items()
    }


def random_actions(spec, decisions):
    return spec.action_spec.random_action(len(decisions))


def balance(spec, decisions):
    """Keeps the ball of 3DBall on its platform: tilts against the ball's offset and velocity."""
    import numpy
    from mlagents_envs.base_env import ActionTuple

    rotation_z, rotation_x, x, _, z, velocity_x, _, velocity_z = decisions.obs[0].T
    about_z = 0.06 * x + 0.08 * velocity_x - rotation_z
    about_x = -0.06 * z - 0.08 * velocity_z - rotation_x
    return ActionTuple(continuous=numpy.clip(10 * numpy.stack([about_z, about_x], axis=1), -1, 1))


POLICIES = {"random": random_actions, "balance": balance}


class Phase:
    """What one phase brought, over all behaviors."""

    def __init__(self):
        self.counts = Counter()
        self.deciding = set()  # agents at once
        self.shapes = set()
        self.rewards = set()
        self.first_observations = []  # of step 0 and step 1

    def add(self, decisions, terminals):
        self.counts["decisions"] += len(decisions)
        self.counts["terminals"] += len(terminals)
        self.deciding.add(len(decisions))
        self.counts["interrupted"] += int(terminals.interrupted.sum())
        for steps in (decisions, terminals):
            if len(steps):
                self.shapes.update(tuple(observation.shape[1:]) for observation in steps.obs)
            self.rewards.update(round(float(reward), 4) for reward in steps.reward)
        if len(self.first_observations) < 2:
            self.first_observations.append([observation.tolist() for observation in decisions.obs])

    def result(self):
        return {
            "counts": dict(self.counts),
            "deciding": sorted(self.deciding),
            "shapes": sorted(self.shapes),
            "rewards": sorted(self.rewards),
            "first_observations": self.first_observations,
        }


def run_phase(environment, steps, policy):
    phase = Phase()
    environment.reset()
    for _ in range(steps):
        for name, spec in environment.behavior_specs.items():
            decisions, terminals = environment.get_steps(name)
            phase.add(decisions, terminals)
            environment.set_actions(name, policy(spec, decisions))
        environment.step()
    return phase.result()


def drive(executable, arguments, phases, base_port):
    import numpy
    from mlagents_envs import logging_util
    from mlagents_envs.environment import UnityEnvironment
    from mlagents_envs.side_channel.engine_configuration_channel import EngineConfigurationChannel
    from mlagents_envs.side_channel.environment_parameters_channel import EnvironmentParametersChannel

    logged = []
    recorder = logging.Handler(logging.WARNING)
    recorder.emit = lambda record: logged.append(record.getMessage())
    for logger in logging_util._loggers:
        logger.addHandler(recorder)

    engine, parameters = EngineConfigurationChannel(), EnvironmentParametersChannel()
    numpy.random.seed(7)  # of the random actions
    environment = UnityEnvironment(
        executable,
        base_port=base_port,
        seed=7,
        no_graphics=True,
        timeout_wait=60,
        additional_args=arguments,
        side_channels=[engine, parameters],
    )
    player = environment._process
    try:
        engine.set_configuration_parameters(
            width=84, height=84, quality_level=5, time_scale=20.0, target_frame_rate=-1, capture_frame_rate=60
        )
        results = []
        for steps, policy, values in phases:
            for key, value in values.items():
                parameters.set_float_parameter(key, value)
            results.append(run_phase(environment, steps, POLICIES[policy]))
        specs = describe(environment.behavior_specs)
    finally:
        environment.close()
    return {
        "specs": specs,
        "phases": results,
        "logged": logged,
        "player_exit_code": player.poll(),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("executable")
    parser.add_argument("--base-port", type=int, required=True)
    parser.add_argument("--json", required=True)
    parser.add_argument("--phases", type=json.loads, required=True)
    parser.add_argument("--arguments", type=json.loads, required=True)
    arguments = parser.parse_args()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seen = drive(arguments.executable, arguments.arguments, arguments.phases, arguments.base_port)
    of_the_client = [w for w in caught if os.path.join("mlagents_envs", "") in w.filename]
    # The client's own age shows in these two categories, whatever it talks to.
    age = (DeprecationWarning, PendingDeprecationWarning)
    seen["warnings"] = [f"{w.category.__name__}: {w.message}" for w in of_the_client if not issubclass(w.category, age)]
    with open(arguments.json, "w") as file:
        json.dump(seen, file)


if __name__ == "__main__":
    main()
