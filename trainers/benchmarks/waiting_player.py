"""3DBall whose every step takes some milliseconds more, asleep, as a Unity player's frame keeps another core busy.

python waiting_player.py --mlagents-port PORT --wait-ms MILLISECONDS
"""

import sys
import time
from collections.abc import Mapping
from typing import Any

from mlagents_envs.base_env import ActionTuple

from bridge.codec import Steps
from bridge.player import EnvironmentParameters, run_program
from unity_envs.worlds import make_world_factory


class WaitingBall:
    """The world 3DBall, `wait` seconds slower in each step."""

    def __init__(self, wait: float, seed: int, num_areas: int, parameters: EnvironmentParameters) -> None:
        self._world, self._wait = make_world_factory("3DBall")(seed, num_areas, parameters), wait
        self.behavior_specs = self._world.behavior_specs

    def reset(self) -> Steps:
        return self._world.reset()

    def step(self, actions: Mapping[str, ActionTuple]) -> Steps:
        time.sleep(self._wait)
        return self._world.step(actions)

    def state(self) -> dict[str, Any]:
        return self._world.state()

    def load_state(self, state: Mapping[str, Any]) -> Steps:
        return self._world.load_state(state)


if __name__ == "__main__":
    milliseconds = float(sys.argv[sys.argv.index("--wait-ms") + 1])
    sys.exit(run_program(lambda *arguments: WaitingBall(milliseconds / 1000, *arguments)))
