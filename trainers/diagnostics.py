"""How an update went, in the figures that tell whether a training is healthy; beside ML-Agents' own.

Policy/Approximate KL      how far the policy moved: mean of ratio - 1 - log(ratio) (Schulman, Approximating KL
                           divergence, 2020, estimator k3), ratio of whole actions; above about 0.05 it moves too fast
Policy/Clip Fraction       share of the ratios, one a dimension and branch as in the loss, beyond 1 +- epsilon
Losses/Explained Variance  1 - var(returns - values) / var(returns) of the values before the update: 1 is perfect,
                           0 no better than the mean
Losses/Gradient Norm       L2 norm of the last minibatch's gradient over all parameters
"""

import torch

from trainers.actor_critics import Network
from trainers.distributions import log_prob, masked_log_probs
from trainers.ppo import Batch, Optimizer, approximate_kl

_ROWS = 1024  # steps that the first two are taken of: enough for two digits, and next to nothing beside the update


@torch.no_grad()
def diagnose(network: Network, optimizer: Optimizer, batch: Batch, epsilon: float) -> dict[str, float]:
    """By TensorBoard tag, of the batch that the networks have just learnt from; without what is not defined for it."""
    every = max(1, len(batch.inputs) // _ROWS)
    some = batch.take(torch.arange(0, batch.count, every, device=batch.target.advantages.device))
    target = some.target
    mean, logits = network.policy_heads(some.inputs, some.lengths)
    branches = masked_log_probs(logits, target.allowed)
    change = log_prob(mean, network.sigma(), branches, target.actions) - target.log_probs
    figures = {
        "Policy/Approximate KL": approximate_kl(change),
        "Policy/Clip Fraction": float(((change.exp() - 1).abs() > epsilon).float().mean()),
        "Losses/Gradient Norm": float(optimizer.adam_state().gradient.norm()),
    }
    spread = batch.target.returns.var(dim=0, unbiased=False)
    if bool((spread > 0).all()):
        left = (batch.target.returns - batch.target.values).var(dim=0, unbiased=False)
        figures["Losses/Explained Variance"] = float((1 - left / spread).mean())
    return figures
