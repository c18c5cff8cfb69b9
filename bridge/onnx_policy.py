"""An ONNX model of ML-Agents, played by onnxruntime alone: what Unity does with the file, without Unity or torch."""

import os
from pathlib import Path

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

    Attributes:
        path: the file.
        observation_shapes: shape of one agent's observation, by input name (`obs_0`, ...).
        continuous_size: number of continuous actions.
        discrete_branches: number of choices of each discrete action.

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
        inputs = self._read_inputs()
        self.observation_shapes = {name: shape for name, shape in inputs.items() if name != "action_masks"}
        self._require_outputs("version_number", "memory_size")
        kinds = [kind for kind in ("continuous", "discrete") if f"{kind}_actions" in self._outputs]
        if not kinds:
            self._require_outputs("continuous_actions or discrete_actions")
        sizes = [f"{kind}_action_output_shape" for kind in kinds]
        self._require_outputs(*sizes)
        if "discrete" in kinds and "action_masks" not in inputs:
            raise self._error("the model has discrete actions but no input action_masks")
        trial = {name: np.zeros((1, *shape), dtype=np.float32) for name, shape in inputs.items()}
        try:
            version, *constants = self._session.run(["version_number", *sizes], trial)
        except Exception as error:
            raise self._error(f"onnxruntime cannot run this model ({_one_line(error)})") from error
        if version.item() not in (2, VERSION_NUMBER):
            raise self._error(f"version_number is {version.item():g}, not 2 or {VERSION_NUMBER}; export it anew")
        by_kind = {
            kind: tuple(values.ravel().astype(int).tolist()) for kind, values in zip(kinds, constants, strict=True)
        }
        self.continuous_size: int = sum(by_kind.get("continuous", ()))
        self.discrete_branches: tuple[int, ...] = by_kind.get("discrete", ())
        self._kinds = kinds

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

    def act(self, observations: list[FloatArray], allowed_mask: FloatArray | None, deterministic: bool) -> ActionTuple:
        """The model's actions, ready to be sent to the environment.

        Args:
            observations: one array `[agents, *shape]` an observation.
            allowed_mask: `[agents, sum of branches]`, 1 where a discrete action is allowed; None allows all.
            deterministic: the most likely actions, else samples. The same samples come again if `onnxruntime.set_seed`
                is called before the policy is made.

        Raises InvalidModelError if deterministic actions are asked for and the model has no such outputs, or if
        onnxruntime cannot run it.
        """
        names = [f"deterministic_{kind}_actions" if deterministic else f"{kind}_actions" for kind in self._kinds]
        for name in names:
            if name not in self._outputs:
                raise self._error(f"the model has no output {name} (an old exporter); play it with --stochastic")
        feed = {f"obs_{i}": np.ascontiguousarray(values, dtype=np.float32) for i, values in enumerate(observations)}
        if self.discrete_branches:
            if allowed_mask is None:
                allowed_mask = np.ones((len(observations[0]), sum(self.discrete_branches)), np.float32)
            feed["action_masks"] = np.ascontiguousarray(allowed_mask, dtype=np.float32)
        try:
            results = self._session.run(names, feed)
        except Exception as error:
            raise self._error(f"onnxruntime cannot run this model ({_one_line(error)})") from error
        actions = dict(zip(self._kinds, results, strict=True))
        return ActionTuple(continuous=actions.get("continuous"), discrete=actions.get("discrete"))

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
            if tensor.name == "recurrent_in":
                raise self._error("the model has a memory (input recurrent_in), which cannot be played yet")
            if tensor.name != "action_masks" and not tensor.name.startswith("obs_"):
                raise self._error(f"input {tensor.name!r} is none of ML-Agents' (obs_0, obs_1, ..., action_masks)")
            shapes[tensor.name] = tuple(tensor.shape[1:])
            if not all(isinstance(size, int) for size in shapes[tensor.name]):
                raise self._error(f"input {tensor.name} has the shape {tensor.shape}; export it with fixed sizes")
        return shapes


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
