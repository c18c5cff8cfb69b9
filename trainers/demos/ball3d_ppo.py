# %% [markdown]
# # 3DBall with PPO, written out
#
# Twelve platforms each keep a ball from rolling off by tilting: 0.1 for each decision that it stays on, 1000 at most,
# so 100 is the best return and 95 the bar. Actions are numbers, two for each platform, not choices.
#
# Proximal policy optimisation (Schulman et al. 2017) is what `mlbridge learn` trains with. Here it is in one file, of
# layers, an optimizer and a loss; `mlbridge learn 3DBall --env 3DBall` is the fast way.

# %%
import math
import time

import numpy as np
import torch

from bridge.gymnasium_vector_env import UnityGymnasiumVectorEnv
from trainers.demos.common import finish, read_options
from unity_envs import executables

options = read_options("ball3d_ppo", backends=("kernels", "torch"), steps=240_000)
if options.backend == "kernels":
    from trainers.kernels import nn, optim
else:
    from torch import nn, optim

# %%
BAR = 95.0
SLICE = 500  # decisions of each platform between two updates
EPOCHS, BATCH = 4, 250
DISCOUNT, LAMBDA, CLIP = 0.99, 0.95, 0.2

torch.manual_seed(options.seed)
player = executables.path("3DBall")
environment = UnityGymnasiumVectorEnv(player, seed=options.seed, no_graphics=True)
balls = environment.num_envs


def network(outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


# %% [markdown]
# The actor says the mean of a normal distribution for each action; how wide that is, is learnt too, the same in every
# state. Tilts as small as these networks' first outputs let a ball stay on for about ten decisions.

# %%
actor, critic = network(2), network(1)
log_width = torch.nn.Parameter(torch.full((2,), -0.5))
optimizer = optim.Adam([*actor.parameters(), log_width, *critic.parameters()], lr=0.001)
measure = nn.MSELoss()


def log_probability(states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """Of actions [..., 2] in states [..., 8]: [...]."""
    scaled = (actions - actor(states)) / log_width.exp()
    return (-0.5 * scaled**2 - log_width - 0.5 * math.log(2 * math.pi)).sum(-1)


def ready(observations: np.ndarray) -> torch.Tensor:
    """Rotations, metres and metres a second as numbers of about one size."""
    return torch.from_numpy(observations * np.float32([4, 4, 0.5, 0.25, 0.5, 0.5, 0.25, 0.5]))


# %% [markdown]
# A slice of all platforms: what was seen, done and paid, then the advantages, as in `pole_balancer_actor_critic.py`. An
# episode that was stopped for its length goes on in the critic's word for its last observation, `info["final_obs"]`.


# %%
@torch.no_grad()
def collect(states: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The states after the slice; states, actions, log-probabilities, advantages and targets [SLICE, balls, ...]."""
    slice_ = []
    for _ in range(SLICE):
        actions = actor(states) + log_width.exp() * torch.randn(balls, 2)
        observations, paid, terminated, truncated, info = environment.step(actions.clamp(-1, 1).numpy())
        running[:] += paid
        for ball in np.flatnonzero(terminated | truncated):
            returns.append(float(running[ball]))
            steps.append((len(losses) * SLICE + len(slice_) + 1) * balls)
            running[ball] = 0.0
        for ball in np.flatnonzero(truncated):
            paid[ball] += DISCOUNT * critic(ready(info["final_obs"][ball])).item()
        ends = torch.from_numpy(terminated | truncated)
        rewards = torch.from_numpy(paid).float()
        slice_.append((states, actions, log_probability(states, actions), rewards, ends))
        states = ready(observations)
    seen, done, likely, rewards, ends = (torch.stack(column) for column in zip(*slice_, strict=True))
    values = critic(torch.cat([seen, states[None]]))[..., 0]
    advantages, following = torch.zeros_like(rewards), torch.zeros(balls)
    for step in reversed(range(SLICE)):
        surprise = rewards[step] + DISCOUNT * ~ends[step] * values[step + 1] - values[step]
        following = surprise + DISCOUNT * LAMBDA * ~ends[step] * following
        advantages[step] = following
    return states, seen, done, likely, advantages, advantages + values[:-1]


# %% [markdown]
# An update goes over the slice several times. That is only sound near the policy which acted, so what an action can
# gain ends where it has become CLIP more or less probable than it was.


# %%
def update(seen, done, likely, advantages, targets) -> float:
    """EPOCHS times over all rows in random batches; the mean loss."""
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-6)
    found = []
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(seen)).split(BATCH):
            ratio = (log_probability(seen[rows], done[rows]) - likely[rows]).exp()
            gain = torch.min(ratio * advantages[rows], ratio.clamp(1 - CLIP, 1 + CLIP) * advantages[rows]).mean()
            loss = 0.5 * measure(critic(seen[rows])[:, 0], targets[rows]) - gain
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
    return float(np.mean(found))


steps, returns, losses = [], [], []
running = np.zeros(balls)
started = time.perf_counter()
states = ready(environment.reset()[0])
while len(losses) * SLICE * balls < options.steps and np.mean(returns[-24:] or [0]) < BAR + 4:
    states, *experience = collect(states)
    losses.append(update(*(part.flatten(0, 1) for part in experience)))
    print(f"{len(losses) * SLICE * balls:,} steps, mean return {np.mean(returns[-24:] or [0]):.1f}", flush=True)
seconds = time.perf_counter() - started

# %% [markdown]
# Fresh episodes of all twelve without any chance in the actions, until a hundred are over.

# %%
played: list[float] = []
states, running[:] = ready(environment.reset()[0]), 0.0
while len(played) < options.played:
    with torch.no_grad():
        observations, paid, terminated, truncated, _ = environment.step(actor(states).clamp(-1, 1).numpy())
    states, running = ready(observations), running + paid
    played += running[terminated | truncated].tolist()
    running[terminated | truncated] = 0.0
environment.close()
finish(options, bar=BAR, steps=steps, returns=returns, losses=losses, seconds=seconds, played=played)
