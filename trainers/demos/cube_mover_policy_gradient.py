# %% [markdown]
# # The cube mover with a policy gradient
#
# A blue cube stands on a row of cells between two goals. Each step costs 0.01; the small goal, three cells to the left,
# pays 0.1 and the large one, seven to the right, pays 1. Straight to the right is worth 0.94, straight to the left
# 0.08. A learner that is content with the nearer goal has not learnt the task, so the bar is 0.90.
#
# CubeMover is a program of its own, as a Unity build is: it is started here, and spoken to over gRPC with ML-Agents'
# protocol, through the bridge's wrapper for Gymnasium.

# %%
import time

import numpy as np
import torch

from bridge.gymnasium_env import UnityGymnasiumEnv
from trainers.demos.common import finish, play, read_options
from unity_envs import executables

options = read_options("cube_mover_policy_gradient", backends=("kernels", "torch"), episodes=300)

# %% [markdown]
# The interface is PyTorch's own, so a script goes from one to the other by its imports. `kernels` are ours.

# %%
if options.backend == "kernels":
    from trainers.kernels import nn, optim
    from trainers.kernels.distributions import Categorical
else:
    from torch import nn, optim
    from torch.distributions import Categorical

# %%
BAR = 0.90
DISCOUNT = 0.99
TOGETHER = 10  # episodes an update learns from
LONGEST = 200  # steps learnt from in an episode: CubeMover itself has no limit

torch.manual_seed(options.seed)
environment = UnityGymnasiumEnv(executables.path("CubeMover"), seed=options.seed, no_graphics=True)
policy = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 2))
optimizer = optim.Adam(policy.parameters(), lr=0.02)


def seen(observations: list[np.ndarray]) -> torch.Tensor:
    """Positions, -10 to 10, as numbers that suit a network: [steps, 1]."""
    return torch.from_numpy(np.stack(observations) / np.float32(10))


def choose(observation: np.ndarray) -> int:
    """An action, drawn with the policy's probabilities."""
    with torch.no_grad():
        return int(Categorical(logits=policy(seen([observation])[0])).sample())


# %% [markdown]
# What an action was worth is all that followed. Compared with the mean of ten episodes, which differ in the goal they
# ended at, the way to the large one stands out; of the steps of one episode alone, hardly any would.


# %%
def returns_of(rewards: list[float]) -> np.ndarray:
    """Rewards [steps] of an episode to discounted returns [steps]."""
    returns, following = np.zeros(len(rewards), np.float32), 0.0
    for step in reversed(range(len(rewards))):
        following = rewards[step] + DISCOUNT * following
        returns[step] = following
    return returns


# %%
steps, episode_returns, losses = [], [], []
observations, actions, worth = [], [], []
started = time.perf_counter()
while len(episode_returns) < options.episodes:
    observation, _ = environment.reset()
    rewards = []
    terminated = truncated = False
    while not (terminated or truncated):
        observations.append(observation)
        actions.append(choose(observation))
        observation, reward, terminated, truncated, _ = environment.step(actions[-1])
        rewards.append(float(reward))
        truncated = truncated or len(rewards) == LONGEST
    worth.append(returns_of(rewards))
    episode_returns.append(sum(rewards))
    steps.append(len(rewards) + (steps[-1] if steps else 0))
    if len(worth) < TOGETHER:
        continue

    advantages = np.concatenate(worth)
    advantages = torch.from_numpy((advantages - advantages.mean()) / (advantages.std() + 1e-6))
    chosen = Categorical(logits=policy(seen(observations))).log_prob(torch.tensor(actions))
    loss = -(chosen * advantages).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    observations, actions, worth = [], [], []
seconds = time.perf_counter() - started

# %% [markdown]
# A hundred fresh episodes with the most probable action each time. A greedy policy that turns back and forth between
# two cells would never end one, so each is given up, as the failure it is, after 200 steps.


# %%
def best(observation: np.ndarray) -> int:
    with torch.no_grad():
        return int(policy(seen([observation])[0]).argmax())


played = play(environment, best, options.played, longest=LONGEST)
environment.close()
finish(options, bar=BAR, steps=steps, returns=episode_returns, losses=losses, seconds=seconds, played=played)
