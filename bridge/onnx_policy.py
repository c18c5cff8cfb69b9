"""An ONNX model of ML-Agents, played by onnxruntime alone: what Unity does with the file, without Unity or torch."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from mlagents_envs.base_env import ActionTuple, BehaviorSpec, DecisionSteps
from numpy.typing import NDArray

from bridge.exceptions import InvalidModelError

VERSION_NUMBER = 3  # Unity also loads version 2, which has no deterministic outputs

FloatArray = NDArray[np.float32]


def allowed_actions(decisions: DecisionSteps) -> FloatArray | None:
    """`[agents, sum of branches]`, 1 where a discrete action is allowed; None allows all. For `OnnxPolicy.act`."""
    if decisions.action_mask is None:
        return None
    return np.float32(1) - np.concatenate(decisions.action_mask, axis=1, dtype=np.float32)


class OnnxPolicy:
    """The policy in an ONNX file with ML-Agents' tensor names, whoever exported it.

    A model with a memory is given what each agent remembers; `forget` has to be told which episodes are over.

    Attributes:
        path: the file.
        observation_shapes: shape of one agent's observation, by input name (`obs_0`, ...).
        continuous_size: number of continuous actions.
        discrete_branches: number of choices of each discrete action.
        memory_size: numbers that an agent remembers from one decision to the next; 0 without a memory.

    Raises InvalidModelError, naming the file, if it is no ONNX model or lacks what Unity needs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not os.path.isfile(path):  # also of a path that cannot be looked at, where is_file() raises
            raise InvalidModelError(f"{path}: no such file; a run writes its model to results/RUN_ID/BEHAVIOR.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # these networks are too small to share out
        options.log_severity_level = 4  # what goes wrong comes as an exception; nothing on the side
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common class of their own
            raise self._error(f"onnxruntime cannot load this file as an ONNX model ({_one_line(error)})") from error
        self._outputs = {output.name for output in self._session.get_outputs()}
        self._memories: dict[int, FloatArray] = {}  # by agent id
        inputs = self._read_inputs()
        self.observation_shapes = {name: shape for name, shape in inputs.items() if name.startswith("obs_")}
        self._kinds = [kind for kind in ("continuous", "discrete") if f"{kind}_actions" in self._outputs]
        version, self.memory_size = self._read_constants(inputs)
        if version not in (2, VERSION_NUMBER):
            raise self._error(f"version_number is {version:g}, not 2 or {VERSION_NUMBER}; export it anew")
        self._check_memory(inputs)

    def check(self, behavior_spec: BehaviorSpec) -> None:
        """Raises InvalidModelError, naming what differs, if agents of this behavior cannot be played by this model."""
        given = {f"obs_{index}": tuple(spec.shape) for index, spec in enumerate(behavior_spec.observation_specs)}
        for name, shape in given.items():
            if name not in self.observation_shapes:
                raise self._error(f"the agents have an observation {name} of shape {shape}, the model does not read it")
            expected = self.observation_shapes[name]
            if shape != expected:
                raise self._error(f"the agents' observation {name} has shape {shape}, the model expects {expected}")
        for name, expected in self.observation_shapes.items():
            if name not in given:
                raise self._error(f"the model reads an observation {name} of shape {expected}, the agents have none")
        actions = behavior_spec.action_spec
        if actions.continuous_size != self.continuous_size:
            raise self._error(
                f"the agents take {actions.continuous_size} continuous actions, the model gives {self.continuous_size}"
            )
        branches = tuple(actions.discrete_branches)
        if branches != self.discrete_branches:
            raise self._error(
                f"the agents take discrete actions with branches {branches}, the model gives {self.discrete_branches}"
            )

    def act(
        self,
        observations: list[FloatArray],
        allowed_mask: FloatArray | None,
        deterministic: bool,
        agent_ids: NDArray[np.int32] | None = None,
    ) -> ActionTuple:
        """The model's actions, ready to be sent to the environment.

        Args:
            observations: one array `[agents, *shape]` an observation.
            allowed_mask: `[agents, sum of branches]`, 1 where a discrete action is allowed; None allows all.
            deterministic: the most likely actions, else samples. The same samples come again if `onnxruntime.set_seed`
                is called before the policy is made.
            agent_ids: who they are, `[agents]`: needed by a model with a memory, which remembers this step of theirs.

        Raises InvalidModelError if deterministic actions are asked for and the model has no such outputs, or if
        onnxruntime cannot run it, and ValueError without the agents' ids where they are needed.
        """
        if self.memory_size == 0:
            return self.act_with_memories(observations, allowed_mask, deterministic)[0]
        if agent_ids is None:
            raise ValueError("a model with a memory needs agent_ids")
        ids, nothing = agent_ids.tolist(), np.zeros(self.memory_size, np.float32)
        memories = np.array([self._memories.get(agent, nothing) for agent in ids]).reshape(-1, self.memory_size)
        actions, remembered = self.act_with_memories(observations, allowed_mask, deterministic, memories)
        assert remembered is not None
        self._memories.update(zip(ids, remembered, strict=True))
        return actions

    def forget(self, agent_ids: NDArray[np.int32] | None = None) -> None:
        """Tells that the episodes of these agents `[agents]` are over, or those of all: they remember nothing more."""
        if agent_ids is None:
            self._memories.clear()
        elif self._memories:
            for agent in agent_ids.tolist():
                self._memories.pop(agent, None)

    def act_with_memories(
        self,
        observations: list[FloatArray],
        allowed_mask: FloatArray | None,
        deterministic: bool,
        memories: FloatArray | None = None,
    ) -> tuple[ActionTuple, FloatArray | None]:
        """`act` with the agents' memories before the step, `[agents, memory_size]`, and those after it.

        Both are None for a model without a memory. Nothing is remembered here.
        """
        names = [f"deterministic_{kind}_actions" if deterministic else f"{kind}_actions" for kind in self._kinds]
        for name in names:
            if name not in self._outputs:
                raise self._error(f"the model has no output {name} (an old exporter); play it with --stochastic")
        if self.memory_size:
            names.append("recurrent_out")
            if len(observations[0]) == 0:  # at an LSTM without rows, onnxruntime 1.32 ends the process
                nothing = np.zeros((0, self.continuous_size), np.float32), np.zeros((0, len(self.discrete_branches)))
                return ActionTuple(nothing[0], nothing[1].astype(np.int32)), np.zeros((0, self.memory_size), np.float32)
        results = self._run(names, self.feed(observations, allowed_mask, memories))
        remembered = results.pop().reshape(-1, self.memory_size) if self.memory_size else None
        actions = dict(zip(self._kinds, results, strict=True))
        return ActionTuple(continuous=actions.get("continuous"), discrete=actions.get("discrete")), remembered

    def feed(
        self, observations: list[FloatArray], allowed_mask: FloatArray | None, memories: FloatArray | None
    ) -> dict[str, FloatArray]:
        """The model's inputs by their names."""
        feed = {f"obs_{i}": np.ascontiguousarray(values, dtype=np.float32) for i, values in enumerate(observations)}
        if self.discrete_branches:
            if allowed_mask is None:
                allowed_mask = np.ones((len(observations[0]), sum(self.discrete_branches)), np.float32)
            feed["action_masks"] = np.ascontiguousarray(allowed_mask, dtype=np.float32)
        if memories is not None:
            feed["recurrent_in"] = np.ascontiguousarray(memories[:, None, :], dtype=np.float32)
        return feed

    def _run(self, names: list[str], feed: dict[str, FloatArray]) -> list[NDArray[Any]]:
        try:
            return list(self._session.run(names, feed))
        except Exception as error:
            raise self._error(f"onnxruntime cannot run this model ({_one_line(error)})") from error

    def _error(self, message: str) -> InvalidModelError:
        return InvalidModelError(f"{self.path}: {message}")

    def _require_outputs(self, *names: str) -> None:
        missing = [name for name in names if name not in self._outputs]
        if missing:
            raise self._error(f"not a model of ML-Agents, it has no output {', '.join(missing)}")

    def _read_inputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the inputs without their batch dimension."""
        shapes: dict[str, tuple[int, ...]] = {}
        for tensor in self._session.get_inputs():
            if tensor.name not in ("action_masks", "recurrent_in") and not tensor.name.startswith("obs_"):
                raise self._error(
                    f"input {tensor.name!r} is none of ML-Agents' (obs_0, obs_1, ..., action_masks, recurrent_in)"
                )
            shapes[tensor.name] = tuple(tensor.shape[1:])
            if not all(isinstance(size, int) for size in shapes[tensor.name]):
                raise self._error(f"input {tensor.name} has the shape {tensor.shape}; export it with fixed sizes")
        return shapes

    def _read_constants(self, inputs: dict[str, tuple[int, ...]]) -> tuple[float, int]:
        """Sets the sizes of the actions; returns version_number and memory_size."""
        self._require_outputs("version_number", "memory_size")
        if not self._kinds:
            self._require_outputs("continuous_actions or discrete_actions")
        sizes = [f"{kind}_action_output_shape" for kind in self._kinds]
        self._require_outputs(*sizes)
        if "discrete" in self._kinds and "action_masks" not in inputs:
            raise self._error("the model has discrete actions but no input action_masks")
        names = ["version_number", "memory_size", *sizes]
        trial = {name: np.zeros((1, *shape), dtype=np.float32) for name, shape in inputs.items()}
        version, memory_size, *constants = self._run(names, trial)
        fixed = _constants(self.path)
        for name in names:
            if name not in fixed:
                raise self._error(f"Unity needs {name} to be a constant, here it is computed from the inputs")
        by_kind = {
            kind: tuple(values.ravel().astype(int).tolist())
            for kind, values in zip(self._kinds, constants, strict=True)
        }
        self.continuous_size: int = sum(by_kind.get("continuous", ()))
        self.discrete_branches: tuple[int, ...] = by_kind.get("discrete", ())
        return float(version.item()), int(memory_size.item())

    def _check_memory(self, inputs: dict[str, tuple[int, ...]]) -> None:
        """Unity gives and takes memories exactly if memory_size says so."""
        if self.memory_size == 0:
            if "recurrent_in" in inputs:
                raise self._error("memory_size is 0, but the model has an input recurrent_in; export it anew")
            return
        if "recurrent_in" not in inputs or "recurrent_out" not in self._outputs:
            raise self._error(f"memory_size is {self.memory_size}, but it lacks recurrent_in or recurrent_out")
        if inputs["recurrent_in"] != (1, self.memory_size):
            raise self._error(
                f"recurrent_in has shape {inputs['recurrent_in']}, by its memory_size it is (1, {self.memory_size})"
            )


def _constants(path: Path) -> set[str]:
    """Names of the values that depend on no input, which an importer such as Unity's can compute once."""
    import onnx  # takes a while, and everything else here does without it

    graph = onnx.load(path, load_external_data=False).graph
    names = {"", *(tensor.name for tensor in graph.initializer)}
    for node in graph.node:  # a node stands behind those that it reads
        if names.issuperset(node.input):
            names.update(node.output)
    return names


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
