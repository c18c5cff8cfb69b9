"""The kernels beside torch and NumPy: one minibatch of PPO, acting, advantages, and what share matrix products have.

Peers work on the same tensors in this process, in turn with ours: PPO by autograd with torch's Adam (`default_adam`,
`fused_adam`), our readable `trainers/ppo.py` with its gradients by hand (`readable_ppo`), acting by torch, advantages
by NumPy. Each side has one core but where the name says 2 threads.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

from trainers import ppo
from trainers.benchmarks import Context
from trainers.benchmarks.rows import Row, alternate
from trainers.config import NetworkSettings
from trainers.distributions import Actions, entropy, for_environment, log_prob
from trainers.errors import UsageError
from trainers.kernels import instruction_sets, set_instruction_set, status
from trainers.kernels.advantages import gae
from trainers.kernels.fused import AdamState, Experience, FusedActorCritic
from trainers.kernels.library import require_library
from trainers.losses import Target, losses_and_gradients
from trainers.networks import ActorCritic

_SECONDS = 0.4  # a measurement, at least
_OBSERVATION, _ACTIONS = 8, 2
_LEARNING_RATE, _EPSILON, _BETA = 3e-4, 0.2, 5e-3
_HORIZON = 1000  # steps of a trajectory for the advantages
_LOG_SQRT_TWO_PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class KernelRow(Row):
    """A row that also says which instruction set ours ran on."""

    instruction_set: str = ""

    def to_json(self) -> dict[str, Any]:
        return super().to_json() | {"instruction_set": self.instruction_set}


def run(context: Context) -> list[Row]:
    """All rows. Raises UsageError where there is no library to measure."""
    found = status()
    if not found.native:
        raise UsageError(f"--only kernels: {found.reason}")
    context.say(f"kernels: {found.reason}")
    rows: list[Row] = []
    with one_core():
        for hidden, layers, batch_size in ((128, 2, 64), (128, 2, 2048), (256, 3, 64), (256, 3, 2048)):
            rows += _update_rows(context, hidden, layers, batch_size)
        for agents in (1, 12, 100, 1000):
            rows.append(_act_row(context, agents))
        for agents in (12, 100, 1000):
            rows.append(_gae_row(context, agents))
        rows.append(_product_row(context))
    return rows


@contextmanager
def one_core() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _microseconds(work: Callable[[], Any], per_call: int = 1) -> Callable[[int], float]:
    """Measures `work`: microseconds for each of the `per_call` things it does."""

    def measure(_: int) -> float:
        work()
        calls, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < _SECONDS or calls < 2:
            work()
            calls += 1
        return elapsed / calls / per_call * 1e6

    return measure


def _rows(
    context: Context, pairs: dict[str, tuple[str, str, int]], sides: dict[str, Callable[[int], float]]
) -> list[Row]:
    """pairs: name of a row to our side, the peer's and the number of threads of ours."""
    measured = alternate(context.rounds, sides, context.say)
    return [
        KernelRow(name, "us", measured[ours], measured[peer], "measured", threads, True, instruction_set=_set_of(ours))
        for name, (ours, peer, threads) in pairs.items()
    ]


def _set_of(side: str) -> str:
    return next((name for name in instruction_sets() if name in side), status().instruction_set)


# ---- one minibatch of PPO ----


def _network(hidden: int, layers: int, *, normalize: bool = False, observations: int = _OBSERVATION) -> ActorCritic:
    torch.manual_seed(1)
    observation = ObservationSpec((observations,), (DimensionProperty.NONE,), ObservationType.DEFAULT, "numbers")
    settings = NetworkSettings(hidden_units=hidden, num_layers=layers, normalize=normalize)
    return ActorCritic(BehaviorSpec([observation], ActionSpec(_ACTIONS, ())), settings, ["extrinsic"])


def _fuse(network: ActorCritic, optimizer: ppo.Optimizer, threads: int) -> FusedActorCritic:
    actor = network.actor
    normalizers = [(one.mean, one.scale) for one in actor.normalizers] if hasattr(actor, "normalizers") else None
    return FusedActorCritic(
        optimizer._values,
        observation_sizes=[actor.body[0].in_features],
        actor=list(actor.body),
        continuous=actor.continuous,
        log_sigma=actor.log_sigma,
        discrete=[],
        critic=list(network.critic.body),
        values=list(network.critic.values.values()),
        normalizers=normalizers,
        threads=threads,
    )


def _batch(steps: int, observations: int = _OBSERVATION) -> ppo.Batch:
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    actions = Actions(normal(steps, _ACTIONS), torch.zeros(steps, 0, dtype=torch.int64))
    log_probs = 0.1 * normal(steps, _ACTIONS) - 1.4
    advantages = ppo.normalize_advantages(normal(steps))
    return ppo.Batch(
        normal(steps, observations),
        Target(actions, log_probs, None, advantages, normal(steps, 1), normal(steps, 1)),
    )


def _fused_update(network: ActorCritic, batch: ppo.Batch, order: torch.Tensor, batch_size: int, threads: int) -> Any:
    optimizer = ppo.Optimizer(network)
    fused = _fuse(network, optimizer, threads)
    target = batch.target
    experience = Experience(batch.inputs, *target.actions, *target[1:])
    adam = AdamState(optimizer._gradient, optimizer._moment, optimizer._square, 0)
    settings = {"learning_rate": _LEARNING_RATE, "epsilon": _EPSILON, "beta": _BETA}
    return partial(fused.update, experience, adam, order, batch_size=batch_size, **settings)


def _readable_update(network: ActorCritic, batch: ppo.Batch, order: torch.Tensor, batch_size: int) -> Any:
    """The inside of `ppo.update`, with a given order."""
    optimizer = ppo.Optimizer(network)

    @torch.no_grad()
    def update() -> None:
        shuffled = batch.rows(order)
        for start in range(0, len(order), batch_size):
            minibatch = shuffled.rows(slice(start, start + batch_size))
            heads, tape = network.forward_with_tape(minibatch.inputs)
            losses = losses_and_gradients(heads, minibatch.target, epsilon=_EPSILON, beta=_BETA, value_clipping=False)
            network.backward(tape, losses.gradients)
            optimizer.step(_LEARNING_RATE)

    return update


def _autograd_update(
    network: ActorCritic, batch: ppo.Batch, order: torch.Tensor, batch_size: int, *, fused: bool
) -> Any:
    """The same losses as an ordinary torch program has them."""
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE, fused=fused)

    def update() -> None:
        shuffled = batch.rows(order)
        for start in range(0, len(order), batch_size):
            minibatch = shuffled.rows(slice(start, start + batch_size))
            target = minibatch.target
            heads = network(minibatch.inputs)
            log_probs = log_prob(heads.mean, heads.log_sigma, [], target.actions)
            ratio = torch.exp(log_probs - target.log_probs)
            advantages = target.advantages.unsqueeze(1)
            clipped = ratio.clamp(1.0 - _EPSILON, 1.0 + _EPSILON)
            policy_loss = -torch.minimum(ratio * advantages, clipped * advantages).mean()
            value_loss = (heads.values - target.returns).square().mean()
            loss = policy_loss + 0.5 * value_loss - _BETA * entropy(heads.log_sigma, [])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return update


def _update_rows(context: Context, hidden: int, layers: int, batch_size: int) -> list[Row]:
    name = f"ppo_step {hidden}x{layers} b{batch_size}"
    minibatches = max(1, 2048 // batch_size)
    batch = _batch(batch_size * minibatches)
    order = torch.randperm(batch_size * minibatches)

    def side(make: Callable[..., Any], **options: Any) -> Callable[[int], float]:
        return _microseconds(make(_network(hidden, layers), batch, order, batch_size, **options), minibatches)

    sides = {
        f"{name}, ours": side(_fused_update, threads=1),
        f"{name}, default Adam": side(_autograd_update, fused=False),
    }
    pairs = {f"{name} vs default_adam": (f"{name}, ours", f"{name}, default Adam", 1)}
    if (hidden, layers, batch_size) == (128, 2, 64):
        sides |= {
            f"{name}, ours with 2 threads": side(_fused_update, threads=2),
            f"{name}, fused Adam": side(_autograd_update, fused=True),
            f"{name}, readable": side(_readable_update),
        }
        pairs |= {
            f"{name} 2 threads vs default_adam": (f"{name}, ours with 2 threads", f"{name}, default Adam", 2),
            f"{name} vs fused_adam": (f"{name}, ours", f"{name}, fused Adam", 1),
            f"{name} vs readable_ppo": (f"{name}, ours", f"{name}, readable", 1),
        }
        for other in instruction_sets()[1:]:  # the best one is there already
            measure = side(_fused_update, threads=1)
            sides[f"{name}, ours on {other}"] = partial(_with_set, other, measure)
            pairs[f"{name} {other} vs default_adam"] = (f"{name}, ours on {other}", f"{name}, default Adam", 1)
    return _rows(context, pairs, sides)


def _with_set(name: str, measure: Callable[[int], float], turn: int) -> float:
    before = status().instruction_set
    set_instruction_set(name)
    try:
        return measure(turn)
    finally:
        set_instruction_set(before)


def size_row(context: Context, hidden: int, observations: int) -> Row:
    """A minibatch of 64 for networks of two layers of `hidden` units that see so many numbers, beside autograd's."""
    name, minibatches = f"ppo_step {hidden}x2 b64, {observations} observations", 16
    batch, order = _batch(64 * minibatches, observations), torch.randperm(64 * minibatches)
    with one_core():
        ours = _fused_update(_network(hidden, 2, observations=observations), batch, order, 64, 1)
        peer = _autograd_update(_network(hidden, 2, observations=observations), batch, order, 64, fused=False)
        sides = {
            f"{name}, ours": _microseconds(ours, minibatches),
            f"{name}, default Adam": _microseconds(peer, minibatches),
        }
        return _rows(context, {f"{name} vs default_adam": (f"{name}, ours", f"{name}, default Adam", 1)}, sides)[0]


# ---- acting and advantages ----


def _act_row(context: Context, agents: int) -> Row:
    network = _network(128, 2, normalize=True)
    fused = _fuse(network, ppo.Optimizer(network), 1)
    seen = [np.random.default_rng(1).normal(size=(agents, _OBSERVATION)).astype(np.float32)]
    generator = torch.Generator().manual_seed(1)

    @torch.inference_mode()
    def eager() -> tuple[Any, ...]:
        heads = network(network.actor.prepare([torch.from_numpy(one) for one in seen]))
        noise = torch.randn(heads.mean.shape, generator=generator)  # torch's own: Philox in NumPy is slower
        actions = torch.addcmul(heads.mean, noise, heads.log_sigma.exp())
        log_probs = torch.addcmul(-(heads.log_sigma + _LOG_SQRT_TWO_PI), noise, noise, value=-0.5)
        spread = float(entropy(heads.log_sigma, []))
        return for_environment(actions).numpy(), log_probs.numpy(), heads.values.numpy(), spread

    name = f"act {agents} agents"
    sides = {
        f"{name}, ours": _microseconds(partial(fused.act, seen, seed=1, call=1, values=True)),
        f"{name}, eager": _microseconds(eager),
    }
    return _rows(context, {f"{name} vs eager": (f"{name}, ours", f"{name}, eager", 1)}, sides)[0]


def _gae_row(context: Context, agents: int) -> Row:
    generator = np.random.default_rng(1)
    rewards, values = (generator.normal(size=(agents * _HORIZON, 1)).astype(np.float32) for _ in range(2))
    following = np.zeros((agents, 1), np.float32)
    lengths = np.full(agents, _HORIZON)
    # NumPy's usual way, a step of all agents at a time, finds them as it likes them best: [steps, agents].
    by_step = [np.ascontiguousarray(column.reshape(agents, _HORIZON).T) for column in (rewards, values)]

    def with_numpy() -> tuple[Any, Any]:
        reward, value = by_step
        advantages = np.empty_like(reward)
        advantage, next_value = np.zeros(agents, np.float32), np.zeros(agents, np.float32)
        for step in range(_HORIZON - 1, -1, -1):
            delta = reward[step] + np.float32(0.99) * next_value - value[step]
            advantage = delta + np.float32(0.99 * 0.95) * advantage
            advantages[step] = advantage
            next_value = value[step]
        return advantages, advantages + value

    name = f"gae T={_HORIZON} {agents} agents"
    sides = {
        f"{name}, ours": _microseconds(partial(gae, rewards, values, lengths, following, [0.99], 0.95)),
        f"{name}, NumPy": _microseconds(with_numpy),
    }
    return _rows(context, {f"{name} vs numpy": (f"{name}, ours", f"{name}, NumPy", 1)}, sides)[0]


# ---- the share of matrix products ----


def _product_row(context: Context) -> Row:
    """GFLOP/s of a whole update, counting its matrix products only, beside those of the products alone."""
    hidden, batch_size, minibatches = 128, 64, 32
    batch, order = _batch(batch_size * minibatches), torch.randperm(batch_size * minibatches)
    weights = hidden * (_OBSERVATION + hidden)
    per_row = 2 * (2 * weights + hidden * hidden) + 2 * hidden * (_ACTIONS + 1) * 3 // 2  # forward, both gradients
    update = _fused_update(_network(hidden, 2), batch, order, batch_size, 1)
    in_update = _microseconds(update, minibatches)

    left, right = torch.randn(batch_size, hidden), torch.randn(hidden, hidden)
    out = torch.empty(batch_size, hidden)
    times, library = 50, require_library("kernels")
    sizes = (batch_size, hidden, hidden)
    flops = 2 * batch_size * hidden * hidden

    def own() -> None:
        library.om_multiply(*sizes, left.data_ptr(), right.data_ptr(), out.data_ptr(), times)

    def torch_product() -> None:
        for _ in range(times):
            torch.mm(left, right, out=out)

    name = "gemm_share 128x2 b64"
    sides = {
        f"{name}, update": in_update,
        f"{name}, own product": _microseconds(own, times),
        f"{name}, torch's product": _microseconds(torch_product, times),
    }
    measured = alternate(context.rounds, sides, context.say)
    rates = [2 * batch_size * per_row / microseconds / 1e3 for microseconds in measured[f"{name}, update"]]
    best = [flops / min(pair) / 1e3 for pair in zip(*list(measured.values())[1:], strict=True)]
    row_name = f"{name}: update vs best matrix product"
    return KernelRow(row_name, "GFLOP/s", rates, best, "measured", 1, instruction_set=status().instruction_set)
