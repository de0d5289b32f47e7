"""The GPUs of a node and their settings. Presets in `conf/hardware` hold datasheet figures and fitted coefficients."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Calibration(BaseModel):
    """Coefficients of the simulated engine's step time and power (docs/simulation.md).

    Defaults were fitted to H100 rows of the ML.ENERGY leaderboard v3; those of the clocks were chosen to agree with
    literature. Power terms scale with the GPU. Below ``bandwidth_clock_ratio`` of the highest SM clock, memory
    bandwidth falls in proportion to the clock.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight_bandwidth_efficiency: float = Field(default=0.82, gt=0, le=1)
    flop_efficiency: float = Field(default=1.0, gt=0, le=1)
    kv_bandwidth_efficiency: float = Field(default=0.851, gt=0, le=1)
    expert_bandwidth_efficiency: float = Field(default=0.877, gt=0, le=1)
    expert_flop_efficiency: float = Field(default=0.355, gt=0, le=1)
    allreduce_bandwidth_efficiency: float = Field(default=0.445, gt=0, le=1)
    roofline_exponent: float = Field(default=3.0, ge=1)
    step_overhead_s: float = Field(default=1.24e-3, ge=0)
    layer_overhead_s: float = Field(default=16.3e-6, ge=0)
    moe_layer_overhead_s: float = Field(default=26.3e-6, ge=0)
    prefill_overhead_s: float = Field(default=2.43e-3, ge=0)
    sequence_overhead_s: float = Field(default=42e-6, ge=0)
    allreduce_latency_s: float = Field(default=14.2e-6, ge=0)
    static_power_w: float = Field(gt=0)
    memory_power_w: float = Field(ge=0)
    compute_power_w: float = Field(ge=0)
    sampling_power_w: float = Field(ge=0)
    voltage_floor_clock_ratio: float = Field(default=0.55, gt=0, lt=1)
    voltage_floor_ratio: float = Field(default=0.72, gt=0, le=1)
    overhead_clock_share: float = Field(default=0.3, ge=0, le=1)
    bandwidth_clock_ratio: float = Field(default=0.4, ge=0, lt=1)


class CpuSpec(BaseModel):
    """A node without GPUs: it has no power limit, no clock, and no figures to predict from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    num_gpus: Literal[0]  # no default: it distinguishes the two kinds, and `Cell.canonical` omits defaults
    power_limit_w: None = Field(default=None, description="null: there is no GPU to limit")
    sm_clock_mhz: None = Field(default=None, description="null: there is no GPU to lock")

    @model_validator(mode="before")
    @classmethod
    def _no_knobs(cls, values: Any) -> Any:
        for knob in ("power_limit_w", "sm_clock_mhz"):
            if isinstance(values, dict) and values.get(knob) is not None:
                raise ValueError(
                    f"{knob} must be null on {values.get('name', 'a node without GPUs')}, which has no GPU to set, got "
                    f"{values[knob]}; leave it null, or choose a GPU with hardware="
                )
        return values


class HardwareSpec(BaseModel):
    """The GPUs of one node, all of one model, with the settings of the cell.

    ``power_limit_w`` takes watts or a share of ``max_power_limit_w`` (``"60%"``), which is resolved to watts. None
    keeps the default limit. ``sm_clock_mhz`` locks the SM clock; None leaves it to the driver.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    num_gpus: int = Field(ge=1)
    memory_gib: float = Field(gt=0)
    memory_bandwidth_gb_s: float = Field(gt=0)
    peak_tflops: float = Field(gt=0)
    interconnect_gb_s: float = Field(gt=0)
    idle_power_w: float = Field(gt=0)
    default_power_limit_w: float = Field(gt=0)
    min_power_limit_w: float | None = Field(default=None, gt=0)
    max_power_limit_w: float = Field(gt=0)
    min_sm_clock_mhz: int = Field(ge=1)
    max_sm_clock_mhz: int = Field(ge=1)
    power_limit_w: float | None = Field(
        default=None, allow_inf_nan=False, description="watts or a share of the maximum such as 60%"
    )
    sm_clock_mhz: int | None = None
    calibration: Calibration

    @model_validator(mode="before")
    @classmethod
    def _share_to_watts(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("power_limit_w"), str):
            return values
        text = values["power_limit_w"].strip()
        if not text.endswith("%"):
            return values
        try:
            share = float(text[:-1]) / 100
        except ValueError as error:
            raise ValueError(f"power_limit_w must be watts or a share such as '60%', got {text!r}") from error
        return {**values, "power_limit_w": round(share * float(values["max_power_limit_w"]), 6)}

    @model_validator(mode="after")
    def _knobs_in_range(self) -> "HardwareSpec":
        if self.power_limit_w is not None:
            if self.min_power_limit_w is None:
                raise ValueError(
                    f"power_limit_w: {self.name} has no power limit that can be set, got {self.power_limit_w:g}"
                )
            if not self.min_power_limit_w <= self.power_limit_w <= self.max_power_limit_w:
                raise ValueError(
                    f"power_limit_w must be {self.min_power_limit_w:g} to {self.max_power_limit_w:g} W on "
                    f"{self.name}, got {self.power_limit_w:g}"
                )
        if self.sm_clock_mhz is not None and not self.min_sm_clock_mhz <= self.sm_clock_mhz <= self.max_sm_clock_mhz:
            raise ValueError(
                f"sm_clock_mhz must be {self.min_sm_clock_mhz} to {self.max_sm_clock_mhz} on {self.name}, "
                f"got {self.sm_clock_mhz}"
            )
        return self

    @property
    def effective_power_limit_w(self) -> float:
        """The limit in force: the one that is set, else the default. Units: W per GPU."""
        return self.default_power_limit_w if self.power_limit_w is None else self.power_limit_w
