"""PPO as one plain torch loop, in the shape that CleanRL made popular, on our 3DBall in this process.

    python torch_loop_ppo.py AGENTS STEPS THREADS SEED

Tensors [steps, agents, ...] are filled by a loop over steps, flattened, and learnt from in shuffled minibatches with
autograd and torch's Adam. The settings are those of ML-Agents' configuration of 3DBall.
"""

import sys

import torch
from agents_as_vector import Agents, Summaries
from torch import nn
from torch.distributions import Normal

BUFFER, BATCH, EPOCHS, HIDDEN = 12000, 64, 3, 128
RATE, GAMMA, LAMBDA, CLIP, BETA = 3e-4, 0.99, 0.99, 0.2, 0.001


class Normalizer:
    """Running mean and variance of what is seen."""

    def __init__(self, size: int) -> None:
        self.mean, self.square, self.count = torch.zeros(size), torch.ones(size), 1e-4

    def __call__(self, seen: torch.Tensor) -> torch.Tensor:
        self.count += len(seen)
        self.mean += (seen - self.mean).sum(0) / self.count
        self.square += (seen.square() - self.square).sum(0) / self.count
        deviation = (self.square - self.mean.square()).clamp_min(1e-8).sqrt()
        return ((seen - self.mean) / deviation).clamp(-5, 5)


class Agent(nn.Module):
    def __init__(self, seen: int, actions: int) -> None:
        super().__init__()

        def body(size: int) -> nn.Sequential:
            layers = [nn.Linear(seen, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, size)]
            return nn.Sequential(*layers)

        self.critic, self.mean = body(1), body(actions)
        self.log_deviation = nn.Parameter(torch.zeros(1, actions))

    def forward(self, seen: torch.Tensor, action: torch.Tensor | None = None):
        mean = self.mean(seen)
        policy = Normal(mean, self.log_deviation.expand_as(mean).exp())
        if action is None:
            action = policy.sample()
        return action, policy.log_prob(action).sum(-1), policy.entropy().sum(-1), self.critic(seen).squeeze(-1)


def main() -> None:
    agents, steps, threads, seed = map(int, sys.argv[1:])
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    world, summaries = Agents(agents, seed), Summaries()
    agent, normalize = Agent(world.observation_size, world.action_size), Normalizer(world.observation_size)
    optimizer = torch.optim.Adam(agent.parameters(), lr=RATE, eps=1e-5)
    horizon = BUFFER // agents
    observations = torch.zeros(horizon, agents, world.observation_size)
    actions = torch.zeros(horizon, agents, world.action_size)
    log_probs, rewards, dones, values = (torch.zeros(horizon, agents) for _ in range(4))
    updates = -(-steps // BUFFER)
    seen, done = normalize(torch.from_numpy(world.reset())), torch.zeros(agents)
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = RATE * (1.0 - update / updates)
        for step in range(horizon):
            observations[step], dones[step] = seen, done
            with torch.no_grad():
                action, log_prob, _, value = agent(seen)
            actions[step], log_probs[step], values[step] = action, log_prob, value
            following, reward, ended, _, _ = world.step((action.clamp(-3, 3) / 3).numpy())
            rewards[step] = torch.from_numpy(reward)
            seen, done = normalize(torch.from_numpy(following)), torch.from_numpy(ended).float()
        with torch.no_grad():
            next_value = agent(seen)[3]
            advantages, carried = torch.zeros_like(rewards), torch.zeros(agents)
            for step in reversed(range(horizon)):
                going = 1.0 - (done if step == horizon - 1 else dones[step + 1])
                after = next_value if step == horizon - 1 else values[step + 1]
                delta = rewards[step] + GAMMA * after * going - values[step]
                advantages[step] = carried = delta + GAMMA * LAMBDA * going * carried
            returns = (advantages + values).flatten()
        flat = (advantages.flatten() - advantages.mean()) / (advantages.std() + 1e-8)
        learn(agent, optimizer, observations.flatten(0, 1), actions.flatten(0, 1), log_probs.flatten(), flat, returns)
        summaries.tell((update + 1) * BUFFER, world.take_returns())


def learn(agent, optimizer, observations, actions, log_probs, advantages, returns) -> None:
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(observations))[: len(observations) // BATCH * BATCH].split(BATCH):
            _, log_prob, entropy, value = agent(observations[rows], actions[rows])
            ratio = (log_prob - log_probs[rows]).exp()
            one, other = advantages[rows] * ratio, advantages[rows] * ratio.clamp(1 - CLIP, 1 + CLIP)
            value_loss = (value - returns[rows]).square().mean()
            loss = -torch.min(one, other).mean() + 0.5 * value_loss - BETA * entropy.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


if __name__ == "__main__":
    main()
