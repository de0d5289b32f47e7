"""Energy rates of a GPU at an SM clock, and its power under the default limit (docs/simulation.md)."""

import math
from dataclasses import dataclass

from orchestrator.spec.hardware import HardwareSpec

SUSTAINED_SHARE = 0.985
"""Highest sustained power, as a share of the default power limit."""
CLIP_EXPONENT = 12
"""Sharpness of the smooth minimum in `clipped_power_w`."""


@dataclass(frozen=True, slots=True)
class EnergyRates:
    """Rates of one GPU at one clock; energy is the sum of rate times time, bytes, FLOPs and sampling time."""

    static_w: float
    j_per_byte: float
    j_per_flop: float
    sampling_w: float


def energy_rates(hardware: HardwareSpec, clock_ratio: float) -> EnergyRates:
    """Return the rates at ``clock_ratio`` of the highest SM clock; dynamic power grows with clock · voltage²."""
    calibration, idle_w = hardware.calibration, hardware.idle_power_w
    squared = voltage_ratio(hardware, clock_ratio) ** 2
    core = clock_ratio * squared
    return EnergyRates(
        static_w=idle_w + (calibration.static_power_w - idle_w) * core,
        j_per_byte=calibration.memory_power_w * (0.7 + 0.3 * squared) / (hardware.memory_bandwidth_gb_s * 1e9),
        j_per_flop=calibration.compute_power_w * squared / (hardware.peak_tflops * 1e12),
        sampling_w=calibration.sampling_power_w * core,
    )


def clipped_power_w(power_w: float, hardware: HardwareSpec) -> float:
    """Return the power drawn under the default limit at the highest clock. Units: W per GPU.

    A smooth minimum of ``power_w`` and the limit, as in the fit of the calibration; always below ``power_w``.
    """
    ceiling_w = SUSTAINED_SHARE * hardware.default_power_limit_w
    return power_w / math.pow(1 + math.pow(power_w / ceiling_w, CLIP_EXPONENT), 1 / CLIP_EXPONENT)


def voltage_ratio(hardware: HardwareSpec, clock_ratio: float) -> float:
    """Return the core voltage relative to that at the highest clock: linear in the clock, with a lower bound."""
    knee, floor = hardware.calibration.voltage_floor_clock_ratio, hardware.calibration.voltage_floor_ratio
    return float(floor + (1 - floor) * max(0.0, clock_ratio - knee) / (1 - knee))
