"""What every group of settings shares: frozen, closed, and documented by its docstrings."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Text = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]


def distinct(items: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a list that names something twice."""
    if repeated := sorted({item for item in items if items.count(item) > 1}):
        raise ValueError(f"each item once, and {', '.join(repeated)} stands there more than once")
    return items


class Section(BaseModel):
    """A frozen group of settings, closed to unknown keys and documented by its docstrings."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        validate_default=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _keep_truth_from_numbers(cls, value: object, info: ValidationInfo) -> object:
        """Refuse true and false where a number belongs; Python would read them as 1 and 0."""
        expected = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and expected is not bool:
            raise PydanticCustomError("bool_refused", "true and false belong to switches")
        return value
