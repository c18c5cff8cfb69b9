"""PPO in one file, in the shape that CleanRL's users know: one loop over a vector environment, nothing of our trainer.

    python single_file_ppo.py --env-id unity_envs.gymnasium_ids:mlagents_bridge/3DBall-v0 --num-envs 48

Prints the mean return of the last 100 episodes.
"""

import argparse

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from torch import nn


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--env-id", required=True)
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--total-timesteps", type=int, default=50_000)
    parser.add_argument("--num-steps", type=int, default=64)
    parser.add_argument("--minibatch-size", type=int, default=256)
    parser.add_argument("--update-epochs", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--gamma", type=float, default=0.99)
    parser.add_argument("--gae-lambda", type=float, default=0.95)
    parser.add_argument("--clip-coef", type=float, default=0.2)
    parser.add_argument("--vf-coef", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def network(inputs, outputs, last_gain):
    layers = []
    for size, after, gain in ((inputs, 64, 2**0.5), (64, 64, 2**0.5), (64, outputs, last_gain)):
        layers += [nn.Linear(size, after), nn.Tanh()]
        nn.init.orthogonal_(layers[-2].weight, gain)
        nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers[:-1])


class Agent(nn.Module):
    def __init__(self, envs):
        super().__init__()
        inputs = int(np.prod(envs.single_observation_space.shape))
        self.discrete = isinstance(envs.single_action_space, gymnasium.spaces.Discrete)
        outputs = envs.single_action_space.n if self.discrete else envs.single_action_space.shape[0]
        self.critic, self.actor = network(inputs, 1, 1.0), network(inputs, int(outputs), 0.01)
        self.log_deviation = nn.Parameter(torch.zeros(int(outputs)))

    def value(self, observations):
        return self.critic(observations).squeeze(-1)

    def policy(self, observations):
        if self.discrete:
            return torch.distributions.Categorical(logits=self.actor(observations))
        normal = torch.distributions.Normal(self.actor(observations), self.log_deviation.exp())
        return torch.distributions.Independent(normal, 1)


def main():
    args = parse_arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    envs = RecordEpisodeStatistics(gymnasium.make_vec(args.env_id, num_envs=args.num_envs))
    assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    agent = Agent(envs)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    observation = torch.as_tensor(envs.reset(seed=args.seed)[0])

    for _ in range(args.total_timesteps // (args.num_steps * args.num_envs)):
        rows = []
        with torch.no_grad():
            for _ in range(args.num_steps):
                policy = agent.policy(observation)
                action = policy.sample()
                sent = action.numpy() if agent.discrete else action.clamp(-1, 1).numpy()
                after, reward, terminated, truncated, info = envs.step(sent)
                # What comes next of an episode that ended is not its last observation but the next one's first.
                following, reward = torch.as_tensor(after).clone(), torch.as_tensor(reward, dtype=torch.float32)
                for ended in np.flatnonzero(terminated | truncated):
                    following[ended] = torch.as_tensor(info["final_obs"][ended])
                going_on = torch.as_tensor(~terminated).float()
                target = reward + args.gamma * going_on * agent.value(following)
                same_episode = torch.as_tensor(~(terminated | truncated)).float()
                rows.append(
                    (observation, action, policy.log_prob(action), agent.value(observation), target, same_episode)
                )
                observation = torch.as_tensor(after)
        observations, actions, log_probs, values, targets, same_episodes = map(torch.stack, zip(*rows, strict=True))

        advantages, advantage = torch.zeros_like(values), 0.0
        for t in reversed(range(args.num_steps)):
            advantage = targets[t] - values[t] + args.gamma * args.gae_lambda * same_episodes[t] * advantage
            advantages[t] = advantage
        batch = [each.flatten(0, 1) for each in (observations, actions, log_probs, advantages, advantages + values)]

        for _ in range(args.update_epochs):
            for chosen in torch.randperm(len(batch[0])).split(args.minibatch_size):
                observed, acted, old_log_prob, gained, returned = (each[chosen] for each in batch)
                ratio = (agent.policy(observed).log_prob(acted) - old_log_prob).exp()
                gained = (gained - gained.mean()) / (gained.std() + 1e-8)
                clipped = ratio.clamp(1 - args.clip_coef, 1 + args.clip_coef)
                loss = -torch.min(ratio * gained, clipped * gained).mean()
                loss = loss + args.vf_coef * (agent.value(observed) - returned).pow(2).mean() / 2
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
    print(f"mean return {np.mean(list(envs.return_queue)[-100:]):.2f} of {envs.episode_count} episodes")
    envs.close()


if __name__ == "__main__":
    main()
