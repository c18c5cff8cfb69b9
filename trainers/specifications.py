"""What a behavior says of its agents: whether it can be learnt, and in words."""

from mlagents_envs.base_env import BehaviorSpec, DimensionProperty, ObservationType

from trainers.errors import UsageError


def refuse_unsupported(name: str, spec: BehaviorSpec, goal_conditioning: str) -> None:
    """Raises UsageError for agents that no trainer of ours can teach yet."""
    if not spec.observation_specs:
        raise UsageError(f"behavior '{name}' has no observations to learn from; add a sensor to its agent")
    if spec.action_spec.continuous_size + spec.action_spec.discrete_size == 0:
        raise UsageError(f"behavior '{name}' has no actions to learn; set the action spec of its Behavior Parameters")
    for index, observation in enumerate(spec.observation_specs):
        what = f"observation {index} ({observation.name}) of behavior '{name}'"
        if len(observation.shape) == 3:
            raise UsageError(
                f"{what} is a picture of shape {observation.shape}; only vector observations are supported yet, so "
                "take its sensor off the agent"
            )
        if DimensionProperty.VARIABLE_SIZE in observation.dimension_property:
            raise UsageError(f"{what} has a variable length, which is not supported yet; take its sensor off the agent")
        if observation.observation_type == ObservationType.GOAL_SIGNAL and goal_conditioning == "hyper":
            raise UsageError(
                f"{what} is a goal signal, and conditioning on goals is not supported yet; set "
                "network_settings.goal_conditioning_type: none to take it as an ordinary observation"
            )


def describe(spec: BehaviorSpec) -> str:
    """In one line; the same for the same sizes."""
    shapes = ", ".join("x".join(map(str, observation.shape)) for observation in spec.observation_specs)
    action = spec.action_spec
    branches = ", ".join(str(int(size)) for size in action.discrete_branches)
    return f"observations of size [{shapes}], {action.continuous_size} continuous actions and branches [{branches}]"
