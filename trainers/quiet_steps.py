"""Many steps of a world in this process in one go, while nothing happens but that agents see, act and are rewarded.

Such steps do without messages, checks of shapes and looking agents up. The numbers are the same.
"""

import numpy as np
from mlagents_envs.base_env import DecisionSteps
from numpy.typing import NDArray

from bridge.codec import check_steps
from bridge.in_process import InProcessEnvironment
from trainers.policy import Policy
from trainers.rollout import OpenTrajectories

_AGENT_STEPS = 20_000  # at most in one call, so that nobody waits long for the console or Ctrl-C


def can_be_quiet(environment: InProcessEnvironment, policy: Policy, decisions: DecisionSteps) -> bool:
    """Whether `take_quiet_steps` may be called."""
    return environment.can_be_quiet and policy.can_repeat and len(decisions.obs) == 1 and decisions.obs[0].ndim == 2


def take_quiet_steps(
    environment: InProcessEnvironment,
    policy: Policy,
    trajectories: OpenTrajectories,
    slots: NDArray[np.int64],
    decisions: DecisionSteps,
) -> list[float]:
    """Acts and steps until an episode ends, a trajectory is full or enough steps were taken.

    `slots` and `decisions`: of the agents that wait. Returns the entropy of each step, of none if there is no room for
    one. The outcome of the last step comes as of any other, from the environment's `send_step` and `receive_steps`.

    Raises UnityObservationException for numbers that are not finite.
    """
    acted, act = policy.repeated(decisions)
    room, note = trajectories.quietly(slots, decisions, acted.columns)
    continuous, discrete = acted.actions.continuous, acted.actions.discrete
    entropies: list[float] = []
    for step in range(min(room, max(1, _AGENT_STEPS // len(slots)))):
        entropies.append(act())
        if not note(step > 0):
            ((name, spec),) = environment.behavior_specs.items()
            check_steps(name, spec, decisions, environment.get_steps(name)[1])
        if not environment.step_quietly(continuous, discrete):
            break
    return entropies
