"""The `reward_signals` of a behavior: what it learns from, each with its own discount and weight."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from trainers.config_errors import not_supported
from trainers.config_network import NetworkSettings
from trainers.config_sections import Float, Fraction, Positive, PositiveFloat, Section

_Signal = TypeVar("_Signal")
# A key without a value is a signal with its defaults; one that is not there is no signal.
_Given = Annotated[_Signal | None, BeforeValidator(lambda signal: {} if signal is None else signal)]


def _refused(_: Any) -> Any:
    raise not_supported("the reward signal gail", "extrinsic, curiosity and rnd are")


class RewardSignal(Section):
    """What all of them have; `extrinsic`, the environment's reward, has nothing else and no network."""

    gamma: Fraction = 0.99
    strength: Annotated[Float, Field(ge=0)] = 1.0
    network_settings: NetworkSettings = NetworkSettings()


class _LearnedSignal(RewardSignal):
    # ML-Agents' former key for network_settings.hidden_units. Not part of the effective settings.
    encoding_size: Positive | None = Field(default=None, exclude=True, json_schema_extra={"deprecated": True})

    @model_validator(mode="after")
    def _encoding_size_stands_for_hidden_units(self) -> "_LearnedSignal":
        if self.encoding_size is not None and "network_settings" not in self.model_fields_set:
            self.network_settings = NetworkSettings(hidden_units=self.encoding_size)
        return self


class Curiosity(_LearnedSignal):
    learning_rate: PositiveFloat = 3e-4


class RandomNetworkDistillation(_LearnedSignal):
    learning_rate: PositiveFloat = 1e-4


class RewardSignalSections(Section):
    extrinsic: _Given[RewardSignal] = None
    curiosity: _Given[Curiosity] = None
    rnd: _Given[RandomNetworkDistillation] = None
    gail: Annotated[None, BeforeValidator(_refused), WithJsonSchema({"not": {}})] = None


def _given(sections: RewardSignalSections) -> dict[str, RewardSignal]:
    return {name: signal for name, signal in sections if signal is not None} or {"extrinsic": RewardSignal()}


# A dict of the signals that are given, by name; of the extrinsic one if there are none. Without `extrinsic` among them
# the environment's reward is not learned from, as with ML-Agents.
RewardSignals = Annotated[
    RewardSignalSections,
    AfterValidator(_given),
    PlainSerializer(lambda signals: {name: signal.model_dump() for name, signal in signals.items()}),
]


def warnings_about(signals: Mapping[str, RewardSignal]) -> Iterator[str]:
    """What is deprecated or has no effect, one sentence each that starts with the key."""
    for name, signal in signals.items():
        if not isinstance(signal, _LearnedSignal):
            continue
        if signal.encoding_size is not None:
            yield f"{name}.encoding_size is deprecated; use network_settings.hidden_units, which wins over it."
        if signal.network_settings.memory is not None:
            yield f"{name}.network_settings.memory has no effect: the networks of reward signals have no memory."
