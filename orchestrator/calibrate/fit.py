"""Both stages of a fit: the GPU with the coefficients that explain the measured cells."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.calibrate.cells import MeasuredCell
from orchestrator.calibrate.power import LAGS_S, POWER_PRIORS, STATIC_ABOVE_IDLE, fit_power, with_power
from orchestrator.calibrate.preset import rounded
from orchestrator.calibrate.times import fit_times, time_priors, with_calibration
from orchestrator.errors import UserError
from orchestrator.measure.map_fit import MapFit, Prior
from orchestrator.spec.hardware import HardwareSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareFit:
    """A fitted GPU. ``power`` is None if no cell's energy was measured.

    ``lag_s`` is the fitted delay of the power sensor; ``n_idle_cells`` cells determined the idle power.
    """

    hardware: HardwareSpec
    times: MapFit
    power: MapFit | None
    lag_s: float
    n_idle_cells: int

    def log_deviation(self, name: str) -> float:
        """Posterior standard deviation of the logarithm of a coefficient."""
        if name in self.times.log_deviation:
            return self.times.log_deviation[name]
        assert self.power is not None
        return self.power.log_deviation[name]


def prior_of(preset: HardwareSpec, cells: Sequence[MeasuredCell]) -> HardwareSpec:
    """Return the preset with the coefficients that the earliest cell was planned with.

    These come from before the measurement. A preset that was already fitted to the same cells would count them twice.
    """
    planned = min(cells, key=lambda cell: cell.started_unix_s).cell.gpu
    return with_calibration(preset, planned.calibration.model_dump(), planned.idle_power_w)


def fit_hardware(cells: Sequence[MeasuredCell], prior: HardwareSpec, like: HardwareFit | None = None) -> HardwareFit:
    """Fit the coefficients of step time, then idle power, then the coefficients of power.

    Args:
        cells: measured.
        prior: the GPU with the prior coefficients.
        like: a fit to nearly the same cells, to start from; its sensor delay is kept.

    Raises:
        UserError: a prior coefficient is not positive.
    """
    _require_positive(fit_priors(cells), prior)
    times = fit_times([cell.timed for cell in cells], prior, None if like is None else like.times.values)
    idle_w, n_idle_cells = _idle_power(cells, prior)
    timed = with_calibration(prior, times.values, idle_w)
    powered = [cell.powered for cell in cells if cell.powered is not None]
    if not powered:
        return HardwareFit(hardware=rounded(timed), times=times, power=None, lag_s=0.0, n_idle_cells=n_idle_cells)
    lags_s = LAGS_S if like is None else (like.lag_s,)
    start = like.power.values if like is not None and like.power is not None else None
    fits = [(fit_power(powered, prior, timed, lag_s=lag_s, start=start), lag_s) for lag_s in lags_s]
    power, lag_s = min(fits, key=lambda pair: pair[0].cost)
    hardware = rounded(with_power(timed, power.values))
    return HardwareFit(hardware=hardware, times=times, power=power, lag_s=lag_s, n_idle_cells=n_idle_cells)


def fit_priors(cells: Sequence[MeasuredCell]) -> tuple[Prior, ...]:
    """Return the priors of all coefficients that a fit to these cells changes, `STATIC_ABOVE_IDLE` among them."""
    has_power = any(cell.powered is not None for cell in cells)
    return (*time_priors([cell.timed for cell in cells]), *(POWER_PRIORS if has_power else ()))


def fitted_fields(cells: Sequence[MeasuredCell]) -> tuple[str, ...]:
    """Return the fields of the calibration that a fit to these cells changes."""
    return tuple("static_power_w" if one.name == STATIC_ABOVE_IDLE else one.name for one in fit_priors(cells))


def coefficient(hardware: HardwareSpec, name: str) -> float:
    """Return a coefficient of a GPU by the name of its prior."""
    if name == STATIC_ABOVE_IDLE:
        return hardware.calibration.static_power_w - hardware.idle_power_w
    return float(getattr(hardware.calibration, name))


def _require_positive(priors: Sequence[Prior], hardware: HardwareSpec) -> None:
    for prior in priors:
        value = coefficient(hardware, prior.name)
        if value <= 0:
            what = "static_power_w - idle_power_w" if prior.name == STATIC_ABOVE_IDLE else prior.name
            raise UserError(
                f"hardware.calibration: {what} must be above 0 to be fitted, got {value:g} for {hardware.name}; put an "
                "estimate into the preset and pass prior=preset"
            )


def _idle_power(cells: Sequence[MeasuredCell], prior: HardwareSpec) -> tuple[float, int]:
    """Return the median idle power of a GPU whose engine is loaded, and the number of cells with one. Units: W."""
    idle_w = [
        cell.metrics["idle_gpu_power_w"] / cell.cell.engine.tensor_parallel_size
        for cell in cells
        if cell.powered is not None and "idle_gpu_power_w" in cell.metrics
    ]
    return (statistics.median(idle_w), len(idle_w)) if idle_w else (prior.idle_power_w, 0)
