"""What a behavior observes and does, in Gymnasium's spaces: for the wrappers of Gymnasium and of PettingZoo."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mlagents_envs.base_env import ActionTuple, BehaviorSpec, DimensionProperty, ObservationSpec
from numpy.typing import NDArray

from bridge.exceptions import UnityActionException

try:
    from gymnasium import spaces
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("this wrapper needs Gymnasium: pip install 'mlagents-bridge[gymnasium]'") from error


class BehaviorSpaces:
    """The spaces of one behavior, and what goes between them and the arrays of the protocol.

    - A single observation is a Box; several are a Dict by their names in Unity, a number added where names repeat.
      Vectors are float32 without bounds. Pictures are float32 in 0..1, or uint8 in 0..255 with `uint8_pictures`.
    - Continuous actions are a Box of -1..1 [size], one discrete branch is a Discrete, several are a MultiDiscrete, and
      both kinds together a Dict with "continuous" and "discrete".

    Attributes:
        observation: the space of an agent's observations.
        action: the space of its actions.
    """

    def __init__(self, name: str, spec: BehaviorSpec, *, uint8_pictures: bool = False) -> None:
        self.name, self.spec = name, spec
        self._keys = _keys(spec.observation_specs)
        self._bytes = [uint8_pictures and _is_picture(each) for each in spec.observation_specs]
        boxes: list[spaces.Space[Any]] = [
            _box(each, as_bytes) for each, as_bytes in zip(spec.observation_specs, self._bytes, strict=True)
        ]
        self._single = len(boxes) == 1
        self.observation: spaces.Space[Any] = (
            boxes[0] if self._single else spaces.Dict(dict(zip(self._keys, boxes, strict=True)))
        )
        self.branches = np.array(spec.action_spec.discrete_branches, np.int64)
        kinds: dict[str, spaces.Space[Any]] = {}
        if spec.action_spec.continuous_size:
            kinds["continuous"] = spaces.Box(-1.0, 1.0, (spec.action_spec.continuous_size,), np.float32)
        if len(self.branches) == 1:
            kinds["discrete"] = spaces.Discrete(int(self.branches[0]))
        elif len(self.branches):
            kinds["discrete"] = spaces.MultiDiscrete(self.branches)
        self._kinds = kinds
        self.action: spaces.Space[Any] = spaces.Dict(kinds) if len(kinds) != 1 else next(iter(kinds.values()))

    def observations(self, arrays: Sequence[NDArray[np.float32]]) -> Any:
        """What the space holds, of agents `[agents, *shape]` or of one `[*shape]`; floats are not copied."""
        made = [_as_bytes(array) if as_bytes else array for array, as_bytes in zip(arrays, self._bytes, strict=True)]
        return made[0] if self._single else dict(zip(self._keys, made, strict=True))

    def row(self, arrays: Sequence[NDArray[np.float32]], row: int) -> Any:
        """The observations of one agent out of `[agents, *shape]`, copied."""
        return self.observations([array[row].copy() for array in arrays])

    def actions(self, actions: Any, agents: int | None = None) -> ActionTuple:
        """The actions of `agents` agents, or of one without the first axis.

        Raises UnityActionException for the wrong kind or shape, and for choices that a branch does not have.
        """
        if len(self._kinds) == 1:
            actions = {next(iter(self._kinds)): actions}
        elif not isinstance(actions, Mapping) or set(actions) != set(self._kinds):
            raise UnityActionException(f"behavior '{self.name}' takes a dict with 'continuous' and 'discrete' actions")
        count = 1 if agents is None else agents
        continuous, discrete = np.zeros((count, 0), np.float32), np.zeros((count, 0), np.int32)
        if "continuous" in self._kinds:
            continuous = self._array(actions["continuous"], "continuous", agents).astype(np.float32, copy=False)
        if "discrete" in self._kinds:
            chosen = self._array(actions["discrete"], "discrete", agents)
            if chosen.dtype.kind not in "iu":
                raise UnityActionException(
                    f"discrete actions of behavior '{self.name}' are whole numbers, not {chosen.dtype}"
                )
            if ((chosen < 0) | (chosen >= self.branches)).any():
                raise UnityActionException(
                    f"a discrete action of behavior '{self.name}' is out of range: its branches have the sizes "
                    f"{self.branches.tolist()}, and choices count from 0"
                )
            discrete = chosen.astype(np.int32)
        return ActionTuple(continuous, discrete)

    def allowed(self, action_mask: Sequence[NDArray[np.bool_]] | None, agents: int) -> NDArray[np.int8]:
        """int8 [agents, sum of the branches' sizes], 1 for what may be chosen: the reverse of ML-Agents' masks."""
        if action_mask is None:
            return np.ones((agents, int(self.branches.sum())), np.int8)
        return np.logical_not(np.concatenate(action_mask, axis=1)).view(np.int8)

    def sample_mask(self, allowed: NDArray[np.int8]) -> Any:
        """A row of `allowed` as this space's `sample(mask)` takes it."""
        parts = np.split(allowed, np.cumsum(self.branches)[:-1])
        mask = parts[0] if len(parts) == 1 else tuple(parts)
        return {"continuous": None, "discrete": mask} if len(self._kinds) == 2 else mask

    def _array(self, actions: Any, kind: str, agents: int | None) -> NDArray[Any]:
        array = np.asarray(actions)
        shape = self._kinds[kind].shape
        assert shape is not None
        expected = shape if agents is None else (agents, *shape)
        if array.shape != expected:
            raise UnityActionException(
                f"{kind} actions of behavior '{self.name}' have the shape {expected}, got {array.shape}"
            )
        return array.reshape(1 if agents is None else agents, -1)


def _keys(specs: Sequence[ObservationSpec]) -> list[str]:
    keys: list[str] = []
    for index, spec in enumerate(specs):
        name = spec.name or f"observation_{index}"
        keys.append(name if name not in keys else f"{name}_{index}")
    return keys


def _is_picture(spec: ObservationSpec) -> bool:
    """Three axes of which two are moved along, or that say nothing of themselves, as those of older players."""
    moved = sum(bool(each & DimensionProperty.TRANSLATIONAL_EQUIVARIANCE) for each in spec.dimension_property)
    silent = all(each == DimensionProperty.UNSPECIFIED for each in spec.dimension_property)
    return len(spec.shape) == 3 and (moved == 2 or silent)


def _box(spec: ObservationSpec, as_bytes: bool) -> spaces.Box:
    if as_bytes:
        return spaces.Box(0, 255, spec.shape, np.uint8)
    if _is_picture(spec):
        return spaces.Box(0.0, 1.0, spec.shape, np.float32)
    return spaces.Box(-np.inf, np.inf, spec.shape, np.float32)


def _as_bytes(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.rint(np.clip(picture, 0.0, 1.0) * np.float32(255)).astype(np.uint8)
    return levels
