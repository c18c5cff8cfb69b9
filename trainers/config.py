"""The settings of a run: the PPO part of ML-Agents' YAML, with its keys, defaults and meaning.

`load_config` reads a file, puts the command line's values on top and checks everything; `RunConfig` is the result.
What ML-Agents knows and this package does not is refused with "not supported yet", never ignored.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from trainers.config_errors import complete, expected, not_supported, raise_problems
from trainers.config_network import NetworkSettings
from trainers.config_parameters import EnvironmentParameter
from trainers.config_reward_signals import RewardSignals, warnings_about
from trainers.config_sections import Float, Fraction, Int, OrMinusOne, Positive, PositiveFloat, Section
from trainers.config_sources import (
    behaviors_without_trainer_type,
    merge_sources,
    override,
    read_assignments,
    read_configuration,
)
from trainers.errors import UsageError, did_you_mean
from trainers.schedules import Schedule
from trainers.yaml_lines import Document, write_yaml

logger = logging.getLogger(__name__)


def _trainer_type(value: Any) -> Any:
    if value in ("sac", "poca"):
        raise not_supported(f"trainer type {value}", "ppo is")
    return value


def _absent(value: Any) -> Any:
    if value is not None:
        raise not_supported("this section", "remove it")
    return value


def _arguments(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [str(item) if type(item) in (int, float) else item for item in value]


NotSupported = Annotated[None, BeforeValidator(_absent)]


class Hyperparameters(Section):
    """PPO's. The last four are ours, and off: see README.md in trainers/."""

    batch_size: Positive = 1024
    buffer_size: Positive = Field(default=10240, validate_default=True)
    learning_rate: PositiveFloat = 3e-4
    beta: Annotated[Float, Field(ge=0)] = 5e-3
    epsilon: PositiveFloat = 0.2
    lambd: Fraction = 0.95
    num_epoch: Positive = 3
    shared_critic: bool = False
    learning_rate_schedule: Schedule = "linear"
    beta_schedule: Schedule = "linear"
    epsilon_schedule: Schedule = "linear"
    value_clipping: bool = False
    joint_ratio: bool = False
    max_grad_norm: PositiveFloat | None = None
    target_kl: PositiveFloat | None = None

    @model_validator(mode="before")
    @classmethod
    def _other_schedules_copy_that_of_the_learning_rate(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and data.get("learning_rate_schedule") in ("linear", "constant"):
            schedule = data["learning_rate_schedule"]
            return {"beta_schedule": schedule, "epsilon_schedule": schedule, **data}
        return data

    @field_validator("buffer_size")
    @classmethod
    def _holds_a_batch(cls, buffer_size: int, info: ValidationInfo) -> int:
        batch_size = info.data.get("batch_size", 1)
        if buffer_size < batch_size:
            raise expected(f"at least batch_size ({batch_size})")
        return buffer_size


class TrainerSettings(Section):
    """The settings of one behavior."""

    trainer_type: Annotated[Literal["ppo"], BeforeValidator(_trainer_type)] = "ppo"
    hyperparameters: Hyperparameters = Hyperparameters()
    network_settings: NetworkSettings = NetworkSettings()
    reward_signals: RewardSignals = Field(default={}, validate_default=True)
    init_path: str | None = None
    keep_checkpoints: Positive = 5
    checkpoint_interval: Positive = 500_000
    even_checkpoints: bool = False
    max_steps: Positive = 500_000
    time_horizon: Positive = 64
    summary_freq: Positive = 50_000
    threaded: bool = False
    self_play: NotSupported = None
    behavioral_cloning: NotSupported = None

    @field_validator("network_settings")
    @classmethod
    def _sequences_fit_in_a_batch(cls, network_settings: NetworkSettings, info: ValidationInfo) -> NetworkSettings:
        memory, hyperparameters = network_settings.memory, info.data.get("hyperparameters")
        if memory is not None and hyperparameters and memory.sequence_length > hyperparameters.batch_size:
            raise complete(
                f"memory.sequence_length ({memory.sequence_length}) must be at most hyperparameters.batch_size "
                f"({hyperparameters.batch_size})"
            )
        return network_settings

    @field_validator("init_path")
    @classmethod
    def _is_a_checkpoint(cls, init_path: str | None) -> str | None:
        if init_path is not None and not init_path.endswith(".pt"):
            raise expected("the name of a checkpoint file, which ends with .pt")
        return init_path

    @model_validator(mode="after")
    def _spread_checkpoints(self) -> Self:
        if self.even_checkpoints:
            self.checkpoint_interval = max(1, self.max_steps // self.keep_checkpoints)
        return self


class EnvironmentSettings(Section):
    """`env_settings`. A `seed` of -1 asks for a random one; restarts of -1 are unlimited; times are in seconds.

    `lockstep` is ours: several players wait for each other, which makes a run repeatable. So is `listen`: an address of
    this machine at which players on other ones may reach it.
    """

    env_path: str | None = None
    env_args: Annotated[list[str] | None, BeforeValidator(_arguments)] = None
    base_port: Annotated[Int, Field(ge=1, le=65535)] = 5005
    num_envs: Positive = 1
    num_areas: Positive = 1
    timeout_wait: Positive = 60
    seed: Annotated[Int, Field(ge=-1, le=2**31 - 1)] = -1
    max_lifetime_restarts: OrMinusOne = 10
    restarts_rate_limit_n: OrMinusOne = 1
    restarts_rate_limit_period_s: Positive = 60
    lockstep: bool = False
    listen: str | None = None

    @field_validator("num_envs")
    @classmethod
    def _several_need_a_player_to_start(cls, num_envs: int, info: ValidationInfo) -> int:
        if num_envs > 1 and "env_path" in info.data and info.data["env_path"] is None:
            raise expected("1, because without env_path (--env) the Editor is the only environment")
        return num_envs


class EngineSettings(Section):
    """What a player's engine is told: window size in pixels, rates in frames per second (-1: as fast as it can)."""

    width: Positive = 84
    height: Positive = 84
    quality_level: Annotated[Int, Field(ge=0)] = 5
    time_scale: PositiveFloat = 20.0
    target_frame_rate: OrMinusOne = -1
    capture_frame_rate: Annotated[Int, Field(ge=0)] = 60
    no_graphics: bool = False
    no_graphics_monitor: bool = False


class CheckpointSettings(Section):
    """`load_model` and `train_model` are ML-Agents' former flags: the first means `resume`, the second nothing."""

    run_id: str = "ppo"
    initialize_from: str | None = None
    load_model: bool = False
    resume: bool = False
    force: bool = False
    train_model: bool = False
    inference: bool = False
    results_dir: str = "results"


class TorchSettings(Section):
    device: str | None = None
    backend: Literal["auto", "openmined", "torch"] = "auto"
    threads: Positive | None = None  # of torch and of the kernels; None: by the number of cores
    averaging: Literal["auto", "gradients", "weights"] = "auto"  # of several ranks

    @field_validator("device")
    @classmethod
    def _looks_like_a_device(cls, device: str | None) -> str | None:
        if device is not None and not re.fullmatch(r"[a-z]+(:[0-9]+)?", device):
            raise expected("a torch device such as cpu, cuda, cuda:1 or mps")
        return device


class RunConfig(Section):
    """Everything that is set for a run, with the defaults filled in and `default_settings` merged into `behaviors`."""

    default_settings: TrainerSettings | None = None
    behaviors: dict[str, TrainerSettings] = Field(default={})
    env_settings: EnvironmentSettings = EnvironmentSettings()
    engine_settings: EngineSettings = EngineSettings()
    environment_parameters: dict[str, EnvironmentParameter] = Field(default={})
    checkpoint_settings: CheckpointSettings = CheckpointSettings()
    torch_settings: TorchSettings = TorchSettings()
    debug: bool = False

    @field_validator("behaviors", "environment_parameters", mode="before")
    @classmethod
    def _none_given(cls, mapping: Any) -> Any:
        return {} if mapping is None else mapping

    def settings_for(self, behavior_name: str) -> TrainerSettings:
        """The settings of a behavior, also by its full name (`3DBall?team=0`).

        Raises UsageError if the configuration has neither the behavior nor default_settings.
        """
        name = behavior_name.partition("?")[0]
        settings = self.behaviors.get(name, self.default_settings)
        if settings is None:
            known = ", ".join(self.behaviors) or "no behaviors"
            raise UsageError(
                f"the environment's behavior '{name}' is not in the configuration{did_you_mean(name, self.behaviors)}"
                f" (it has {known}); add behaviors.{name} or default_settings to it"
            )
        return settings

    def to_yaml(self) -> str:
        """The effective settings as YAML; `load_config` makes the same RunConfig of it."""
        return write_yaml(self.model_dump())


def load_config(path: Path | None, overrides: Mapping[str, Any], assignments: Sequence[str] = ()) -> RunConfig:
    """Read a configuration file, apply `overrides`, check everything.

    path: a YAML file, or the name of a built-in configuration (`3DBall` or `3DBall.yaml`) if there is no such file;
        None: every behavior has the defaults.
    overrides: nested like the file, what the command line gave explicitly; wins over the file. The behavior name `*`
        stands for every behavior: `{"behaviors": {"*": {"network_settings": {"deterministic": True}}}}`.
    assignments: texts such as "behaviors.3DBall.max_steps=1000", which win over everything else.

    Raises UsageError, whose message has one line for each mistake: file, line, key path, what is expected and found.
    """
    document = read_configuration(path) if path is not None else Document("command line", {"default_settings": {}})
    assigned = read_assignments(assignments)
    merged = merge_sources(document, override(overrides, assigned))
    errors = []
    try:
        config = RunConfig.model_validate(merged)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    without_type = behaviors_without_trainer_type(merged)
    if errors or without_type or document.duplicates:
        raise_problems(RunConfig, document, overrides, assigned, errors, without_type)
    of_all = {f"behaviors.{name}": settings for name, settings in config.behaviors.items()}
    if config.default_settings is not None:
        of_all["default_settings"] = config.default_settings
    for name, settings in of_all.items():
        for warning in warnings_about(settings.reward_signals):
            logger.warning("%s.reward_signals.%s", name, warning)
    return config
