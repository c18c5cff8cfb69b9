"""What the parts of the configuration are made of: a mapping of the YAML, and kinds of numbers."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Int = Annotated[int, BeforeValidator(_whole)]  # 5.0e5 is a whole number, too
Positive = Annotated[Int, Field(ge=1)]
OrMinusOne = Annotated[Int, Field(ge=-1)]
Float = Annotated[float, Field(allow_inf_nan=False)]
PositiveFloat = Annotated[Float, Field(gt=0)]
Fraction = Annotated[Float, Field(ge=0, le=1)]


class Section(BaseModel):
    """One mapping of the YAML. Refuses unknown keys and wrong types; an empty section is one with its defaults."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, data: Any) -> Any:
        return {} if data is None else data
