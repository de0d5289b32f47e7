"""How work arrives: the options of the arrival processes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _LoadOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClosedLoad(_LoadOptions):
    """``users`` users, each starting its next workflow when its last one has finished."""

    kind: Literal["closed"]
    users: int = Field(ge=1)
    num_workflows: int = Field(ge=1)
    think_time_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class PoissonLoad(_LoadOptions):
    """Workflows start at random gaps, ``request_rate`` of them a second on average. Units: 1/s.

    Gaps are gamma distributed with the shape ``burstiness``, as in ``vllm bench serve``: 1 is a Poisson process, less
    is burstier, more is steadier; the squared coefficient of variation of the gaps is 1 / ``burstiness``.
    """

    kind: Literal["poisson"]
    request_rate: float = Field(gt=0, allow_inf_nan=False)
    num_workflows: int = Field(ge=1)
    burstiness: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class ReplayLoad(_LoadOptions):
    """Workflows start at the recorded times of a trace, ``speedup`` times as fast; at most ``num_workflows``."""

    kind: Literal["replay"]
    speedup: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    num_workflows: int | None = Field(default=None, ge=1)


LoadOptions = Annotated[ClosedLoad | PoissonLoad | ReplayLoad, Field(discriminator="kind")]
