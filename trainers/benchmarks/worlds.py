"""The built-in worlds alone: agent-steps/s with random actions, without trainer or wire, on one core.

An agent step is one decision: five ticks of physics in 3DBall, one in the others. There is no peer: nobody else's
worlds run without Unity.
"""

import itertools
import time

from bridge.player import EnvironmentParameters
from trainers.benchmarks import Context
from trainers.benchmarks.rows import Row, alternate
from unity_envs.worlds import make_world_factory, names

_AGENTS = (12, 100, 1000)
_SECONDS = 0.5  # a measurement
_ACTIONS = 64  # different ones, drawn before the clock starts


def run(context: Context) -> list[Row]:
    """Agent-steps/s of each world with 12, 100 and 1,000 agents."""
    context.say("worlds: random actions")
    sides = {
        f"{name}, {agents:,} agents": lambda _, name=name, agents=agents: _agent_steps_per_second(name, agents)
        for name, agents in itertools.product(names(), _AGENTS)
    }
    measured = alternate(context.rounds, sides, context.say)
    return [Row(f"world of {side}", "agent-steps/s", values, [], None, 1) for side, values in measured.items()]


def _agent_steps_per_second(name: str, agents: int) -> float:
    world = make_world_factory(name, agents)(1, 1, EnvironmentParameters())
    ((behavior, spec),) = world.behavior_specs.items()
    actions = [{behavior: spec.action_spec.random_action(agents)} for _ in range(_ACTIONS)]
    steps = world.reset()

    def play(turns: int) -> int:
        """Plays `turns` messages for each of the actions; returns the number of decisions."""
        nonlocal steps
        decisions = 0
        for action in itertools.chain.from_iterable(itertools.repeat(actions, turns)):
            decisions += len(steps[behavior][0])
            steps = world.step(action)  # not looked at after a message without decisions
        return decisions

    play(2)  # compiles
    done, elapsed, started = 0, 0.0, time.perf_counter()
    while elapsed < _SECONDS:
        done += play(1)
        elapsed = time.perf_counter() - started
    return done / elapsed
