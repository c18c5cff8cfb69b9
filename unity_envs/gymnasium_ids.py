"""Importing this registers the built-in environments with Gymnasium, and one id for any player.

    import gymnasium, unity_envs.gymnasium_ids

    gymnasium.make("mlagents_bridge/3DBall-v0")                                      # one agent
    gymnasium.make_vec("mlagents_bridge/3DBall-v0", num_envs=12)                     # twelve agents of one world
    gymnasium.make("mlagents_bridge/Unity-v0", environment="builds/MyGame", behavior_name="MyAgent")

Or without the import: `gymnasium.make("unity_envs.gymnasium_ids:mlagents_bridge/3DBall-v0")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unity_envs import executables, worlds

if TYPE_CHECKING:
    from bridge.gymnasium_env import UnityGymnasiumEnv
    from bridge.gymnasium_vector_env import UnityGymnasiumVectorEnv
    from bridge.seeded_environment import Opener

NAMESPACE = "mlagents_bridge"


def register() -> None:
    """Make `mlagents_bridge/NAME-v0` known for each built-in environment, and `mlagents_bridge/Unity-v0`.

    Those of built-in environments take `variant` ("discrete"), and `in_process`, by default True; False starts the
    player of that name and speaks the protocol with it. "Unity" takes the arguments of the wrappers.
    """
    try:
        import gymnasium
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("this needs Gymnasium: pip install 'mlagents-bridge[gymnasium]'") from error
    for name in worlds.names():
        gymnasium.register(
            f"{NAMESPACE}/{name}-v0",
            entry_point=f"{__name__}:make",
            vector_entry_point=f"{__name__}:make_vector",
            kwargs={"name": name},
        )
    gymnasium.register(
        f"{NAMESPACE}/Unity-v0",
        entry_point="bridge.gymnasium_env:UnityGymnasiumEnv",
        vector_entry_point=f"{__name__}:make_vector_of_player",
    )


def make(name: str, *, variant: str | None = None, in_process: bool = True, **arguments: Any) -> UnityGymnasiumEnv:
    """The built-in environment `name` with one agent; `arguments` are those of UnityGymnasiumEnv."""
    from bridge.gymnasium_env import UnityGymnasiumEnv

    return UnityGymnasiumEnv(_opener(name, 1, variant, in_process), **arguments)


def make_vector(
    name: str, num_envs: int = 1, *, variant: str | None = None, in_process: bool = True, **arguments: Any
) -> UnityGymnasiumVectorEnv:
    """The built-in environment `name` with `num_envs` agents; `arguments` are those of UnityGymnasiumVectorEnv."""
    from bridge.gymnasium_vector_env import UnityGymnasiumVectorEnv

    return UnityGymnasiumVectorEnv(_opener(name, num_envs, variant, in_process), num_envs=num_envs, **arguments)


def make_vector_of_player(num_envs: int = 1, **arguments: Any) -> UnityGymnasiumVectorEnv:
    """A vector environment of any player. 1, Gymnasium's default, stands for as many agents as the player has."""
    from bridge.gymnasium_vector_env import UnityGymnasiumVectorEnv

    return UnityGymnasiumVectorEnv(num_envs=None if num_envs == 1 else num_envs, **arguments)


def _opener(name: str, agents: int, variant: str | None, in_process: bool) -> Opener:
    if in_process:
        from bridge.in_process import InProcessEnvironment

        make_world = worlds.make_world_factory(name, agents=agents, variant=variant)
        return lambda seed: InProcessEnvironment(make_world, seed=seed)

    from bridge.environment import UnityEnvironment

    path, flags = executables.path(name), ["--agents", str(agents)]
    if variant is not None:
        flags += ["--variant", variant]
    return lambda seed: UnityEnvironment(path, seed=seed, additional_args=flags)


register()
