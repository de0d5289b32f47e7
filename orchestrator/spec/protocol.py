"""How a cell is measured: its power sources and its protocol."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from orchestrator import plugins
from orchestrator.errors import UserError

MAIN = "main"
"""Name of the engine for every role that has no engine of its own."""

NO_POWER = "none"
"""Instead of a source: nothing is sampled."""

COMPUTED_POWER = "simulated"
"""Instead of a source: power is computed from the iterations of a simulated engine."""

CPU_SOURCES = ("rapl",)
"""Files of `collectors.sources` that read the energy of CPUs."""


def gpu_sources() -> tuple[str, ...]:
    """Return the values of ``collectors.power`` that ship and give the power of GPUs."""
    sampled = (kind for kind in plugins.available("collectors.sources") if kind not in CPU_SOURCES)
    return (*sampled, COMPUTED_POWER)


class CollectorsSpec(BaseModel):
    """What is sampled beside the engine, and how often.

    ``power`` is the source for GPUs: a file of `collectors.sources`, or a dotted path to a module of the user.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    power: str = COMPUTED_POWER
    cpu_power: Literal["rapl", "none"] = "none"
    period_s: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    path: str | None = Field(default=None, min_length=1, description="the file that collectors.power=replay replays")

    @field_validator("power")
    @classmethod
    def _power_is_known(cls, value: str) -> str:
        shipped = gpu_sources()
        if "." in value:
            try:
                plugins.part("collectors.sources", value, "build")
            except UserError as error:
                raise ValueError(str(error)) from error
        elif value not in (NO_POWER, *shipped):
            allowed = ", ".join(("auto", NO_POWER, *shipped))
            raise ValueError(f"must be one of {allowed}, or a dotted module path, got {value!r}")
        return value

    @model_validator(mode="after")
    def _path_fits_source(self) -> "CollectorsSpec":
        if self.power == "replay" and self.path is None:
            raise ValueError("path: must name the file that power=replay replays, got null")
        if self.power in (NO_POWER, COMPUTED_POWER, "nvml") and self.path is not None:
            raise ValueError(f"path: must be null beside power={self.power}, got {self.path!r}")
        return self

    @property
    def samples(self) -> bool:
        """Whether sensors are read during the cell."""
        return self.samples_gpus or self.cpu_power != NO_POWER

    @property
    def samples_gpus(self) -> bool:
        """Whether sensors of GPUs are read during the cell."""
        return self.power not in (NO_POWER, COMPUTED_POWER)


class ProtocolSpec(BaseModel):
    """The protocol of a cell (docs/method.md, "Protocol"). Defaults are those of a cell in virtual time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    idle_baseline_s: float = Field(default=2.0, ge=0, allow_inf_nan=False)
    open_loop_warmup_share: float = Field(default=0.1, ge=0, lt=1)
    min_window_s: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    max_send_delay_ms: float = Field(default=100.0, gt=0, allow_inf_nan=False)
    max_sample_gap_s: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    max_energy_gap_ratio: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    max_energy_uncertainty_ratio: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    max_throttled_ratio: float = Field(default=0.01, ge=0, le=1)
    stall_timeout_s: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    warmup_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    warmup_workflows: int = Field(default=0, ge=0)
    max_repetitions: int = Field(default=1, ge=1)
    cooldown_below_c: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="a temperature in °C")
    cooldown_band_c: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="a number of °C")
    cooldown_timeout_s: float = Field(default=300.0, gt=0, allow_inf_nan=False)

    @property
    def warms_up(self) -> bool:
        """Whether a cell first runs work that is not measured."""
        return self.warmup_s > 0 or self.warmup_workflows > 0

    @property
    def cools_down(self) -> bool:
        """Whether a cell waits until its GPUs are cool."""
        return self.cooldown_below_c is not None or self.cooldown_band_c is not None
