"""A doctor for environments: plays one with random actions, measures, and says what will hurt a training."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from mlagents_envs.base_env import ActionTuple, BaseEnv, BehaviorSpec, DecisionSteps, TerminalSteps
from numpy.typing import NDArray

from bridge.exceptions import InvalidObservationError
from bridge.onnx_policy import allowed_actions

_WIDE = 10.0  # numbers beyond are far from the few units that networks are made for
_LARGE_RETURN = 1000.0
_MOST_LISTED = 8
_LEAST_MESSAGES, _LONGEST = 400, 60  # and how many times as long as asked for these may take at most

Kind = Literal["problem", "advice"]


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed. A problem keeps agents from learning, advice makes it easier."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


class _Range:
    """Least, greatest, mean and deviation of each number of an observation."""

    def __init__(self, size: int) -> None:
        self.low, self.high = np.full(size, np.inf), np.full(size, -np.inf)
        self._sum, self._squares, self._count = np.zeros(size), np.zeros(size), 0

    def add(self, rows: NDArray[Any]) -> None:
        values = rows.reshape(len(rows), -1).astype(np.float64)
        np.minimum(self.low, values.min(0), out=self.low)
        np.maximum(self.high, values.max(0), out=self.high)
        self._sum += values.sum(0)
        self._squares += (values**2).sum(0)
        self._count += len(values)

    @property
    def mean(self) -> NDArray[np.float64]:
        return self._sum / max(self._count, 1)

    @property
    def deviation(self) -> NDArray[np.float64]:
        return np.sqrt(np.maximum(self._squares / max(self._count, 1) - self.mean**2, 0.0))


@dataclass
class BehaviorCheck:
    """What was seen of one behavior."""

    name: str
    spec: BehaviorSpec
    ranges: list[_Range] = field(default_factory=list)
    steps: int = 0  # decisions of all agents
    messages: int = 0
    messages_with_decisions: int = 0
    forbidden: dict[int, int] = field(default_factory=dict)  # branch -> decisions in which nothing was allowed
    rewarded: bool = False  # whether any reward was other than 0
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    interrupted: int = 0
    most_agents: int = 0
    _open: dict[int, list[float]] = field(default_factory=dict)  # agent -> sum of rewards and decisions so far

    def __post_init__(self) -> None:
        self.ranges = [_Range(math.prod(observation.shape)) for observation in self.spec.observation_specs]

    def add(self, decisions: DecisionSteps, terminals: TerminalSteps) -> None:
        """Takes one message."""
        self.messages += 1
        for steps in (terminals, decisions):  # an agent's old episode ends before its next one begins
            if len(steps) == 0:
                continue
            self.rewarded |= bool(np.any(steps.reward) or np.any(steps.group_reward))
            for seen, observation in zip(self.ranges, steps.obs, strict=True):
                seen.add(observation)
        for agent, reward, interrupted in zip(
            terminals.agent_id.tolist(), terminals.reward.tolist(), terminals.interrupted.tolist(), strict=True
        ):
            total, length = self._open.pop(agent, [0.0, 0])
            if length:
                self.returns.append(total + reward)
                self.lengths.append(int(length))
                self.interrupted += interrupted
        for agent, reward in zip(decisions.agent_id.tolist(), decisions.reward.tolist(), strict=True):
            known = self._open.get(agent)
            self._open[agent] = [0.0, 1] if known is None else [known[0] + reward, known[1] + 1]
        self.steps += len(decisions)
        self.messages_with_decisions += len(decisions) > 0
        self.most_agents = max(self.most_agents, len(decisions))
        for branch, mask in enumerate(decisions.action_mask or []):
            count = int(mask.all(1).sum())
            if count:
                self.forbidden[branch] = self.forbidden.get(branch, 0) + count

    def findings(self) -> list[Finding]:
        """What is to be said about it, problems first."""
        found: list[Finding] = []

        def say(kind: Kind, text: str) -> None:
            found.append(Finding(kind, text))

        if self.steps == 0:
            return [Finding("problem", "no agent asked for a decision; give the agents a Decision Requester")]
        for branch, count in self.forbidden.items():
            say("problem", f"branch {branch} forbids every action in {count} decisions; allow at least one")
        for seen, observation in zip(self.ranges, self.spec.observation_specs, strict=True):
            if len(observation.shape) == 1:
                self._check_vector(observation.name, seen, say)
        if not self.lengths:
            say("problem", f"no episode ended in {self.steps:,} decisions; end them, or set a Max Step")
        elif np.mean(self.lengths) < 2:
            say("problem", "episodes have one decision: whatever comes later cannot be learnt; look for an early end")
        if not self.rewarded:
            say("problem", "all rewards were 0; reward something that random actions reach")
        elif self.returns and abs(np.mean(self.returns)) > _LARGE_RETURN:
            say(
                "advice",
                f"episodes sum up to {np.mean(self.returns):.4g}; scale rewards down to sums below {_LARGE_RETURN:g}",
            )
        if self.returns and len(self.returns) >= 10 and np.std(self.returns) == 0 and self.rewarded:
            say("advice", "every episode had the same sum of rewards: random actions make no difference yet")
        if self.lengths and self.interrupted == len(self.lengths):
            say("advice", "every episode ended by its time limit; that is fine for tasks without an end")
        return sorted(found, key=lambda finding: finding.kind != "problem")

    def _check_vector(self, name: str, seen: _Range, say: Callable[[Kind, str], None]) -> None:
        constant = np.flatnonzero(seen.low == seen.high)
        if len(constant) == len(seen.low):
            say("problem", f"observation {name}: none of its {len(seen.low)} numbers ever changed")
        elif len(constant):
            say("advice", f"observation {name}: {_listed(constant)} never changed; leave out what tells nothing")
        wide = np.flatnonzero(np.maximum(np.abs(seen.low), np.abs(seen.high)) > _WIDE)
        if len(wide):
            most = float(np.maximum(np.abs(seen.low), np.abs(seen.high)).max())
            say(
                "advice",
                f"observation {name}: {_listed(wide)} up to {most:.4g}; set normalize: true in network_settings",
            )


@dataclass
class EnvironmentCheck:
    """What was seen of an environment: each behavior, and where the time went."""

    behaviors: dict[str, BehaviorCheck]
    seconds: float
    waiting: float  # seconds of it for the environment
    spoilt: str | None = None  # the first observation that is not a number

    def findings(self) -> dict[str, list[Finding]]:
        """By behavior; "" for the environment as a whole."""
        whole = [] if self.spoilt is None else [Finding("problem", self.spoilt)]
        if not self.behaviors:
            whole.append(Finding("problem", "no agent ever reported; look whether the scene holds active agents"))
        return {"": whole} | {name: behavior.findings() for name, behavior in self.behaviors.items()}

    @property
    def steps_per_second(self) -> float:
        return sum(behavior.steps for behavior in self.behaviors.values()) / max(self.seconds, 1e-9)


def check_environment(environment: BaseEnv, seconds: float, seed: int) -> EnvironmentCheck:
    """Plays `environment` with random actions that its masks allow, for so long.

    At least for some hundred messages, of which more is to be seen than of a clock: what compiles or loads at first
    takes its time.
    """
    generator = np.random.default_rng(seed)
    result = EnvironmentCheck({}, 0.0, 0.0)
    start, messages = time.perf_counter(), 0
    step: Callable[[], None] = environment.reset
    while result.seconds < seconds or (messages < _LEAST_MESSAGES and result.seconds < _LONGEST * seconds):
        began = time.perf_counter()
        try:
            step()
        except InvalidObservationError as error:
            result.spoilt = str(error)
            break
        result.waiting += time.perf_counter() - began
        step, messages = environment.step, messages + 1
        for name, spec in environment.behavior_specs.items():
            decisions, terminals = environment.get_steps(name)
            if len(decisions) + len(terminals) == 0:
                continue
            behavior = result.behaviors.setdefault(name, BehaviorCheck(name, spec))
            behavior.add(decisions, terminals)
            if len(decisions):
                environment.set_actions(name, random_actions(spec, decisions, generator))
        result.seconds = time.perf_counter() - start
    return result


def random_actions(spec: BehaviorSpec, decisions: DecisionSteps, generator: np.random.Generator) -> ActionTuple:
    """Uniform actions: continuous from -1 to 1, of each branch one that is allowed."""
    count, action = len(decisions), spec.action_spec
    continuous = generator.uniform(-1, 1, (count, action.continuous_size)).astype(np.float32)
    allowed = allowed_actions(decisions)
    columns, start = [], 0
    for size in action.discrete_branches:
        drawn = generator.random((count, size))
        if allowed is not None:
            drawn = np.where(allowed[:, start : start + size], drawn, -1.0)
        columns.append(drawn.argmax(1))
        start += size
    discrete = np.stack(columns, axis=1) if columns else np.zeros((count, 0))
    return ActionTuple(continuous, discrete.astype(np.int32))


def _listed(places: Sequence[int] | NDArray[Any]) -> str:
    shown = ", ".join(str(place) for place in places[:_MOST_LISTED])
    more = f" and {len(places) - _MOST_LISTED} more" if len(places) > _MOST_LISTED else ""
    return f"number{'s' if len(places) > 1 else ''} {shown}{more}"
