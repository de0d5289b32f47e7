"""What the parts of an iteration cost in energy at an SM clock (docs/simulation.md)."""

import math
from dataclasses import dataclass

from orchestrator.spec.hardware import HardwareSpec

SUSTAINED_SHARE = 0.985
CLIP_EXPONENT = 12


@dataclass(frozen=True, slots=True)
class EnergyRates:
    """Rates of one GPU at one clock: energy is their sum over time, bytes, FLOPs and sampling time."""

    static_w: float
    j_per_byte: float
    j_per_flop: float
    sampling_w: float


def energy_rates(hardware: HardwareSpec, clock_ratio: float) -> EnergyRates:
    """Rates at ``clock_ratio`` of the highest SM clock: dynamic power goes with clock and voltage squared."""
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
    """Power at the highest clock under the default limit: all of a light load, close to the limit under a heavy one.

    The smooth minimum with which the calibration was fitted; always below ``power_w``. Units: W per GPU.
    """
    ceiling_w = SUSTAINED_SHARE * hardware.default_power_limit_w
    return power_w / math.pow(1 + math.pow(power_w / ceiling_w, CLIP_EXPONENT), 1 / CLIP_EXPONENT)


def voltage_ratio(hardware: HardwareSpec, clock_ratio: float) -> float:
    """Core voltage over that at the highest clock: linear in the clock above a floor."""
    knee, floor = hardware.calibration.voltage_floor_clock_ratio, hardware.calibration.voltage_floor_ratio
    return float(floor + (1 - floor) * max(0.0, clock_ratio - knee) / (1 - knee))
