"""Stable-Baselines3's PPO on our 3DBall in this process, with the settings of ML-Agents' configuration of 3DBall.

    python stable_baselines3_ppo.py AGENTS STEPS THREADS SEED

Runs in a Python that has Stable-Baselines3, with our packages on its path.
"""

import sys

import numpy as np
import torch
from agents_as_vector import Agents, Summaries
from gymnasium.spaces import Box
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

BUFFER, BATCH, EPOCHS, HIDDEN = 12000, 64, 3, 128


class BallVecEnv(VecEnv):
    def __init__(self, agents: int, seed: int) -> None:
        self.agents = Agents(agents, seed)
        seen = Box(-np.inf, np.inf, (Agents.observation_size,), np.float32)
        super().__init__(agents, seen, Box(-1.0, 1.0, (Agents.action_size,), np.float32))

    def reset(self):
        return self.agents.reset()

    def step_async(self, actions):
        self._actions = actions

    def step_wait(self):
        seen, rewards, ended, cut, last = self.agents.step(self._actions)
        infos = [{} for _ in range(self.num_envs)]
        for agent in np.flatnonzero(ended).tolist():
            infos[agent] = {"terminal_observation": last[agent], "TimeLimit.truncated": bool(cut[agent])}
        return seen, rewards, ended, infos

    def close(self):
        pass

    def get_attr(self, attr_name, indices=None):
        return [None] * len(list(self._get_indices(indices)))  # render_mode: nothing is drawn

    def set_attr(self, attr_name, value, indices=None):
        raise NotImplementedError

    def env_method(self, method_name, *arguments, indices=None, **keywords):
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class, indices=None):
        return [False] * self.num_envs


class TellUpdates(BaseCallback):
    """At the end of a rollout the update before it is over: one line for each."""

    def __init__(self, agents: Agents) -> None:
        super().__init__()
        self.agents, self.summaries = agents, Summaries()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            self.summaries.tell(self.num_timesteps, self.agents.take_returns())

    def _on_training_end(self) -> None:
        self.summaries.tell(self.num_timesteps, self.agents.take_returns())

    def _on_step(self) -> bool:
        return True


def main() -> None:
    agents, steps, threads, seed = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    world = BallVecEnv(agents, seed)
    model = PPO(
        "MlpPolicy",
        VecNormalize(world, norm_obs=True, norm_reward=False),
        n_steps=BUFFER // agents,
        batch_size=BATCH,
        n_epochs=EPOCHS,
        learning_rate=lambda remaining: 3e-4 * remaining,
        gamma=0.99,
        gae_lambda=0.99,
        clip_range=0.2,
        ent_coef=0.001,
        vf_coef=0.5,
        policy_kwargs={
            "net_arch": {"pi": [HIDDEN, HIDDEN], "vf": [HIDDEN, HIDDEN]},
            "activation_fn": torch.nn.SiLU,
        },
        seed=seed,
        device="cpu",
    )
    model.learn(steps, callback=TellUpdates(world.agents))


if __name__ == "__main__":
    main()
