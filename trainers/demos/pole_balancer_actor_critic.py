# %% [markdown]
# # The pole balancer with an actor-critic, sixteen poles at a time
#
# PoleBalancer is a program of its own, as a Unity build is: it is started, and spoken to over gRPC with ML-Agents'
# protocol. Each step upright pays 1, at most 200; the bar is a mean of 195 over 100 episodes.
#
# One message carries the observations of all its agents, so sixteen poles cost hardly more than one. The actor-critic
# is that of `cartpole_actor_critic.py`, but learns from slices of many episodes instead of one whole one, and from each
# slice several times: past a ratio to the policy that acted, clipped as in PPO, nothing more is to be gained from it.

# %%
import time

import numpy as np
import torch

from bridge.gymnasium_env import UnityGymnasiumEnv
from bridge.gymnasium_vector_env import UnityGymnasiumVectorEnv
from trainers.demos.common import finish, play, read_options
from unity_envs import executables

options = read_options("pole_balancer_actor_critic", backends=("kernels", "torch"), steps=300_000)
if options.backend == "kernels":
    from trainers.kernels import nn, optim
    from trainers.kernels.distributions import Categorical
else:
    from torch import nn, optim
    from torch.distributions import Categorical

# %%
BAR = 195.0
POLES, SLICE = 16, 32  # a slice: decisions of each pole between two updates
DISCOUNT, LAMBDA = 0.99, 0.95
PASSES, CLIP = 6, 0.2
ENTROPY = 0.005  # worth of uncertainty, lest the actor makes up its mind too early
# The cart's place and the pole's lean are small numbers beside their speeds: all four are brought to about 1.
SCALE = np.array([5.0, 0.5, 10.0, 0.5], np.float32)

torch.manual_seed(options.seed)
player = executables.path("PoleBalancer")
environment = UnityGymnasiumVectorEnv(
    player, seed=options.seed, no_graphics=True, additional_args=["--agents", str(POLES)]
)
actor = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
critic = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
optimizer = optim.Adam([*actor.parameters(), *critic.parameters()], lr=0.002)
measure = nn.MSELoss()


def states_of(observations: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(observations * SCALE)


def values_of(observations: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return critic(states_of(observations)).numpy()[..., 0]


# %% [markdown]
# A slice ends in the middle of most episodes. What comes after it is the critic's word for the state in which it ends,
# and an episode that was stopped for its length is continued by the critic too: `info["final_obs"]` has its last
# observation.


# %%
def collect(observations: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray], np.ndarray]:
    """A slice: observations [SLICE + 1, poles, 4], actions, rewards with the stopped episodes' futures, and ends."""
    seen, actions, rewards, ends = [observations], [], [], []
    for _ in range(SLICE):
        with torch.no_grad():
            actions.append(Categorical(logits=actor(states_of(seen[-1]))).sample().numpy())
        observations, paid, terminated, truncated, info = environment.step(actions[-1])
        episode_returns[:] += paid
        for pole in np.flatnonzero(terminated | truncated):
            returns.append(float(episode_returns[pole]))
            steps.append((len(losses) * SLICE + len(actions)) * POLES)
            episode_returns[pole] = 0.0
        future = np.zeros(POLES)
        for pole in np.flatnonzero(truncated):
            future[pole] = DISCOUNT * values_of(info["final_obs"][pole])
        rewards.append(paid + future)
        ends.append(terminated | truncated)
        seen.append(observations)
    return np.stack(seen), actions, rewards, np.stack(ends)


def advantages_of(rewards: list[np.ndarray], values: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """[SLICE, poles] from rewards and ends of that shape, and values [SLICE + 1, poles]."""
    advantages, following = np.zeros((SLICE, POLES), np.float32), np.zeros(POLES)
    for step in reversed(range(SLICE)):
        goes_on = 1.0 - ends[step]
        surprise = rewards[step] + DISCOUNT * goes_on * values[step + 1] - values[step]
        following = surprise + DISCOUNT * LAMBDA * goes_on * following
        advantages[step] = following
    return advantages


# %%
steps, returns, losses = [], [], []
episode_returns = np.zeros(POLES)
started = time.perf_counter()
observations, _ = environment.reset()
while len(losses) * SLICE * POLES < options.steps and (len(returns) < 100 or np.mean(returns[-100:]) < BAR):
    seen, actions, rewards, ends = collect(observations)
    observations = seen[-1]
    values = values_of(seen)
    advantages = advantages_of(rewards, values, ends)
    targets = torch.from_numpy(values[:-1] + advantages)
    normalised = torch.from_numpy((advantages - advantages.mean()) / (advantages.std() + 1e-6))

    states = states_of(seen[:-1])
    before = None
    for _ in range(PASSES):
        choices = Categorical(logits=actor(states))
        chosen = choices.log_prob(torch.from_numpy(np.stack(actions)))
        before = chosen.detach() if before is None else before
        ratio = (chosen - before).exp()
        worth = torch.minimum(ratio * normalised, ratio.clamp(1 - CLIP, 1 + CLIP) * normalised)
        actor_loss = -worth.mean() - ENTROPY * choices.entropy().mean()
        critic_loss = measure(critic(states)[..., 0], targets)
        optimizer.zero_grad()
        (actor_loss + critic_loss).backward()
        optimizer.step()
    losses.append([actor_loss.item(), critic_loss.item()])
    if len(losses) % 20 == 0:
        print(f"{len(losses) * SLICE * POLES:,} steps, mean return {np.mean(returns[-100:]):.1f}", flush=True)
seconds = time.perf_counter() - started
environment.close()


# %% [markdown]
# A hundred fresh episodes of one pole, with the most probable action each time.


# %%
def best(observation: np.ndarray) -> int:
    with torch.no_grad():
        return int(actor(states_of(observation)).argmax())


with UnityGymnasiumEnv(player, seed=options.seed + 1000, no_graphics=True) as alone:
    played = play(alone, best, options.played)
finish(options, bar=BAR, steps=steps, returns=returns, losses=losses, seconds=seconds, played=played)
