"""The steps that users of ML-Agents' low-level Python API know, on one environment. Prints what it saw as JSON.

    python -m bridge.compat walk_through_low_level_api.py NAME
    python walk_through_low_level_api.py EXECUTABLE PORT

NAME is one of the default registry, to which `mlbridge envs add` adds. Everything is imported under the official names,
so that the official client can run it as well.
"""

import json
import sys

import numpy as np
from mlagents_envs.base_env import ActionTuple
from mlagents_envs.environment import UnityEnvironment
from mlagents_envs.side_channel.engine_configuration_channel import EngineConfigurationChannel
from mlagents_envs.side_channel.environment_parameters_channel import EnvironmentParametersChannel


def walk(environment_name, port=None):
    engine, parameters = EngineConfigurationChannel(), EnvironmentParametersChannel()
    settings = {"seed": 5, "no_graphics": True, "side_channels": [engine, parameters]}
    settings["additional_args"] = ["--agents", "2"]
    if port is None:
        from mlagents_envs.registry import default_registry

        environment = default_registry[environment_name].make(**settings)
    else:
        environment = UnityEnvironment(environment_name, base_port=int(port), **settings)
    np.random.seed(11)  # of the random actions
    engine.set_configuration_parameters(time_scale=3.0)
    parameters.set_float_parameter("gravity", 9.81)

    # What kinds of agents there are, what they see and what they can do.
    environment.reset()
    (name,) = list(environment.behavior_specs)
    spec = environment.behavior_specs[name]
    seen = {
        "behavior": name,
        "observations": [list(one.shape) for one in spec.observation_specs],
        "pictures": any(len(one.shape) == 3 for one in spec.observation_specs),
        "continuous": spec.action_spec.continuous_size if spec.action_spec.is_continuous() else None,
        "branches": [int(size) for size in spec.action_spec.discrete_branches],
    }

    # Who asks for a decision; one step with random actions for all of them, and one with an action for one agent.
    decisions, terminals = environment.get_steps(name)
    seen["asking"], seen["ended"] = decisions.agent_id.tolist(), len(terminals)
    environment.set_actions(name, spec.action_spec.random_action(len(decisions)))
    environment.step()
    decisions, _ = environment.get_steps(name)
    first = int(decisions.agent_id[0])
    alone = ActionTuple()
    if spec.action_spec.continuous_size > 0:
        alone.add_continuous(np.zeros((1, spec.action_spec.continuous_size), np.float32))
    if spec.action_spec.discrete_size > 0:
        alone.add_discrete(np.zeros((1, spec.action_spec.discrete_size), np.int32))
    environment.set_action_for_agent(name, first, alone)
    environment.step()

    # Three episodes of one agent, with random actions.
    episodes = []
    for _ in range(3):
        environment.reset()
        decisions, terminals = environment.get_steps(name)
        tracked, total, steps, done = -1, 0.0, 0, False
        while not done:
            if tracked == -1 and len(decisions) >= 1:
                tracked = int(decisions.agent_id[0])
            environment.set_actions(name, spec.action_spec.random_action(len(decisions)))
            environment.step()
            steps += 1
            decisions, terminals = environment.get_steps(name)
            if tracked in decisions:
                total += float(decisions[tracked].reward)
            if tracked in terminals:
                total += float(terminals[tracked].reward)
                done = True
        episodes.append({"steps": steps, "reward": total, "interrupted": bool(terminals[tracked].interrupted)})
    environment.close()
    return {**seen, "episodes": episodes}


if __name__ == "__main__":
    print(json.dumps(walk(*sys.argv[1:])))
