"""Second stage of a fit: the coefficients of power, from energies between sensor readings and the iterations there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.attribution.energy_model import Timeline
from orchestrator.attribution.readings import Readings
from orchestrator.calibrate.iterations import Iterations
from orchestrator.calibrate.times import CELL_WEIGHT, NOISE_RATIO, with_calibration
from orchestrator.costmodel.power import CLIP_EXPONENT, SUSTAINED_SHARE, energy_rates
from orchestrator.costmodel.step_time import StepTime
from orchestrator.costmodel.work import ModelWork
from orchestrator.measure.columns import Floats
from orchestrator.measure.map_fit import MapFit, Prior, fit_named, soft_l1
from orchestrator.spec.hardware import HardwareSpec

STATIC_ABOVE_IDLE = "static_above_idle_w"
"""Fitted instead of ``static_power_w``, which is never below the idle power."""

POWER_PRIORS = tuple(
    Prior(name=name, log_deviation=0.5)
    for name in (STATIC_ABOVE_IDLE, "memory_power_w", "compute_power_w", "sampling_power_w")
)
_FIELDS = tuple(prior.name for prior in POWER_PRIORS if prior.name != STATIC_ABOVE_IDLE)

LAGS_S = (0.0, 0.05, 0.1, 0.15)
"""Candidate delays of the power sensor."""
_INTERVAL_S = 1.0
"""Least time between the readings that are fitted."""
_BUSY_SHARE = 0.5
"""An interval is fitted if iterations fill more of it than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoweredWork:
    """Iterations of a cell, their work on one GPU for each row, and the readings of all its GPUs together."""

    work: ModelWork
    iterations: Iterations
    readings: Readings
    bytes_: Floats
    flops: Floats
    samples: Floats


def powered_work(iterations: Iterations, work: ModelWork, readings: Readings) -> PoweredWork:
    """Return the work of iterations of a model; `orchestrator.costmodel.cost` has the same equations for one."""
    n = iterations.n
    moved = work.weight_bytes + work.expert_bytes(iterations.tokens) + iterations.context * work.kv_bytes_per_token  # type: ignore[arg-type]
    flops = (
        iterations.tokens * (work.flops_per_token + work.expert_flops_per_token)
        + iterations.sampled * work.flops_per_sample
        + iterations.pairs * work.flops_per_pair
    )
    return PoweredWork(
        work=work,
        iterations=iterations,
        readings=readings.every(_INTERVAL_S),
        bytes_=n * moved,
        flops=n * flops,
        samples=n * iterations.sampled,
    )


def fit_power(
    cells: Sequence[PoweredWork],
    prior: HardwareSpec,
    timed: HardwareSpec,
    *,
    lag_s: float,
    start: Mapping[str, float] | None = None,
) -> MapFit:
    """Fit the coefficients of power to the energies of all cells.

    Args:
        cells: measured.
        prior: the GPU with the prior coefficients.
        timed: the GPU with the fitted coefficients of step time and the fitted idle power.
        lag_s: delay of the power sensor.
        start: coefficients to start from; the prior ones if None.
    """
    intervals = [_Intervals(cell, lag_s) for cell in cells]

    def residuals(values: Mapping[str, float]) -> Floats:
        hardware = with_power(timed, values)
        return np.concatenate([one.residuals(hardware) for one in intervals])

    centers = {name: float(getattr(prior.calibration, name)) for name in _FIELDS}
    centers[STATIC_ABOVE_IDLE] = prior.calibration.static_power_w - prior.idle_power_w
    return fit_named(POWER_PRIORS, centers, residuals, start)


def with_power(hardware: HardwareSpec, values: Mapping[str, float]) -> HardwareSpec:
    """Return the GPU with these coefficients of power, named as in `POWER_PRIORS`."""
    plain = {name: values[name] for name in _FIELDS}
    return with_calibration(hardware, {**plain, "static_power_w": hardware.idle_power_w + values[STATIC_ABOVE_IDLE]})


def energy_ratio(cell: PoweredWork, hardware: HardwareSpec, lag_s: float) -> float | None:
    """Return predicted over measured energy of the fitted intervals; None if there are none."""
    return _Intervals(cell, lag_s).ratio(hardware)


class _Intervals:
    """Intervals between readings of one cell that are busy; computes once what no coefficient changes."""

    def __init__(self, cell: PoweredWork, lag_s: float) -> None:
        self._cell = cell
        iterations = cell.iterations
        edges_s = cell.readings.t_s - lag_s
        self._edges_s, self._length_s = edges_s, np.diff(edges_s)
        self._measured_j = np.diff(cell.readings.energy_j)
        self._row_s = iterations.end_s - iterations.begin_s
        self._busy_s = self._between(self._row_s)
        inside = (edges_s[:-1] >= iterations.begin_s[0]) & (edges_s[1:] <= iterations.end_s[-1])
        self._used = inside & (self._busy_s > _BUSY_SHARE * self._length_s) & (self._measured_j > 0)

    def residuals(self, hardware: HardwareSpec) -> Floats:
        """In units of the expected error; shape (intervals used,)."""
        off = np.log(self._expected_j(hardware) / self._measured_j[self._used])
        weight = float(np.sqrt(CELL_WEIGHT / max(len(off), 1)))
        return weight * soft_l1(off / NOISE_RATIO)

    def ratio(self, hardware: HardwareSpec) -> float | None:
        if not self._used.any():
            return None
        return float(self._expected_j(hardware).sum() / self._measured_j[self._used].sum())

    def _expected_j(self, hardware: HardwareSpec) -> Floats:
        """Predicted energy; shape (intervals used,)."""
        n_gpus = self._cell.work.n_gpus
        idle_j = n_gpus * hardware.idle_power_w * (self._length_s - self._busy_s)
        expected_j = idle_j + self._between(n_gpus * row_energy_j(self._cell, self._row_s, hardware))
        used: Floats = expected_j[self._used]
        return used

    def _between(self, amounts: Floats) -> Floats:
        iterations = self._cell.iterations
        line = Timeline(iterations.begin_s, iterations.end_s, amounts[:, None])
        return line.between(self._edges_s)[:, 0]


def row_energy_j(cell: PoweredWork, row_s: Floats, hardware: HardwareSpec) -> Floats:
    """Return the energy of one GPU in each row of iterations, rows lasting ``row_s``. Units: J; shape (rows,)."""
    rates = energy_rates(hardware, 1.0)
    sample_s = StepTime(cell.work, hardware).sample_s(1.0)
    free_j = (
        rates.static_w * row_s
        + rates.j_per_byte * cell.bytes_
        + rates.j_per_flop * cell.flops
        + rates.sampling_w * sample_s * cell.samples
    )
    ceiling_j = SUSTAINED_SHARE * hardware.default_power_limit_w * row_s
    drawn_j: Floats = free_j / (1 + (free_j / ceiling_j) ** CLIP_EXPONENT) ** (1 / CLIP_EXPONENT)
    return drawn_j
