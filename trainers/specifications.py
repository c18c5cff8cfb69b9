"""What a behavior says of its agents: whether it can be learnt, in words, and as a checkpoint holds it."""

from collections.abc import Mapping
from typing import Any

from mlagents_envs.base_env import ActionSpec, BehaviorSpec, DimensionProperty, ObservationSpec, ObservationType

from trainers.config_network import NetworkSettings
from trainers.errors import UsageError


def refuse_unsupported(name: str, spec: BehaviorSpec, settings: NetworkSettings) -> None:
    """Raises UsageError for agents that no trainer of ours can teach yet."""
    if not spec.observation_specs:
        raise UsageError(f"behavior '{name}' has no observations to learn from; add a sensor to its agent")
    if spec.action_spec.continuous_size + spec.action_spec.discrete_size == 0:
        raise UsageError(f"behavior '{name}' has no actions to learn; set the action spec of its Behavior Parameters")
    for index, observation in enumerate(spec.observation_specs):
        what = f"observation {index} ({observation.name}) of behavior '{name}'"
        if len(observation.shape) == 3 and settings.vis_encode_type == "match3":
            raise UsageError(
                f"{what} is a picture, and network_settings.vis_encode_type: match3 is not supported yet; set it to "
                "simple, nature_cnn, resnet or fully_connected"
            )
        if observation.observation_type == ObservationType.GOAL_SIGNAL and settings.goal_conditioning_type == "hyper":
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


def specification_to_dict(spec: BehaviorSpec) -> dict[str, Any]:
    """All of it in numbers, texts, lists and dicts, from which `specification_from_dict` makes it again."""
    return {
        "observations": [
            {
                "name": observation.name,
                "shape": [int(size) for size in observation.shape],
                "dimension_properties": [int(each) for each in observation.dimension_property],
                "observation_type": int(observation.observation_type.value),
            }
            for observation in spec.observation_specs
        ],
        "continuous_size": int(spec.action_spec.continuous_size),
        "discrete_branches": [int(size) for size in spec.action_spec.discrete_branches],
    }


def specification_from_dict(content: Mapping[str, Any]) -> BehaviorSpec:
    """What `specification_to_dict` was given. Raises ValueError for anything that it does not write."""
    try:
        observations = [
            ObservationSpec(
                tuple(map(int, each["shape"])),
                tuple(DimensionProperty(number) for number in each["dimension_properties"]),
                ObservationType(each["observation_type"]),
                str(each["name"]),
            )
            for each in content["observations"]
        ]
        action_spec = ActionSpec(int(content["continuous_size"]), tuple(map(int, content["discrete_branches"])))
    except KeyError as error:
        raise ValueError(f"{error} is missing") from error
    except TypeError as error:
        raise ValueError(str(error)) from error
    for observation in observations:
        if len(observation.shape) != len(observation.dimension_property) or min(observation.shape, default=0) < 1:
            raise ValueError(f"observation '{observation.name}' has the shape {observation.shape}")
    return BehaviorSpec(observations, action_spec)
