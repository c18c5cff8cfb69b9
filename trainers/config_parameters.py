"""`environment_parameters` of the configuration: numbers, samplers, and curricula of them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from trainers.config_errors import complete, expected
from trainers.config_sections import Float, Int, OrMinusOne, Section

# Of each sampler: the keys that it has beside its seed.
_KEYS = {
    "constant": ("value",),
    "uniform": ("min_value", "max_value"),
    "gaussian": ("mean", "st_dev"),
    "multirangeuniform": ("intervals",),
}


Interval = Annotated[list[Float], Field(min_length=2, max_length=2)]


class SamplerParameters(Section):
    """Of all kinds of samplers; a kind has those of its own and the seed. A seed of -1 follows from the run's."""

    seed: OrMinusOne = -1
    value: Float = 0.0
    min_value: Float = 0.0
    max_value: Float = 1.0
    mean: Float = 1.0
    st_dev: Annotated[Float, Field(ge=0)] = 1.0
    intervals: Annotated[list[Interval], Field(min_length=1)] = Field(default=[[0.0, 1.0]])

    @field_validator("intervals")
    @classmethod
    def _in_order(cls, intervals: list[list[float]]) -> list[list[float]]:
        if any(low > high for low, high in intervals):
            raise expected("pairs of a least and a greatest value")
        return intervals


class Sampler(Section):
    """What a parameter is set to: a number, or a distribution that the player draws from whenever it reads it."""

    sampler_type: Literal["constant", "uniform", "gaussian", "multirangeuniform"]
    sampler_parameters: SamplerParameters

    @model_validator(mode="before")
    @classmethod
    def _number(cls, data: Any) -> Any:
        if isinstance(data, int | float) and not isinstance(data, bool):
            return {"sampler_type": "constant", "sampler_parameters": {"value": data}}
        return data

    @model_validator(mode="after")
    def _has_its_own_keys_only(self) -> Self:
        parameters, own = self.sampler_parameters, _KEYS[self.sampler_type]
        for key in parameters.model_fields_set - {"seed", *own}:
            raise complete(f"a {self.sampler_type} sampler has no {key}, but {', '.join(own)} and seed")
        if parameters.min_value > parameters.max_value:
            raise expected(f"a max_value of at least min_value ({parameters.min_value:g})")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> Any:
        parameters = self.sampler_parameters
        if self.sampler_type == "constant":
            return parameters.value
        kept = {key: getattr(parameters, key) for key in ("seed", *_KEYS[self.sampler_type])}
        return {"sampler_type": self.sampler_type, "sampler_parameters": kept}

    def __str__(self) -> str:
        parameters = self.sampler_parameters
        values = ", ".join(f"{key} {getattr(parameters, key)}" for key in _KEYS[self.sampler_type])
        return f"{parameters.value:g}" if self.sampler_type == "constant" else f"{self.sampler_type}, {values}"


class CompletionCriteria(Section):
    """When a lesson is over: `measure` of `behavior` above `threshold`.

    reward: the mean of its last `min_lesson_length` episodes, smoothed (0.25 old + 0.75 new) with `signal_smoothing`;
    progress: its steps as a share of its max_steps.
    """

    behavior: str
    measure: Literal["reward", "progress"] = "reward"
    threshold: Float = 0.0
    min_lesson_length: Annotated[Int, Field(ge=0)] = 0
    signal_smoothing: bool = True
    require_reset: bool = False

    @model_validator(mode="after")
    def _progress_is_a_share(self) -> Self:
        if self.measure == "progress" and not 0 <= self.threshold <= 1:
            raise expected("a threshold from 0 to 1 for the measure progress")
        return self


class Lesson(Section):
    name: str
    value: Sampler
    completion_criteria: CompletionCriteria | None = None


class EnvironmentParameter(Section):
    """The lessons of a parameter; a number or a sampler is a single one."""

    curriculum: Annotated[list[Lesson], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _single_lesson(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "curriculum" in data:
            return data
        return {"curriculum": [{"name": "", "value": data}]}

    @field_validator("curriculum")
    @classmethod
    def _all_but_the_last_end(cls, lessons: list[Lesson]) -> list[Lesson]:
        for lesson in lessons[:-1]:
            if lesson.completion_criteria is None:
                raise expected(f"completion_criteria in every lesson but the last, '{lesson.name}' has none")
        names = [lesson.name for lesson in lessons]
        if len(set(names)) < len(names):
            raise expected("lessons with names of their own")
        return lessons

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> Any:
        if len(self.curriculum) == 1 and self.curriculum[0].completion_criteria is None:
            return self.curriculum[0].value.model_dump()
        return handler(self)
