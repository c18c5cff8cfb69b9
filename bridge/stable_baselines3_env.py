"""All agents of a behavior as a `VecEnv` of Stable-Baselines3, which does not take Gymnasium's vector environments."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from stable_baselines3.common.vec_env import VecEnv
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("this wrapper needs Stable-Baselines3: pip install 'mlagents-bridge[sb3]'") from error

from bridge.gymnasium_vector_env import UnityGymnasiumVectorEnv


class UnityVecEnv(VecEnv):
    """`UnityGymnasiumVectorEnv` in the words of Stable-Baselines3: each agent of a behavior is one environment.

    The constructor takes what that one takes. Infos of ended episodes have "terminal_observation" and
    "TimeLimit.truncated"; `VecMonitor` around it adds the episodes' returns. sb3-contrib's MaskablePPO finds the
    masks of discrete actions in `env_method("action_masks")`.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.env = UnityGymnasiumVectorEnv(*arguments, **keywords)
        self._actions: Any = None
        super().__init__(self.env.num_envs, self.env.single_observation_space, self.env.single_action_space)

    def reset(self) -> Any:
        """The first observations; those of the seed given to `seed`, if this is the first reset since."""
        observations, _ = self.env.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        return observations

    def step_async(self, actions: NDArray[Any]) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        observations, rewards, terminated, truncated, info = self.env.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        ended = terminated | truncated
        for agent in np.flatnonzero(ended).tolist():
            infos[agent]["terminal_observation"] = info["final_obs"][agent]
            infos[agent]["TimeLimit.truncated"] = bool(truncated[agent])
        return observations, rewards.astype(np.float32), ended, infos

    def close(self) -> None:
        """Ends the player."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The same for all agents."""
        return [getattr(self.env, attr_name)] * len(self._indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raises NotImplementedError: agents have no attributes of their own here."""
        raise NotImplementedError("the agents of a player share one environment; set the attribute on `.env`")

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """`action_masks`, a row for each agent. Raises NotImplementedError for other methods."""
        if method_name != "action_masks":
            raise NotImplementedError(f"the agents of a player share one environment; call {method_name} on `.env`")
        return list(self.env.action_masks()[self._indices(indices)])

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        return [False] * len(self._indices(indices))

    def _indices(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))
