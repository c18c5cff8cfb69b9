"""Visual: a bright square in a noisy picture; say in which quarter it is. Four an episode, 1 for each right answer.

Programs take `--variant NAME`: one of VARIANTS. `png` sends the pictures compressed, as Unity's cameras do.
"""

import functools
import io
import sys

import numpy as np
from mlagents_envs.base_env import DimensionProperty, ObservationSpec, ObservationType

from bridge.player import TERMINATED, ActionSpec, AgentWorld, run_program

SIDE, SQUARE, STEPS = 20, 5, 4
RANDOM, OPTIMAL = 1.0, 4.0  # means of an episode's reward, also of random continuous actions
VARIANTS = ("grey", "rgb", "last", "continuous", "png")
AGENT = np.dtype([("y", np.int64), ("x", np.int64)])  # upper left pixel of the square
IN, OVER = DimensionProperty.NONE, DimensionProperty.TRANSLATIONAL_EQUIVARIANCE


class Visual(AgentWorld):
    def __init__(self, seed, num_areas, parameters, agents=32, variant="grey"):
        channels = 3 if variant in ("rgb", "last", "png") else 1
        self.last, self.is_continuous = variant == "last", variant == "continuous"
        shape, axes = (
            ((SIDE, SIDE, channels), (OVER, OVER, IN)) if self.last else ((channels, SIDE, SIDE), (IN, OVER, OVER))
        )
        picture = ObservationSpec(shape, axes, ObservationType.DEFAULT, "CameraSensor")
        action = ActionSpec.create_continuous(2) if self.is_continuous else ActionSpec.create_discrete((4,))
        super().__init__(
            *("Visual", seed, num_areas, parameters),
            agents=agents,
            observation_specs=[picture],
            action_spec=action,
            agent_type=AGENT,
        )

    def begin(self, agents):
        for axis in ("y", "x"):  # within one half, so that the answer is clear
            half, within = (self.uniform(0, high, len(agents)).astype(int) for high in (2, SIDE // 2 - SQUARE + 1))
            self.agents[axis][agents] = half * (SIDE // 2) + within

    def tick(self):
        low, right = self.agents["y"] >= SIDE // 2, self.agents["x"] >= SIDE // 2
        said = (
            2 * (self.continuous[:, 1] > 0) + (self.continuous[:, 0] > 0) if self.is_continuous else self.discrete[:, 0]
        )
        self.rewards[:] = said == 2 * low + right
        over = self.step_counts >= STEPS
        self.ended[over] = TERMINATED
        self.begin(np.flatnonzero(~over))

    def observe(self, agents, observations):
        pictures = np.moveaxis(observations[0], -1, 1) if self.last else observations[0]
        pictures[:] = self.uniform(0, 0.3, pictures.size).reshape(pictures.shape)
        for row, agent in enumerate(self.agents[agents]):
            pictures[row, :, agent["y"] : agent["y"] + SQUARE, agent["x"] : agent["x"] + SQUARE] = 1.0


def compress_pictures():
    """Let this program's pictures go out as PNG, which `run_player` has no setting for."""
    from PIL import Image

    from bridge import player
    from bridge.messages import COMPRESSION_PNG

    class Encoder(player.StepsEncoder):
        def encode(self, agents, decisions, terminals):
            super().encode(agents, decisions, terminals)
            for agent in agents:
                (picture,) = agent.observations
                pixels = np.array(picture.float_data.data).reshape(picture.shape) * 255
                file = io.BytesIO()
                Image.fromarray(np.moveaxis(pixels.round().astype(np.uint8), 0, -1)).save(file, "PNG")
                picture.compression_type, picture.compressed_data = COMPRESSION_PNG, file.getvalue()

    sys.modules["numba"] = None  # the compiled codec writes floats only
    player.StepsEncoder = Encoder


if __name__ == "__main__":
    variant = sys.argv[sys.argv.index("--variant") + 1] if "--variant" in sys.argv else "grey"
    if variant == "png":
        compress_pictures()
    sys.exit(run_program(functools.partial(Visual, variant=variant)))
