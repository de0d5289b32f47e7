"""Both stages of a fit on some cells: a GPU with the coefficients that explain them."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.h200.fit_cells import Measured
from benchmarks.h200.fit_posterior import Coefficient, Found
from benchmarks.h200.fit_power import LAGS_S, STATIC_ABOVE_IDLE, fitted_power, power_coefficients, with_power
from benchmarks.h200.fit_preset import rounded
from benchmarks.h200.fit_time import fitted_times, time_coefficients, with_calibration
from orchestrator.spec.hardware import HardwareSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """``power`` is None where no cell's energy was measured; ``idle_cells`` told the idle power."""

    hardware: HardwareSpec
    times: Found
    power: Found | None
    lag_s: float
    idle_cells: int


def fitted_gpu(cells: Sequence[Measured], assumed: HardwareSpec, like: Fitted | None = None) -> Fitted:
    """Fit times, then idle power, then power.

    Args:
        cells: measured.
        assumed: the GPU as it is believed to be.
        like: a fit on about the same cells, where this one begins; the lag of the sensor is taken from it.
    """
    times = fitted_times([cell.timed for cell in cells], assumed, like.times.values if like is not None else None)
    idle_w, idle_cells = _idle_power(cells, assumed)
    timed = with_calibration(assumed, times.values, idle_w)
    powered = [cell.powered for cell in cells if cell.powered is not None]
    if not powered:
        return Fitted(hardware=rounded(timed), times=times, power=None, lag_s=0.0, idle_cells=idle_cells)
    lags_s = LAGS_S if like is None else (like.lag_s,)
    start = like.power.values if like is not None and like.power is not None else None
    tried = [(fitted_power(powered, assumed, timed, lag_s=lag_s, start=start), lag_s) for lag_s in lags_s]
    power, lag_s = min(tried, key=lambda pair: pair[0].cost)
    hardware = rounded(with_power(timed, power.values))
    return Fitted(hardware=hardware, times=times, power=power, lag_s=lag_s, idle_cells=idle_cells)


def fitted_coefficients(cells: Sequence[Measured]) -> tuple[Coefficient, ...]:
    """Those that a fit on these cells finds, `STATIC_ABOVE_IDLE` among them."""
    measured_power = any(cell.powered is not None for cell in cells)
    return (*time_coefficients([cell.timed for cell in cells]), *(power_coefficients() if measured_power else ()))


def coefficient_value(hardware: HardwareSpec, name: str) -> float:
    """A coefficient of a GPU by the name that a fit gives it."""
    if name == STATIC_ABOVE_IDLE:
        return hardware.calibration.static_power_w - hardware.idle_power_w
    return float(getattr(hardware.calibration, name))


def _idle_power(cells: Sequence[Measured], assumed: HardwareSpec) -> tuple[float, int]:
    """Median over cells of the idle power of a GPU whose engine is loaded, and how many told it. Units: W."""
    found = [
        cell.metrics["idle_gpu_power_w"] / cell.cell.engine.tensor_parallel_size
        for cell in cells
        if cell.powered is not None and "idle_gpu_power_w" in cell.metrics
    ]
    return (statistics.median(found), len(found)) if found else (assumed.idle_power_w, 0)
