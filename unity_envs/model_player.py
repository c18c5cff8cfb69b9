"""A world that an ONNX model plays by itself: the counterpart of a game into which a model was deployed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import onnxruntime
from mlagents_envs.base_env import ActionTuple, BehaviorSpec, DecisionSteps, TerminalSteps

from bridge.exceptions import UnityException
from bridge.onnx_policy import OnnxPolicy, allowed_actions
from bridge.player import EnvironmentParameters, MakeWorld

TICK = 0.02  # s
SHOW_EVERY = 1.0  # s, between two lines
LOOK_EVERY = 0.5  # s, between two looks at the file
LAST = 100  # episodes in the mean that is shown


def play(
    name: str,
    make_world: MakeWorld,
    path: Path,
    *,
    seed: int,
    deterministic: bool,
    episodes: int | None,
    time_scale: float | None,
) -> int:
    """Let the model in the file `path` play until Ctrl-C, SIGTERM or the end of `episodes` episodes; returns 0.

    Prints a line a second. The episodes that end first are counted, so short ones weigh more at the start: for scores
    there is `mlbridge evaluate`. `time_scale` is in times of real time, None is as fast as possible. A file that
    changes is taken up within a second or so; if that fails, a line says why and the old model plays on.

    Raises InvalidModelError for a file that cannot be played to begin with.
    """
    with _stop_signals() as stopped:
        onnxruntime.set_seed(seed % 2**31)  # before the policy: a session takes its seed when it is made
        world = make_world(seed, 1, EnvironmentParameters())
        ((behavior, spec),) = world.behavior_specs.items()
        model = _WatchedModel(path, behavior, spec, deterministic)
        steps = world.reset()
        agents = len(steps[behavior][0])
        tally = _Tally(agents)
        # Our worlds are AgentWorlds, or recordings of them, and have a decision period.
        pause = TICK * world.decision_period / time_scale if time_scale else 0.0
        try:
            kind = "the most probable" if deterministic else "sampled"
            who = f"{behavior.split('?')[0]}, {agents} agent{'s' if agents > 1 else ''}"
            _say(f"{name}: {path} plays {who}, {kind} actions; Ctrl-C stops it")
            began = looked = shown = due = time.perf_counter()
            decisions_shown = 0
            while not stopped:
                decisions, terminals = steps[behavior]
                tally.add(decisions, terminals)
                model.forget(terminals)
                if episodes is not None and tally.episodes >= episodes:
                    break
                steps = world.step({behavior: model.act(decisions)} if len(decisions) else {})
                now = time.perf_counter()
                if pause and len(decisions):
                    due = max(due + pause, now - pause)  # no more than one late decision is made up for
                    _wait_until(due, stopped)
                if now - looked >= LOOK_EVERY:
                    looked = now
                    if news := model.look():
                        _say(f"{name}: {news}")
                if now - shown >= SHOW_EVERY:
                    _say(f"{name}: {tally.summary(tally.decisions - decisions_shown, now - shown)}")
                    shown, decisions_shown = now, tally.decisions
            seconds = time.perf_counter() - began
            _say(f"{name}: stopped after {seconds:.1f} s: {tally.summary(tally.decisions, seconds)}")
        except BrokenPipeError:  # whoever read the lines has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


class _WatchedModel:
    """The policy in a file, which `look` exchanges when the file has changed. A new one remembers nothing yet.

    Raises InvalidModelError for a file that agents of this behavior cannot be played with.
    """

    def __init__(self, path: Path, behavior: str, spec: BehaviorSpec, deterministic: bool) -> None:
        self._path, self._behavior, self._spec, self._deterministic = path, behavior, spec, deterministic
        # Read before the file is: what is written meanwhile then counts as a change.
        self._tried = self._seen = self._identity()
        self._policy = self._load()

    def act(self, decisions: DecisionSteps) -> ActionTuple:
        return self._policy.act(decisions.obs, allowed_actions(decisions), self._deterministic, decisions.agent_id)

    def forget(self, terminals: TerminalSteps) -> None:
        """What a model with a memory remembers of episodes that are over."""
        self._policy.forget(terminals.agent_id)

    def look(self) -> str | None:
        """Take up a changed file. Returns what there is to tell about it."""
        seen, self._seen = self._seen, self._identity()
        if self._seen == self._tried or self._seen != seen:  # nothing new, or somebody is still writing it
            return None
        self._tried = self._seen
        try:
            self._policy = self._load()
        except UnityException as error:
            return f"the changed model cannot be played, the one before plays on: {error}"
        return f"{self._path} has changed, the new model plays"

    def _load(self) -> OnnxPolicy:
        policy = OnnxPolicy(self._path)
        policy.check(self._spec)
        # A trial: anything that could fail later fails here.
        zeros = [np.zeros((1, *spec.shape), np.float32) for spec in self._spec.observation_specs]
        actions = policy.act(zeros, None, self._deterministic, np.zeros(1, np.int32))
        self._spec.action_spec._validate_action(actions, 1, self._behavior)
        policy.forget()
        return policy

    def _identity(self) -> tuple[int, ...]:
        """Numbers that change with the file; none where there is no file."""
        try:
            status = self._path.stat()
        except OSError:
            return ()
        return status.st_mtime_ns, status.st_size, status.st_ino


class _Tally:
    """Counts decisions and episodes of agents 0 to `agents` - 1, and sums up the rewards of each.

    What comes with the first decision of an episode was earned by none of its actions, and is left out.
    """

    def __init__(self, agents: int) -> None:
        self.decisions = self.episodes = 0
        self._returns = np.full(agents, np.nan)  # of the running episodes; not-a-number where none runs
        self._last: deque[float] = deque(maxlen=LAST)

    def add(self, decisions: DecisionSteps, terminals: TerminalSteps) -> None:
        """Take one message: terminals end episodes, then decisions continue or begin them."""
        if len(terminals):
            returns = self._returns[terminals.agent_id] + terminals.reward
            self._returns[terminals.agent_id] = np.nan
            returns = returns[~np.isnan(returns)]
            self.episodes += len(returns)
            self._last.extend(returns.tolist())
        if len(decisions):
            returns = self._returns[decisions.agent_id] + decisions.reward
            self._returns[decisions.agent_id] = np.where(np.isnan(returns), 0.0, returns)
            self.decisions += len(decisions)

    def summary(self, decisions: int, seconds: float) -> str:
        """One line for people; the speed is that of so many decisions in so many seconds."""
        last = f", mean reward of the last {len(self._last)} {np.mean(self._last):.3f}" if self._last else ""
        return f"{self.episodes:,} episodes{last}, {decisions / max(seconds, 1e-9):,.0f} agent-steps/s"


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Yields a list that is empty until Ctrl-C or SIGTERM; a second signal ends the program at once."""
    received: list[int] = []

    def receive(number: int, _: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # a shell lets its background jobs ignore Ctrl-C
            signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_until(moment: float, stopped: list[int]) -> None:
    """Sleep until time.perf_counter() is `moment`, in pieces: a signal does not cut a sleep short."""
    while not stopped and (rest := moment - time.perf_counter()) > 0:
        time.sleep(min(rest, 0.1))


def _say(line: str) -> None:
    print(line, flush=True)
