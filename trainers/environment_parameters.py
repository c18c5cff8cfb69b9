"""Environment parameters during a run: what each is set to, and when a curriculum goes on to its next lesson."""

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.side_channels import EnvironmentParametersChannel
from trainers.config_parameters import CompletionCriteria, EnvironmentParameter, Sampler
from trainers.errors import UsageError

SMOOTHING = 0.25  # weight of what was before, as in ML-Agents


@dataclass
class Learner:
    """What lessons go by, of one behavior."""

    progress: float = 0.0  # steps as a share of max_steps
    rewards: deque[float] = field(default_factory=deque)  # of its last episodes; cleared when a lesson begins


@dataclass
class Change:
    """What `update` has decided: a line for each lesson that begins, and whether all episodes begin anew with it."""

    lines: list[str]
    requires_reset: bool


class EnvironmentParameterManager:
    """The parameters of a run and the lessons that they are in."""

    def __init__(self, parameters: Mapping[str, EnvironmentParameter], seed: int) -> None:
        """`seed`: of the run; samplers without one get seed, seed + 1, ... in the order of the file."""
        self._parameters = dict(parameters)
        self._lessons = dict.fromkeys(parameters, 0)
        self._smoothed = dict.fromkeys(parameters, 0.0)
        self._learners: dict[str, Learner] = {}
        self._seeds: dict[str, list[int]] = {}  # of the samplers of each parameter's lessons
        following = itertools.count(seed)
        for name, parameter in parameters.items():
            given = [lesson.value.sampler_parameters.seed for lesson in parameter.curriculum]
            self._seeds[name] = [next(following) if one == -1 else one for one in given]

    @property
    def lessons(self) -> dict[str, int]:
        """The number of the lesson that each parameter is in, from 0."""
        return dict(self._lessons)

    @property
    def active(self) -> bool:
        """Whether any parameter waits for the end of a lesson."""
        return any(self._criteria(name) is not None for name in self._parameters)

    def check_behaviors(self, known: Sequence[str]) -> None:
        """Raises UsageError for a lesson that waits for a behavior that the run does not have."""
        for name, parameter in self._parameters.items():
            for lesson in parameter.curriculum:
                criteria = lesson.completion_criteria
                if criteria is not None and criteria.behavior not in known:
                    raise UsageError(
                        f"environment_parameters.{name}: lesson '{lesson.name}' waits for the behavior "
                        f"'{criteria.behavior}', but the environment has {', '.join(known)}"
                    )

    def send(self, channel: EnvironmentParametersChannel) -> None:
        """Tells a player what every parameter is set to."""
        for name, lesson in self._lessons.items():
            _send(channel, name, self._parameters[name].curriculum[lesson].value, self._seeds[name][lesson])

    def episodes(self, behavior: str, rewards: Sequence[float]) -> None:
        """Episodes of a behavior that ended, with their sums of rewards."""
        self._learner(behavior).rewards.extend(rewards)

    def update(self, progress: Mapping[str, float]) -> Change | None:
        """Goes on to the next lesson where one is over; None where none is. `progress`: of each behavior, 0 to 1.

        ML-Agents asks once for each step of its loop; the smoothing therefore goes on while no episode ends.
        """
        for behavior, share in progress.items():
            self._learner(behavior).progress = share
        lines, requires_reset = [], False
        for name in self._parameters:
            criteria = self._criteria(name)
            if criteria is None or criteria.behavior not in progress or not self._is_over(name, criteria):
                continue
            self._lessons[name] += 1
            requires_reset |= criteria.require_reset
            lines.append(self.describe(name))
        if not lines:
            return None
        for learner in self._learners.values():
            learner.rewards.clear()
        return Change(lines, requires_reset)

    def describe(self, name: str) -> str:
        """One line: the lesson of a parameter and its value."""
        lesson = self._parameters[name].curriculum[self._lessons[name]]
        return f"Parameter '{name}' is in lesson '{lesson.name}' and has value '{lesson.value}'."

    # ---- to go on from ----

    def state(self) -> dict[str, Any]:
        rewards = {behavior: list(learner.rewards) for behavior, learner in self._learners.items()}
        return {"lessons": dict(self._lessons), "smoothed": dict(self._smoothed), "rewards": rewards}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """What `state` gave; parameters that are new begin with their first lesson."""
        self.set_lessons(state["lessons"])
        self._smoothed |= {name: value for name, value in state["smoothed"].items() if name in self._smoothed}
        for behavior, rewards in state["rewards"].items():
            self._learner(behavior).rewards.extend(rewards)

    def set_lessons(self, lessons: Mapping[str, int]) -> None:
        """Raises UsageError for a lesson that a curriculum does not have (any more)."""
        for name, number in lessons.items():
            if name not in self._parameters:
                continue
            count = len(self._parameters[name].curriculum)
            if not 0 <= number < count:
                raise UsageError(
                    f"environment_parameters.{name}: the run was in lesson {number + 1}, but the curriculum has "
                    f"{count}; give it as many as before, or begin anew with --force"
                )
            self._lessons[name] = number

    # ---- below: one thing each ----

    def _criteria(self, name: str) -> CompletionCriteria | None:
        """Those of the lesson at hand, None for the last one."""
        lessons, number = self._parameters[name].curriculum, self._lessons[name]
        return lessons[number].completion_criteria if number + 1 < len(lessons) else None

    def _learner(self, behavior: str) -> Learner:
        learner = self._learners.get(behavior)
        if learner is None:
            every = [lesson.completion_criteria for one in self._parameters.values() for lesson in one.curriculum]
            lengths = [one.min_lesson_length for one in every if one is not None and one.behavior == behavior]
            learner = self._learners[behavior] = Learner(rewards=deque(maxlen=max([1, *lengths])))
        return learner

    def _is_over(self, name: str, criteria: CompletionCriteria) -> bool:
        learner = self._learner(criteria.behavior)
        if len(learner.rewards) < criteria.min_lesson_length:
            return False
        if criteria.measure == "progress":
            return learner.progress > criteria.threshold
        if not learner.rewards:
            return False
        measured = math.fsum(learner.rewards) / len(learner.rewards)
        if criteria.signal_smoothing:
            measured = self._smoothed[name] = SMOOTHING * self._smoothed[name] + (1 - SMOOTHING) * measured
        return measured > criteria.threshold


def _send(channel: EnvironmentParametersChannel, name: str, sampler: Sampler, seed: int) -> None:
    of = sampler.sampler_parameters
    match sampler.sampler_type:
        case "constant":
            channel.set_float_parameter(name, of.value)
        case "uniform":
            channel.set_uniform_sampler_parameters(name, of.min_value, of.max_value, seed)
        case "gaussian":
            channel.set_gaussian_sampler_parameters(name, of.mean, of.st_dev, seed)
        case "multirangeuniform":
            channel.set_multirangeuniform_sampler_parameters(name, [(low, high) for low, high in of.intervals], seed)
