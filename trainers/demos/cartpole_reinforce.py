# %% [markdown]
# # CartPole with REINFORCE
#
# A cart carries a pole that wants to fall over; pushing the cart to the left or to the right keeps it up. Each step
# that it stays up pays 1, and after 200 steps the episode ends. The task counts as solved at a mean of 195 over 100
# episodes.
#
# REINFORCE (Williams 1992) is the oldest policy gradient: play an episode, then make each action that was followed by
# more reward than usual a little more probable, and the others less.

# %%
import time

import gymnasium
import numpy as np
import torch

from trainers.demos.common import finish, play, read_options

options = read_options("cartpole_reinforce", backends=("kernels", "torch"), episodes=1000)

# %% [markdown]
# The interface is PyTorch's own, so a script goes from one to the other by its imports. `kernels` are ours.

# %%
if options.backend == "kernels":
    from trainers.kernels import nn, optim
    from trainers.kernels.distributions import Categorical
else:
    from torch import nn, optim
    from torch.distributions import Categorical

# %% [markdown]
# The policy: four numbers in (the cart's place and speed, the pole's angle and speed), one logit for each action out.

# %%
SOLVED = 195.0
DISCOUNT = 0.99

torch.manual_seed(options.seed)
environment = gymnasium.make("CartPole-v1", max_episode_steps=200)
policy = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))
optimizer = optim.Adam(policy.parameters(), lr=0.005)

# %% [markdown]
# What an action was worth is not its own reward but all that followed, later rewards counting less: `returns[t] =
# rewards[t] + DISCOUNT * returns[t + 1]`. Measured against the episode's mean and spread, about half of the actions
# become more probable and half of them less, whatever the rewards are.


# %%
def worth(rewards: list[float]) -> torch.Tensor:
    """Rewards [steps] of an episode to normalised returns [steps]."""
    returns, following = np.zeros(len(rewards), np.float32), 0.0
    for step in reversed(range(len(rewards))):
        following = rewards[step] + DISCOUNT * following
        returns[step] = following
    return torch.from_numpy((returns - returns.mean()) / (returns.std() + 1e-6))


def choose(observation: np.ndarray) -> int:
    """An action, drawn with the policy's probabilities."""
    with torch.no_grad():
        return int(Categorical(logits=policy(torch.from_numpy(observation))).sample())


# %% [markdown]
# The loop: an episode, then one step of the optimizer. It ends when the last 100 episodes were good enough, although
# these still draw their actions, or with the budget.

# %%
steps, episode_returns, losses = [], [], []
started = time.perf_counter()
for episode in range(options.episodes):
    observation, _ = environment.reset(seed=options.seed if episode == 0 else None)
    observations, actions, rewards = [], [], []
    over = False
    while not over:
        observations.append(observation)
        actions.append(choose(observation))
        observation, reward, terminated, truncated, _ = environment.step(actions[-1])
        rewards.append(float(reward))
        over = terminated or truncated

    chosen = Categorical(logits=policy(torch.from_numpy(np.stack(observations)))).log_prob(torch.tensor(actions))
    loss = -(chosen * worth(rewards)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

    losses.append(loss.item())
    episode_returns.append(sum(rewards))
    steps.append(len(rewards) + (steps[-1] if steps else 0))
    if len(episode_returns) >= 100 and np.mean(episode_returns[-100:]) >= SOLVED:
        break
seconds = time.perf_counter() - started

# %% [markdown]
# Has it learnt? A hundred fresh episodes, now with the most probable action each time.


# %%
def best(observation: np.ndarray) -> int:
    with torch.no_grad():
        return int(policy(torch.from_numpy(observation)).argmax())


finish(
    options,
    bar=SOLVED,
    steps=steps,
    returns=episode_returns,
    losses=losses,
    seconds=seconds,
    played=play(environment, best, options.played),
)
