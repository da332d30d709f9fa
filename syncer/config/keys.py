"""What the places of the file that have keys are made of, and the values that several of them have."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from syncer.config import scalars

DURATION = {"type": "string", "pattern": r"^([0-9]+[wdhms])+$|^\$\{.*\}$", "examples": ["30s", "5m", "1h30m", "50d"]}
_SHARE = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "string", "pattern": r"^(100|[0-9]{1,2}(\.[0-9]+)?)%$|^\$\{.*\}$"},
    ],
    "examples": ["20%", 0.2],
}

Duration: TypeAlias = Annotated[timedelta, BeforeValidator(scalars.duration), WithJsonSchema(DURATION)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1), BeforeValidator(scalars.share), WithJsonSchema(_SHARE)]


class Keys(BaseModel):
    """Some keys of the file; no others are known."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
