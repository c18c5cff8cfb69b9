"""REINFORCE (Williams 1992) on a cart with a pole, as people write it: plain torch, nothing of ours.

The test runs this text as it is, with one line added, and with our modules in place of torch's.
"""

import math

import torch
from torch import nn, optim
from torch.distributions import Categorical


class CartPole:
    """Barto, Sutton and Anderson 1983: 1 a step until the pole leaves 12 degrees, the cart 2.4 m, or 100 steps."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)

    def reset(self) -> list[float]:
        self.state = (torch.rand(4, generator=self.random) * 0.1 - 0.05).tolist()
        self.steps = 0
        return self.state

    def step(self, action: int) -> tuple[list[float], float, bool]:
        x, speed, angle, turn = self.state
        sine, cosine = math.sin(angle), math.cos(angle)
        push = ((10.0 if action else -10.0) + 0.05 * turn**2 * sine) / 1.1
        bend = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
        pull = push - 0.05 * bend * cosine / 1.1
        self.state = [x + 0.02 * speed, speed + 0.02 * pull, angle + 0.02 * turn, turn + 0.02 * bend]
        self.steps += 1
        fallen = abs(self.state[0]) > 2.4 or abs(self.state[2]) > math.radians(12)
        return self.state, 1.0, fallen or self.steps == 100


torch.manual_seed(SEED)  # noqa: F821  the test sets SEED and EPISODES
environment = CartPole(SEED)  # noqa: F821
policy = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
optimizer = optim.Adam(policy.parameters(), lr=1e-2)
# one line more would stand here

lengths, losses = [], []
for _ in range(EPISODES):  # noqa: F821
    state, done, log_probs, rewards = environment.reset(), False, [], []
    while not done:
        choice = Categorical(logits=policy(torch.tensor(state)))
        action = choice.sample()
        log_probs.append(choice.log_prob(action))
        state, reward, done = environment.step(int(action))
        rewards.append(reward)
    returns = []
    for reward in reversed(rewards):
        returns.insert(0, reward + 0.99 * (returns[0] if returns else 0.0))
    targets = torch.tensor(returns)
    targets = (targets - targets.mean()) / (targets.std() + 1e-6)
    loss = -(torch.stack(log_probs) * targets).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    lengths.append(len(rewards))
    losses.append(loss.item())
