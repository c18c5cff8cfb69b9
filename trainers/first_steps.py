"""The first agents of a run, seen while PyTorch is still loading."""

from collections.abc import Sequence

from bridge.fleet import Fleet, FleetSteps
from bridge.side_channels import EnvironmentParametersChannel
from trainers.config import RunConfig
from trainers.console import Console
from trainers.environment_parameters import EnvironmentParameterManager


def first_steps(
    config: RunConfig, fleet: Fleet, parameter_channels: Sequence[EnvironmentParametersChannel], console: Console
) -> dict[str, FleetSteps]:
    """Resets the players of a run that starts anew, and tells which behaviors they have; for `Run`'s `first`.

    `parameter_channels`: of each player. Raises UnityException as `Fleet.reset` does.
    """
    parameters = EnvironmentParameterManager(config.environment_parameters, config.env_settings.seed)
    for channel in parameter_channels:
        parameters.send(channel)
    # A player that fails here is started again, and has to hear of them as well.
    fleet.on_restart = lambda player: parameters.send(parameter_channels[player])
    steps = fleet.reset()
    for name in fleet.behavior_specs:
        if name in steps:
            console.info(f"Connected new brain: {name}")
    return steps
