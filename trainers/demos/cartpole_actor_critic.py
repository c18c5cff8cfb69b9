# %% [markdown]
# # CartPole with an actor-critic
#
# The same pole on the same cart as in `cartpole_reinforce.py`: 1 for each step upright, at most 200, solved at a mean
# of 195 over 100 episodes. REINFORCE compares an action with the mean of its episode, which says little about the
# moment in which it was taken. Here a second network, the critic, learns what a state is worth, and an action is good
# if things go better afterwards than the critic expected.

# %%
import time

import gymnasium
import numpy as np
import torch

from trainers.demos.common import finish, play, read_options

options = read_options("cartpole_actor_critic", backends=("kernels", "torch"), episodes=1000)

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
SOLVED = 195.0
DISCOUNT = 0.99
LAMBDA = 0.95  # of the advantages: 0 trusts the critic after one step, 1 trusts only what was paid

torch.manual_seed(options.seed)
environment = gymnasium.make("CartPole-v1", max_episode_steps=200)
actor = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))
critic = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 1))
actor_optimizer = optim.Adam(actor.parameters(), lr=0.005)
critic_optimizer = optim.Adam(critic.parameters(), lr=0.01)
measure = nn.MSELoss()

# %% [markdown]
# What the critic expected of step t, and what it says one step later, differ by `rewards[t] + DISCOUNT * values[t + 1]
# - values[t]`. The advantage of an action is the sum of these surprises from its step on, each further one counting
# less (Schulman et al. 2016).
#
# A pole that fell has no future: its last value is 0. One that was stopped after 200 steps would have gone on, so there
# the critic's word stands for what is missing. `terminated` and `truncated` tell the two apart.


# %%
def advantages_of(rewards: list[float], values: np.ndarray, last_value: float) -> np.ndarray:
    """[steps], from rewards [steps], values [steps] and that of the state after them."""
    advantages, following = np.zeros(len(rewards), np.float32), 0.0
    next_value = last_value
    for step in reversed(range(len(rewards))):
        surprise = rewards[step] + DISCOUNT * next_value - values[step]
        following = surprise + DISCOUNT * LAMBDA * following
        advantages[step], next_value = following, values[step]
    return advantages


def choose(observation: np.ndarray) -> int:
    """An action, drawn with the actor's probabilities."""
    with torch.no_grad():
        return int(Categorical(logits=actor(torch.from_numpy(observation))).sample())


# %% [markdown]
# The loop: an episode, then a step of each optimizer. The actor makes actions with an advantage more probable, the
# critic moves to what was paid, which is its own word plus the advantage.

# %%
steps, episode_returns, losses = [], [], []
started = time.perf_counter()
for episode in range(options.episodes):
    observation, _ = environment.reset(seed=options.seed if episode == 0 else None)
    observations, actions, rewards = [observation], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        actions.append(choose(observation))
        observation, reward, terminated, truncated, _ = environment.step(actions[-1])
        rewards.append(float(reward))
        observations.append(observation)

    states = torch.from_numpy(np.stack(observations))
    with torch.no_grad():
        values = critic(states)[:, 0].numpy()
    advantages = advantages_of(rewards, values[:-1], 0.0 if terminated else values[-1])
    targets = torch.from_numpy(values[:-1] + advantages)
    normalised = torch.from_numpy((advantages - advantages.mean()) / (advantages.std() + 1e-6))

    chosen = Categorical(logits=actor(states[:-1])).log_prob(torch.tensor(actions))
    actor_loss = -(chosen * normalised).mean()
    actor_optimizer.zero_grad()
    actor_loss.backward()
    actor_optimizer.step()

    critic_loss = measure(critic(states[:-1])[:, 0], targets)
    critic_optimizer.zero_grad()
    critic_loss.backward()
    critic_optimizer.step()

    losses.append([actor_loss.item(), critic_loss.item()])
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
        return int(actor(torch.from_numpy(observation)).argmax())


finish(
    options,
    bar=SOLVED,
    steps=steps,
    returns=episode_returns,
    losses=losses,
    seconds=seconds,
    played=play(environment, best, options.played),
)
