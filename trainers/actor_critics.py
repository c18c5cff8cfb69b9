"""Which networks a behavior gets: plain ones for vectors, which the kernels can compute, general ones for the rest."""

from collections.abc import Sequence

from mlagents_envs.base_env import BehaviorSpec, DimensionProperty, ObservationSpec

from trainers.config import NetworkSettings
from trainers.general_networks import GeneralActorCritic
from trainers.networks import ActorCritic

Network = ActorCritic | GeneralActorCritic


def make_network(
    spec: BehaviorSpec, settings: NetworkSettings, signals: Sequence[str], *, shared_critic: bool
) -> Network:
    """Actor and critic for these observations and actions, freshly initialised.

    Raises UsageError for pictures that are too small for their encoder.
    """
    plain = settings.memory is None and all(_is_vector(observation) for observation in spec.observation_specs)
    make = ActorCritic if plain else GeneralActorCritic
    return make(spec, settings, signals, shared_critic=shared_critic)


def _is_vector(observation: ObservationSpec) -> bool:
    return len(observation.shape) != 3 and DimensionProperty.VARIABLE_SIZE not in observation.dimension_property
