"""Distributions of token counts."""

import math
from statistics import NormalDist
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Length(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FixedLength(_Length):
    """Always ``tokens``."""

    kind: Literal["fixed"]
    tokens: int = Field(ge=1)

    def quantile(self, share: float) -> int:
        """The length that this share of draws stays at or below."""
        return self.tokens


class LognormalLength(_Length):
    """Log-normal with this mean and coefficient of variation before it is rounded and clipped to [min, max]."""

    kind: Literal["lognormal"]
    mean: float = Field(gt=0, allow_inf_nan=False)
    cv: float = Field(gt=0, allow_inf_nan=False)
    min: int = Field(default=1, ge=1)
    max: int = Field(ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "LognormalLength":
        if self.min > self.max:
            raise ValueError(f"min {self.min} is more than max {self.max}")
        return self

    def quantile(self, share: float) -> int:
        """The length that this share of draws stays at or below."""
        variance = math.log1p(self.cv**2)
        exponent = math.log(self.mean) - variance / 2 + math.sqrt(variance) * NormalDist().inv_cdf(share)
        return min(max(round(math.exp(exponent)), self.min), self.max)


Length = Annotated[FixedLength | LognormalLength, Field(discriminator="kind")]
