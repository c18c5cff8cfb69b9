"""TorchRL's wrapper of ML-Agents and its collector on the player that is named. Prints what they saw as JSON.

To be run by `python -m bridge.compat`. Arguments: the player, agents, frames.
"""

import json
import sys

import torch
from mlagents_envs.environment import UnityEnvironment
from torchrl.collectors import Collector
from torchrl.envs import UnityMLAgentsEnv, UnityMLAgentsWrapper


def main(player: str, agents: int, frames: int) -> dict[str, object]:
    arguments = {"no_graphics": True, "seed": 3, "additional_args": ["--agents", str(agents)]}
    wrapped = UnityMLAgentsWrapper(UnityEnvironment(player, **arguments))
    observation = list(wrapped.observation_spec.keys(True, True))
    action = wrapped.full_action_spec["group_0", "agent_0", "continuous_action"]
    batches, rewards, done, moved = [], set(), 0, 0.0
    collector = Collector(wrapped, None, frames_per_batch=frames // 2, total_frames=frames)
    for batch in collector:
        batches.append(list(batch.batch_size))
        for agent in wrapped.group_map["group_0"]:
            following = batch["next", "group_0", agent]
            rewards |= {round(float(value), 3) for value in following["reward"].flatten()}
            done += int(following["done"].sum())
            seen = following["VectorSensor_size8"]
            assert torch.isfinite(seen).all()
            moved = max(moved, float((seen - batch["group_0", agent, "VectorSensor_size8"]).abs().max()))
    collector.shutdown()

    made = UnityMLAgentsEnv(file_name=player, **arguments)  # which makes the UnityEnvironment itself
    steps = made.rollout(5).batch_size[0]
    made.close()
    return {
        "observations": len(observation),
        "action": [list(action.shape), float(action.space.low.min()), float(action.space.high.max())],
        "batches": batches,
        "rewards": sorted(rewards),
        "done": done,
        "moved": moved,
        "rollout": steps,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
