"""What the parts of an iteration cost in energy at an SM clock (docs/simulation.md)."""

from dataclasses import dataclass

from orchestrator.hardware_spec import HardwareSpec


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


def voltage_ratio(hardware: HardwareSpec, clock_ratio: float) -> float:
    """Core voltage over that at the highest clock: linear in the clock above a floor."""
    knee, floor = hardware.calibration.voltage_floor_clock_ratio, hardware.calibration.voltage_floor_ratio
    return floor + (1 - floor) * max(0.0, clock_ratio - knee) / (1 - knee)
