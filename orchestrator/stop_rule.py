"""When the repeats of a configuration are enough: the mean of a metric is known well enough."""

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.analysis.interval import mean_of
from orchestrator.errors import allowed_names
from orchestrator.records.metrics import OF_CELLS

_ROUNDING = 1e-9
"""A standard error below this share of the mean is what summing in another order leaves."""


class StopRule(BaseModel):
    """No rule where ``metric`` is None. ``half_width_ratio`` is of the mean, 0 stops only what does not scatter.

    Looking after every repeat shrinks coverage: that of ``min_repeats`` is in docs/method.md, "Protocol".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str | None = None
    half_width_ratio: float = Field(default=0.02, ge=0, allow_inf_nan=False)
    min_repeats: int = Field(default=8, ge=3)

    @model_validator(mode="after")
    def _metric_is_known(self) -> Self:
        if self.metric is not None and self.metric not in OF_CELLS:
            raise ValueError(f"metric: {self.metric!r} is no metric; {allowed_names(self.metric, OF_CELLS)}")
        return self

    def satisfied_by(self, values: Sequence[float]) -> str | None:
        """Why the values of the repeats so far are enough; None while they are not, or there is no rule."""
        if self.metric is None or len(values) < self.min_repeats:
            return None
        mean = mean_of(values)
        half, wanted = mean.half_width, self.half_width_ratio * abs(mean.value)
        if half is None or half > max(wanted, _ROUNDING * abs(mean.value)):
            return None
        ratio = half / abs(mean.value) if mean.value else 0.0
        return (
            f"{self.metric} is known to ±{ratio:.2g} of its mean after {len(values)} repeats; "
            f"protocol.stop_when.half_width_ratio is {self.half_width_ratio:g}"
        )
